"""Trials of tuned arms: which validation chooses, what is left of the table, and how the choice is described."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.report.tuning import warnings
from pretrain.study.answer import answer
from pretrain.study.arms import arms
from pretrain.study.choice import at_values, choose, usual_values, with_named_scores

RATE, INIT = "finetune.optimizer.learning_rate", "finetune.encoder_init"
RATES, SEEDS = (0.001, 0.01, 0.1), 8
STUDY = StudyConfig(tune=(RATE,))
CURVES = pa.table(
    {
        name: pa.array([], kind)
        for name, kind in zip(
            ("trial_id", "stage", "step", "metric", "value"),
            (pa.string(), pa.string(), pa.int32(), pa.string(), pa.float64()),
            strict=True,
        )
    }
)


def table(scores, tests, diverged=()):
    """Trials of two encoders [2, rates, seeds] with scores on validation rows, and results."""
    rows = []
    for number, init in enumerate(("pretrained", "he")):
        for place, rate in enumerate(RATES):
            for seed in range(SEEDS):
                is_lost = (number, place, seed) in diverged
                value = float(tests[number, place, seed])
                rows.append(
                    {
                        "trial_id": f"{init}-{place}-{seed}",
                        "seed": seed,
                        "repeat": 0,
                        INIT: init,
                        RATE: rate,
                        "status": "diverged" if is_lost else "ok",
                        "test_accuracy": None if is_lost else value,
                        "validation_accuracy": None if is_lost else value,
                        "tuning_score": None if is_lost else float(scores[number, place, seed]),
                    }
                )
    return pa.Table.from_pylist(rows)


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    return rng.random((2, len(RATES), SEEDS)), rng.random((2, len(RATES), SEEDS))


@pytest.mark.parametrize(
    ("first", "then", "turned"), [("r2", "mae", False), ("mae", "r2", True), ("loss", "mae", False)]
)
def test_another_question_changes_no_choice(drawn, first, then, turned):
    """Whether more of its metric is better or less: scores are of the metric that a run was asked for."""
    scores, tests = drawn
    trials = table(scores, tests)
    results = [f"{split}_{name}" for split in ("test", "validation") for name in ("r2", "loss", "mae")]
    kept = trials.column_names[: trials.column_names.index("status") + 1]
    trials = pa.table(
        {name: trials[name] for name in kept}
        | dict.fromkeys(results, trials["test_accuracy"])
        | {"tuning_score": trials["tuning_score"]}
    )
    asked, other = (StudyConfig(tune=(RATE,), metric=name) for name in (first, then))
    before, after = choose(trials, asked), choose(with_named_scores(trials, asked), other)
    assert after.trials["trial_id"] == before.trials["trial_id"]
    assert after.by == before.by == ("mae" if turned else "r2")
    best = (np.argmin if turned else np.argmax)(scores, axis=1)
    chosen = {name.rsplit("-", 1)[0] + name[-1] for name in after.trials["trial_id"].to_pylist()}
    inits = ("pretrained", "he")
    assert chosen == {f"{inits[arm]}-{best[arm, seed]}{seed}" for arm in range(2) for seed in range(SEEDS)}
    again = with_named_scores(trials, asked)
    assert with_named_scores(again, other) is again and choose(again, asked).by == before.by


def test_each_arm_and_seed_keeps_the_trial_that_scores_best(drawn):
    scores, tests = drawn
    left, tuned, *_ = choose(table(scores, tests), STUDY)
    assert RATE not in left.column_names and len(left) == 2 * SEEDS
    best = scores.argmax(axis=1)
    expected = np.take_along_axis(tests, best[:, None], axis=1)[:, 0]
    found = arms(left)
    assert [arm.point for arm in found] == [{INIT: "pretrained"}, {INIT: "he"}]
    for number, arm in enumerate(found):
        np.testing.assert_array_equal(arm.results["test_accuracy"], expected[number])
        (one,) = tuned[number].fields
        assert (one.field, one.values, tuned[number].n_settings) == (RATE, RATES, len(RATES))
        assert one.times == tuple(np.bincount(best[number], minlength=len(RATES)))
        np.testing.assert_array_equal(one.results, tests[number])


def test_a_diverged_trial_is_chosen_only_where_all_are_lost(drawn):
    scores, tests = drawn
    scores[0, 2] = 2.0  # the best in every seed, if it were there
    lost = [(0, 2, seed) for seed in range(SEEDS)] + [(1, place, 3) for place in range(len(RATES))]
    left, tuned, *_ = choose(table(scores, tests, lost), STUDY)
    assert tuned[0].fields[0].times[2] == 0
    assert sorted(left["status"].to_pylist()) == ["diverged"] + ["ok"] * (2 * SEEDS - 1)
    pretrained, he = arms(left)
    assert (pretrained.n_diverged, he.n_diverged, len(he.trial_ids)) == (0, 1, SEEDS - 1)


def test_where_few_rows_leave_no_score_all_validation_rows_choose(drawn):
    scores, tests = drawn
    rows = table(scores, tests, [(0, 0, 1), (0, 1, 2), (0, 2, 2)]).to_pylist()
    for row in rows:  # AUROC of one class, or predictions that were not kept, in two seeds
        if row["seed"] in (1, 2):
            row["tuning_score"] = None
    left, _, by, n_by_all = choose(pa.Table.from_pylist(rows), STUDY)
    assert (by, n_by_all) == ("accuracy", 4)
    assert "diverged" not in left["status"].to_pylist()
    found = {row["trial_id"] for row in left.to_pylist()}
    best = 1 + int(np.argmax(tests[0, 1:, 1]))  # the validation accuracy of these trials is their test's
    assert f"pretrained-{best}-1" in found and "pretrained-0-2" in found


def test_an_error_is_chosen_by_its_least_and_a_loss_by_the_accuracy_that_is_its_score(drawn):
    scores, tests = drawn
    rows = table(scores, tests)
    renamed = {"test_accuracy": "test_rmse", "validation_accuracy": "validation_rmse"}
    of_errors = rows.rename_columns([renamed.get(name, name) for name in rows.column_names])
    left, *_ = choose(of_errors, StudyConfig(tune=(RATE,), metric="rmse"))
    least = np.take_along_axis(tests, scores.argmin(axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(arms(left)[0].results["test_rmse"], least[0])
    of_losses = rows
    for name in ("test", "validation"):
        of_losses = of_losses.append_column(f"{name}_loss", rows[f"{name}_accuracy"])
    left, *_ = choose(of_losses, StudyConfig(tune=(RATE,), metric="loss"))
    most = np.take_along_axis(tests, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(arms(left)[0].results["test_loss"], most[0])


def test_of_two_tuned_fields_the_others_stay_as_they_were_chosen(drawn):
    scores, tests = drawn
    rows = table(scores, tests).to_pylist()
    both = [
        {
            **row,
            "finetune.l2": l2,
            "trial_id": f"{row['trial_id']}-{l2}",
            "tuning_score": row["tuning_score"] + bonus,
            "test_accuracy": row["test_accuracy"] / 2 + bonus,
        }
        for row in rows
        for l2, bonus in ((0.0, 0.0), (0.1, 0.3))
    ]
    names = ["trial_id", "seed", "repeat", INIT, RATE, "finetune.l2", "status", "test_accuracy", "validation_accuracy"]
    left, tuned, *_ = choose(
        pa.Table.from_pylist(both).select([*names, "tuning_score"]), StudyConfig(tune=(RATE, "finetune.l2"))
    )
    assert len(left) == 2 * SEEDS and tuned[0].n_settings == 6
    rate, l2 = tuned[0].fields
    assert l2.times == (0, SEEDS) and l2.edge == "highest"
    np.testing.assert_allclose(rate.results, tests[0] / 2 + 0.3)  # at the l2 that was chosen
    best = scores[0].argmax(axis=0)
    np.testing.assert_allclose(l2.results[0], tests[0][best, np.arange(SEEDS)] / 2)


def test_the_answer_is_that_of_tuned_arms_and_holds_the_untuned_one_beside_it():
    rng = np.random.default_rng(1)
    noise = 0.01 * rng.normal(size=(2, len(RATES), SEEDS))
    level = np.array([[0.5, 0.8, 0.9], [0.9, 0.7, 0.5]])[:, :, None]  # each arm at its best: alike
    found = answer(table(level + noise, level + noise), CURVES, STUDY, usual={RATE: 0.01})
    (tuned,), (untuned,) = found.comparisons, found.untuned
    assert untuned.verdict == "helps" and untuned.difference.mean == pytest.approx(0.1, abs=0.02)
    assert tuned.verdict != "helps" and tuned.difference.mean == pytest.approx(0, abs=0.02)
    sides = [one.fields[0] for one in found.tuned]
    assert [one.edge for one in sides] == ["highest", "lowest"]
    assert sides[0].further[0] > 0.1 and sides[1].further[0] < 0.001
    assert len(found.arms) == 2


def test_untuned_arms_at_chance_are_not_judged():
    """Both are as good as the most frequent class at the experiment's own rate, however surely they differ."""
    level = np.array([[0.505, 0.8, 0.9], [0.5, 0.7, 0.9]])[:, ::-1, None]
    values = level + 0.001 * np.random.default_rng(0).normal(size=(2, len(RATES), SEEDS))
    trials, n = table(values, values), 2 * len(RATES) * SEEDS
    for name, value in (("test_accuracy_chance", 0.5), ("test_accuracy_chance_margin", 0.01)):
        trials = trials.append_column(name, pa.array([value] * n))
    (untuned,) = answer(trials, CURVES, STUDY, usual={RATE: RATES[2]}).untuned
    assert untuned.difference.low > 0 and untuned.both_at_chance and untuned.verdict == "inconclusive"


