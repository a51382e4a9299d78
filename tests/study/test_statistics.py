"""Summaries and attributions against brute force, SciPy and Shapley's definition."""

import itertools
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretrain.study import statistics
from pretrain.study.arms import Arm, arms
from pretrain.study.attribution import attribute
from pretrain.study.curves import Curves
from pretrain.study.statistics import estimate, student

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"
accuracies = st.floats(0, 1)
FACTORS = ("pretraining", "freezing")


def trials_table(rows):
    """A table of trials, from (id, seed, point, status, test accuracy)."""
    records = [
        {"trial_id": trial, "seed": seed, **point, "status": status, "test_accuracy": accuracy}
        for trial, seed, point, status, accuracy in rows
    ]
    return pa.Table.from_pylist(records)


def curves_table(rows):
    """A table of curves as runs write it, from (trial id, stage, step, metric, value)."""
    trial_ids, stages, steps, metrics, values = zip(*rows, strict=True)
    return pa.table(
        {
            "trial_id": pa.array(trial_ids, pa.string()).dictionary_encode(),
            "stage": pa.array(stages, pa.string()).dictionary_encode(),
            "step": pa.array(steps, pa.int32()),
            "metric": pa.array(metrics, pa.string()).dictionary_encode(),
            "value": pa.array(values, pa.float32()),
        }
    )


def arm(*trial_ids, **point):
    return Arm(point, tuple(range(len(trial_ids))), trial_ids, ())


def test_an_arm_is_the_trials_that_differ_in_their_seed_only():
    rows = [
        (f"{labels}-{l2}-{seed}", seed, {"finetune.labels": labels, "finetune.l2": l2}, "ok", 0.5)
        for labels, l2, seed in itertools.product((200, 100), (0.0, 0.1), (0, 1, 2))
    ]
    found = arms(trials_table(rows))
    assert [tuple(one.point.values()) for one in found] == [(200, 0.0), (200, 0.1), (100, 0.0), (100, 0.1)]
    for one in found:
        labels, l2 = one.point.values()
        assert one.seeds == (0, 1, 2)
        assert one.trial_ids == tuple(f"{labels}-{l2}-{seed}" for seed in range(3))
        assert one.n_diverged == 0


def test_seeds_are_ordered_whatever_the_order_of_rows():
    rows = [(f"t{seed}", seed, {"finetune.labels": 100}, "ok", 0.5) for seed in (3, 0, 2, 1)]
    (one,) = arms(trials_table(rows))
    assert (one.seeds, one.trial_ids) == ((0, 1, 2, 3), ("t0", "t1", "t2", "t3"))


def test_diverged_trials_are_left_out_and_counted():
    states = {100: ["ok", "diverged", "ok", "diverged"], 200: ["diverged"] * 4, 300: ["ok"] * 4}
    rows = [
        (f"{labels}-{seed}", seed, {"finetune.labels": labels}, state, float("nan") if state == "diverged" else 0.5)
        for labels, column in states.items()
        for seed, state in enumerate(column)
    ]
    found = {one.point["finetune.labels"]: one for one in arms(trials_table(rows))}
    assert [found[labels].seeds for labels in states] == [(0, 2), (), (0, 1, 2, 3)]
    assert [found[labels].n_diverged for labels in states] == [2, 4, 0]
    assert found[100].trial_ids == ("100-0", "100-2")


def test_a_run_without_a_sweep_is_one_arm():
    (one,) = arms(trials_table([(f"t{seed}", seed, {}, "ok", 0.5) for seed in range(3)]))
    assert one._replace(results={}) == Arm({}, (0, 1, 2), ("t0", "t1", "t2"), ())


def test_swept_lists_and_fields_that_only_some_grids_sweep_make_arms():
    points = [{"encoder.layers": [9, 4], "finetune.l2": None}, {"encoder.layers": [9], "finetune.l2": None}]
    points.append({"encoder.layers": None, "finetune.l2": 0.1})
    rows = [(f"{index}-{seed}", seed, point, "ok", 0.5) for index, point in enumerate(points) for seed in (0, 1)]
    found = arms(trials_table(rows))
    assert [one.point for one in found] == points
    assert [one.trial_ids for one in found] == [("0-0", "0-1"), ("1-0", "1-1"), ("2-0", "2-1")]


