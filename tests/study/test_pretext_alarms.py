"""Alarms of pretraining: embeddings at a level where all are alike, and codes of few dimensions."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from pretrain import data
from pretrain.config import AdamConfig, DataConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.metrics import RANKS
from pretrain.execute import execute
from pretrain.plan.plan import packs
from pretrain.plan.plan import plan as plan_all
from pretrain.report import health as words
from pretrain.runs import before, ranks, tables
from pretrain.store.store import Store
from pretrain.study.arms import Arm
from pretrain.study.curves import Curves
from pretrain.study.health import faults_of
from pretrain.study.levels import LEVELS
from pretrain.study.watched import watched
from tests.small_sweep import FINGERPRINTS, METHODS, unwatched

RESULTS = {"test_accuracy": np.full(2, 0.9)}
ARM = Arm({"finetune.encoder_init": "pretrained"}, (0, 1), ("a", "b"), (), results=RESULTS)
STEPS = np.arange(20, 201, 20)
LOSS = 0.5 + np.exp(-np.arange(10) / 3)  # falls by 90 %
LATE = np.where(np.arange(10) < 4, LOSS, 1)  # as LOSS, and then overfits
MASKED = LEVELS[1]
HEALTHY = {
    "loss": {"loss": LOSS, "chance_loss": 5.3, "accuracy": 0.5},
    "masked": {"loss": LOSS, "chance_loss": 1.0},
    "variance": {"loss": LOSS, "variance": 0.4, "invariance": 0.1},
    "alike": {"loss": LOSS, "alike": 0.8},
    "output_deviation": {"loss": LOSS, "output_deviation": 1 / 16},
}
FAILED = {
    "loss": {"loss": np.linspace(5.4, 5.29, 10), "chance_loss": 5.3, "accuracy": 0.01},
    "masked": {"loss": np.linspace(1.4, 0.99, 10), "chance_loss": 1.0},
    "variance": {"loss": LOSS, "variance": np.linspace(0.5, 0.99, 10), "invariance": 0.0},
    "alike": {"loss": LOSS, "alike": -0.02},
    "output_deviation": {"loss": LOSS, "output_deviation": np.geomspace(0.06, 1e-4, 10)},
}


def seen(held_out, ranks=None, arm=ARM):
    """The one stage of an arm with such metrics on validation rows, a value or one a measurement."""
    rows = [
        {"trial_id": trial, "stage": "pretrain/all", "step": int(step), "metric": name, "value": float(value)}
        for trial in arm.trial_ids
        for metric, values in held_out.items()
        for name in (metric, f"validation_{metric}")
        for step, value in zip(STEPS, np.broadcast_to(values, 10), strict=True)
    ]
    stages = [
        {"trial_id": trial, "stage": "pretrain/all", "stage_id": trial, **dict(zip(RANKS, ranks or (), strict=False))}
        for trial in arm.trial_ids
    ]
    (found,) = watched(Curves(pa.Table.from_pylist(rows)), [arm], pa.Table.from_pylist(stages))
    return found


def said(*stages, arm=ARM):
    faults = faults_of([arm], "test_accuracy", stages)
    return words.failed(faults, Experiment()), words.warnings(faults, Experiment())


def key(level):
    return "masked" if level == MASKED else level.metric


@pytest.mark.parametrize("level", LEVELS, ids=key)
def test_a_metric_at_its_level_is_named_with_a_remedy_and_a_healthy_one_is_not(level):
    healthy = seen(HEALTHY[key(level)])
    assert healthy.reached.level == level and healthy.states == ["learns"] * 2 and said(healthy) == ("", [])
    broken = seen(FAILED[key(level)])
    assert broken.states == [level.outcome] * 2
    failed, others = said(broken)
    shown = "is at chance" if level.outcome == "at chance" else "collapsed"
    assert f"{shown} in pretrain/all: its {level.metric} on validation rows ends at" in failed and others == []
    assert failed.count("Pretraining of") == 1 and failed.endswith(f"{level.remedy}.")


@pytest.mark.parametrize("level", LEVELS, ids=key)
def test_a_level_counts_up_to_its_margin_and_beyond_it(level):
    at = HEALTHY[key(level)].get(level.at, level.at)
    for beyond, is_there in ((0.9, True), (1.1, False), (-3, True)):
        held_out = {**HEALTHY[key(level)], level.metric: at + beyond * level.margin}
        assert (seen(held_out).states == [level.outcome] * 2) is is_there


def test_a_method_that_records_a_metric_of_such_a_name_alone_has_no_level():
    assert seen({"loss": LOSS, "variance": 1.0}).reached is None
    assert seen({"loss": LOSS}).reached is None


def test_of_parameters_that_are_kept_at_the_best_update_the_level_is_the_one_there():
    held_out = {"loss": LATE, "alike": np.where(np.arange(10) < 5, 0.8, 0.0)}
    kept = ARM._replace(results={**RESULTS, "pretrain_best_update": np.full(2, 80.0)})
    assert seen(held_out).states == ["collapsed"] * 2
    assert seen(held_out, arm=kept).states == ["learns"] * 2


def test_codes_of_few_dimensions_are_named_unless_the_untrained_ones_have_as_few():
    for measured, is_low in (((33, 100), True), ((34, 100), False), ((1.0, 2.0), False), ((np.nan, 9.0), False)):
        low = seen(HEALTHY["alike"], measured)
        assert low.states == ["low rank" if is_low else "learns"] * 2
        failed, others = said(low)
        assert failed == "" and len(others) == is_low
        if is_low:
            assert "effective rank is 33, and 100 of the same encoder untrained" in others[0]
    assert seen(HEALTHY["alike"]).states == ["learns"] * 2  # of an older run, whose ranks were not measured


def test_one_failure_is_named_once_however_many_signs_it_has():
    flat = {"loss": np.linspace(5.3, 5.31, 10), "chance_loss": 5.3}
    both = ARM._replace(results={**RESULTS, "constant_units": np.ones(2)})
    failed, others = said(seen(flat, (1.0, 50.0), both), arm=both)
    assert "is at chance" in failed and failed.count("Pretraining") == 1 and others == []
    failed, others = said(seen(HEALTHY["loss"], (1.0, 50.0), both), arm=both)
    assert failed == "" and len(others) == 1 and "few dimensions" in others[0]
    mean = ARM._replace(results={**RESULTS, "pretrain_test_mse": np.ones(2), "pretrain_test_variance": np.ones(2)})
    failed, others = said(seen({"mse": LOSS}, (1.0, 50.0), mean), arm=mean)
    assert "inputs' mean" in failed and others == []
    failed, others = said(seen({"loss": np.linspace(1, 1.1, 10)}, (1.0, 50.0)))
    assert "learned nothing" in failed and others == []


def test_an_error_whose_standard_error_is_unknown_counts_against_the_noise_of_batches():
    near = seen({"loss": 1 + 1e-4 * np.arange(10)[::-1]})._replace(noise=np.full(2, 0.01))
    near = near._replace(before_held_out=np.full(2, 1.001))
    for noise, state in ((0.0, "did not train"), (1e-4, "learns")):
        assert near._replace(before_noise=np.full(2, noise)).states == [state] * 2


def test_trials_that_fail_in_different_ways_count_together():
    three = ARM._replace(seeds=(0, 1, 2), trial_ids=("a", "b", "c"), results={"test_accuracy": np.full(3, 0.9)})
    stage = seen(HEALTHY["alike"], (80.0, 100.0), three)
    mixed = stage._replace(rank=np.array([10.0, 80.0, 80.0]), best=np.array([0.5, 0.5, 0.2]))
    mixed = mixed._replace(trained=np.array([0.5, 0.5, 0.1]))
    assert mixed.states == ["low rank", "learns", "overfitted"]
    assert len(said(mixed, arm=three)[1]) == 1
    assert said(mixed._replace(rank=np.full(3, 80.0)), arm=three) == ("", [])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    images, labels = load_digits(return_X_y=True)
    images = (15.9 * images).astype(np.uint8).reshape(-1, 8, 8, 1)
    np.savez(path, x_train=images[:1400], y_train=labels[:1400], x_test=images[1400:], y_test=labels[1400:])
    return path


@pytest.fixture
def trained(digits, tmp_path):
    """Returns a function that really pretrains on digits, and returns what is said of it."""

    def sentences(kind, rate=0.003, **settings):
        method, optimizer = METHODS[kind](**settings), AdamConfig(learning_rate=rate)
        each = {"updates": 200, "batch_size": 100, "training": "end_to_end"}
        experiment = Experiment(
            data=DataConfig(name=str(digits), validation=300),
            encoder=EncoderConfig(layers=(64, 32)),
            pretrain=PretrainConfig(method=method, optimizer=optimizer, **each),
            finetune=FinetuneConfig(labels=100, readout="ridge"),
            seeds=2,
        )
        datasets = data.load_all(experiment)
        plan = plan_all(experiment, datasets, FINGERPRINTS)
        store = Store(tmp_path, pytest.fail)
        for pack in packs(plan.jobs.values(), (), 1 << 30, 1):
            parents = [store.params(job.parent) if job.parent else None for job in pack.jobs]
            store.save(pack, execute.run(pack, datasets[pack.data], parents, unwatched))
        measured = (each.of_plan(plan, store, datasets, {}) for each in (before, ranks))
        arm = ARM._replace(trial_ids=tuple(trial.id for trial in plan.trials))
        curves = Curves(tables.curves(plan, store))
        return said(*watched(curves, [arm], tables.stages(plan, *measured)), arm=arm)

    return sentences


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["autoencoder", "contrastive", "redundancy", "variance", "teacher"])
def test_defaults_raise_no_alarm(trained, kind):
    assert trained(kind) == ("", [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("contrastive", {"rate": 1e-6}, "learned nothing"),
        ("contrastive", {"rate": 0.2}, "few dimensions"),
        ("contrastive", {"temperature": 100.0}, "is at chance"),
        ("variance", {"variance_weight": 0.0}, "its variance on validation rows ends at 0.9"),
        ("variance", {"rate": 0.2}, "learned nothing"),
        ("redundancy", {"rate": 0.2}, "few dimensions"),
        ("teacher", {"stops_gradient": False, "predictor": ()}, "its output_deviation on validation rows ends at"),
    ],
)
def test_settings_that_fail_raise_one_alarm_each(trained, kind, settings, named):
    failed, others = trained(kind, **settings)
    (sentence,) = [*([failed] if failed else []), *others]
    assert named in sentence
