"""Failed training: which seeds count, what is said of them, and arms that have learned nothing; audited false cases."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pretrain.config import Experiment, StudyConfig
from pretrain.report import sections, words
from pretrain.report.record import record
from pretrain.report.verdicts import verdict
from pretrain.study import failures, statistics
from pretrain.study.answer import answer, sound
from pretrain.study.arms import Arm
from pretrain.study.budgets import budget_curves
from pretrain.study.comparisons import compare
from pretrain.study.sequential import unsettled
from tests.bench import failures as bench
from tests.study.test_health import CURVES, INIT, table

METRIC = "test_accuracy"


def pair(treated, untreated, chance=0.1, margin=0.01, **changes):
    """Two arms of these results [seeds], alike on validation rows; NaN diverged."""
    found = []
    for init, values in (("pretrained", treated), ("he", untreated)):
        values = np.asarray(values, float)
        kept = np.flatnonzero(np.isfinite(values))
        lost = tuple((int(seed), 0) for seed in np.flatnonzero(np.isnan(values)))
        results = {METRIC: values[kept], "validation_accuracy": values[kept]}
        results |= {
            f"{METRIC}_chance": np.full(len(kept), chance),
            f"{METRIC}_chance_margin": np.full(len(kept), margin),
        }
        found.append(
            Arm({INIT: init}, tuple(kept.tolist()), tuple(f"{init}{seed}" for seed in kept), lost, (), (), results)
        )
    return [found[0]._replace(**changes), found[1]]


def run(treated, untreated, status=("ok", "ok"), **columns):
    """A run's answer of results [seeds] of both arms; NaN diverged."""
    sides = [[None if np.isnan(value) else float(value) for value in side] for side in (treated, untreated)]
    states = [
        [
            "diverged" if value is None else state
            for value, state in zip(side, np.broadcast_to(each, len(side)), strict=True)
        ]
        for side, each in zip(sides, status, strict=True)
    ]
    columns = {"test_accuracy_chance": 0.1, "validation_accuracy": tuple(sides), **columns}
    return answer(table(len(treated), test_accuracy=tuple(sides), status=tuple(map(list, states)), **columns), CURVES)


def said(found):
    return f"{words.conclusion(found, Experiment())} {words.basis(found, Experiment())}"


@pytest.mark.parametrize(
    ("treated", "untreated", "expected"),
    [
        ([0.9, 0.91, 0.1, 0.89, 0.9, 0.92], [0.88] * 6, ({2}, set())),
        ([0.9, np.nan, 0.12, 0.89, 0.9, 0.92], [0.1] + [0.88] * 5, ({1, 2}, {0})),
        ([0.1, 0.11, 0.1, 0.09, 0.1, 0.11], [0.88] * 6, (set(), set())),  # weak as a whole
        ([0.1, 0.11, 0.1, 0.09, 0.1, 0.11], [0.1] + [0.88] * 7, (set(range(6)), {0})),  # beside what failed
        ([0.9, 0.7, 0.5, 0.6, 0.45, 0.8], [0.85] * 6, (set(), set())),  # no gap
        ([0.9, 0.91, 0.1, 0.89, 0.9, 0.92], [0.3, 0.5, 0.88, 0.9, 0.2, 0.7], (set(), set())),  # others are in it
        ([0.62, 0.63, 0.9, 0.61, 0.92, 0.91], [0.6, 0.61] * 3, (set(), set())),  # better in every seed, by jumps
    ],
)
def test_a_seed_failed_near_chance_across_a_gap(treated, untreated, expected):
    assert failures.failed(pair(treated, untreated), METRIC) == list(expected)


def test_validation_rows_decide_and_a_seed_failed_if_a_repeat_did():
    one, other = pair([0.9] * 8, [0.88] * 8)
    fallen = np.array([0.9] * 7 + [0.1])
    assert failures.failed([one._replace(results={**one.results, METRIC: fallen}), other], METRIC) == [set(), set()]
    on_validation = {**one.results, "validation_accuracy": fallen}
    assert failures.failed([one._replace(results=on_validation), other], METRIC) == [{7}, set()]
    repeated = one._replace(seeds=(0, 0, 1, 1, 2, 2, 3, 3), repeats=(0, 1) * 4, results=on_validation)
    assert failures.failed([repeated, other], METRIC) == [{3}, set()]
    assert failures.failed([one._replace(collapsed=((5, 0),)), other], METRIC) == [{5}, set()]