def test_results_follow_the_arm_not_the_table():
    rows = [(f"t{seed}", seed, {}, "ok" if seed else "diverged", seed / 10) for seed in (2, 0, 1)]
    (one,) = arms(trials_table(rows))
    np.testing.assert_array_equal(one.results["test_accuracy"], [0.1, 0.2])
    (lacking,) = arms(trials_table([("t0", 0, {}, "ok", 0.5), ("t1", 1, {}, "ok", None)]))
    np.testing.assert_array_equal(lacking.results["test_accuracy"], [0.5, np.nan])


MEASURED = st.fixed_dictionaries(
    {},
    optional={
        key: st.floats(0, 1, width=32)
        for key in itertools.product(("a", "b", "c"), ("finetune", "pretrain/0"), (1, 2, 5), ("accuracy", "loss"))
    },
).filter(bool)


@settings(max_examples=150, deadline=None)
@given(
    MEASURED,
    st.lists(st.sampled_from("abcz"), unique=True),
    st.lists(st.integers(1, 6), unique=True, min_size=1),
    st.sampled_from(["accuracy", "loss", "mse"]),
    st.randoms(),
)
def test_curve_values_are_what_a_search_row_by_row_finds(measured, trial_ids, steps, metric, random):
    rows = [(*key, value) for key, value in measured.items()]
    random.shuffle(rows)
    expected = [[measured.get((trial, "finetune", step, metric), np.nan) for step in steps] for trial in trial_ids]
    found = Curves(curves_table(rows)).values(trial_ids, metric, steps)
    np.testing.assert_array_equal(found, np.reshape(expected, (len(trial_ids), len(steps))))


@settings(deadline=None)
@given(st.lists(accuracies, min_size=2, max_size=5).filter(lambda values: np.ptp(values) > 1e-6))
def test_the_interval_of_few_seeds_is_students(values):
    found = estimate(np.array(values))
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(found, (np.mean(values), low, high), rtol=1e-9, atol=1e-12)


def test_values_that_agree_have_no_end_where_they_are_few_or_no_step_is_known():
    """Seeds that agree show no spread, which is not to say that there is none."""
    for n in range(1, 9):
        assert estimate([0.25] * n) == student([0.25] * n) == (0.25, -np.inf, np.inf)
        assert n > 5 or estimate([0.25] * n, step=0.01) == (0.25, -np.inf, np.inf)
    assert str(estimate([0.25, 0.25])) == "+0.250"


@pytest.mark.parametrize("n", [6, 8, 16, 64, 300])
@pytest.mark.parametrize("level", [0.95, 0.99, 1 - 1e-6])
def test_values_that_agree_may_be_off_as_one_that_differs_and_as_a_share_of_which_there_is_none(n, level):
    found, step = estimate(np.full(n, 0.25), level, 0.01), 0.01
    one_off = np.zeros(n)
    one_off[0] = step
    by_one = stats.t.interval(level, n - 1, loc=one_off.mean(), scale=stats.sem(one_off))[1]
    by_share = step * stats.binomtest(0, n).proportion_ci(level, "exact").high
    assert [found.high - 0.25, 0.25 - found.low] == pytest.approx([max(by_one, by_share)] * 2, rel=1e-6)
    assert found == student(np.full(n, 0.25), level, step)
    # p-values are those of the levels at which the interval ends there.
    distance = found.high - 0.25
    assert statistics.equal_p(distance, n, step) == pytest.approx(1 - level, rel=1e-5)
    assert statistics.nil_p(np.full(n, 0.001), 0.001 + distance, step) == pytest.approx(1 - level, rel=1e-5)
    assert 0 < statistics.effect_p(np.full(n, 0.25), 1e-9, step) < 1e-3 * step
    assert statistics.effect_p(np.full(n, 0.25), 1e-9) == statistics.nil_p(np.zeros(n), 0.005) == 1


def test_steps_are_gaps_that_are_no_rounding():
    assert statistics.step_of(np.array([0.8, 0.9]), np.array([0.85, 0.8 + 1e-16])) == pytest.approx(0.05)
    for same in ([0.9], [0.9, 0.9 + 1e-16], []):
        assert statistics.step_of(np.array(same)) == np.inf
    assert statistics.with_one_off(np.ones(3), 0.5).tolist() == [1.5, 1, 1]
    for untouched, step in ((np.ones(3), np.inf), (np.array([1.0, 2.0]), 0.5), (np.zeros(0), 0.5)):
        assert statistics.with_one_off(untouched, step).tolist() == untouched.tolist()
    assert statistics.improvement(np.ones(6), 1.0) == (1.0, 0.0, 1.0)


