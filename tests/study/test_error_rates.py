"""Tuned arms, families of comparisons, looks at several of them, and ranges of seeds: error rates by simulation.

The benchmark that makes the README's table is run here with few experiments, and with all of them where it is slow.
"""

import numpy as np
import pytest

from pretrain.study.statistics import LEVEL, estimate
from tests.bench import families, verdicts
from tests.study.test_calibration import at_most_5_percent


def test_intervals_that_students_settles_cover_as_all_do():
    values = np.random.default_rng(0).exponential(1, (40, 8)) - 1
    for level in (LEVEL, 0.6):
        each = [found.low <= 0 <= found.high for found in (estimate(row, level) for row in values)]
        assert verdicts.covers(values, level).tolist() == each


@pytest.mark.parametrize("simulated", [verdicts.of_tuned_arms, verdicts.of_18_comparisons, verdicts.of_looks])
def test_wrong_verdicts_are_few(simulated):
    found = simulated(16 if simulated is verdicts.of_18_comparisons else 8, 200)
    assert at_most_5_percent(found.wrong, 200) and found.covered > 0.9


def test_a_difference_between_tuned_arms_is_found():
    rng = np.random.default_rng(0)
    found = [verdicts.tuned_arms(rng, 8) + 0.04 for _ in range(20)]
    assert sum(verdicts.calls_one(values[None]) for values in found) > 15


def test_ranges_of_seeds_hold_the_truth():
    found = verdicts.of_ranges(8, 200)
    assert found.of_all >= 0.76 and found.low < 1 < found.high


@pytest.mark.parametrize(("rows", "share"), [(20, 0.12), (30, 0.15), (60, 0.3)])
def test_no_difference_is_rarely_said_of_few_rows_on_which_seeds_agree(rows, share):
    assert at_most_5_percent(max(families.of_few_rows(rows, share, n, 200) for n in (6, 8)), 200)


@pytest.mark.slow
@pytest.mark.parametrize("n", families.SEEDS)
@pytest.mark.parametrize(("rows", "share"), [each for each in families.FEW_ROWS.values() if each[1]])
def test_no_difference_is_said_of_few_rows_in_at_most_5_percent(rows, share, n):
    assert at_most_5_percent(families.of_few_rows(rows, share, n, 2000), 2000)


@pytest.mark.slow
@pytest.mark.parametrize("n", verdicts.SEEDS)
@pytest.mark.parametrize("simulated", [verdicts.of_tuned_arms, verdicts.of_18_comparisons, verdicts.of_looks])
def test_error_and_coverage_are_kept_by_tuned_arms_many_comparisons_and_looks(simulated, n):
    found = simulated(n, 2000)
    assert at_most_5_percent(found.wrong, 2000)
    # The intervals of all looks cover at once, and so each of them more often.
    assert 0.93 <= found.covered <= (0.98 if simulated is verdicts.of_looks else 0.97)


@pytest.mark.slow
@pytest.mark.parametrize("n", verdicts.SEEDS)
def test_ranges_of_seeds_hold_the_truth_in_80_percent(n):
    found = verdicts.of_ranges(n, 2000)
    assert found.of_all >= 0.8 and found.of_inconclusive >= 0.8 and found.least >= 0.7