def test_a_field_that_comes_to_one_value_leaves_no_choice(drawn):
    """As of frozen layers that are 2 and all of two."""
    rows = [row for row in table(*drawn).to_pylist() if row[RATE] == RATES[0]]
    left, tuned, *_ = choose(pa.Table.from_pylist(rows), STUDY)
    (field,) = tuned[0].fields
    assert len(left) == 2 * SEEDS and (field.values, field.times, field.edge) == ((RATES[0],), (SEEDS,), None)


def test_untuned_trials_are_those_at_the_experiments_own_values(drawn):
    rows = table(*drawn)
    assert len(at_values(rows, {RATE: 0.01 * (1 + 1e-12)}, STUDY)) == 2 * SEEDS
    assert len(at_values(rows, {RATE: 0.02}, STUDY)) == 0 and len(at_values(rows, {}, STUDY)) == 0
    assert usual_values(Experiment(sweep=({RATE: RATES},), study=STUDY)) == {RATE: 0.01}


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"study.tune": (RATE,)}, "has no values to choose from; give some by --tune"),
        ({"study.tune": (RATE,), "sweep": ({RATE: (0.1,)},)}, "has no values to choose from"),
        ({"study.tune": (INIT,), "sweep": ({INIT: ("he", "pretrained")},)}, "is what is compared"),
        ({"study.tune": ("finetune.labels",), "sweep": ({"finetune.labels": (100, 200)},)}, "is a budget"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes, reported):
    grids = {name: value for name, value in changes.items() if name == "sweep"}
    with pytest.raises(ConfigError, match=reported) as error:
        Experiment(**grids, study=StudyConfig(tune=changes["study.tune"]))
    assert str(error.value).startswith("study.tune: ") and "\n" not in str(error.value)


