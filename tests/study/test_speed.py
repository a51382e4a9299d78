"""Which arm learns faster: planted curves, whichever ends better."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.study import statistics
from pretrain.study.arms import arms
from pretrain.study.curves import Curves
from pretrain.study.speed import measure_of, speed, updates_to
from tests.study.test_statistics import curves_table

STEPS = np.array([1, 2, 5, 10, 20, 40, 80, 160])
INIT, METRIC = "finetune.encoder_init", "validation_accuracy"


def found(curves, steps=STEPS):
    """The speed of the first arm against the second, from accuracies [seeds, steps] by encoder."""
    trials, rows = [], []
    for init, seeds in curves.items():
        for seed, values in enumerate(seeds):
            own = {"trial_id": f"{init}{seed}", "seed": seed, INIT: init, "status": "ok"}
            trials.append({**own, "validation_accuracy": values[-1]})
            rows += [
                (f"{init}{seed}", "finetune", step, METRIC, value) for step, value in zip(steps, values, strict=True)
            ]
    table = pa.Table.from_pylist(trials)
    return speed(arms(table), measure_of(table.column_names, Curves(curves_table(rows))), statistics.LEVEL)


def learning(half, end, n=8, noise=0.0):
    """Accuracies that are half of what they come to after so many updates."""
    return end * STEPS / (STEPS + half) + np.random.default_rng(0).normal(0, noise, (n, len(STEPS)))


def test_the_target_is_first_reached_between_measurements():
    assert updates_to(0.5, np.array([10, 20]), np.array([0.4, 0.6])) == pytest.approx(15)
    assert updates_to(0.5, np.array([10, 20, 40]), np.array([0.5, 0.2, 0.9])) == 10
    assert updates_to(0.5, np.array([10, 20]), np.array([0.4, 0.49])) == np.inf


def test_an_arm_may_learn_faster_and_end_worse():
    one = found({"pretrained": learning(2, 0.86, noise=0.002), "he": learning(10, 0.9, noise=0.002)})
    finals = [0.86 * 160 / 162, 0.9 * 160 / 170]
    assert one.target == pytest.approx(0.9 * max(finals), abs=0.002)
    assert one.ratio.high < 1 and one.learns(0.95) == "faster"
    other = found({"pretrained": learning(10, 0.9, noise=0.002), "he": learning(2, 0.86, noise=0.002)})
    assert other.ratio.low > 1 and other.learns(0.95) == "more slowly"
    assert other.ratio.mean == pytest.approx(1 / one.ratio.mean)


def test_an_arm_that_never_gets_there_has_no_ratio():
    one = found({"pretrained": learning(2, 0.5), "he": learning(2, 0.9)})
    assert np.isinf(one.treated).all() and np.isfinite(one.untreated).all()
    assert one.ratio is None and one.p_value == 2 / 2**8 and one.learns(0.95) == "more slowly"
    neither = found({"pretrained": learning(2, 0.5), "he": learning(2, 0.5) * np.linspace(1, 2, 8)[:, None]})
    assert neither.ratio is None and neither.learns(0.95) == "not certain"  # five of eight seeds


def test_few_seeds_are_never_certain():
    assert found({"pretrained": learning(2, 0.9, n=5), "he": learning(9, 0.9, n=5)}).learns(0.95) == "not certain"


def test_a_curve_that_stopped_early_stays_as_it_was():
    steps = np.array([1, 2, 5, 10])
    short = np.tile([0.2, 0.5, 0.8, 0.9], (8, 1))
    assert found({"pretrained": short, "he": short}, steps).ratio.mean == pytest.approx(1)


def test_read_outs_have_no_speed():
    trials = pa.Table.from_pylist(
        [
            {"trial_id": f"{init}{seed}", "seed": seed, INIT: init, "status": "ok", METRIC: 0.9}
            for init in ("a", "b")
            for seed in (0, 1)
        ]
    )
    assert (
        speed(
            arms(trials),
            measure_of(trials.column_names, Curves(curves_table([("of another", "finetune", 1, METRIC, 0.9)]))),
            statistics.LEVEL,
        )
        is None
    )


def of_numbers(fast, slow):
    """The speed of the first arm against the second, from explained parts of the variance [seeds, steps]."""
    trials, rows = [], []
    for init, seeds in {"pretrained": fast, "he": slow}.items():
        for seed, values in enumerate(seeds):
            trial = f"{init}{seed}"
            trials.append({"trial_id": trial, "seed": seed, INIT: init, "status": "ok", "validation_r2": 0.0})
            trials[-1]["validation_loss"] = 1 - values[-1]
            rows += [
                (trial, "finetune", step, "validation_loss", 1 - value)
                for step, value in zip(STEPS, values, strict=True)
            ]
    table = pa.Table.from_pylist(trials)
    return speed(arms(table), measure_of(table.column_names, Curves(curves_table(rows))), statistics.LEVEL)


def test_numbers_are_learned_as_the_explained_part_of_their_variance():
    fast, slow = learning(2, 0.86, noise=0.002), learning(10, 0.9, noise=0.002)
    one, same = of_numbers(fast, slow), found({"pretrained": fast, "he": slow})
    assert (one.of, same.of) == ("explained variance", "accuracy")
    for ours, theirs in zip(one[1:4], same[1:4], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert one.learns(0.95) == same.learns(0.95) == "faster"
    assert of_numbers(fast - 2, slow - 2) is None  # no better than the mean
