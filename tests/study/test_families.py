"""Families: which comparisons are the question's own, and what they are adjusted for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.report import phrases, verdicts, words
from pretrain.study.answer import answer
from pretrain.study.comparisons import by_family
from pretrain.study.families import adjusted, check_family, in_family
from pretrain.study.sequential import looks, unsettled
from pretrain.study.statistics import Estimate, nil_p, sign_flip, verdict
from tests.report.test_terminal import INIT, tables

LABELS = "finetune.labels"
BUDGETS = (100, 200, 500, 1000, 2000, 5000, 10000)


def family(*conditions):
    return StudyConfig(family=conditions)


def shaffer(compared):
    """Adjusted p-values of no effect."""
    gains = [one.treated - one.untreated for one in compared]
    nil = [nil_p(values, 0.005) for values in gains]
    return [effect for effect, _ in adjusted(list(map(sign_flip, gains)), nil, [True] * len(gains))]


@pytest.fixture(scope="module")
def run():
    """Pretraining gains 2 points at 2,000 labels, which 8 of 8 seeds show, and nothing elsewhere."""
    rng, rows = np.random.default_rng(0), []
    for init in ("pretrained", "he"):
        for labels in BUDGETS:
            gain = 0.02 * (init == "pretrained") * (labels == 2000)
            rows.append(({INIT: init, LABELS: labels}, np.full(8, 0.5), 0.8 + gain + rng.normal(0, 0.003, 8)))
    return tables(rows)


@pytest.mark.parametrize(
    ("conditions", "point", "own"),
    [
        ((), {LABELS: 100}, True),
        (("finetune.labels=100",), {LABELS: 100}, True),
        (("finetune.labels=100",), {LABELS: 200}, False),
        (("finetune.labels=100", "finetune.labels=200"), {LABELS: 200}, True),
        (("finetune.labels=100", f"{INIT}=pca"), {LABELS: 100, INIT: "pretrained"}, False),
        (("finetune.l2=1e-3",), {"finetune.l2": 0.001}, True),
        (("encoder.layers=300x150",), {"encoder.layers": [300, 150]}, True),
        (("finetune.labels=100",), {"finetune.l2": 100}, False),
        (("finetune.labels=100",), {LABELS: None}, False),
    ],
)
def test_a_comparison_is_the_questions_own_where_each_field_has_a_named_value(conditions, point, own):
    assert in_family(point, family(*conditions)) == own


def test_each_family_is_adjusted_by_itself():
    effect, own = [0.01, 0.02, 0.03, 0.04], [True, False, True, False]
    assert adjusted(effect, [1.0] * 4, own) == [(0.02, 1.0), (0.04, 1.0), (0.06, 1.0), (0.08, 1.0)]
    assert adjusted(effect, [1.0] * 4, [True] * 4) == [(4 * p_value, 1.0) for p_value in effect]


def test_a_claim_is_adjusted_for_the_comparisons_of_which_not_both_were_made():
    found = adjusted([0.001, 0.02, 0.5], [0.002, 0.9, 0.024], [True] * 3)
    assert found[0] == (0.003, 0.006)  # an effect, and none that matters: then two are left
    assert found[1] == (0.04, 1.0) and found[2] == (1.0, 0.048)


def test_a_settled_comparison_counts_for_the_claims_that_were_not_made_of_it():
    alone, p_values = [True], ([0.01], [0.02])
    assert adjusted(*p_values, alone) == [(0.01, 0.02)]
    assert adjusted(*p_values, alone, [(True, "helps"), (True, "hurts")]) == [(0.01, 0.06)]
    assert adjusted(*p_values, alone, [(True, "no difference"), (False, "helps")]) == [(0.02, 0.02)]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_claims_are_made_as_by_shaffers_procedure(pairs):
    """Which makes the next claim while its p-value is at most alpha over the most that may all be wrong."""
    found = adjusted(*zip(*pairs, strict=True), [True] * len(pairs))
    for alpha in (0.01, 0.05, 0.3):
        claims = sorted(((pair[kind], place, kind) for place, pair in enumerate(pairs) for kind in (0, 1)))
        made = set()
        for p_value, place, kind in claims:
            if p_value * sum({(other, 0), (other, 1)} - made != set() for other in range(len(pairs))) > alpha:
                break
            made.add((place, kind))
        assert {(place, kind) for place, pair in enumerate(found) for kind in (0, 1) if pair[kind] <= alpha} == made


def test_one_comparison_makes_no_difference_just_where_its_interval_lies_within():
    for values in np.random.default_rng(0).normal(0.0, 0.004, (50, 8)):
        low, high = stats.t.interval(0.95, 7, loc=values.mean(), scale=stats.sem(values))
        assert (nil_p(values, 0.005) <= 0.05) == (low > -0.005 and high < 0.005)
    assert nil_p(np.full(8, 0.004), 0.005) == nil_p(np.full(8, 0.005), 0.005, 1e-3) == 1
    assert 0 < nil_p(np.full(8, 0.004), 0.005, 1e-4) < 1e-6


def test_no_effect_is_called_within_the_smallest_that_matters():
    small = Estimate(0.002, 0.001, 0.003)
    assert verdict(small, 0.001, 8, 0.005) == "no difference"
    assert verdict(small, 0.001, 8, 0.005, p_nil=0.06) == "inconclusive"
    assert verdict(Estimate(0.004, 0.001, 0.007), 0.001, 8, 0.005, p_nil=0.5) == "helps"


def test_simultaneous_intervals_are_bonferronis_t(run):
    plain, at_once = (answer(*run, StudyConfig(intervals=name)) for name in ("one-by-one", "simultaneous"))
    for one, other in zip(plain.comparisons, at_once.comparisons, strict=True):
        ends = stats.t.interval(1 - 0.05 / 7, 7, one.difference.mean, stats.sem(one.treated - one.untreated))
        assert other.difference[1:] == pytest.approx(ends) and (one.n_at_once, other.n_at_once) == (1, 7)
        assert other.difference.low < one.difference.low and one.difference.high < other.difference.high
    assert "one by one" in words.conditions(plain, Experiment())
    assert "all of them at once" in words.conditions(at_once, Experiment())
    assert "at 99.29 %" in phrases.interval(at_once.comparisons[0])


def test_by_default_all_comparisons_are_the_questions_own(run):
    found = answer(*run).comparisons
    assert not any(one.is_exploratory for one in found)
    assert [one.p_value for one in found] == shaffer(found)


def test_a_question_of_its_own_needs_fewer_seeds(run):
    at = {one.shared[LABELS]: one for one in answer(*run).comparisons}
    assert at[2000].verdict == "inconclusive"  # for 7 * 2 / 2^8 is 5.5 %
    asked = {one.shared[LABELS]: one for one in answer(*run, family("finetune.labels=2000")).comparisons}
    assert asked[2000].verdict == "helps" and not asked[2000].is_exploratory
    others = [one for labels, one in asked.items() if labels != 2000]
    assert all(one.is_exploratory for one in others)
    assert [one.p_value for one in others] == shaffer(others)
    text = verdicts.verdict(list(asked.values()))
    assert text.startswith("Pretraining helps, +") and text.count(", at 2,000 labels. ") == 1
    assert "Of 6 exploratory comparisons, adjusted apart, " in text
    # A few are named with their budget and difference, one by one.
    own, explored = by_family(list(asked.values()))
    for n in (1, 2, 3):
        text = verdicts.verdict([*own, *explored[:n]]).partition("2,000 labels. ")[2]
        start = f"Of {n} exploratory comparisons" if n > 1 else "The exploratory comparison"
        assert text.startswith(f"{start}, adjusted apart, ") and " and it " not in text
        for one in explored[:n]:
            assert f"({phrases.interval(one)}" in text and f"at {one.shared[LABELS]:,} labels (" in text


def test_seeds_are_added_for_the_questions_own_only(run):
    asked = answer(*run, family("finetune.labels=2000")).comparisons
    assert any(one.verdict == "inconclusive" for one in asked) and unsettled(asked) == []
    planned = looks(Experiment(seeds=8, study=StudyConfig(until_conclusive=True)))
    assert verdicts.progress(planned[0], planned, asked).endswith(": all comparisons are settled")
    by_itself = ((at, answer(*run, family(f"finetune.labels={at}")).comparisons) for at in BUDGETS)
    at, other = next((at, found) for at, found in by_itself if unsettled(found))
    assert [one.shared[LABELS] for one in unsettled(other)] == [at]
    assert f"1 of 1 comparisons inconclusive (pretraining at {at:,} labels)" in verdicts.progress(
        planned[0], planned, other
    )


def test_a_family_without_a_comparison_is_refused():
    points = [{LABELS: labels, INIT: "pretrained"} for labels in BUDGETS]
    check_family(points, family())
    check_family(points, family("finetune.labels=100"))
    with pytest.raises(ConfigError, match=r"'finetune.labels=300' names no comparison; compared are 100, 200"):
        check_family(points, family("finetune.labels=300"))
    with pytest.raises(ConfigError, match=r"compared are pretrained$"):
        check_family(points, family(f"{INIT}=he"))  # the baseline is no treatment
    with pytest.raises(ConfigError, match="has all of these values"):
        check_family(
            [{LABELS: 100, INIT: "pca"}, {LABELS: 200, INIT: "pretrained"}], family(f"{INIT}=pca", f"{LABELS}=200")
        )


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("finetune.labels", "names no value; write field=value"),
        ("finetune.labels=", "names no value"),
        ("finetune.label=100", "is no swept field; did you mean 'finetune.labels'"),
    ],
)
def test_a_condition_names_a_swept_field_and_a_value(condition, reason):
    with pytest.raises(ConfigError, match=rf"^study\.family: .*{reason}"):
        Experiment(sweep=({LABELS: (100, 200)},), study=family(condition))
