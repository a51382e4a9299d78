"""What a run can conclude, before it starts: counted on plans, and from earlier trials whose spread is known."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.report.prospects import outlook, warning, warnings
from pretrain.study.answer import answer
from pretrain.study.arms import arms
from pretrain.study.comparisons import compare, planned
from pretrain.study.power import smallest_seen
from pretrain.study.prospects import prospect
from pretrain.study.sequential import check, looks
from tests.report.test_terminal import INIT, tables

LABELS = "finetune.labels"


def sweep(n_budgets, seeds=8, **study):
    grid = {INIT: ("pretrained", "he"), LABELS: tuple(range(100, 100 + n_budgets))}
    return Experiment(sweep=(grid,), seeds=seeds, study=StudyConfig(**study))


def points(experiment):
    return [point.values for point in experiment.points]


def of(experiment, earlier=None):
    return prospect(experiment, points(experiment), earlier)


def trials(n, spread=0.01, gain=0.0):
    """Earlier trials whose differences have exactly this deviation, at 100 labels, and twice it at 101."""
    rng, rows = np.random.default_rng(0), []
    for place, labels in enumerate((100, 101)):
        values = rng.normal(size=n)
        values = (values - values.mean()) / values.std(ddof=1) * spread * (1 + place)
        rows += [({INIT: "pretrained", LABELS: labels}, np.zeros(n), 0.8 + gain + values)]
        rows += [({INIT: "he", LABELS: labels}, np.zeros(n), np.full(n, 0.8))]
    return tables(rows)[0]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from(["pretrained", "he", "pca", None]), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from([100, 200, None]), min_size=1, max_size=3, unique=True),
)
def test_as_many_comparisons_are_planned_as_are_made(inits, labels):
    rows = [
        {"trial_id": f"{init}{budget}{seed}", "seed": seed, INIT: init, LABELS: budget, "status": "ok"}
        | {"test_accuracy": 0.5, "validation_accuracy": 0.5}
        for init in inits
        for budget in labels
        for seed in range(2)
    ]
    table = pa.Table.from_pylist(rows)
    made = compare(arms(table), "test_accuracy", StudyConfig())
    swept = [
        {name: value for name, value in row.items() if name in (INIT, LABELS) and value is not None} for row in rows
    ]
    found = planned(swept, StudyConfig())
    assert [(one.field, one.treated[one.field]) for one in found] == [(one.field, one.treatment) for one in made]


def test_18_comparisons_cannot_show_anything_at_8_seeds():
    found = of(sweep(18))
    assert (found.n_own, found.fewest, found.first) == (18, 10, None)
    assert warning(found) == (
        "8 seeds cannot show any effect among 18 comparisons, however large: the smallest p is 0.14; use --seeds 10, "
        "sweep fewer values, or name the question's own by --study.family field=value"
    )
    assert warning(of(sweep(18, seeds=10))) is None
    assert warning(of(sweep(18, family=("finetune.labels=100",)))) is None


def test_few_seeds_settle_nothing():
    assert warning(of(sweep(1, seeds=5))) == "5 seeds settle nothing, at least 6 can: use --seeds 6"
    assert warning(of(sweep(2, seeds=1))) == "1 seed settles nothing, at least 7 can: use --seeds 7"


def test_a_run_that_compares_nothing_has_no_prospect():
    assert of(Experiment(seeds=2)) is None


def test_the_smallest_effect_seen_is_of_earlier_trials_spread():
    found = of(sweep(2), trials(5))
    assert found.spread[:2] == pytest.approx((0.01, 0.02))
    assert found.smallest_seen == pytest.approx([smallest_seen(8, spread, n_compared=2) for spread in (0.01, 0.02)])
    low, high = (100 * size for size in found.smallest_seen)
    assert outlook(found) == (
        "2 comparisons at 8 seeds: an effect can show from 7 seeds on, "
        f"one of {low:.1f} to {high:.1f} points, by comparison, with 80 % power at the spread of 5 earlier seeds"
    )
    assert outlook(of(sweep(2))) == "2 comparisons at 8 seeds: an effect can show from 7 seeds on"
    assert of(sweep(2), trials(2).filter(pa.compute.equal(trials(2)["seed"], 0))).spread is None


def test_what_would_be_seen_is_seen_in_80_percent():
    found, rng, n = of(sweep(2, seeds=12), trials(5)), np.random.default_rng(1), 60
    seen = 0
    for _ in range(n):
        values = {100: rng.normal(found.smallest_seen[0], 0.01, 12), 101: rng.normal(0, 0.02, 12)}
        rows = [({INIT: "pretrained", LABELS: labels}, np.zeros(12), 0.8 + gains) for labels, gains in values.items()]
        rows += [({INIT: "he", LABELS: labels}, np.zeros(12), np.full(12, 0.8)) for labels in values]
        table = tables(rows)[0]
        seen += compare(arms(table), "test_accuracy", StudyConfig())[0].verdict == "helps"
    assert 0.62 <= seen / n <= 0.95


def test_only_the_questions_own_are_counted():
    found = of(sweep(3, family=("finetune.labels=100",)), trials(5))
    assert (found.n_own, found.n_exploratory) == (1, 2)
    assert found.spread[:2] == pytest.approx((0.01, 0.01))
    assert outlook(found).startswith("1 comparison of the question's own and 2 that explore at 8 seeds: ")


def test_tuned_fields_are_no_condition():
    grid = {INIT: ("pretrained", "he"), LABELS: (100, 200), "finetune.l2": (0.0, 0.1, 0.2)}
    experiment = Experiment(sweep=(grid,), study=StudyConfig(tune=("finetune.l2",)))
    assert of(experiment).n_own == 2
    assert of(Experiment(sweep=(grid,))).n_own == 6


def test_looks_are_counted_with_all_comparisons():
    experiment = sweep(18, until_conclusive=True, most_seeds=32)
    found = of(experiment)
    assert found.first == looks(experiment)[0]  # by Student's test, which has no smallest p
    assert outlook(found).startswith("18 comparisons at 8, 16, 24, 32 seeds: an effect can show from 8 seeds on")
    later = of(sweep(18, seeds=12, until_conclusive=True, most_seeds=24))
    assert later.first == later.looks[1]  # 18 * 2 / 2^12 is more than 0.0056
    check(experiment)
    alone = {"seeds": 3, "until_conclusive": True, "most_seeds": 9}
    check(sweep(1, **alone))
    reason = r"9 can never be conclusive: 9 seeds give p = 0\.07 at best among 18 comparisons, .* raise it to 11"
    with pytest.raises(ConfigError, match=reason):
        check(sweep(18, **alone))
    check(sweep(18, **alone, family=("finetune.labels=100",)))


def test_an_answer_that_no_effect_could_have_changed_says_so():
    table = trials(6)
    curves = tables([({INIT: "he"}, np.zeros(1), np.zeros(1))])[1]
    assert warnings(answer(table, curves)) == [
        "6 seeds cannot show any effect among 2 comparisons, however large: the smallest p is 0.062; use --seeds 7, "
        "sweep fewer values, or name the question's own by --study.family field=value."
    ]
    assert warnings(answer(table, curves, StudyConfig(family=("finetune.labels=100",)))) == []
    assert warnings(answer(trials(7), curves)) == []