def test_one_value_has_no_interval():
    assert estimate([0.25]) == (0.25, -np.inf, np.inf)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.3, 2.0, (4000, 5))
    covered = np.mean([found.low < 0.3 < found.high for found in map(estimate, draws)])
    assert stats.binomtest(round(4000 * covered), 4000, 0.95).pvalue > 1e-3


def test_an_estimate_reads_as_a_signed_mean_with_its_bounds():
    assert str(estimate([0.1, 0.2, 0.3])) == "+0.200 [-0.048, +0.448]"


CORNERS = list(itertools.product((False, True), repeat=2))


@st.composite
def corners(draw):
    n = draw(st.integers(1, 8))
    return {key: np.array(draw(st.lists(accuracies, min_size=n, max_size=n))) for key in CORNERS}


def shapley(values, factor):
    """Shapley's value of a factor: what it adds when it is switched on, averaged over the orders of switching on."""
    added = []
    for order in itertools.permutations(range(2)):
        on = [False, False]
        for switched in order:
            before = values[tuple(on)]
            on[switched] = True
            if switched == factor:
                added.append(values[tuple(on)] - before)
    return np.mean(added, axis=0)


@settings(deadline=None)
@given(corners())
def test_shares_are_shapley_values_and_add_up_to_the_gap(values):
    found = attribute(values, FACTORS)
    for index, factor in enumerate(FACTORS):
        expected = estimate(shapley(values, index), step=statistics.step_of(*values.values()))
        np.testing.assert_allclose(found.shares[factor], expected, atol=1e-12)
    gap = np.mean(values[True, True] - values[False, False])
    np.testing.assert_allclose(found.gap.mean, gap, atol=1e-12)
    np.testing.assert_allclose(sum(part.mean for part in found.shares.values()), gap, atol=1e-12)


@settings(deadline=None)
@given(corners())
def test_naming_the_factors_the_other_way_round_changes_nothing(values):
    turned = attribute({(second, first): value for (first, second), value in values.items()}, FACTORS[::-1])
    found = attribute(values, FACTORS)
    for one, other in ((found.gap, turned.gap), *((found.shares[name], turned.shares[name]) for name in FACTORS)):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_attribution_by_hand():
    # (pretrained, frozen): freezing costs 0.3 with He weights and 0.5 with pretrained ones, which add 0.1 or take 0.1.
    means = {(False, False): 0.6, (True, False): 0.7, (False, True): 0.3, (True, True): 0.2}
    found = attribute({key: np.array([mean, mean]) for key, mean in means.items()}, FACTORS)
    assert found.gap.mean == pytest.approx(-0.4)
    assert found.shares["freezing"].mean == pytest.approx(-0.4)
    assert found.shares["pretraining"].mean == pytest.approx(0.0)


def test_pairing_by_seed_takes_out_what_seeds_share():
    shared = np.array([0.0, 0.3, 0.6, 0.1, 0.2, 0.5])
    effects = {(False, False): 0.0, (True, False): 0.0, (False, True): -0.1, (True, True): -0.1}
    found = attribute({key: shared + effect for key, effect in effects.items()}, FACTORS)
    margin = statistics.off(6, 0.05) * 0.1  # of the step between the values
    np.testing.assert_allclose(found.shares["freezing"], (-0.1, -0.1 - margin, -0.1 + margin), atol=1e-12)


def test_with_too_few_seeds_nothing_is_concluded():
    assert statistics.verdict(estimate([0.1] * 5), 0.0, 5, 0.005) == "inconclusive"


def enumerated(values):
    """The sign-flip test's p-value of whole numbers, by all flips."""
    sums = [abs(sum(flip)) for flip in itertools.product(*((value, -value) for value in values))]
    return sum(flipped >= abs(sum(values)) for flipped in sums) / len(sums)


@given(st.lists(st.integers(-60, 60), min_size=2, max_size=9))
def test_sign_flips_are_those_of_an_enumeration_however_accuracies_round(counts):
    # Differences of shares of 200 images: sums that tie as counts differ in their last bits as fractions.
    differences = [0.5 + count / 200 - 0.5 for count in counts]
    assert statistics.sign_flip(differences) == pytest.approx(enumerated(counts) if any(counts) else 1)


