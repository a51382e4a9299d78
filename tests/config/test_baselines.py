"""Baselines stand beside the points of a sweep, once for each of its conditions."""

from pretrain.config import Experiment, FinetuneConfig, StudyConfig, from_json, to_json
from pretrain.config.baselines import READOUTS, is_baseline

INIT, READOUT, LABELS = "finetune.encoder_init", "finetune.readout", "finetune.labels"
ASKED = StudyConfig(baselines=True)


def added(**fields):
    """The points of an experiment, and those that baselines add to them."""
    points = [point.values for point in Experiment(study=ASKED, **fields).points]
    own = [point.values for point in Experiment(**fields).points]
    assert [set(point) - {INIT} for point in points[: len(own)]] == [set(point) - {INIT} for point in own]
    return points[: len(own)], points[len(own) :]


def test_each_condition_has_its_baselines():
    grid = {INIT: ("pretrained", "he"), LABELS: (100, 200), "finetune.optimizer.learning_rate": (0.1, 0.2)}
    own, beside = added(sweep=(grid,))
    assert len(own) == 8
    assert beside == [{LABELS: n, INIT: "none", READOUT: readout} for n in (100, 200) for readout in READOUTS]
    assert all(is_baseline(point, True) for point in beside) and not any(is_baseline(point, True) for point in own)
    assert not any(is_baseline(point, False) for point in beside)


def test_points_say_their_encoder_and_pretraining_alone_is_no_condition():
    assert added() == ([{INIT: "pretrained"}], [{INIT: "none", READOUT: readout} for readout in READOUTS])
    own, beside = added(finetune=FinetuneConfig(encoder_init="he"), sweep=({"data.unlabelled": (10, 20)},))
    assert [point[INIT] for point in own] == ["he", "he"]
    assert beside == [{INIT: "none", READOUT: readout} for readout in READOUTS]


def test_baselines_that_a_sweep_has_are_not_repeated():
    _, beside = added(sweep=({INIT: ("pretrained", "he")}, {INIT: ("none",), READOUT: ("trees",)}))
    assert [point[READOUT] for point in beside] == ["linear", "knn"]


def test_an_experiment_with_baselines_reloads_with_the_same_points():
    experiment = Experiment(study=ASKED, sweep=({INIT: ("pretrained", "he")},))
    assert from_json(to_json(experiment)) == experiment
    assert from_json(to_json(experiment)).points == experiment.points


def test_arms_with_other_swept_values_are_no_baselines():
    point = {INIT: "none", READOUT: "trees"}
    assert is_baseline({**point, "finetune.frozen_layers": None, "data.name": "a.csv"}, True)
    for name, value in {"finetune.codes": "raw", "encoder.layers": [3], READOUT: "ridge", INIT: "he"}.items():
        assert not is_baseline({**point, name: value}, True)
