"""Defaults that do not fit give way to depth and data, in a line each; what somebody chose is refused in its place."""

import dataclasses

import numpy as np
import pytest

from pretrain.commands import command_line
from pretrain.config import (
    AutoencoderConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    RbmConfig,
    StudyConfig,
    SupervisedConfig,
)
from pretrain.config.fields import ConfigError, get
from pretrain.plan import fitting
from pretrain.plan.plan import plan
from tests.data import sources
from tests.small_sweep import FINGERPRINTS

CORNERS = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (2, 0)}


@pytest.fixture(scope="module")
def iris_like(tmp_path_factory):
    """The path of 150 rows of four columns, 30 of them to test."""
    path = tmp_path_factory.mktemp("small") / "small.npz"
    x, y = sources.columns(rows=150, n=4)
    np.savez(path, **sources.four(x[30:], y[30:], x[:30], y[:30]))
    return str(path)


def parsed(*argv, config=None):
    """A command line read over a config: the experiment, the fields that were chosen, and the notes."""
    asked = command_line.parse(argv, config or Experiment(sweep=(CORNERS,)), "geron", "")
    return asked.experiment, asked.chosen, list(asked.notes)


def frozen(experiment):
    return [point.settings.finetune.frozen_layers for point in experiment.points]


def test_swept_frozen_layers_follow_the_depth():
    experiment, _, reported = parsed("--encoder.layers", "100")
    assert frozen(experiment) == ["all", 0, "all", 0]
    (line,) = reported
    assert line == "finetune.frozen_layers: all, 0 in the place of the default 2, 0, for the encoder has 1 layer"
    assert frozen(parsed("--encoder.layers", "9", "8", "7")[0]) == [2, 0, 2, 0] and not parsed()[2]
    with pytest.raises(ConfigError, match=r"finetune\.frozen_layers: 2 is more layers"):
        parsed("--encoder.layers", "100", "--finetune.frozen-layers", "2")
    chosen = Experiment(finetune=FinetuneConfig(frozen_layers=2))  # by the config
    with pytest.raises(ConfigError, match=r"finetune\.frozen_layers: 2 is more layers"):
        parsed("--encoder.layers", "100", config=chosen)


def test_batches_follow_the_smallest_budget_that_is_asked_for():
    experiment, _, reported = parsed("--sweep", "finetune.labels=30,400")
    assert experiment.finetune.batch_size == 3 and reported == [
        "finetune.batch_size: 3 in the place of the default 50, for 30 labels"
    ]
    with pytest.raises(ConfigError, match=r"finetune\.batch_size: 50 is larger than finetune\.labels 30"):
        parsed("--finetune.labels", "30", "--finetune.batch-size", "50")
    assert parsed("--finetune.labels", "0")[0].finetune.batch_size == 50