def walked(counts):
    """The sign-flip test's p-value of whole numbers, by how likely flips come to each sum; all terms are positive."""
    most = sum(map(abs, counts))
    shares = np.zeros(2 * most + 1)  # of the sums from -most to most
    shares[most] = 1
    for count in counts:
        shares = (np.roll(shares, count) + np.roll(shares, -count)) / 2
    return shares[np.abs(np.arange(-most, most + 1)) >= abs(sum(counts))].sum()


@pytest.mark.parametrize("n", [10, 13, 14, 19, 24])
def test_sign_flips_of_up_to_24_seeds_are_exact_with_ties(n):
    for counts in np.random.default_rng(n).integers(-20, 40, (20, n)).tolist():
        assert statistics.sign_flip(np.array(counts) / 200) == pytest.approx(walked(counts), rel=1e-12)


@pytest.mark.parametrize(("n", "mean"), [(25, 0), (25, 20), (32, 15), (36, 2), (64, 5), (64, 20), (200, 4)])
def test_sign_flips_of_more_seeds_are_never_too_small_and_hardly_too_large(n, mean):
    for values in np.random.default_rng(n).normal(mean, 20, (10, n)):
        counts = np.rint(10 * values).astype(int).tolist()
        exact = walked(counts)
        assert exact * (1 - 1e-9) <= statistics.sign_flip(np.array(counts) / 10_000) <= exact * 1.1
        assert statistics.sign_flip(-np.array(counts) / 10_000) == statistics.sign_flip(np.array(counts) / 10_000)


def test_no_p_value_is_zero_nor_more_than_one():
    assert 0 < statistics.sign_flip(np.ones(3000)) < 1e-300
    for n in (2, 24, 25, 40):
        assert statistics.sign_flip(np.zeros(n)) == 1
        assert statistics.sign_flip(np.tile([0.1, -0.1], n)[:n] + 1e-17) <= 1
    mostly_ties = np.zeros(40)
    mostly_ties[:7] = 0.005
    assert statistics.sign_flip(mostly_ties) == pytest.approx(2 / 2**7)


def test_sign_flips_of_any_number_of_seeds_are_quick():
    values = np.random.default_rng(0).normal(0.5, 1, 64)
    began = time.perf_counter()
    for n in range(8, 65):
        statistics.sign_flip(values[:n])
    assert time.perf_counter() - began < 1


def test_one_of_many_comparisons_can_be_significant_with_few_seeds():
    rng, few = np.random.default_rng(0), 16
    p_values = [statistics.sign_flip(rng.normal(0.295, 0.006, few)), *rng.uniform(0.1, 1, 499)]
    assert statistics.holm(p_values)[0] == pytest.approx(500 * 2 / 2**few) and statistics.holm(p_values)[0] < 0.05


@settings(deadline=None, max_examples=25)
@given(st.lists(accuracies, min_size=6, max_size=20).filter(lambda values: np.ptp(values) > 1e-6))
def test_the_interval_of_more_seeds_is_no_shorter_than_students_nor_than_the_bootstraps(values):
    for level in (0.95, 0.9875):
        found = estimate(np.array(values), level)
        n, tail = len(values), (1 - level) / 2
        student = stats.t.interval(level, n - 1, loc=np.mean(values), scale=stats.sem(values))
        lengthened = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1))  # Hesterberg's (2015)
        with np.errstate(all="ignore"):
            bootstrap = stats.bootstrap(
                (values,), np.mean, confidence_level=1 - 2 * lengthened, method="BCa", rng=0
            ).confidence_interval
        ends = np.array([student, bootstrap])
        assert (found.low, found.high) == pytest.approx((np.nanmin(ends[:, 0]), np.nanmax(ends[:, 1])))


def test_the_bootstrap_follows_the_skew_where_students_interval_cannot():
    skewed = np.array([0.0, 0.0, 0.01, 0.01, 0.01, 0.02, 0.02, 0.03, 0.05, 0.15])
    found = estimate(skewed)
    low, high = stats.t.interval(0.95, 9, loc=found.mean, scale=stats.sem(skewed))
    assert found.high > high + 0.01 and found.low == pytest.approx(low)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_p_values_reject_as_his_procedure_does(p_values):
    adjusted = statistics.holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected, order = set(), sorted(range(len(p_values)), key=lambda index: p_values[index])
        for rank, index in enumerate(order):
            if p_values[index] * (len(p_values) - rank) > alpha:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(adjusted) if p <= alpha} == rejected


