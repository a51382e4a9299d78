"""Phase losses are found in a run's curves, once for all arms that share a pretraining, and drawn where they are."""

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from pretrain.report import drawing, figures
from pretrain.report.drawing import COLOURS
from pretrain.study.arms import Arm, arms
from pretrain.study.curves import Curves
from pretrain.study.phases import Pretraining, pretrainings

INIT, FROZEN, RATE = "finetune.encoder_init", "finetune.frozen_layers", "pretrain.optimizer.learning_rate"


def test_a_runs_phases_are_what_its_curves_hold(run):
    trials, curves = pq.read_table(run / "trials.parquet"), pq.read_table(run / "curves.parquet")
    (found,), n = pretrainings(Curves(curves), arms(trials), 4)
    assert n == 1 and found.point == {} and set(found.phases) == {"pretrain/0", "pretrain/1"}
    rows = curves.to_pylist()
    ids = [row["trial_id"] for row in trials.to_pylist() if row[INIT] == "pretrained" and row[FROZEN] == 2]
    for stage, metrics in found.phases.items():
        assert set(metrics) == {"mse", "validation_mse"}
        for metric, (steps, values) in metrics.items():
            assert values.shape == (2, len(steps))
            for trial, line in zip(ids, values, strict=True):
                key = {"trial_id": trial, "stage": stage, "metric": metric}
                kept = {row["step"]: row["value"] for row in rows if row.items() >= key.items()}
                assert kept == dict(zip(steps.tolist(), line.tolist(), strict=True))


def made(arms_of_trials, steps=3, encoded=True):
    """Arms and curves of trials with one phase, whose error is the trial's number from its first update on."""
    names = [trial for trials in arms_of_trials.values() for trial in trials]
    column = lambda values: pa.array(values).dictionary_encode() if encoded else pa.array(values)
    curves = pa.table(
        {
            "trial_id": column(np.repeat(names, steps).tolist()),
            "stage": column(["pretrain/0"] * steps * len(names)),
            "step": pa.array(np.tile(np.arange(steps, 0, -1), len(names)), pa.int32()),
            "metric": column(["mse"] * steps * len(names)),
            "value": pa.array(np.repeat(np.arange(len(names)) + 1.0, steps), pa.float32()),
        }
    )
    return curves, arms_of_trials


@pytest.mark.parametrize("encoded", [True, False])
def test_arms_share_a_pretraining_unless_a_setting_of_it_differs(encoded):
    curves, _ = made({"all": ["a", "b", "c", "d"]}, encoded=encoded)
    found = [
        Arm({INIT: "pretrained", RATE: 0.1, FROZEN: 2}, (0, 1), ("b", "a"), ()),
        Arm({INIT: "pretrained", RATE: 0.1, FROZEN: 0}, (0, 1), ("b", "a"), ()),
        Arm({INIT: "he", RATE: 0.1, FROZEN: 0}, (0,), ("never pretrained",), ()),
        Arm({INIT: "pretrained", RATE: 0.2, FROZEN: 0}, (), (), ((0, 0), (1, 0))),
        Arm({INIT: "pretrained", RATE: 0.3, FROZEN: 0}, (0, 0, 1), ("c", "c2", "d"), (), (0, 1, 0)),
    ]
    drawn, n = pretrainings(Curves(curves), found, 4)
    assert n == 2 and [one.point for one in drawn] == [{RATE: 0.1}, {RATE: 0.3}]
    for one, values in zip(drawn, ([1, 2], [3, 4]), strict=True):
        steps, lines = one.phases["pretrain/0"]["mse"]
        assert steps.tolist() == [1, 2, 3] and lines.tolist() == [[value] * 3 for value in values]
    assert len(pretrainings(Curves(curves), found, 1)[0]) == 1 and pretrainings(Curves(curves), found, 1)[1] == 2
    assert pretrainings(Curves(curves), found[2:4], 4) == ([], 0)
    assert pretrainings(Curves(curves.slice(0, 0)), found, 4) == ([], 0)


