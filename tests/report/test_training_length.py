"""A verdict on arms that still improve says so, and learning faster is kept apart from ending better."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest

from pretrain.commands import options
from pretrain.config import Experiment
from pretrain.report import listings, terminal, verdicts, words
from pretrain.report.record import record
from pretrain.study.answer import answer
from tests.report.test_terminal import finetune_curves

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"
STEPS = np.array([1, 5, 20, 40, 80, 120, 160])
FALLING = 2 - np.log(STEPS) / 4
RISING = 1 + np.log(STEPS) / 4
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
            ", with all layers trainable, after 160 updates, both still improving.",
        ),
        ({"pretrained": FALLING, "he": LEVEL}, ", after 160 updates, pretrained still improving."),
        ({"pretrained": LEVEL, "he": FALLING}, ", after 160 updates, from scratch (He) still improving."),
        ({"pretrained": LEVEL, "he": LEVEL}, ", on this data only, with all layers trainable."),
        ({"pretrained": LEVEL, "he": RISING}, ", with all layers trainable, after 160 updates."),
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
        {id(FALLING): "improves", id(RISING): "rises"}.get(id(loss), "level") for loss in losses.values()
    ]
    if any(loss is RISING for loss in losses.values()):
        return
    n = len(falling)
    where = {0: "has levelled off in both arms", 1: "still falls in 1 of 2 arms", 2: "still falls in both arms"}[n]
    expected = f"the validation loss {where}"
    assert expected in kept["basis"]


def test_a_verdict_on_many_settings_counts_those_that_still_improve():
    found = answer(*tables({"pretrained": FALLING, "he": LEVEL}, frozen=range(5)))
    sentence = verdicts.verdict(found.comparisons)
    assert (
        "after 160 updates" in sentence
        and "helps in 5 of 5 settings" in sentence
        and "arms were still improving in 5 of 5 settings" in sentence
    )
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


@pytest.mark.parametrize("frozen", [range(1), range(5), range(30)])
def test_every_headline_names_the_updates_until_all_arms_are_level(frozen):
    for losses, is_named in (({"pretrained": RISING, "he": LEVEL}, True), ({"pretrained": LEVEL, "he": LEVEL}, False)):
        found = answer(*tables(losses, frozen=frozen))
        assert ("after 160 updates" in words.headline(found, Experiment())) is is_named


def test_an_arm_at_chance_has_no_speed_and_a_ratio_without_end_is_not_printed():
    trials, curves = tables({"pretrained": LEVEL, "he": LEVEL})
    for name, value in (("test_accuracy_chance", 0.87), ("test_accuracy_chance_margin", 0.01)):
        trials = trials.append_column(name, pa.array([value] * len(trials)))
    (one,) = answer(trials, curves).comparisons
    assert one.speed is None and verdicts.speed([one]) == "" and one.verdict == "helps"

    trials, curves = tables({"pretrained": LEVEL, "he": LEVEL})
    few = trials.filter(pa.compute.less(trials["seed"], 1))
    (one,) = answer(few, curves).comparisons
    assert "pretraining takes a number of updates that 1 seed does not settle" in verdicts.speed([one]).replace(
        " with all layers trainable", ""
    )
    assert verdicts.updates_ratio(one.speed) == "not settled at 1 seed"
    wide = one.speed._replace(ratio=one.speed.ratio._replace(low=1e-4, high=2.0))
    assert not wide.is_settled and wide._replace(ratio=wide.ratio._replace(low=0.1)).is_settled
