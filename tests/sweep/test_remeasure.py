"""Pretraining that is found under other test images is measured on them, as if it had been trained under them."""

import dataclasses

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.sweep import execute, tables
from pretrain.sweep.plan import packs
from pretrain.sweep.plan import plan as plan_all
from pretrain.sweep.remeasure import remeasured
from pretrain.sweep.store import Store
from tests.sweep.conftest import FINGERPRINTS, unwatched

ARMS = (
    {"finetune.encoder_init": ("pretrained", "wrong_data", "he"), "encoder.layers": ((5,), ("2c3s2", 6))},
    {"pretrain.method.kind": ("supervised",)},
)


def stored(plan, datasets, root, memory=1 << 30):
    """A store that holds a plan's stages, trained on datasets."""
    store = Store(root, pytest.fail)
    for pack in packs(plan.jobs.values(), (), memory, 2):
        parents = [store.params(job.parent) if job.parent else None for job in pack.jobs]
        store.save(pack, execute.run(pack, datasets[pack.data], parents, unwatched))
    return store


@pytest.fixture(scope="module")
def under(experiment, tiny_arrays, tmp_path_factory):
    """Returns a function that plans the same sweep on the tiny images under other test images, or the same ones."""
    path = tmp_path_factory.mktemp("images")

    def make(name, **changed):
        np.savez(path / f"{name}.npz", **{**tiny_arrays, **changed})
        found = experiment(sweep=ARMS, seeds=3, pretrain={"epochs": 1}, finetune={"epochs": 1})
        found = dataclasses.replace(found, data=DataConfig(name=str(path / f"{name}.npz"), validation=60))
        datasets = data.load_all(found)
        return plan_all(found, datasets, FINGERPRINTS), datasets

    return make


@pytest.fixture(scope="module")
def before(under, tmp_path_factory):
    """A plan, its datasets, and the store that holds its stages."""
    plan, datasets = under("before")
    return plan, datasets, stored(plan, datasets, tmp_path_factory.mktemp("before"))


def test_what_was_measured_on_these_test_images_is_not_measured_again(before, monkeypatch):
    plan, datasets, store = before
    monkeypatch.setattr(store, "params", pytest.fail)
    assert remeasured(plan, store, datasets) == {}


def test_what_is_measured_again_is_what_training_would_have_measured_to_the_bit(before, under, tiny_arrays, tmp_path):
    _, _, store = before
    changed = {"test_images": 255 - tiny_arrays["test_images"][:41], "test_labels": tiny_arrays["test_labels"][:41]}
    plan, datasets = under("after", **changed)
    phases = [job for job in plan.jobs.values() if not job.stage.is_last]
    # They are found, and the fine-tunings, which are named by the test images, are not.
    assert store.verified(plan.jobs) == {job.id for job in phases}
    found = remeasured(plan, store, datasets)
    decoded = {job.id for job in phases if job.stage.stack.reconstructs}
    last = {trial.jobs[-2] for trial in plan.trials if len(trial.jobs) > 1}
    assert found.keys() == decoded & last and len(found) == 12 and last - decoded
    alone = stored(plan, datasets, tmp_path / "alone", memory=1 << 20)
    assert alone.verified(plan.jobs) == plan.jobs.keys()
    for job, record in zip(found, alone.records(list(found)), strict=True):
        assert found[job] == record.results["pretrain_test_mse"]
        assert found[job] != store.records([job])[0].results["pretrain_test_mse"]
    # With the fine-tunings that are missing, the table is the same wherever the pretraining was found.
    for pack in packs(plan.jobs.values(), store.verified(plan.jobs), 1 << 30, 2):
        parents = [store.params(job.parent) if job.parent else None for job in pack.jobs]
        store.save(pack, execute.run(pack, datasets[pack.data], parents, unwatched))
    assert tables.trials(plan, store, found) == tables.trials(plan, alone, remeasured(plan, alone, datasets))
    assert tables.trials(plan, store, found) != tables.trials(plan, store)