def test_controls_share_the_pretraining_they_are_made_of_and_other_encoders_have_their_own():
    curves, _ = made({"all": ["a", "b", "c"]})
    inits = {"pretrained": "a", "permuted": "a", "pca": "b", "wrong_data": "c"}
    found = [Arm({INIT: init, FROZEN: 0}, (0,), (trial,), ()) for init, trial in inits.items()]
    drawn, n = pretrainings(Curves(curves), found, 4)
    assert n == 3 and [one.point for one in drawn] == [{}, {INIT: "pca"}, {INIT: "wrong_data"}]


def test_phases_that_reconstruct_nothing_are_left_out():
    curves, _ = made({"all": ["a"]})
    named = curves.set_column(3, "metric", pa.array(["accuracy"] * len(curves)))
    assert pretrainings(Curves(named), [Arm({INIT: "pretrained"}, (0,), ("a",), ())], 4)[0] == []


@pytest.mark.parametrize(("lowest", "scale"), [(0.05, "log"), (0.5, "linear"), (-0.5, "linear")])
def test_a_loss_is_drawn_where_nothing_is_reconstructed(lowest, scale):
    curves, _ = made({"all": ["a"]})
    named = curves.set_column(3, "metric", pa.array(["loss", "loss", "validation_loss"]))
    drawn, _ = pretrainings(Curves(named), [Arm({INIT: "pretrained"}, (0,), ("a",), ())], 4)
    assert set(drawn[0].phases["pretrain/0"]) == {"loss", "validation_loss"}
    steps = np.arange(1, 41)
    one = Pretraining({}, {"pretrain/0": {"loss": (steps, np.full((3, 40), np.linspace(1, lowest, 40)))}})
    axes = figures.phase_losses([one]).axes[0]
    assert axes.get_ylabel() == "loss" and axes.get_yscale() == scale


def test_metrics_beside_the_error_are_drawn_with_the_values_at_which_embeddings_are_alike():
    curves, _ = made({"all": ["a"]}, steps=4)
    metrics = ["loss", "validation_loss", "chance_loss", "accuracy"]
    arm = Arm({INIT: "pretrained"}, (0,), ("a",), ())
    (found,), _ = pretrainings(Curves(curves.set_column(3, "metric", pa.array(metrics))), [arm], 4)
    assert set(found.phases["pretrain/0"]) == set(metrics[:3]) and set(found.others["pretrain/0"]) == {"accuracy"}
    axes = figures.phase_losses([found]).axes[0]
    assert axes.get_ylabel() == "cross-entropy (nats)" and [line.get_linestyle() for line in axes.lines][-1] == ":"
    assert [each.get_title() for each in figures.pretext_metrics([found]).axes] == ["accuracy (fraction)"]
    metrics = ["loss", "variance", "invariance", "validation_variance"]
    (found,), _ = pretrainings(Curves(curves.set_column(3, "metric", pa.array(metrics))), [arm], 4)
    assert figures.metrics_beside([found]) == [("pretrain/0", "invariance"), ("pretrain/0", "variance")]
    assert figures.error_name([found]) == "loss"
    first, second = figures.pretext_metrics([found]).axes
    assert [line.get_ydata()[0] for line in second.lines] == [1, 1, 1] and len(first.lines) == 1
    metrics = ["loss", "validation_effective_rank", "validation_neighbour_accuracy", "variance"]
    (found,), _ = pretrainings(Curves(curves.set_column(3, "metric", pa.array(metrics))), [arm], 4)
    drawn = figures.pretext_metrics([found, found])  # with a legend, of curves on validation rows alone
    assert [each.get_title().replace("\n", " ") for each in drawn.axes[:3]] == [
        "effective rank of codes",
        "accuracy of the nearest neighbour",
        "lack of deviation",
    ]
    assert len(drawn.legends[0].texts) == 2


