"""Launches on numbers and on several labels, and runs that are asked again under other metrics."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as theirs

from pretrain import load_run
from pretrain.store.store import Store
from tests.launching import call, contents, refused

BRIEF = [
    *("--encoder.layers", "8"),
    *("--seeds", "6"),
    *("--pretrain.epochs", "1"),
    *("--finetune.epochs", "4"),
    *("--finetune.frozen-layers", "0"),
]
ROWS = 240


@pytest.fixture(scope="module")
def made(tmp_path_factory, site):
    """A function that launches geron once for each kind of targets; returns what it printed, and the run."""
    root, known = tmp_path_factory.mktemp("targets"), {}
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, 6))
    hidden = np.tanh(rows @ rng.normal(size=(6, 3)))
    kinds = {
        "numbers": 200 + 40 * hidden[:, 0] + 5 * rng.normal(size=ROWS),
        "labels": (hidden + 0.3 * rng.normal(size=hidden.shape) > 0).astype(int),
        "classes": hidden.argmax(1),
    }

    def make(kind):
        if kind not in known:
            parts = {"train": slice(60, None), "test": slice(60)}
            arrays = {f"x_{split}": rows[part] for split, part in parts.items()}
            np.savez(
                root / f"{kind}.npz", **arrays, **{f"y_{split}": kinds[kind][part] for split, part in parts.items()}
            )
            (root / kind).mkdir()
            (root / kind / "programs").symlink_to(site.programs)
            where = ["--run-dir", root / f"{kind}-run", "--store", root / kind, "--data.name", root / f"{kind}.npz"]
            done = call(["geron", *BRIEF, *where], root)
            assert done.returncode == 0, done.stderr
            known[kind] = done, root / f"{kind}-run", where
        return known[kind]

    return make


def stored(run):
    """The predictions of each of a run's trials, by the trial's id."""
    store = Store(run.experiment.store, warn=pytest.fail, read_only=True)
    jobs = {row["trial_id"]: row["stage_id"] for row in run.stages.to_pylist() if row["stage"] == "finetune"}
    assert store.verified(set(jobs.values())) == set(jobs.values())
    splits = ("test", "validation")
    return {
        trial: {f"{split}_{name}": array for split in splits for name, array in store.predictions(job, split).items()}
        for trial, job in jobs.items()
    }


def test_a_regression_is_answered_in_r2_and_measured_in_the_units_of_its_numbers(made):
    done, path, _ = made("numbers")
    assert "R² " in done.stdout and "points" not in done.stdout and "ccuracy" not in done.stdout
    assert "regression (data.task)" in done.stderr
    run = load_run(path)
    assert run.trials.column_names[run.trials.column_names.index("status") + 1] == "test_r2"
    assert "test_accuracy" not in run.trials.column_names
    truth = np.load(path.parent / "numbers.npz")["y_test"]
    for row, (trial, found) in zip(run.trials.to_pylist(), stored(run).items(), strict=True):
        assert row["trial_id"] == trial
        np.testing.assert_allclose(found["test_targets"][:, 0], truth, rtol=1e-6)
        predicted = found["test_scores"][:, 0]
        np.testing.assert_allclose(row["test_r2"], theirs.r2_score(truth, predicted), rtol=1e-5)
        np.testing.assert_allclose(row["test_rmse"], theirs.root_mean_squared_error(truth, predicted), rtol=1e-5)
        np.testing.assert_allclose(row["test_mae"], theirs.mean_absolute_error(truth, predicted), rtol=1e-5)
    metrics = set(run.curves["metric"].to_pylist())
    assert {"loss", "post_update_loss", "validation_loss"} <= metrics and "post_update_accuracy" not in metrics


def test_an_error_that_falls_is_an_improvement(made, tmp_path):
    _, path, _ = made("numbers")
    before = json.loads((path / "answer.json").read_text())
    done = call(["report", path, "--study.metric", "rmse"], tmp_path)
    assert done.returncode == 0, done.stderr
    after = json.loads((path / "answer.json").read_text())
    assert (before["design"]["metric"], after["design"]["metric"]) == ("test_r2", "test_rmse")
    for r2, rmse in zip(before["comparisons"], after["comparisons"], strict=True):
        # Of one split both order networks alike, in opposite directions.
        assert np.sign(r2["difference"]["mean"]) == -np.sign(rmse["difference"]["mean"])
        assert r2["improvement"]["mean"] == rmse["improvement"]["mean"] and r2["p_value"] > 0
        assert {r2["verdict"], rmse["verdict"]} != {"helps", "hurts"}
    # Where the data are gone, so are the rows that predictions are of.
    data = path.with_name("numbers.npz").rename(tmp_path / "away.npz")
    done = call(["report", path, "--study.metric", "mae"], tmp_path)
    data.rename(path.with_name("numbers.npz"))
    assert done.returncode == 0 and "over seeds, on these test rows" in (path / "report.html").read_text()
    known = pq.read_table(path / "rows.parquet").select(["metric", "rows"]).to_pylist()
    assert known == [{"metric": "test_r2", "rows": 60}, {"metric": "test_rmse", "rows": 60}]
    call(["report", path, "--study.metric", "auto"], tmp_path)
    assert json.loads((path / "answer.json").read_text())["comparisons"] == before["comparisons"]


def test_several_labels_are_answered_in_the_area_under_their_roc_curves(made):
    done, path, _ = made("labels")
    assert "AUROC " in done.stdout and "multilabel (data.task)" in done.stderr
    run = load_run(path)
    row, found = run.trials.to_pylist()[0], next(iter(stored(run).values()))
    areas = [theirs.roc_auc_score(found["test_targets"][:, k], found["test_scores"][:, k]) for k in range(3)]
    np.testing.assert_allclose(row["test_auroc"], np.mean(areas))
    right = (found["test_scores"] > 0) == (found["test_targets"] > 0)
    np.testing.assert_allclose(row["test_accuracy"], right.mean(), atol=1e-6)


def test_stored_predictions_of_classes_are_those_that_results_are_of(made):
    run = load_run(made("classes")[1])
    for row, found in zip(run.trials.to_pylist(), stored(run).values(), strict=True):
        for split in ("test", "validation"):
            predicted, truth = found[f"{split}_classes"], found[f"{split}_targets"]
            np.testing.assert_allclose(row[f"{split}_accuracy"], np.mean(predicted == truth), atol=1e-6)
            losses = -found[f"{split}_scores"][np.arange(len(truth)), truth].astype(np.float64)
            np.testing.assert_allclose(row[f"{split}_loss"], losses.mean(), rtol=2e-3)
        assert predicted.dtype == np.uint8


def test_a_run_is_asked_again_under_another_metric_without_training(made, tmp_path):
    _, path, where = made("classes")
    assert "test_balanced_accuracy" not in pq.read_table(path / "trials.parquet").column_names
    done = call(["report", path, "--study.metric", "balanced_accuracy"], tmp_path)
    assert done.returncode == 0 and "balanced accuracy" in done.stdout, done.stderr
    asked = load_run(path)
    assert asked.experiment.study.metric == "balanced_accuracy"
    for row, found in zip(asked.trials.to_pylist(), stored(asked).values(), strict=True):
        exact = theirs.balanced_accuracy_score(found["test_targets"], found["test_classes"])
        np.testing.assert_allclose(row["test_balanced_accuracy"], exact)
    answer = json.loads((path / "answer.json").read_text())
    assert answer["design"]["metric"] == "test_balanced_accuracy"
    kept = pq.read_table(path / "rows.parquet")
    # The run's command asks the same, and finds all of it there.
    again = call(["geron", *BRIEF, *where, "--study.metric", "balanced_accuracy"], tmp_path)
    assert again.returncode == 0 and ", 0 of " in again.stdout
    assert load_run(path).trials.equals(asked.trials)
    assert json.loads((path / "answer.json").read_text())["comparisons"] == answer["comparisons"]
    anew = pq.read_table(path / "rows.parquet").to_pylist()
    assert anew and all(row in kept.to_pylist() for row in anew)
    refused(call(["table", path, "--metrics", "rmse"], tmp_path), "metrics: 'rmse' is no measure of classification")
    shown = call(["table", path, "--metrics", "auroc", "validation_auroc"], tmp_path)
    assert shown.returncode == 0 and "test_auroc" in shown.stdout and "validation_" in shown.stdout


@pytest.mark.parametrize(
    ("option", "value", "parts"),
    [
        ("metric", "rmse", ["study.metric: 'rmse' is no measure of classification", "balanced_accuracy"]),
        ("metric", "acc", ["study.metric: 'acc' is none of accuracy"]),
        ("metric", "post_accuracy", ["study.metric: 'post_accuracy' is none of accuracy"]),
        ("metric", "f1_score", ["study.metric: 'f1_score' is none of accuracy", "loss, r2, rmse, mae\n"]),
        ("compare", "finetune.frozen", ["study.compare: 'finetune.frozen' is no field"]),
        ("smallest-effect", "2", ["study.smallest_effect: 2.0"]),
        ("metrc", "rmse", ["--study.metrc", "--study.metric"]),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_in_a_line_and_nothing_changes(option, value, parts, made, tmp_path):
    _, path, _ = made("classes")
    before = contents(path)
    refused(call(["report", path, f"--study.{option}", value], tmp_path), *parts)
    assert {**before, ".lock": None} == {**contents(path), ".lock": None}


def test_a_metric_of_other_targets_is_refused_before_anything_is_trained(made, tmp_path):
    where = made("classes")[2]
    options = ["--study.metric", "mae", "--run-dir", tmp_path / "other"]
    done = call(["geron", *BRIEF, *where, *options], tmp_path)
    assert done.returncode == 2 and "'mae' is no measure of classification" in done.stderr
    assert not (tmp_path / "other").exists()


def test_classes_cannot_be_balanced_where_there_are_none(made, tmp_path):
    where = made("numbers")[2]
    done = call(["geron", *BRIEF, *where, "--finetune.label-subset", "balanced"], tmp_path)
    assert done.returncode == 2 and "finetune.label_subset: 'balanced' balances classes" in done.stderr
    done = call(["geron", *BRIEF, *where, "--pretrain.watch", "rank", "neighbours"], tmp_path)
    assert done.returncode == 2 and "pretrain.watch: 'rank neighbours' compares classes of neighbours" in done.stderr


def test_arms_that_only_know_the_majority_are_flagged_and_not_judged_by_accuracy(site, tmp_path):
    rng = np.random.default_rng(1)
    rows, rare = rng.normal(size=(ROWS, 6)), rng.random(ROWS) < 0.05  # which no column knows
    np.savez(tmp_path / "rare.npz", x_train=rows[60:], y_train=rare[60:], x_test=rows[:60], y_test=rare[:60])
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "programs").symlink_to(site.programs)
    where = ["--run-dir", tmp_path / "run", "--store", tmp_path / "store", "--data.name", tmp_path / "rare.npz"]
    done = call(["geron", *BRIEF, *where], tmp_path)
    assert done.returncode == 0, done.stderr
    majority = 1 - rare[:60].mean()
    assert f"of the most frequent class, {majority:.3f}" in done.stdout
    answer = json.loads((tmp_path / "run" / "answer.json").read_text())
    assert all(one["verdict"] == "inconclusive" for one in answer["comparisons"])
    assert "no better than chance" in " ".join(answer["warnings"]) or "collapsed" in answer["verdict"]
    rows = load_run(tmp_path / "run").trials.to_pylist()
    np.testing.assert_allclose([row["test_majority_rate"] for row in rows], majority)
    asked = call(["report", tmp_path / "run", "--study.metric", "balanced_accuracy"], tmp_path)
    assert asked.returncode == 0 and "balanced accuracy" in asked.stdout
