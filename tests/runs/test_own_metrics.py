"""Metrics of one's own: their numbers are NumPy's, and what does not fit is refused in one line before training."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as theirs

from pretrain.config import Experiment, StudyConfig, from_json, metrics, own_methods, to_json
from pretrain.config.fields import ConfigError
from pretrain.runs import tables
from pretrain.runs.chance import chance
from pretrain.runs.influences import influence
from pretrain.runs.measures import Predictions, check, measured, on_few, own_values
from tests.commands.lines import read, refused
from tests.experiments import one_line
from tests.launching import ROOT

README = (ROOT / "pretrain" / "README.md").read_text().split("### A measure of predictions\n")[1]
SOURCE = re.search(r"^```python\n(.*?)^```$", README, flags=re.M | re.S)[1]
RNG = np.random.default_rng(0)
N, TRUTH = 60, RNG.integers(0, 3, 60)
LOGITS = RNG.normal(size=(N, 3))
SCORES = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
PREDICTED = Predictions(SCORES, SCORES.argmax(axis=1), TRUTH)
STORED = {"job": dict.fromkeys(("test", "validation"), PREDICTED._asdict())}
BRIER = "my_metrics.py:brier"


class Stored:
    """A store of predictions."""

    def predictions(self, job, split):
        return STORED[job][split]


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """A directory to launch from, with the file."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my_metrics.py"
    file.write_text(SOURCE)
    return file


def edited(file, *changed):
    source = SOURCE
    for old, new in changed:
        assert old in source
        source = source.replace(old, new)
    file.write_text(source)


def test_their_numbers_are_those_of_numpy_and_scikit_learn():
    StudyConfig(metric=BRIER), StudyConfig(metric="my_metrics.py:f1")
    found = measured(Stored(), ["job"], ["test_brier", "validation_brier", "test_f1"])["job"]
    errors = np.square(np.exp(SCORES) - (TRUTH[:, None] == np.arange(3))).sum(axis=1)
    assert found["test_brier"] == found["validation_brier"] == pytest.approx(errors.mean(), rel=1e-12)
    assert found["test_f1"] == theirs.f1_score(TRUTH, PREDICTED.classes, average="macro")
    np.testing.assert_allclose(influence("brier", "classification", PREDICTED, None), errors - errors.mean())
    assert influence("f1", "classification", PREDICTED, None) is None
    rows = np.random.default_rng(7).permutation(N)[:20]
    assert on_few(Stored(), "job", "brier", 20, seed=7) == pytest.approx(errors[rows].mean())


def test_chance_is_the_value_of_one_prediction_for_all():
    StudyConfig(metric=BRIER), StudyConfig(metric="my_metrics.py:f1")
    rates = np.bincount(TRUTH) / N
    level, margin = chance("brier", "classification", TRUTH, 3)
    assert level == pytest.approx(1 - np.sum(rates**2))
    errors = np.square(rates - (TRUTH[:, None] == np.arange(3))).sum(axis=1)
    assert margin == pytest.approx(2 * errors.std() / np.sqrt(N))
    most = np.full(N, rates.argmax())
    assert chance("f1", "classification", TRUTH, 3) == (theirs.f1_score(TRUTH, most, average="macro"), 0)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_chance_of_labels_and_numbers_is_that_of_their_rates_and_means(task, file):
    file.write_text(
        "import numpy as np\nfrom pretrain.config.metrics import metric\n"
        "@metric(higher_is_better=False)\n"
        "def error(predicted):\n    return np.nanmean(np.abs(predicted.scores - predicted.targets), axis=1)\n"
    )
    StudyConfig(metric="my_metrics.py:error")
    targets = np.array([[0.0, 1.0], [1.0, np.nan if task == "multilabel" else 3.0], [1.0, 1.0], [1.0, 0.0]])
    middle = np.nanmean(targets, axis=0)
    scores = np.log(middle / (1 - middle)) if task == "multilabel" else middle
    expected = np.nanmean(np.abs(scores - targets), axis=1)
    level, margin = chance("error", task, targets, 2)
    assert (level, margin) == pytest.approx((expected.mean(), expected.std()))  # 2 / sqrt(4)


def test_facts_are_as_stated_and_go_with_the_table():
    StudyConfig(metric=BRIER)
    assert not metrics.metric_of("test_brier").higher_is_better and metrics.metric_of(BRIER).high == 2
    assert metrics.column(BRIER) == "test_brier" and metrics.split_of("a b/test_it.py:f1") == ("test", "f1")
    trials = pa.table({"trial_id": ["t"]})
    stages = pa.table({"trial_id": ["t"], "stage": ["finetune"], "stage_id": ["job"]})
    table = tables.with_metric(trials, stages, Stored(), BRIER)
    assert table.column_names == ["trial_id", "test_brier", "validation_brier"]
    assert b'"higher_is_better": false' in table.schema.field("test_brier").metadata[b"pretrain.metric"]