def test_a_large_sweep_takes_no_time():
    trials = [f"{number:x}" for number in range(512)]
    curves, _ = made({"all": trials}, steps=2 * 1464)
    found = [Arm({RATE: float(place)}, tuple(range(64)), tuple(trials[place * 64 :][:64]), ()) for place in range(8)]
    began = time.monotonic()
    drawn, n = pretrainings(Curves(curves), found, 4)
    assert time.monotonic() - began < 5  # a loop over its 1.5 million rows takes several times that
    assert n == 8 and drawn[1].phases["pretrain/0"]["mse"][1].shape == (64, 2928)


def pixels(found, tmp_path):
    drawing.save(figures.phase_losses(found), tmp_path, "phases")
    return image.imread(tmp_path / "phases.png")[..., :3]


def where(found, index):
    return np.nonzero((np.abs(found - to_rgb(COLOURS[index])) < 0.004).all(axis=-1))


def pretraining(level, n_steps=40, phases=("pretrain/0",), **point):
    steps = np.arange(1, n_steps + 1)
    ends = steps[9::10]
    curve = {"mse": (steps, np.full((3, n_steps), level)), "validation_mse": (ends, np.full((3, len(ends)), level))}
    return Pretraining(point, dict.fromkeys(phases, curve))


def test_errors_stand_on_a_logarithmic_scale(tmp_path):
    shown = pixels([pretraining(level, rate=level) for level in (1.0, 0.1, 0.001)], tmp_path)
    rows = [np.median(where(shown[: int(0.75 * len(shown))], index)[0]) for index in range(3)]
    assert (rows[2] - rows[1]) / (rows[1] - rows[0]) == pytest.approx(2, abs=0.05)


def test_every_phase_has_a_panel_of_its_own_and_every_epoch_a_dot(tmp_path):
    one = pixels([pretraining(0.1)], tmp_path)
    two = pixels([pretraining(0.1, phases=("pretrain/0", "pretrain/1"))], tmp_path)
    gaps = [np.count_nonzero(np.diff(np.unique(where(shown, 0)[1])) > 60) for shown in (one, two)]
    assert gaps == [0, 1]
    # A dot is higher than the line.
    heights = np.bincount(where(one, 0)[1])
    dots = np.flatnonzero(np.diff((heights > 12).astype(int)) == 1)
    assert len(dots) == 4


def test_training_of_all_layers_at_once_comes_last():
    one = pretraining(0.1, phases=("pretrain/all", "pretrain/1", "pretrain/0"))
    titles = [axes.get_title() for axes in figures.phase_losses([one]).axes]
    assert titles[:3] == ["phase 1", "phase 2", "all layers at once"]


def test_a_long_curve_is_drawn_as_means_of_blocks(tmp_path):
    steps = np.arange(1, 1465)
    values = np.exp(np.random.default_rng(0).normal(0, 0.3, (2, 1464)))
    thin_steps, thin = figures._thinned(steps, values)
    assert len(thin) == len(thin_steps) == 293
    np.testing.assert_allclose(thin[0], values[:, :5].mean())
    np.testing.assert_allclose(thin[-1], values[:, 1460:].mean())
    assert thin_steps[0] == 3 and thin_steps[-1] == np.mean(steps[1460:])
    drawing.save(figures.phase_losses([Pretraining({}, {"pretrain/0": {"mse": (steps, values)}})]), tmp_path, "phases")
    assert (tmp_path / "phases.svg").stat().st_size < 60_000


def test_more_phases_and_pretrainings_than_fit_are_drawn_all_the_same(tmp_path):
    many = [
        pretraining(0.1 * (index + 1), phases=[f"pretrain/{n}" for n in range(5)], rate=index) for index in range(9)
    ]
    shown = pixels(many, tmp_path)
    assert all(where(shown, index)[0].size > 500 for index in range(4)) and not where(shown, 4)[0].size