def test_rates_are_clopper_and_pearsons_and_the_exact_binomial_test():
    for k, j, both, n in ((0, 0, 0, 8), (5, 0, 0, 16), (9, 1, 2, 16), (8, 8, 8, 8)):
        first = set(range(k))
        second = set(range(k - both, k - both + j)) if j else set()
        found = failures.rates(first, second, n, np.ones(n, bool))
        for rate, failed in zip(found.at_most, (first, second), strict=True):
            limit = stats.binomtest(len(failed), n, alternative="less").proportion_ci(0.95, "exact").high
            np.testing.assert_allclose(rate, limit)
        apart = len(first - second), len(second - first)
        expected = stats.binomtest(apart[0], sum(apart)).pvalue if sum(apart) else 1.0
        np.testing.assert_allclose(found.p_value, expected)
    assert failures.rates(set(), set(), 8, np.ones(8, bool)).at_most[0] == pytest.approx(0.312, abs=1e-3)


def test_an_arm_is_at_chance_by_seeds_and_rows():
    values = np.random.default_rng(0).normal(0.13, 0.02, 12)
    (one, _) = pair(values, values, margin=0.0)
    for chance in np.linspace(0.05, 0.2, 31):
        at = one._replace(results={**one.results, f"{METRIC}_chance": np.full(12, chance)})
        low = stats.t.interval(0.975, 11, np.mean(values) - chance, stats.sem(values))[0]
        quartile = np.quantile(values, 0.75)
        assert failures.is_at_chance(at, METRIC) == (low <= 0 and quartile <= chance)
    # The rows' luck is the same in all seeds, and not averaged out over them.
    close = pair(np.full(64, 0.119) + np.tile([1e-4, -1e-4], 32), [0.9] * 64, margin=0.02)
    assert [failures.is_at_chance(arm, METRIC) for arm in close] == [True, False]
    half = pair([0.1] * 5 + [0.9] * 3, [0.1] * 8)  # some networks have learned, whatever the mean may be
    assert [failures.is_at_chance(arm, METRIC) for arm in half] == [False, True]


def test_luck_of_rows_that_seeds_do_not_share_averages_out():
    values = np.random.default_rng(1).normal(0.13, 0.01, 16)
    (one, _) = pair(values, values, margin=0.04)
    of_seeds, of_rows = np.var(values, ddof=1) / 16, 0.02**2
    for shared in (0.0, 0.2, 0.5, 1.0):
        variance = max(of_seeds + shared * of_rows, of_rows * (shared + (1 - shared) / 16))
        freedom = 15 * (variance / of_seeds) ** 2
        low = np.mean(values) - 0.1 - stats.t.ppf(0.9875, freedom) * np.sqrt(variance)
        split = one._replace(results={**one.results, "test_rows_in_common": np.full(16, shared)})
        assert failures.is_at_chance(split, METRIC) == (low <= 0) == (shared >= 0.5)
    assert failures.is_at_chance(one, METRIC)
    on_validation = one._replace(results={**one.results, "validation_rows_in_common": np.full(16, 0.2)})
    assert failures.is_at_chance(on_validation, METRIC)  # of other rows


@pytest.mark.parametrize(("name", "least", "most"), [("both arms at chance", 0.9, 1.0), (".60 and .66", 0.0, 0.1)])
def test_simulated_arms_with_a_split_a_seed_are_judged_unless_they_are_at_chance(name, least, most):
    found = bench.said(bench.SPLITS[name], 16, 40)
    assert least <= found.unjudged <= most and found.wrong <= 0.05


def test_diverged_trials_count_as_chance_in_their_place():
    one, _ = pair([0.9, np.nan, 0.8, np.nan], [0.7] * 4, repeats=(0, 0))
    full = failures.whole(one, METRIC)
    assert full.seeds == (0, 1, 2, 3) and full.repeats == (0, 0, 0, 0)
    np.testing.assert_allclose(full.results[METRIC], [0.9, 0.1, 0.8, 0.1])
    np.testing.assert_allclose(full.results["validation_accuracy"], [0.9, 0.1, 0.8, 0.1])
    unknown = one._replace(results={METRIC: one.results[METRIC]})
    assert failures.whole(unknown, METRIC) is unknown


def test_rates_join_the_family_of_the_differences():
    rng = np.random.default_rng(1)
    treated, untreated = (0.9 + rng.normal(0, 0.01, 16) for _ in range(2))
    treated[:9] = 0.1
    (one,) = compare(pair(treated, untreated), METRIC, StudyConfig())
    own = statistics.sign_flip((treated - untreated)[9:])
    rate = stats.binomtest(9, 9).pvalue
    nil = statistics.nil_p((treated - untreated)[9:], 0.005)  # the claim that nothing matters is judged with them, too
    adjusted = statistics.step_down(np.array([[own, rate], [nil, np.nan]]), (0, 0))
    np.testing.assert_allclose([one.p_value, one.failures.p_value], adjusted[0])
    assert one.failures.both_train.tolist() == [False] * 9 + [True] * 7
    assert one.failures.difference == statistics.estimate((treated - untreated)[9:])
    assert one.difference == statistics.estimate(treated - untreated)
    few = compare(pair([0.1, *untreated[1:]], untreated), METRIC, StudyConfig())[0]
    assert few.failures.p_value == 1.0 and few.failures.n_apart == 1  # one seed apart is no claim, and costs none


