"""Numbers of seeds: the fewest that can conclude, those that settle a comparison, and the effects that they see."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretrain.study import power, statistics
from pretrain.study.power import seeds_needed, seeds_to_settle
from pretrain.study.statistics import estimate


@pytest.mark.parametrize("n", [2, 5, 6, 14, 16, 24, 25, 36, 64, 400])
def test_the_smallest_p_value_halves_with_every_seed(n):
    differences = np.random.default_rng(0).uniform(0.1, 0.3, n)
    assert statistics.sign_flip(differences) == pytest.approx(power.smallest_p(n)) == 2 / 2**n
    assert statistics.sign_flip(np.ones(n)) == pytest.approx(2 / 2**n)


@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.001])
@pytest.mark.parametrize("n_compared", [1, 2, 9, 500])
def test_the_fewest_seeds_are_those_whose_smallest_p_value_reaches_alpha(alpha, n_compared):
    found = power.fewest_seeds(alpha, n_compared)
    assert n_compared * power.smallest_p(found) <= alpha
    assert found == statistics.FEWEST_SEEDS or n_compared * power.smallest_p(found - 1) > alpha


def test_levels_that_flips_do_not_resolve_are_students_from_six_seeds_on():
    assert power.fewest_seeds(1e-4, 18) == statistics.FEWEST_SEEDS


def settled(rng, mean, deviation, n, smallest, n_experiments):
    """In how many of so many experiments of normal differences there is a verdict."""
    samples = rng.normal(mean, deviation, (n_experiments, n))
    verdicts = [
        statistics.verdict(estimate(values), statistics.sign_flip(values), n, smallest) != "inconclusive"
        for values in samples
    ]
    return np.mean(verdicts)


@pytest.mark.parametrize(
    ("mean", "n", "n_open"), [(0.0, 30, 1), (0.002, 60, 1), (0.004, 40, 3), (-0.01, 9, 1), (0.0025, 70, 1), (0.0, 6, 1)]
)
def test_power_is_the_share_of_experiments_that_a_known_deviation_settles(mean, n, n_open):
    deviation, smallest, n_experiments = 0.01, 0.005, 100_000
    means = np.random.default_rng(0).normal(mean, deviation / math.sqrt(n), n_experiments)
    margin = stats.norm.isf(0.025 / n_open) * deviation / math.sqrt(n)
    share = np.mean((np.abs(means) > margin) | (np.abs(means) + margin < smallest))
    assert power.power(n, mean, deviation, smallest, n_open=n_open) == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8, 1.1])
@pytest.mark.parametrize("n_open", [1, 18])
def test_seeds_needed_are_those_of_students_test(ratio, n_open):
    """Where no effect is too small to matter, and p-values are small enough by count."""

    def of_students(n):
        critical = stats.t.isf(0.025 / n_open, n - 1)
        return stats.nct.sf(critical, n - 1, ratio * math.sqrt(n)) + stats.nct.cdf(
            -critical, n - 1, ratio * math.sqrt(n)
        )

    needed = int(seeds_needed(ratio, 1.0, 1e-9, n_open=n_open))
    assert of_students(needed) >= 0.79 and (of_students(needed - 2) < 0.8 or needed == power.fewest_seeds(0.05, n_open))
    seen = power.smallest_seen(needed, 1.0, n_compared=n_open)
    assert seen == pytest.approx(ratio, rel=0.06) or needed < power.fewest_seeds(0.05, n_open) + 2


@pytest.mark.parametrize(("n", "n_compared"), [(6, 1), (9, 1), (12, 6), (32, 18), (80, 1)])
def test_the_smallest_effect_seen_is_seen_by_students_test_and_by_flips_in_80_percent(n, n_compared):
    seen = power.smallest_seen(n, 2.0, n_compared=n_compared)
    values = np.random.default_rng(n).normal(seen, 2.0, (2000, n))
    by_t = stats.ttest_1samp(values, 0, axis=1).pvalue <= 0.05 / n_compared
    by_flips = [n_compared * statistics.sign_flip(row) <= 0.05 for row in values[:500]]
    assert np.mean(by_t) >= 0.78 and 0.74 <= np.mean(by_flips) <= 0.86
    if n == 6:  # all of them positive
        assert seen == pytest.approx(2 * stats.norm.ppf(0.8 ** (1 / 6)))


@pytest.mark.parametrize(("mean", "deviation"), [(0.006, 0.01), (0.0, 0.008), (0.003, 0.01)])
def test_as_many_seeds_as_it_takes_settle_a_comparison(mean, deviation):
    needed = int(seeds_needed(mean, deviation, 0.005))
    assert 0.7 < settled(np.random.default_rng(1), mean, deviation, needed, 0.005, 150) < 0.92


def test_too_few_seeds_see_no_effect():
    assert power.smallest_seen(8, 0.01, n_compared=18) == math.inf
    assert power.smallest_seen(10, 0.01, n_compared=18) < 0.03


@pytest.mark.parametrize(("level", "n_open"), [(0.95, 1), (0.95, 500), (1 - 0.05 / 32, 9)])
def test_no_number_of_seeds_is_promised_at_which_no_verdict_is_possible(level, n_open):
    # Two seeds would distinguish them from zero by their size.
    differences = np.array([0.3, 0.29, 0.31, 0.3, 0.28, 0.32])
    low, high = seeds_to_settle(differences, 0.005, level, n_open)
    assert low == high == max(7, power.fewest_seeds(1 - level, n_open))
    values = np.random.default_rng(0).normal(0.3, 0.01, high)
    p_value = n_open * statistics.sign_flip(values)
    assert statistics.verdict(estimate(values, level), p_value, high, 0.005, 1 - level) == "helps"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.sampled_from([0.95, 0.9875]), st.integers(1, 40))
def test_a_range_is_in_order_and_above_the_seeds_there_are(differences, level, n_open):
    low, high = seeds_to_settle(np.array(differences), 0.005, level, n_open)
    assert len(differences) < low and low >= statistics.FEWEST_SEEDS
    assert high is None or low <= high <= power.MOST_SEEDS


def test_a_range_has_no_end_where_the_effect_may_be_none_and_none_is_too_small_to_matter():
    values = np.array([0.02, -0.01, 0.01, 0.0, -0.02, 0.03])
    assert seeds_to_settle(values, 1e-6).high is None
    assert seeds_to_settle(values, 0.01).high is not None


@pytest.mark.parametrize(("mean", "deviation"), [(0.004, 0.01), (0.0, 0.012)])
def test_a_range_holds_the_truth_in_80_percent_of_experiments(mean, deviation):
    rng, n_experiments = np.random.default_rng(2), 300
    truth = seeds_needed(mean, deviation, 0.005)
    ranges = [seeds_to_settle(values, 0.005) for values in rng.normal(mean, deviation, (n_experiments, 8))]
    held = sum(low <= truth <= (high or math.inf) for low, high in ranges)
    assert stats.binomtest(held, n_experiments, 0.8).pvalue > 1e-3 or held > 0.8 * n_experiments
