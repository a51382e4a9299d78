"""A verdict on arms that still improve says so, and learning faster is kept apart from ending better."""

import io

import numpy as np
import pyarrow as pa
import pytest

from pretrain.commands import options
from pretrain.config import Experiment
from pretrain.report import listings, terminal, verdicts
from pretrain.report.record import record
from pretrain.study.answer import answer
from tests.report.test_terminal import finetune_curves

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"
STEPS = np.array([1, 5, 20, 40, 80, 120, 160])
FALLING = 2 - np.log(STEPS) / 4
LEVEL = np.where(STEPS < 80, 1.0, 0.5)


def tables(losses, frozen=(0,), half=(2, 5)):
    """A run of eight seeds whose encoders end 4 points apart, from losses by encoder."""
    rng, trials, curves = np.random.default_rng(0), [], []
    for layers in frozen:
        for (init, loss), end, slow in zip(losses.items(), (0.9, 0.86), half, strict=True):
            for seed in range(8):
                trial, accuracies = (
                    f"{init}{layers}{seed}",
                    end * STEPS / (STEPS + slow) + rng.normal(0, 0.002, len(STEPS)),
                )
                point = {"trial_id": trial, "seed": seed, INIT: init, FROZEN: layers, "status": "ok"}
                trials.append(point | dict.fromkeys(("test_accuracy", "validation_accuracy"), accuracies[-1]))
                for metric, values in (
                    ("validation_loss", loss + rng.normal(0, 0.001, len(STEPS))),
                    ("validation_accuracy", accuracies),
                    ("post_update_accuracy", accuracies),
                ):
                    curves += [(trial, metric, step, value) for step, value in zip(STEPS.tolist(), values, strict=True)]
    return pa.Table.from_pylist(trials), finetune_curves(curves)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (
            {"pretrained": FALLING, "he": FALLING},
            "helps with all layers trainable after 160 updates, both still improving (+",
        ),
        ({"pretrained": FALLING, "he": LEVEL}, "after 160 updates, pretrained still improving (+"),
        ({"pretrained": LEVEL, "he": FALLING}, "after 160 updates, He still improving (+"),
        ({"pretrained": LEVEL, "he": LEVEL}, "helps with all layers trainable (+"),
    ],
)
def test_a_verdict_says_which_arms_still_improve(losses, said):
    found = answer(*tables(losses))
    assert said in verdicts.verdict(found.comparisons)
    kept = record(found, Experiment(), "0" * 64, "2 x cpu")
    assert said in kept["verdict"]
    falling = [side for side, init in (("treatment", "pretrained"), ("baseline", "he")) if losses[init] is FALLING]
    assert kept["comparisons"][0]["still_improving"] == falling
    assert [arm["training"]["trend"] for arm in kept["arms"]] == [
        "improves" if loss is FALLING else "level" for loss in losses.values()
    ]
    n = len(falling)
    where = {0: "has levelled off in both arms", 1: "still falls in 1 of 2 arms", 2: "still falls in both arms"}[n]
    expected = f"the validation loss {where}"
    assert expected in kept["basis"]


def test_a_verdict_on_many_settings_counts_those_that_still_improve():
    found = answer(*tables({"pretrained": FALLING, "he": LEVEL}, frozen=range(5)))
    sentence = verdicts.verdict(found.comparisons)
    assert "helps in 5 of 5 settings" in sentence and "arms were still improving in 5 of 5 settings" in sentence
    assert "learns faster in 5 of 5 settings" in verdicts.speed(found.comparisons)


def test_learning_faster_is_reported_apart_from_ending_better():
    trials, curves = tables({"pretrained": LEVEL, "he": LEVEL}, half=(5, 2))
    found = answer(trials, curves)
    (one,) = found.comparisons
    assert one.verdict == "helps" and one.speed.learns(found.level) == "more slowly"
    listing = listings.speeds(found)
    (row,) = listing.rows
    assert row[-2:] == ("more slowly", "helps") and len(row) == len(listing.headings) == len(listing.align)
    out = io.StringIO()
    terminal.show(found, trials, curves, options.console(out), Experiment(), "runs/here")
    assert out.getvalue().count("of the better arm's final accuracy") == 1
    kept = record(found, Experiment(), "0" * 64, "2 x cpu")["comparisons"][0]["speed"]
    assert kept["learns"] == "more slowly" and kept["ratio"]["mean"] == pytest.approx(one.speed.ratio.mean)