def test_what_fails_more_never_helps():
    rng = np.random.default_rng(2)
    untreated = 0.9 + rng.normal(0, 0.005, 16)
    treated = untreated + 0.015
    assert compare(pair(treated, untreated), METRIC, StudyConfig())[0].verdict == "helps"
    treated[3] = 0.1
    (one,) = compare(pair(treated, untreated), METRIC, StudyConfig())
    assert (one.verdict, one.failures.verdict) == ("unstable", "inconclusive") and one.failures.difference.low > 0
    assert one.seeds_to_settle is None
    untreated[5] = 0.1
    (one,) = compare(pair(treated, untreated), METRIC, StudyConfig())
    assert (one.verdict, one.failures.verdict) == ("unstable", "helps")
    assert ", where it helps)" in verdict([one])


def test_two_arms_at_chance_are_not_judged_whatever_collapsed():
    rng = np.random.default_rng(3)
    for n_collapsed in (0, 1, 15, 16):
        treated, untreated = 0.094 + rng.normal(0, 0.002, 16), 0.083 + rng.normal(0, 0.002, 16)
        state = ["collapsed"] * n_collapsed + ["ok"] * (16 - n_collapsed)
        found = run(treated, untreated, (state, state))
        (one,) = found.comparisons
        assert one.both_at_chance and one.verdict == "inconclusive" and one.speed is None
        assert "helps" not in said(found)
    found = run(treated, untreated, ("ok", "collapsed"))  # at chance against collapsed in every trial
    assert found.comparisons[0].both_at_chance
    # A margin below the smallest effect that matters hides nothing: .958 where the majority is .95, on 10,000 rows.
    levels = {"test_accuracy_chance": 0.95, "test_accuracy_chance_margin": 0.0044}
    better = run(0.958 + rng.normal(0, 1e-3, 16), 0.950 + rng.normal(0, 1e-3, 16), **levels)
    assert better.comparisons[0].verdict == "helps"


def test_an_arm_that_mostly_failed_is_never_best_and_has_no_length():
    lost = np.full(16, np.nan)
    lost[4] = 0.99
    found = run(lost, np.full(16, 0.8))
    assert found.best.point[INIT] == "he" and found.comparisons[0].verdict == "unstable"
    assert found.lengths[0] is None and found.comparisons[0].speed is None
    both = run(lost, np.where(np.arange(16) == 9, 0.9, np.nan))
    assert both.best is None and "No arm is best" in words.explanation(both)[0]
    alone = table(16, test_accuracy=(lost.tolist(), 0.8), validation_accuracy=(lost.tolist(), 0.8))
    alone = alone.set_column(alone.column_names.index("status"), "status", pa.array(["diverged"] * 15 + ["ok"] * 17))
    assert answer(alone.slice(0, 16), CURVES).best is None


def test_curves_are_of_sound_trials_beside_what_an_arm_is_compared_with():
    rng = np.random.default_rng(7)
    treated, untreated = 0.9 + rng.normal(0, 0.01, (2, 12))
    treated[[2, 5]], treated[9] = 0.1, np.nan
    found = run(treated, untreated)
    shown = sound(found, found.arms)
    assert [arm.seeds for arm in shown] == [(0, 1, 3, 4, 6, 7, 8, 10, 11), tuple(range(12))]
    assert shown[1] is found.arms[1] and shown[0].trial_ids == tuple(
        trial for trial, seed in zip(found.arms[0].trial_ids, found.arms[0].seeds, strict=True) if seed not in (2, 5)
    )
    said = " Trials that failed are left out: pretrained 3 of 12."
    assert sections._left_out(found.arms, shown) == said and sections._left_out(shown[1:], shown[1:]) == ""
    lost = run(np.full(12, 0.9), untreated, ("collapsed", "ok"))
    assert sound(lost, lost.arms)[0] is lost.arms[0]  # of which no trial is sound