def test_an_edited_file_is_another_function_and_may_not_turn_the_direction(file):
    StudyConfig(metric=BRIER)
    before = own_values("brier", PREDICTED)
    edited(file, ("return np.square", "return 0.5 * np.square"))
    StudyConfig(metric=BRIER)
    np.testing.assert_array_equal(own_values("brier", PREDICTED), before / 2)
    edited(file, ("higher_is_better=False", "higher_is_better=True"))
    with pytest.raises(ConfigError) as error:
        StudyConfig(metric=BRIER)
    one_line(error, BRIER, "states brier otherwise than a run that was read; report that run by --study.metric")


def test_a_finished_run_is_read_without_its_file(file):
    experiment = Experiment(study=StudyConfig(metric=BRIER))
    assert read("--study.metric", BRIER).experiment.study.metric == BRIER
    text = to_json(experiment)
    facts = metrics.OWN.pop("brier").facts
    file.write_text("raise RuntimeError")
    assert to_json(own_methods.recorded(text.encode(), from_json)) == text
    metrics.remember("brier", metrics.OwnMetric(None, facts))
    assert not metrics.metric_of("test_brier").higher_is_better
    assert influence("brier", "classification", PREDICTED, None) is None
    assert chance("brier", "classification", TRUTH, 3) is None
    with pytest.raises(ConfigError) as error:
        own_values("brier", PREDICTED)
    one_line(error, "of a file that was not read")
    file.unlink()
    assert dataclasses.replace(experiment) == experiment


@pytest.mark.parametrize(
    ("word", "changed", "parts"),
    [
        ("absent.py:brier", (), ("absent.py, which is no file",)),
        ("my_metrics.py", (), ("write FILE.py:NAME",)),
        ("my_metrics.py:breir", (), ("names breir, which its file does not define",)),
        ("my_metrics.py:f1_score", (), ("names f1_score, which is no metric; write @pretrain.config.metrics.metric",)),
        (BRIER, (("higher_is_better=False, ", ""),), ("TypeError", "higher_is_better", "my_metrics.py:")),
        (BRIER, (("higher_is_better=False", "higher_is_better='no'"),), ("ValueError", "True or False")),
        (BRIER, (('("classification",)', '"classification"'),), ("ValueError", "tasks is 'classification', no tuple")),
        (BRIER, (("low=0, high=2", "low=2, high=0"),), ("low is below high",)),
        ("my_metrics.py:accuracy", (("brier", "accuracy"),), ("a name of the package's own",)),
        ("my_metrics.py:validation_f1", (("def f1", "def validation_f1"),), ("a name of the package's own",)),
        ("my_metrics.py:f1_chance", (("def f1", "def f1_chance"),), ("a name of the package's own",)),
        (BRIER, (("import numpy", "import nunpy"),), ("fails with ModuleNotFoundError", "my_metrics.py:1)")),
    ],
)
def test_what_is_no_metric_is_refused_in_one_line(word, changed, parts, file):
    edited(file, *changed)
    line = refused("--study.metric", word)
    assert line.startswith(f"study.metric: {word!r} ") and all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        (
            (".sum(axis=1)\n", ".sum(axis=0)\n"),
            ("returns shape (3,) of 60 rows", "return a value of each, or one number"),
        ),
        (("def brier(predicted)", "def brier(scores, targets)"), ("fails with TypeError", "targets")),
        (("predicted.targets]", "predicted.labels]"), ("fails with AttributeError", "labels", "my_metrics.py:11)")),
        (("return np.square", "return np.nan * np.square"), ("returns NaN, or infinity", "return numbers")),
        (("return np.square", "return 9 * np.square"), ("where low is 0 and high 2; state them as they are",)),
        (("return np.square", "return 'high' or np.square"), ("fails with ValueError",)),
    ],
)
def test_a_function_that_does_not_fit_is_refused_before_anything_trains(changed, parts, file, dataset):
    edited(file, changed)
    StudyConfig(metric=BRIER)
    with pytest.raises(ConfigError) as error:
        check(BRIER, [dataset])
    one_line(error, f"study.metric: {BRIER!r} ", *parts)


def test_functions_that_fit_are_tried_on_each_kind_of_targets(dataset, file):
    StudyConfig(metric=BRIER), StudyConfig(metric="my_metrics.py:f1")
    check(BRIER, [dataset]), check("my_metrics.py:f1", [dataset]), check("auto", [dataset]), check("auroc", [dataset])
    file.write_text(
        "import numpy as np\nfrom pretrain.config.metrics import metric\n"
        "@metric(higher_is_better=False)\n"
        "def error(predicted):\n    return np.nanmean(np.abs(predicted.scores - predicted.targets), axis=1)\n"
    )
    StudyConfig(metric="my_metrics.py:error")
    labels = (np.arange(20).reshape(10, 2) % 3 > 0).astype(np.float32)
    for task in ("multilabel", "regression"):
        rows = dataset.validation._replace(inputs=dataset.validation.inputs[:10], labels=labels)
        check("my_metrics.py:error", [dataset._replace(task=task, output_names=("a", "b"), validation=rows)])
