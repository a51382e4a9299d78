"""Errors of pretraining before its first update are measured once, of each stage that makes updates."""

import numpy as np
import pytest

from pretrain import data
from pretrain.config.metrics import BEFORE
from pretrain.plan.plan import plan as plan_all
from pretrain.runs import before, tables
from pretrain.study import watched
from tests.runs.test_remeasure import stored
from tests.small_sweep import FINGERPRINTS


@pytest.mark.slow
def test_stages_are_measured_once_and_their_table_holds_it(experiment, tmp_path, monkeypatch):
    arms = ({"finetune.encoder_init": ("pretrained", "he")}, {"pretrain.optimizer.learning_rate": (0.001, 0.01)})
    found = experiment(sweep=arms, seeds=2, pretrain={"validate_every": 1}, encoder={"layers": (5, 4)})
    datasets = data.load_all(found)
    plan = plan_all(found, datasets, FINGERPRINTS)
    store = stored(plan, datasets, tmp_path)
    errors = before.of_plan(plan, store, datasets, {})
    pretrained = {job.id: job for job in plan.jobs.values() if job.stage.stack.head is None}
    assert errors.keys() == pretrained.keys() and len(errors) == 8 and np.isfinite(list(errors.values())).all()
    curves = dict(zip(pretrained, store.curves(list(pretrained)), strict=True))
    for job, (training, held_out, noise) in errors.items():
        by_metric = {row["metric"]: row["value"] for row in curves[job].to_pylist() if row["step"] == 1}
        assert by_metric["validation_mse"] < held_out < 1.5 * by_metric["validation_mse"]  # after an update
        assert abs(training - held_out) < 0.2 * held_out and 0 < noise < 0.1 * held_out
    # Both rates start alike at the first layer, and from other parents at the second.
    starts = {job: errors[job] for job in errors if pretrained[job].stage.name == "pretrain/0"}
    assert len(starts) == 4 and len(set(starts.values())) == 2 and len(set(errors.values())) == 6
    table = tables.stages(plan, errors)
    kept = watched.measured(table, "stage_id")
    assert {job: each[: len(BEFORE)] for (job,), each in kept.items()} == errors
    assert (
        tables.stages(plan)[BEFORE[0]].null_count == len(table) and watched.measured(tables.stages(plan), "stage") == {}
    )
    monkeypatch.setattr(before, "measured_before", pytest.fail)
    assert before.of_plan(plan, store, datasets, errors) == errors


def test_a_closed_form_is_not_measured(planned, monkeypatch):
    plan = planned(sweep=({"pretrain.method.kind": ("pca",)},))
    monkeypatch.setattr(before, "measured_before", pytest.fail)
    assert any(job.stage.stack.head is None for job in plan.jobs.values())
    assert before.of_plan(plan, None, {}, {}) == {}