def test_a_wider_grid_holds_values_that_the_field_takes():
    rng = np.random.default_rng(2)
    scores, l2 = rng.random((2, len(RATES), SEEDS)), "finetune.l2"
    rows = table(scores + np.array([1.0, 0, 0])[:, None], scores).to_pylist()
    for row in rows:
        row[l2] = {0.001: 0.0, 0.01: 0.1, 0.1: 0.2}[row.pop(RATE)]
    names = ["trial_id", "seed", "repeat", INIT, l2, "status", "test_accuracy", "validation_accuracy", "tuning_score"]
    found = answer(pa.Table.from_pylist(rows).select(names), CURVES, StudyConfig(tune=(l2,)))
    assert [arm.fields[0].edge for arm in found.tuned] == ["lowest", "lowest"]
    assert warnings(found) == []  # below zero there is none
    found = answer(table(scores + np.array([1.0, 0, 0])[:, None], scores), CURVES, STUDY)
    (warning,) = warnings(found)
    assert "--tune finetune.optimizer.learning_rate=1e-05,0.0001,0.001,0.01,0.1" in warning


FROZEN = "finetune.frozen_layers"


def test_arms_choose_whether_they_are_frozen_and_both_stand_apart_from_the_same_trials():
    """Freezing helps the pretrained arm alone, by more than its rate does; a raw-input arm chooses nothing."""
    rng, rows = np.random.default_rng(0), []
    tables = {frozen: table(*[rng.normal(0.8, 0.005, (2, len(RATES), SEEDS))] * 2) for frozen in (0, 2)}
    for frozen, each in tables.items():
        for row in each.to_pylist():
            gain = 0.1 if frozen and row[INIT] == "pretrained" else -0.2 if frozen else 0.0
            shifted = {name: row[name] + gain for name in ("test_accuracy", "validation_accuracy", "tuning_score")}
            rows.append({**row, **shifted, "trial_id": f"{row['trial_id']}-{frozen}", FROZEN: frozen})
    raw = [row for row in rows if row[INIT] == "he" and row[RATE] == RATES[0] and not row[FROZEN]]
    rows += [{**row, "trial_id": f"raw{row['seed']}", INIT: "none", RATE: None, FROZEN: None} for row in raw]
    names = ["trial_id", "seed", "repeat", INIT, RATE, FROZEN, "status"]  # swept fields before results
    names += ["test_accuracy", "validation_accuracy", "tuning_score"]
    found = answer(pa.Table.from_pylist(rows).select(names), CURVES, StudyConfig(tune=(RATE, FROZEN)))
    assert [arm.point for arm in found.arms] == [{INIT: init} for init in ("pretrained", "he", "none")]
    best, raw_inputs = found.comparisons
    assert (best.treatment, best.baseline, raw_inputs.treatment) == ("pretrained", "he", "none")
    assert best.verdict == "helps" and best.difference.mean == pytest.approx(0.1, abs=0.02)
    assert [arm.n_settings for arm in found.tuned] == [6, 6]
    apart = {each.shared[FROZEN]: each.difference.mean for each in found.apart if each.treatment == "pretrained"}
    assert apart == {0: pytest.approx(0, abs=0.02), 2: pytest.approx(0.3, abs=0.02)}