def test_a_small_set_runs_by_defaults_that_fit(iris_like):
    experiment, chosen, _ = parsed("--data.name", iris_like, "--seeds", "1")
    loaded = fitting.load(experiment, chosen)
    values = {name: get(loaded.experiment, name) for name in ("data.validation", "finetune.labels")}
    assert values == {"data.validation": 24, "finetune.labels": 96}
    assert (loaded.experiment.pretrain.batch_size, loaded.experiment.finetune.batch_size) == (12, 50)
    for name in ("data.validation: 24", "finetune.labels: 96", "pretrain.batch_size: 12"):
        assert sum(note.startswith(f"{name} in the place of the default") for note in map(str, loaded.findings)) == 1
    assert plan(loaded.experiment, loaded.datasets, FINGERPRINTS).trials
    # The same experiment, as a run keeps it, loads without any choice.
    again = fitting.load(loaded.experiment)
    assert [dataset.fingerprints for dataset in again.datasets.values()] == [
        dataset.fingerprints for dataset in loaded.datasets.values()
    ]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--data.validation", "5000"], "data.validation: 5000 leaves nothing to train on"),
        (["--finetune.labels", "97"], "finetune.labels: 97 is more than the 96 training rows with a label"),
        (["--pretrain.batch-size", "97"], "pretrain.batch_size: 97 is more than the 96 training rows"),
        (
            ["--finetune.labels", "0", "--finetune.batch-size", "97"],
            "finetune.batch_size: 97 is larger than finetune.labels 96",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_typed_is_refused_where_it_does_not_fit(argv, line, iris_like):
    experiment, chosen, _ = parsed("--data.name", iris_like, "--seeds", "1", *argv)
    with pytest.raises(ConfigError) as error:
        loaded = fitting.load(experiment, chosen)
        plan(loaded.experiment, loaded.datasets, FINGERPRINTS)
    assert str(error.value).startswith(line)


def test_all_numbers_that_do_not_fit_are_reported_at_once(iris_like):
    typed = ("--data.validation", "24", "--finetune.labels", "500", "--pretrain.batch-size", "600")
    experiment, chosen, _ = parsed("--data.name", iris_like, "--seeds", "1", *typed)
    with pytest.raises(ConfigError) as error:
        loaded = fitting.load(experiment, chosen)
        plan(loaded.experiment, loaded.datasets, FINGERPRINTS)
    names = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert names == ["finetune.labels", "pretrain.batch_size"]


def test_a_metric_of_other_targets_is_reported_beside_what_does_not_fit(iris_like):
    typed = ("--study.metric", "r2", "--finetune.labels", "500")
    for data_fault, names in (
        (("--data.validation", "24"), ["study.metric", "finetune.labels"]),
        (("--data.validation", "130"), ["data.validation", "study.metric"]),  # no row is left to train on
    ):
        experiment, chosen, _ = parsed("--data.name", iris_like, "--seeds", "1", *typed, *data_fault)
        with pytest.raises(ConfigError) as error:
            fitting.load(experiment, chosen)
        assert [line.partition(":")[0] for line in str(error.value).splitlines()] == names


def test_faults_of_rows_are_named_together_where_defaults_follow_the_data(iris_like):
    typed = ("--data.inputs", "images", "--data.unlabelled", "7", "--study.metric", "r2")
    experiment, chosen, _ = parsed("--data.name", iris_like, *typed, config=Experiment(defaults="data"))
    with pytest.raises(ConfigError) as error:
        fitting.load(experiment, chosen)
    names = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert names == ["data.inputs", "data.unlabelled", "study.metric"]


def test_swept_budgets_end_at_what_there_is_and_unfreezing_within_training(iris_like):
    swept = {"finetune.labels": (50, 60, 2000, 5000), "finetune.unfreeze_at": (0, 200)}
    config = Experiment(finetune=FinetuneConfig(updates=40), sweep=(swept,))
    experiment, chosen, _ = parsed("--data.name", iris_like, config=config)
    (grid,) = fitting.load(experiment, chosen).experiment.sweep
    assert grid == {"finetune.labels": (50, 60, 96), "finetune.unfreeze_at": (0, 20)}


def test_batches_of_supervised_stages_follow_the_labels(iris_like):
    config = Experiment(pretrain=PretrainConfig(method=SupervisedConfig()))
    experiment, chosen, _ = parsed("--data.name", iris_like, "--finetune.labels", "40", config=config)
    loaded = fitting.load(experiment, chosen)
    assert loaded.experiment.pretrain.batch_size == 5 and plan(loaded.experiment, loaded.datasets, FINGERPRINTS)


def test_more_classes_than_labels_are_noted(iris_like):
    experiment, chosen, _ = parsed("--data.name", iris_like, "--finetune.labels", "2")
    assert any("2 are fewer than the 3 classes" in note for note in map(str, fitting.load(experiment, chosen).findings))


def settings(path, **changes):
    own = {"validation": 24}
    data = DataConfig(name=path, **{**own, **changes.pop("data", {})})
    finetune = FinetuneConfig(labels=0, batch_size=10, **changes.pop("finetune", {}))
    return Experiment(data=data, finetune=finetune, seeds=1, **changes)


def planned(experiment):
    loaded = fitting.load(experiment)
    return plan(loaded.experiment, loaded.datasets, FINGERPRINTS)


def test_all_labels_are_as_many_as_there_are(iris_like):
    found = planned(settings(iris_like, pretrain=PretrainConfig(batch_size=10), sweep=({"finetune.labels": (0, 50)},)))
    assert [trial.point["finetune.labels"] for trial in found.trials] == [96, 50]


def test_a_share_of_the_labels_trains_what_as_many_labels_do(iris_like):
    brief = {"pretrain": PretrainConfig(batch_size=10)}
    counts, shares = (
        planned(settings(iris_like, sweep=({"finetune.labels": labels},), **brief)) for labels in ((48, 10), (0.5, 0.1))
    )
    assert [trial.point for trial in shares.trials] == [{"finetune.labels": 48}, {"finetune.labels": 10}]
    assert list(shares.jobs) == list(counts.jobs) and shares.trials == counts.trials


def test_shares_of_several_sets_are_a_number_of_each(iris_like, tmp_path):
    x, y = sources.columns(rows=300, n=4)
    np.savez(tmp_path / "more.npz", **sources.four(x[100:], y[100:], x[:100], y[:100]))
    names = (iris_like, str(tmp_path / "more.npz"))
    grid = {"data.name": names, "finetune.labels": (0, 0.25)}
    found = planned(settings(iris_like, pretrain=PretrainConfig(batch_size=10), sweep=(grid,)))
    sizes = {tuple(trial.point.values()): found.jobs[trial.jobs[-1]].stage.rows.n for trial in found.trials}
    assert sizes == {(names[0], 0): 96, (names[0], 0.25): 24, (names[1], 0): 176, (names[1], 0.25): 44}


def test_batches_fit_shares_of_the_smallest_set(iris_like):
    experiment, chosen, notes = parsed("--data.name", iris_like, "--finetune.labels", "0.25")
    assert not notes and experiment.finetune.batch_size == 50
    loaded = fitting.load(experiment, chosen)
    assert loaded.experiment.finetune.batch_size == 3 and loaded.experiment.finetune.labels == 0.25
    with pytest.raises(ConfigError, match=r"finetune\.batch_size: 50 is larger than finetune\.labels 24"):
        kept = fitting.load(experiment, {*chosen, "finetune.batch_size"})
        plan(kept.experiment, kept.datasets, FINGERPRINTS)


def test_convolutions_are_refused_where_rows_are_no_images(iris_like):
    wrong = settings(iris_like, encoder=EncoderConfig(layers=("8c3", 10)), pretrain=PretrainConfig(batch_size=10))
    with pytest.raises(ConfigError) as error:
        planned(wrong)
    reported = "encoder.layers: '8c3 10' has convolutions, but a row of the data is 4 columns"
    assert str(error.value) == f"{reported}; give numbers of units, or, of rows that are series, --data.inputs series"


@pytest.mark.parametrize(
    ("method", "value", "remedy"),
    [
        ({"loss": "cross_entropy"}, "pretrain.method.loss: 'cross_entropy'", "or loss to mse"),
        ({"output": "sigmoid"}, "pretrain.method.output: 'sigmoid'", "or output to linear"),
    ],
)
def test_a_method_that_needs_values_between_0_and_1_says_so(method, value, remedy, iris_like):
    own = {
        "encoder": EncoderConfig(layers=(10,), activation="sigmoid"),
        "pretrain": PretrainConfig(batch_size=10, method=AutoencoderConfig(**method)),
    }
    with pytest.raises(ConfigError) as error:
        planned(settings(iris_like, **own))
    assert str(error.value).startswith(f"{value} needs values in [0, 1], and the data have -")
    assert str(error.value).endswith(f"set data.scaling to unit, {remedy}")
    assert planned(settings(iris_like, data={"scaling": "unit"}, **own))


def test_a_machine_of_bernoulli_units_needs_values_between_0_and_1(iris_like):
    own = {
        "encoder": EncoderConfig(layers=(10,), activation="sigmoid"),
        "pretrain": PretrainConfig(batch_size=10, method=RbmConfig()),
    }
    with pytest.raises(ConfigError, match=r"pretrain\.method\.visible: 'bernoulli' needs values in \[0, 1\]"):
        planned(settings(iris_like, **own))


def test_other_labels_find_the_pretraining_of_the_same_inputs(tmp_path):
    x, y, tx, ty = sources.images()
    few = np.where(np.arange(len(y)) % 3 == 0, y, -1)
    others = {"other": (9 - y, 9 - ty), "texts": (np.array(list("abcdefghij"))[y], np.array(list("abcdefghij"))[ty])}
    others |= {"own": (y, ty), "few": (few, ty)}
    ids = {}
    for name, (labels, test_labels) in others.items():
        held = {"val_images": tx, "val_labels": test_labels}
        np.savez(tmp_path / f"{name}.npz", **sources.four(x, labels, tx, test_labels, **held))
        found = planned(settings(str(tmp_path / f"{name}.npz"), pretrain=PretrainConfig(batch_size=10)))
        ids[name] = [job.id for job in map(found.jobs.get, found.trials[0].jobs)]
    assert len({tuple(each[:-1]) for each in ids.values()}) == 1
    last = {name: each[-1] for name, each in ids.items()}
    assert last["texts"] == last["own"] and len(set(last.values())) == 3  # names of classes train nothing


def test_rows_that_pretraining_reads_leave_fine_tuning_alone(tmp_path):
    np.savez(tmp_path / "pool.npz", **sources.forms()["pool"])
    swept = {"data.unlabelled": (50, 100, 300), "finetune.encoder_init": ("pretrained", "he")}
    own = settings(str(tmp_path / "pool.npz"), pretrain=PretrainConfig(batch_size=10), sweep=(swept,))
    found = planned(own)
    last = {init: set() for init in ("pretrained", "he")}
    for trial in found.trials:
        last[trial.point["finetune.encoder_init"]].add(trial.jobs[-1])
    assert (len(last["pretrained"]), len(last["he"])) == (3, 1)
    lowest = {trial.jobs[0] for trial in found.trials if len(trial.jobs) > 1}
    assert {found.jobs[job].stage.rows.n for job in lowest} == {76 + n for n in (50, 100, 300)}


def test_a_fresh_cut_gives_each_seed_data_of_its_own(tmp_path):
    np.savez(tmp_path / "own.npz", **sources.forms()["no_test"])
    own = settings(str(tmp_path / "own.npz"), data={"splits": "fresh"}, pretrain=PretrainConfig(batch_size=10))
    found = planned(dataclasses.replace(own, seeds=3))
    jobs = [found.jobs[trial.jobs[-1]] for trial in found.trials]
    assert [job.data.cut for job in jobs] == [0, 1, 2] and len({job.content for job in jobs}) == 3


def test_data_of_different_tasks_are_refused_in_a_line(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4))
    np.savez(tmp_path / "numbers.npz", X=rows, y=rows[:, 0])
    np.savez(tmp_path / "classes.npz", X=rows, y=(rows[:, 0] > 0).astype(int))
    names = tuple(str(tmp_path / f"{name}.npz") for name in ("numbers", "classes"))
    experiment = Experiment(sweep=({"data.name": names},))
    with pytest.raises(ConfigError, match=r"data.task: 'auto' differs between data, classification .* and regression"):
        fitting.load(experiment, ())


