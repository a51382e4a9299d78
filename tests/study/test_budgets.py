"""Crossovers, label equivalents and utility, by hand and by SciPy's test."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from pretrain.report import figures
from pretrain.report import gains as in_words
from pretrain.study.answer import answer
from pretrain.study.budgets import budget_curves, certain_signs, crossover, equivalent
from pretrain.study.rows import Components, for_new_rows
from tests.bench import crossovers
from tests.report.test_report import LABELS as FIELD
from tests.report.test_report import budgets
from tests.report.test_terminal import INIT, tables

LABELS = np.array([10, 100, 1000])


def samples(means, n=8, noise=1e-4):
    """Values [seeds, budgets] with these means."""
    drawn = np.random.default_rng(0).normal(0, noise, (n, len(means)))
    return np.asarray(means) + drawn - drawn.mean(axis=0)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [([0.2, 0.1, -0.1], 10**2.5), ([0.3, -0.1, -0.2], 10**1.75), ([-0.1, 0.1, 0.2], 10**1.5)],
)
def test_the_crossover_is_interpolated_in_the_logarithm_of_labels(gain, expected):
    found = crossover(LABELS, samples(gain))
    assert found.mean == pytest.approx(expected) and found.low < found.mean < found.high < found.low * 1.02


@pytest.mark.parametrize("gain", [[0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [0.1, 0.1, -0.00005]])
def test_no_crossover_is_stated_where_not_both_signs_are_certain(gain):
    assert crossover(LABELS, samples(gain)) is None


def test_signs_are_certain_by_bonferronis_t():
    values = samples([0.3, 0.02, -0.1], noise=0.03)
    p_values = stats.ttest_1samp(values, 0).pvalue
    assert certain_signs(values).tolist() == (np.sign(values.mean(axis=0)) * (p_values <= 0.05 / 3)).tolist()


def test_the_interval_of_a_crossover_ends_where_students_test_begins_to_reject():
    values = samples([0.2, -0.3, -0.4], noise=0.05)

    def excess(log):
        share = (log - 1) / 1
        return stats.ttest_1samp((1 - share) * values[:, 0] + share * values[:, 1], 0).pvalue - 0.05

    found = crossover(LABELS, values)
    for end in (found.low, found.high):
        root = optimize.brentq(
            excess, *((1.0, math.log10(found.mean)) if end < found.mean else (math.log10(found.mean), 2))
        )
        assert math.log10(end) == pytest.approx(root, abs=1e-4)


def test_equivalents_are_the_labels_with_which_the_baseline_is_as_good():
    baseline = samples([0.5, 0.7, 0.9])
    rest = np.random.default_rng(1).normal(0, 1e-4, 8)
    inside, above, below = (equivalent(LABELS, level + rest - rest.mean(), baseline) for level in (0.6, 0.95, 0.4))
    assert inside.mean == pytest.approx(10**1.5) and inside.low < inside.mean < inside.high < 1.02 * inside.low
    assert above == (math.inf,) * 3 and below == (0,) * 3


def test_equivalents_that_reach_the_first_or_the_last_budget_have_no_end_there():
    baseline, rest = samples([0.5, 0.7, 0.9], noise=0.02), np.random.default_rng(1).normal(0, 0.02, 8)
    low, high = (equivalent(LABELS, level + rest - rest.mean(), baseline) for level in (0.503, 0.897))
    assert low.low == 0 and 10 < low.mean < low.high < 100
    assert high.high == math.inf and 100 < high.low < high.mean < 1000


def test_a_baseline_that_falls_counts_as_level():
    found = equivalent(LABELS, np.full(8, 0.8), np.tile([0.5, 0.9, 0.7], (8, 1)))
    assert found.mean == pytest.approx(10**1.75)


def test_utility_is_the_labels_that_the_baseline_needs_over_those_used_less_one():
    (curve,) = answer(*budgets({50: 0.05, 100: 0.05, 1000: 0.05, 10000: 0.02})).budgets
    for labels, worth, utility in zip(curve.labels, curve.equivalents, curve.utility, strict=True):
        assert utility == tuple(end / labels - 1 for end in worth)
    text = in_words.budget(curve)
    assert "50 labels are worth " in text and "]: utility +" in text


def test_diverged_trials_take_their_pairs_only():
    gains, rng, arms = {50: 0.1, 100: 0.05, 1000: -0.04, 10000: -0.05}, np.random.default_rng(1), []
    for init in ("pretrained", "he"):
        for place, (labels, gain) in enumerate(gains.items()):
            end = 0.7 + 0.05 * place + gain * (init == "pretrained") + rng.normal(0, 0.002, 8)
            arms.append(({INIT: init, FIELD: labels}, np.full(8, 0.5), end))
    (whole,), (curve,) = (answer(*tables(arms, lost)).budgets for lost in (set(), {(0, 3), (6, 1), (6, 2)}))
    assert curve.n.tolist() == [7, 8, 6, 8] and curve.crossover and curve.signs.tolist() == [1, 1, -1, -1]
    assert curve.gain == pytest.approx(whole.gain, abs=0.003) and not np.array_equal(curve.gain, whole.gain)
    assert np.isfinite([*curve.area, *curve.low, *curve.high]).all()
    (few,) = answer(*tables(arms, {(0, seed) for seed in range(3)})).budgets
    assert few.n[0] == 5 and few.signs[0] == 0 and few.crossover and few.equivalents[0][1:] == (0, math.inf)
    assert "How many labels without it 50 with it are worth is open." in in_words.budget(few)


def test_where_only_one_sign_is_certain_the_sentence_says_that_a_change_is_open():
    text = in_words.budget(answer(*budgets({50: 0.1, 100: 0.05, 1000: 0.0})).budgets[0])
    assert "The gain is certain up to 100 labels, by Bonferroni's t; whether it changes its sign is open." in text


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 16])
@pytest.mark.parametrize("name", crossovers.GAINS)
def test_crossovers_and_equivalents_cover_and_none_is_stated_where_the_sign_never_changes(name, n):
    found = crossovers.simulated(*crossovers.GAINS[name], n, 300)
    assert found.equivalents >= 0.92  # 95 % within two standard errors, of the least of three
    assert found.covered >= 0.92 or found.stated < 0.05


def test_gains_for_new_rows_are_by_bonferronis_t_with_all_components_and_hold_the_band_over_seeds():
    found = answer(*budgets({50: 0.1, 100: 0.05, 1000: 0.0}))
    kinds = [
        Components(each.n, 400, each.n * 400, 1e-5, v, 0.01, 1 / 400, 1 / 400 / each.n)
        for each, v in zip(found.comparisons, (0.0, 0.3, 4.0), strict=True)
    ]
    compared = [each._replace(rows=parts) for each, parts in zip(found.comparisons, kinds, strict=True)]
    (over,), (curve,) = found.budgets, budget_curves(compared)
    assert np.isnan(over.new_low).all() and np.array_equal(over.ends[0], over.low)
    np.testing.assert_array_equal(curve.low, over.low)
    assert (curve.new_low <= curve.low).all() and (curve.new_high >= curve.high).all()
    for place, each in enumerate(compared):
        on_new = for_new_rows(each.where_both_train, each.rows)
        margin = stats.t.ppf(1 - 0.05 / 6, on_new.freedom) * on_new.error
        expected = min(curve.low[place], on_new.mean - margin), max(curve.high[place], on_new.mean + margin)
        np.testing.assert_allclose((curve.new_low[place], curve.new_high[place]), expected, rtol=1e-6)
    text = in_words.budget(curve)
    assert "it differs from zero at 50 labels (95 % band over all budgets, for new rows);" in text
    assert "on average on these rows." in text and "certain up to 100 labels on these rows, by" in text
    assert "on these rows" not in in_words.budget(over)
    for drawn in (over, curve):
        assert len(figures.gains([drawn]).axes[0].collections) == 1 + (drawn is curve)


def test_a_gain_that_all_seeds_agree_in_is_certain_beyond_a_step_only():
    """The step is the smallest gap between gains."""
    gains = np.tile([0.1, 0.01, -0.1], (8, 1))
    gains[:, 1] += 0.01 * (np.arange(8) % 2)  # a budget that varies, by a step of 0.01
    assert certain_signs(gains)[[0, 2]].tolist() == [1, -1]
    gains[:, 0] = 0.001  # nearer to zero than one of eight seeds may move
    assert certain_signs(gains)[0] == 0
    assert certain_signs(np.full((8, 3), 0.1)).tolist() == [0, 0, 0]  # of which no gap is known