def test_an_arm_that_is_compared_with_nothing_names_the_seeds_in_which_it_failed():
    values = np.random.default_rng(8).normal(0.9, 0.01, 12)
    values[[3, 7]] = 0.1
    states = ["ok"] * 12
    states[5], values[5] = "collapsed", 0.1
    sides = values.tolist(), 0.8
    alone = table(12, test_accuracy=sides, validation_accuracy=sides, test_accuracy_chance=0.1)
    alone = alone.set_column(alone.column_names.index("status"), "status", pa.array(states + ["ok"] * 12))
    found = answer(alone.slice(0, 12), CURVES)
    assert not found.comparisons and [fault.kind for fault in found.faults] == ["collapsed", "failed"]
    (line,) = [line for line in words.warnings(found, Experiment()) if "failed" in line]
    assert line.startswith("2 of 12 trials of pretrained failed, near chance across a gap from the others (seeds of ")
    assert "pretrained: 3 and 7" in line
    assert [arm.seeds for arm in sound(found, found.arms)] == [
        tuple(seed for seed in range(12) if seed not in (3, 5, 7))
    ]
    assert all(fault.kind != "failed" for fault in answer(alone, CURVES).faults)  # which the comparison names


def test_where_half_diverged_nothing_helps_and_no_error_is_promised():
    rng = np.random.default_rng(4)
    own, shared = rng.normal(0, 0.01, (2, 16)), rng.normal(0, 0.01, 16)
    treated, untreated = 0.9 + shared + own
    treated[np.argsort(own[0])[:8]] = np.nan
    found = run(treated, untreated)
    sentence = said(found)
    assert sentence.startswith("Unstable: 8 of 16 seeds fail with pretraining, 0 without (p = 0.016). Over all seeds, ")
    assert "in the 8 where both train" in sentence and "which is not the overall effect" in sentence
    assert "helps" not in sentence and "at most 5 %" not in sentence
    filled = np.where(np.isnan(treated), 0.1, treated)
    assert found.comparisons[0].difference == statistics.estimate(filled - untreated).within(-1, 1)
    kept = json.loads(json.dumps(record(found, Experiment(), "", "")["comparisons"][0]))
    assert (kept["verdict"], kept["failures"]["treated"], kept["failures"]["of"]) == ("unstable", 8, 16)
    assert "at most 5 %" in said(run(0.9 + shared + own[0], untreated))


def test_only_what_was_chosen_fails():
    rate = "finetune.optimizer.learning_rate"
    rows = []
    for number, seed in enumerate(range(8)):
        for init in ("pretrained", "he"):
            for value, score in ((0.1, 0.9 + number / 1000), (9.0, None)):
                row = {"trial_id": f"{init}{number}{value}", "seed": seed, "repeat": 0, INIT: init, rate: value}
                row |= {"failed_stage": None, "status": "ok" if score else "diverged", METRIC: score}
                rows.append({**row, "validation_accuracy": score, "tuning_score": score})
    found = answer(pa.Table.from_pylist(rows), CURVES, StudyConfig(tune=(rate,)), usual={rate: 9.0})
    assert not found.comparisons[0].failures.any and found.comparisons[0].verdict == "no difference"


@pytest.mark.parametrize(
    ("name", "most"), [("the worse half", 0.0), ("one arm collapses in 30%", 0.1), ("weak arms, AUROC .60 ± .05", 0.1)]
)
def test_simulated_words_are_true(name, most):
    """A few of the experiments behind the table in pretrain/study/README.md, which tests/bench/failures.py makes."""
    found = bench.said(bench.KINDS[name], 8, 60)
    assert found.wrong <= most and found.favoured == 0 and found.falsely <= 0.15


def test_more_seeds_follow_where_they_may_settle_the_difference_where_both_train():
    rng = np.random.default_rng(5)
    untreated = 0.9 + rng.normal(0, 0.02, 12)
    treated = untreated + rng.normal(0, 0.02, 12)
    treated[4] = 0.1
    (one,) = compare(pair(treated, untreated), METRIC, StudyConfig())
    assert (one.verdict, one.failures.verdict) == ("unstable", "inconclusive") and unsettled([one]) == [one]
    assert one.seeds_to_settle.low > 12 and "would settle it." in verdict([one])
    (two,) = compare(pair(untreated, np.where(np.arange(12) == 4, 0.1, untreated)), METRIC, StudyConfig())
    assert (two.verdict, two.failures.verdict, unsettled([two])) == ("unstable", "no difference", [])


def test_a_budget_counts_with_six_sound_pairs():
    rng, found = np.random.default_rng(6), []
    for labels, n_lost in ((100, 0), (300, 2), (1000, 1), (3000, 3)):
        both = 0.8 + rng.normal(0, 0.01, (2, 8))
        both[0, :n_lost] = 0.1
        found += [arm._replace(point={**arm.point, "finetune.labels": labels}) for arm in pair(*both)]
    (curve,) = budget_curves(compare(found, METRIC, StudyConfig()))
    assert curve.labels.tolist() == [100, 300, 1000] and curve.n.tolist() == [8, 6, 7]
    assert np.all(np.abs(curve.gain) < 0.05)