def test_defaults_follow_the_smallest_of_all_cuts_and_findings_are_named_once(tmp_path):
    x, y = sources.columns(rows=240, n=4)
    groups = np.where(np.arange(240) < 60, 0, np.arange(240) // 6)  # one of them a quarter of all rows
    np.savez(tmp_path / "own.npz", X=np.r_[x, x], y=np.r_[y, y], groups=np.r_[groups, groups + 100])
    argv = ("--data.name", f"{tmp_path}/own.npz", "--data.group", "groups", "--data.splits", "fresh", "--seeds", "5")
    experiment, chosen, _ = parsed(*argv)
    loaded = fitting.load(experiment, chosen)
    sizes = {dataset.n_labelled for dataset in loaded.datasets.values()}
    assert len(loaded.datasets) == 5 and len(sizes) > 1
    assert loaded.experiment.finetune.labels == min(sizes)
    assert plan(loaded.experiment, loaded.datasets, FINGERPRINTS).trials
    kinds = [each.kind for each in loaded.findings if each.kind not in ("reading", "default")]
    assert "test rows among the training rows" in kinds and len(kinds) == len(set(kinds))
    assert sum("test rows cut off" in each.sentence for each in loaded.findings) == 1


def test_a_subset_that_cannot_be_balanced_says_its_counts(tmp_path):
    y = np.repeat([0, 1, 2], (200, 150, 10))
    order = np.random.default_rng(0).permutation(360)
    x = np.random.default_rng(1).normal(size=(360, 4)) + y[:, None]
    held = {"val_images": x[:9], "val_labels": y[:9]}
    np.savez(tmp_path / "own.npz", **sources.four(x[order], y[order], x[:30], y[:30], **held))
    own = settings(str(tmp_path / "own.npz"), pretrain=PretrainConfig(batch_size=10))

    def found(labels, subset="balanced"):
        asked = dataclasses.replace(own, finetune=FinetuneConfig(labels=labels, label_subset=subset, batch_size=10))
        loaded = fitting.load(asked)
        return [each for each in loaded.findings if each.kind == "classes smaller than their share"]

    (finding,) = found(90)
    assert "of 90 labels each class would have 30, and there are 10 of 2" in finding.sentence
    assert finding.figures["counts"] == {"0": 200, "1": 150, "2": 10} and finding.severity == "note"
    assert not found(30) and not found(90, "random")


@pytest.mark.parametrize("section", ["finetune", "pretrain.method"])
def test_classes_have_no_weights_where_targets_are_numbers(section, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4))
    np.savez(tmp_path / "numbers.npz", X=rows, y=rows[:, 0])
    weights = "balanced", "none"
    own = settings(
        str(tmp_path / "numbers.npz"),
        finetune={"class_weights": weights[section != "finetune"]},
        pretrain=PretrainConfig(batch_size=10, method=SupervisedConfig(class_weights=weights[section == "finetune"])),
        study=StudyConfig(metric="r2"),
    )
    with pytest.raises(ConfigError, match=rf"{section}.class_weights: 'balanced' weighs classes, and the task is regr"):
        planned(own)
