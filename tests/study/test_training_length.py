"""Whether arms still improve: slopes against NumPy, the measurements they are taken from, and simulated error rates."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.study import statistics
from pretrain.study.arms import arms
from pretrain.study.curves import Curves
from pretrain.study.training_length import last_measurements, lengths, relative_change, trend
from tests.study.test_statistics import curves_table

EPOCHS = (1, 2, 5, 10, 20, 40, 80, 120, 160)  # updates after which the seed's fine-tunings are measured
INIT = "finetune.encoder_init"


def tables(curves, steps=EPOCHS, stopped=None, repeats=1):
    """Tables of runs from losses [trials, steps] by encoder; trials in a row are repeats of a seed."""
    trials, rows = [], []
    for init, losses in curves.items():
        for number, values in enumerate(losses):
            trial = f"{init}-{number}"
            own = {"seed": number // repeats, "repeat": number % repeats, INIT: init, "status": "ok"}
            early = {"finetune_stopped": trial in stopped} if stopped is not None else {}
            trials.append({"trial_id": trial, **own, "test_accuracy": 0.9, "validation_accuracy": 0.9, **early})
            measured = zip(steps, values, strict=True)
            rows += [(trial, "finetune", step, "validation_loss", value) for step, value in measured if value == value]
            rows.append((trial, "pretrain/0", 1, "validation_loss", 7.0))  # of another stage
    return pa.Table.from_pylist(trials), curves_table(rows)


def lengths_of(*given, **settings):
    trials, curves = tables(*given, **settings)
    return lengths(Curves(curves), arms(trials))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (EPOCHS, (120, 160)),
        (tuple(range(1, 101)), tuple(range(80, 101))),
        ((20, 40, 60, 80, 90, 100), (80, 90, 100)),
        ((1, 20, 40), (20, 40)),
        ((1, 19, 40), None),
        ((1, 2, 5, 10, 20, 40, 5000), None),
        ((8,), None),
    ],
)
def test_a_slope_is_taken_from_the_last_fifth_or_from_the_last_two_of_the_last_half(steps, expected):
    places = last_measurements(np.array(steps))
    assert (places is None) == (expected is None)
    assert expected is None or tuple(np.array(steps)[places]) == expected


def test_the_change_is_that_of_a_least_squares_line():
    rng = np.random.default_rng(0)
    for steps in (np.array(EPOCHS), np.arange(10, 501, 10)):
        losses = rng.random(len(steps)) + 1
        last = last_measurements(steps)
        slope, _ = np.polyfit(steps[last].astype(float), losses[last], 1)
        expected = slope * steps[-1] / 5 / losses[last].mean()
        assert relative_change(steps, losses) == pytest.approx(expected)


def test_an_arm_is_judged_by_its_own_seeds_and_repeats_of_one_count_once():
    rng = np.random.default_rng(1)
    falling = 2 - np.log(np.array(EPOCHS)) / 4
    level = np.where(np.array(EPOCHS) < 40, 1.0, 0.5)
    losses = {"pretrained": falling + rng.normal(0, 0.001, (8, 9)), "he": level + rng.normal(0, 0.001, (8, 9))}
    found = lengths_of(losses)
    assert [one.trend for one in found] == ["improves", "level"]
    assert [(one.updates, one.since) for one in found] == [(160, 120)] * 2
    changes = np.array([relative_change(np.array(EPOCHS), one) for one in losses["pretrained"]])
    assert found[0].change == pytest.approx(statistics.student(changes))
    (twice,) = lengths_of({"he": np.repeat(losses["he"], 2, axis=0)}, repeats=2)
    assert twice.change == pytest.approx(found[1].change)
    (alone,) = lengths_of({"he": losses["he"][:1]})
    assert alone.trend == "open" and np.isinf(alone.change.low)


def test_what_was_measured_too_seldom_is_not_guessed():
    (found,) = lengths_of({"he": np.linspace(2, 1, 7) + np.zeros((8, 1))}, (1, 2, 5, 10, 20, 40, 5000))
    assert found.trend == "unmeasured" and found.change is None and found.updates == 5000


def stopped(slope, n_measured=40):
    """Losses [trials, measurements] that change by a fraction in a fifth of training, and the updates of these."""
    steps = np.arange(1, n_measured + 1) * 5
    noise = np.random.default_rng(0).normal(0, 0.001, (8, n_measured))
    return 1 + slope * 5 * (steps / steps[-1] - 1) + noise, tuple(steps)


@pytest.mark.parametrize(("slope", "word"), [(-0.05, "improves"), (0.0, "level"), (0.05, "rises")])
def test_an_arm_that_stopped_early_has_levelled_off_only_if_its_slope_says_so(slope, word):
    losses, steps = stopped(slope)
    (found,) = lengths_of({"he": losses}, steps, stopped={f"he-{number}" for number in range(8)})
    # One whose first loss is its lowest was never trained.
    assert (found.trend, found.n_stopped, found.updates) == (word, 8, 200)
    if word != "rises":
        last = np.arange(28, 40)
        changes = [np.polyfit(np.array(steps)[last], each[last], 1)[0] * 40 / each[last].mean() for each in losses]
        assert found.change == pytest.approx(statistics.student(np.array(changes)), abs=1e-7)  # float32
        assert found.since == steps[28]


def test_what_rises_before_it_stops_is_level_and_few_measurements_say_nothing():
    losses, steps = stopped(0.0)
    losses[:, 0], losses[:, -12:] = 0.5, losses[:, -12:] + np.linspace(0, 0.2, 12)
    losses[:, 3] = 0.4
    (found,) = lengths_of({"he": losses}, steps, stopped={f"he-{number}" for number in range(8)})
    assert found.trend == "level" and found.change.mean > 0
    (few,) = lengths_of({"he": losses[:, :5]}, steps[:5], stopped={f"he-{number}" for number in range(8)})
    assert few.trend == "unmeasured"


def test_an_arm_that_mostly_did_not_stop_early_is_judged_by_the_others():
    losses = 2 - np.log(np.array(EPOCHS)) / 4 + np.random.default_rng(0).normal(0, 0.001, (8, 9))
    losses[0, -2:] = np.nan
    (one,) = lengths_of({"he": losses}, stopped={"he-0"})
    assert (one.trend, one.n_stopped) == ("improves", 1)
    assert one.change == pytest.approx(
        statistics.student(np.array([relative_change(np.array(EPOCHS), each) for each in losses[1:]]))
    )


def test_read_outs_and_lost_arms_have_no_length():
    trials, curves = tables({"he": np.ones((2, 9))})
    trials = trials.set_column(trials.column_names.index("status"), "status", pa.array(["diverged"] * 2))
    assert lengths(Curves(curves), arms(trials)) == [None]
    trials, _ = tables({"he": np.ones((2, 9))})
    penalties = curves_table([("he-0", "finetune", 1, "chosen_penalty", 1.0)])
    assert lengths(Curves(penalties), arms(trials)) == [None]


def simulated(n, slope, n_experiments=2000):
    """How often arms of n seeds, whose loss changes by a fraction in a fifth of training, are called what."""
    rng, called = np.random.default_rng(n), []
    for _ in range(n_experiments):
        # The spread of losses of `geron`: 3 % from measurement to measurement, skewed, larger in some seeds.
        noise = 0.03 * rng.lognormal(0, 0.4, (n, 1)) * (1 - rng.exponential(1, (n, 2)))
        losses = np.array([1, 1 + slope * 40 / 32]) + noise
        changes = [relative_change(np.array(EPOCHS)[-2:], each) for each in losses]
        called.append(trend(statistics.student(np.array(changes))))
    return {name: called.count(name) / n_experiments for name in set(called)}


@pytest.mark.parametrize("n", [3, 6, 8, 16, 32])
def test_of_arms_that_do_not_improve_few_are_said_to(n):
    found = simulated(n, 0.0)
    assert found.get("improves", 0) <= 0.03 and found.get("rises", 0) <= 0.03


@pytest.mark.parametrize(("n", "power"), [(6, 0.5), (8, 0.7), (16, 0.9)])
def test_of_arms_that_improve_few_are_said_to_have_levelled_off(n, power):
    found = simulated(n, -0.04)
    assert found["improves"] >= power and found.get("level", 0) <= 0.03