def test_the_probability_of_improvement_counts_ties_half():
    found = statistics.improvement(np.array([0.1, 0.2, 0.0, -0.1]))
    assert found.mean == 0.625 and 0 < found.low < 0.625 < found.high < 1
    sure = statistics.improvement(np.ones(10))
    wilson = stats.binomtest(10, 10).proportion_ci(method="wilson")
    assert (sure.low, sure.high) == pytest.approx((wilson.low, wilson.high))


@pytest.mark.parametrize(("n", "n_points"), [(16, 10), (8, 40)])
@pytest.mark.parametrize("n_curves", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_bands_cover_whole_curves_as_often_as_they_say_or_a_little_more(n, n_points, n_curves):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(n_curves):
        steps = np.cumsum(rng.normal(0, 1, (n, n_points)), axis=1)  # of mean zero, with what a point says of the next
        _, low, high = statistics.band(steps)
        covered += np.all((low <= 0) & (high >= 0))
    # Of few seeds the margin is Bonferroni's, which is too long for points that go together.
    assert stats.binomtest(covered, n_curves, 0.95, alternative="less").pvalue > 1e-3
    assert stats.binomtest(covered, n_curves, 0.99, alternative="greater").pvalue > 1e-3


def test_a_band_of_few_seeds_is_no_wider_than_bonferronis():
    values = np.random.default_rng(0).normal(size=(8, 40))
    mean, low, high = statistics.band(values)
    widest = stats.t.ppf(1 - 0.025 / 40, 7) * stats.sem(values)
    np.testing.assert_allclose((high - mean) / widest, (mean - low) / widest)
    assert np.all(high - mean <= widest * (1 + 1e-9))


def test_bands_of_one_seed_and_of_curves_that_agree():
    mean, low, high = statistics.band([[1.0, 2.0]])
    assert np.isinf(low).all() and np.isinf(high).all() and list(mean) == [1, 2]
    for n in (2, 5):
        mean, low, high = statistics.band([[1.0, 2.0]] * n)
        assert np.isinf(low).all() and np.isinf(high).all() and list(mean) == [1, 2]
    mean, low, high = statistics.band([[1.0, 2.0]] * 6)  # as of an estimate, for two points at once
    assert high - mean == pytest.approx([statistics.off(6, 0.025)] * 2) == mean - low
    assert np.isinf(statistics.band([[1.0, 2.0], [1.5, 2.0]])[1:]).all()


FIVE = ("a", "b", "c", "d", "e")


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32 - 1))
def test_shares_of_five_factors_are_shapley_values_over_all_orders(seed):
    rng = np.random.default_rng(seed)
    cells = {corner: rng.normal(size=3) for corner in itertools.product((False, True), repeat=5)}
    found = attribute(cells, FIVE)
    expected = np.zeros(5)
    for order in itertools.permutations(range(5)):
        on = [False] * 5
        for factor in order:
            before = cells[tuple(on)].mean()
            on[factor] = True
            expected[factor] += (cells[tuple(on)].mean() - before) / 120
    np.testing.assert_allclose([found.shares[name].mean for name in FIVE], expected, atol=1e-12)
    assert abs(sum(share.mean for share in found.shares.values()) - found.gap.mean) < 1e-9


def test_an_interaction_is_found_where_it_is_planted_and_nowhere_else():
    cells = {
        corner: np.array([0.2 * corner[0] + 0.3 * (corner[0] and corner[2])] * 2)
        for corner in itertools.product((False, True), repeat=3)
    }
    found = attribute(cells, FIVE[:3])
    assert found.interactions["a", "c"].mean == pytest.approx(0.3)
    assert found.interactions["a", "b"].mean == found.interactions["b", "c"].mean == pytest.approx(0)
    assert [found.shares[name].mean for name in "abc"] == pytest.approx([0.35, 0, 0.15])


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("n", [8, 19])
def test_the_band_of_equal_values_is_of_a_step(value, n):
    mean, low, high = statistics.band(np.full((n, 3), value))  # whose deviation is not zero, but rounding
    np.testing.assert_allclose(mean, value, rtol=1e-15)
    assert np.isinf([low, high]).all()
    rest = np.full((n, 3), value)
    rest[:, 1] += np.linspace(0, 0.1, n)
    _, low, high = statistics.band(rest)
    step = 0.1 / (n - 1)
    np.testing.assert_allclose((high - low)[[0, 2]], 2 * statistics.off(n, 0.05 / 3) * step)
    assert high[1] - low[1] > 0.01
