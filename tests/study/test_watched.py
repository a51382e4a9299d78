"""Pretraining is watched by the errors of its stages, whatever they are."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import Experiment
from pretrain.config.metrics import BEFORE
from pretrain.report import health as words
from pretrain.report import listings
from pretrain.report.record import _plain, _watched
from pretrain.study.arms import Arm
from pretrain.study.curves import Curves
from pretrain.study.health import faults_of
from pretrain.study.phases import from_start, pretrainings
from pretrain.study.watched import last_errors, measured, watched

RNG = np.random.default_rng(0)
NOISE = 0.01 * RNG.normal(size=(4, 200))
FALLING = np.exp(-np.arange(200) / 30)
ARM = Arm({"finetune.encoder_init": "pretrained"}, (0, 1, 2, 3), tuple("abcd"), ())
# Errors on training rows [200], and on validation rows after each twentieth update [10].
SHAPES = {
    "learns": (0.2 + FALLING, 0.22 + FALLING[19::20]),
    "did not train": (np.full(200, 1.2), np.full(10, 1.2)),
    "overfitted": (0.05 + FALLING, np.where(np.arange(10) < 4, 0.3 + FALLING[19::20], 0.3 + 0.05 * np.arange(10))),
    "rises": (1 + np.arange(200) / 100, 1 + np.arange(10) / 10),
}


def curves(metric, training, held_out, trials="abcd", stage="pretrain/0"):
    rows = []
    for number, trial in enumerate(trials):
        for step, value in enumerate(training + NOISE[number][: len(training)], 1):
            rows.append({"trial_id": trial, "stage": stage, "step": step, "metric": metric, "value": value})
        for step, value in zip(range(20, 201, 20), held_out, strict=True):
            rows.append(
                {"trial_id": trial, "stage": stage, "step": step, "metric": f"validation_{metric}", "value": value}
            )
    return Curves(pa.Table.from_pylist(rows))


@pytest.mark.parametrize("metric", ["mse", "loss"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_kind_of_failure_is_distinguished_from_learning(shape, metric):
    (seen,) = watched(curves(metric, *SHAPES[shape]), [ARM])
    assert (seen.stage, seen.metric) == ("pretrain/0", metric)
    assert seen.states == [{"rises": "did not train"}.get(shape, shape)] * 4
    training, held_out = SHAPES[shape]
    np.testing.assert_allclose(seen.last, held_out[-1])
    np.testing.assert_allclose(seen.best, held_out.min())
    np.testing.assert_allclose(seen.first, training[0] + NOISE[:, 0])
    assert (seen.best_update == 20 * (1 + np.argmin(held_out))).all() and (seen.updates == 200).all()
    assert last_errors([seen]) == dict.fromkeys("abcd", held_out[-1])


def table_of_stages(training, held_out, noise, **stage):
    row = dict(zip(BEFORE, (training, held_out, noise), strict=True))
    return pa.Table.from_pylist(
        [{"trial_id": trial, "stage": "pretrain/0", "stage_id": trial * 2, **row, **stage} for trial in "abcd"]
    )


@pytest.mark.parametrize(
    ("shape", "start", "state"),
    [  # whatever the first batch was, which is 1.2 and more
        ("learns", (1.0, 1.1, 0.01), "learns"),
        ("learns", (0.5, 0.23, 0.01), "did not train"),
        ("did not train", (2.0, 2.0, 0.01), "learns"),
        ("did not train", (1.2, 1.23, 0.02), "did not train"),
        ("did not train", (1.2, 1.23, 0.01), "learns"),
        ("did not train", (np.nan, np.nan, np.nan), "did not train"),
    ],
)
def test_an_error_counts_against_that_of_the_same_rows_before_the_first_update(shape, start, state):
    stages = table_of_stages(*start)
    (seen,) = watched(curves("mse", *SHAPES[shape]), [ARM], stages)
    assert seen.states == [state] * 4
    np.testing.assert_array_equal([seen.before_training[0], seen.before_held_out[0]], start[:2])
    kept = json.loads(json.dumps(_plain(_watched(seen))))["before"]
    known = None if np.isnan(start[0]) else start[0]
    assert kept == {"training": [known] * 4, "held_out": [None if np.isnan(start[1]) else start[1]] * 4}
    listing = listings.pretraining(SimpleNamespace(pretraining=(seen,)))
    shown = dict(zip(listing.headings, listing.rows[0], strict=True))
    assert shown["held out, first"] == ("–" if known is None else f"{start[1]:.3g}")
    arm = ARM._replace(results={}, failed_stages=())
    faults = faults_of([arm], "test_accuracy", [seen._replace(arm=arm)])
    assert [fault.kind for fault in faults] == ([] if state == "learns" else [state])
    if known and faults:
        assert faults[0].baseline == pytest.approx(start[1])
    assert measured(stages, "stage_id").keys() == {(trial * 2,) for trial in "abcd"}


def test_a_run_of_a_version_that_measured_nothing_before_the_first_update_is_judged_by_first_batches():
    old = table_of_stages(1.0, 1.0, 0.0).drop_columns(list(BEFORE))
    for stages in (None, old, table_of_stages(None, None, None, stage="finetune")):
        (seen,) = watched(curves("mse", *SHAPES["learns"]), [ARM], stages)
        assert not seen.is_measured.any() and seen.states == ["learns"] * 4
        np.testing.assert_array_equal(seen.start, seen.first)


def test_a_figure_begins_with_the_error_before_the_first_update():
    table = curves("mse", *SHAPES["learns"])
    (drawn,), _ = pretrainings(table, [ARM], 4)
    for start, first in (((1.0, 1.1, 0.01), 1.1), ((np.nan,) * 3, SHAPES["learns"][1][0])):
        seen = watched(table, [ARM], table_of_stages(*start))
        updates, values = from_start(drawn, seen).phases["pretrain/0"]["validation_mse"]
        assert updates[0] == (20 if np.isnan(start[0]) else 0) and values.shape == (4, len(updates))
        np.testing.assert_allclose(values[:, 0], first)


def test_a_closed_form_and_a_stage_of_other_trials_are_not_watched():
    table = curves("mse", np.array([0.5]), np.full(10, 0.5))
    assert list(watched(table, [ARM])) == []
    assert list(watched(curves("mse", *SHAPES["learns"]), [ARM._replace(trial_ids=tuple("wxyz"))])) == []


def test_pretraining_that_keeps_its_best_parameters_does_not_overfit():
    table = curves("mse", *SHAPES["overfitted"])
    for kept, state in ((np.full(4, 80.0), "learns"), (np.full(4, np.nan), "overfitted")):
        (each,) = watched(table, [ARM._replace(results={"pretrain_best_update": kept})])
        assert each.states == [state] * 4


def test_failures_are_said_with_their_errors_and_a_remedy():
    arm = ARM._replace(results={"test_accuracy": np.full(4, 0.9)}, failed_stages=())

    def said(shape):
        faults = faults_of([arm], "test_accuracy", watched(curves("loss", *SHAPES[shape]), [arm]))
        return words.failed(faults, Experiment()), words.warnings(faults, Experiment())

    assert said("learns") == ("", [])
    failed, others = said("did not train")
    assert "learned nothing in pretrain/0: its error on validation rows ends at 1.2, and was 1.19 before" in failed
    assert others == []
    failed, (warned,) = said("overfitted")
    assert failed == "" and "overfits in pretrain/0" in warned and "pretrain.stop" in warned


def test_losses_of_each_stage_stand_in_the_report_and_the_answer_once_for_arms_that_share_them():
    both = [ARM, ARM._replace(point={**ARM.point, "finetune.frozen_layers": 2})]
    seen = tuple(watched(curves("loss", *SHAPES["overfitted"]), both))
    listing = listings.pretraining(SimpleNamespace(pretraining=seen))
    (row,) = listing.rows
    assert len(row) == len(listing.headings) == len(listing.align)
    assert row[:2] == ("pretrain/0", "loss") and row[-3:] == ("80", "– of –", "overfitted")
    assert row[2:6] == tuple(
        "–" if each is None else f"{np.mean(each):.3g}" for each in (None, seen[0].trained, None, seen[0].last)
    )
    assert "first batch" in listing.caption
    kept = [_watched(each) for each in seen]
    assert [each["point"] for each in kept] == [arm.point for arm in both]
    assert kept[0]["outcomes"] == ["overfitted"] * 4 and kept[0]["trials"] == tuple("abcd")


def test_pretrainings_of_several_settings_are_named():
    arms = [ARM._replace(point={**ARM.point, "pretrain.l2": value}) for value in (0.0, 0.1)]
    listing = listings.pretraining(SimpleNamespace(pretraining=tuple(watched(curves("mse", *SHAPES["learns"]), arms))))
    assert [row[0] for row in listing.rows] == ["l2=0", "l2=0.1"] and listing.headings[0] == "pretraining"
