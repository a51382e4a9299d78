"""Final values, status and early stops are computed from what is stored, whenever tables are made."""

import dataclasses

import numpy as np
import pytest

from pretrain.config import AdamConfig
from pretrain.execute import execute
from pretrain.learn.tasks import Task
from pretrain.plan.plan import packs
from pretrain.runs import endings, tables
from pretrain.store.records import Record
from pretrain.store.store import Store
from tests.small_sweep import of_kind, path, unwatched


@pytest.fixture(scope="module")
def stored(planned, dataset, tmp_path_factory):
    """Supervised pretraining and fine-tunings that may end early, with and without it, and the store that holds all."""
    early = {
        "stop": "validation",
        "patience": 2,
        "validate_every": 2,
        "epochs": 9,
        "optimizer": AdamConfig(learning_rate=0.1),
    }
    own = {
        "encoder": {"layers": (5,)},
        "pretrain": of_kind("supervised"),
        "finetune": early | {"optimizer": AdamConfig(learning_rate=0.1)},
    }
    plan = planned(sweep=({"finetune.encoder_init": ("pretrained", "he")},), **own)
    store = Store(tmp_path_factory.mktemp("ends"), pytest.fail)
    for pack in packs(plan.jobs.values(), (), 1 << 30, 2):
        parents = [job.parent and store.params(job.parent) for job in pack.jobs]
        store.save(pack, execute.run(pack, dataset, parents, unwatched))
    return plan, store


def measured(store, job, update):
    """What was measured of held-out examples after an update."""
    (curves,) = store.curves([job.id])
    rows = curves.to_pandas().query("step == @update and metric.str.startswith('validation_')")
    return dict(zip(rows.metric, rows.value, strict=True))


def test_finals_are_the_values_after_the_update_that_is_kept(stored):
    plan, store = stored
    jobs = list(plan.jobs.values())
    records = dict(zip(plan.jobs, store.records(list(plan.jobs)), strict=True))
    found = endings.finals(store, jobs, records)
    for job in jobs:
        stopping = records[job.id].stopping
        assert (stopping is not None) == (job.stage.name == "finetune")
        update = stopping["best_update"] if stopping else job.stage.n_updates
        assert found[job.id] == measured(store, job, update) != {}


def test_tables_follow_the_code_that_ends_a_training(stored, monkeypatch):
    plan, store = stored
    before = tables.trials(plan, store).to_pandas()
    assert set(before.status) == {"ok"} and (before.finetune_best_update > 2).any()
    monkeypatch.setattr(endings, "_kept_update", lambda record, stage: 2 if record.stopping else stage.n_updates)
    after = tables.trials(plan, store).to_pandas()
    losses = [measured(store, path(plan, trial)[-1], 2)["validation_loss"] for trial in range(len(plan.trials))]
    assert after.validation_loss.tolist() == losses != before.validation_loss.tolist()
    assert after.test_loss.equals(before.test_loss)
    monkeypatch.setattr(endings, "_is_least", lambda variation, least: True)
    assert set(tables.trials(plan, store)["status"].to_pylist()) == {"collapsed"}


def test_a_phase_whose_last_validation_is_not_finite_has_failed(stored, monkeypatch):
    plan, store = stored
    first, finals = path(plan)[0], endings.finals
    monkeypatch.setattr(endings, "finals", lambda *given: finals(*given) | {first.id: {"validation_loss": None}})
    trials = tables.trials(plan, store)
    assert trials["failed_stage"].to_pylist() == ["pretrain/0", None]
    assert trials["status"].to_pylist() == ["ok", "ok"]


@pytest.mark.parametrize(
    ("kind", "variation", "is_finite", "final", "status"),
    [
        ("classification", 0.001, True, 0.5, "ok"),
        ("classification", 0.0, True, 0.5, "collapsed"),
        ("classification", None, True, 0.5, "ok"),  # where all targets are the same
        ("regression", 0.009, True, 0.5, "collapsed"),
        ("multilabel", 0.011, True, 0.5, "ok"),
        ("regression", 0.0, False, 0.5, "diverged"),
        ("classification", 0.0, True, None, "diverged"),
    ],
)
def test_a_network_that_predicts_the_same_of_all_has_collapsed(kind, variation, is_finite, final, status, stored):
    stage = path(stored[0])[-1].stage
    static = stage.static._replace(stack=dataclasses.replace(stage.stack, task=Task(kind, 2)))
    record = Record({}, is_finite, {}, 0.0, "", variation, None)
    assert endings.status(record, dataclasses.replace(stage, static=static), {"validation_loss": final}) == status


def test_values_that_are_not_finite_are_none(stored, monkeypatch):
    plan, store = stored
    job = path(plan)[0]
    (curves,) = store.curves([job.id])
    lost = curves.set_column(2, "value", [np.full(len(curves), np.inf, np.float32)])
    monkeypatch.setattr(store, "curves", lambda ids: [lost])
    assert set(endings.finals(store, [job], {job.id: store.records([job.id])[0]})[job.id].values()) == {None}
