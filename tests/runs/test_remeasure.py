"""Pretraining that is found under other test images is measured on them, as if it had been trained under them."""

import dataclasses

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.execute import execute
from pretrain.plan.plan import cut, packs
from pretrain.plan.plan import plan as plan_all
from pretrain.runs.remeasure import remeasured
from pretrain.store.store import Store
from tests.small_sweep import FINGERPRINTS, unwatched

pytestmark = pytest.mark.optimised

ARMS = (
    {"finetune.encoder_init": ("pretrained", "wrong_data", "he")},
    {"encoder.layers": (("2c3s2", 6),)},
    {"pretrain.method.kind": ("supervised",)},
)


def pretraining(plan):
    return [job for job in plan.jobs.values() if job.stage.stack.head is None]


def stored(plan, datasets, root, most=64):
    """A store that holds a plan's pretraining, trained on datasets in packs of at most so many jobs."""
    store = Store(root, pytest.fail)
    for pack in (part for whole in packs(pretraining(plan), (), 1 << 30, 1) for part in cut(whole, most)):
        parents = [store.params(job.parent) if job.parent else None for job in pack.jobs]
        store.save(pack, execute.run(pack, datasets[pack.data], parents, unwatched))
    return store


@pytest.fixture(scope="module")
def under(experiment, tiny_arrays, tmp_path_factory):
    """Returns a function that plans the same sweep on the tiny images under other test images, or the same ones."""
    path = tmp_path_factory.mktemp("images")

    def make(name, **changed):
        np.savez(path / f"{name}.npz", **{**tiny_arrays, **changed})
        found = experiment(sweep=ARMS, seeds=3, pretrain={"epochs": 1}, encoder={"layers": (5,)})
        found = dataclasses.replace(found, data=DataConfig(name=str(path / f"{name}.npz"), validation=60))
        datasets = data.load_all(found)
        return plan_all(found, datasets, FINGERPRINTS), datasets

    return make


@pytest.fixture(scope="module")
def before(under, tmp_path_factory):
    """A plan, its datasets, and the store that holds its pretraining."""
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
    found = remeasured(plan, store, datasets)
    assert store.verified(plan.jobs) == {job.id for job in pretraining(plan)}
    last = {trial.id: trial.jobs[-2] for trial in plan.trials if len(trial.jobs) > 1}
    decoded = {trial for trial, job in last.items() if plan.jobs[job].stage.stack.reconstructs}
    assert found.keys() == decoded and len({last[trial] for trial in found}) == 9 < len(set(last.values()))
    # In packs of other sizes.
    alone = stored(plan, datasets, tmp_path / "alone", most=1)
    for trial in found:
        (record,), (before_,) = (place.records([last[trial]]) for place in (alone, store))
        assert found[trial] == record.results["pretrain_test_mse"] != before_.results["pretrain_test_mse"]
    assert remeasured(plan, alone, datasets) == {}


def test_trials_that_share_a_pretraining_each_have_the_error_on_their_own_test_images(
    experiment, tiny_arrays, tmp_path
):
    for name, images in (("plain", tiny_arrays["test_images"]), ("inverted", 255 - tiny_arrays["test_images"])):
        np.savez(tmp_path / f"{name}.npz", **{**tiny_arrays, "test_images": images})
    names = tuple(str(tmp_path / f"{name}.npz") for name in ("plain", "inverted"))
    sweep = {"data.name": names, "finetune.encoder_init": ("pretrained",)}
    found = experiment(sweep=(sweep,), seeds=1, pretrain={"epochs": 1}, encoder={"layers": (5,)})
    datasets = data.load_all(found)
    plan = plan_all(found, datasets, FINGERPRINTS)
    plain, inverted = plan.trials
    assert plain.jobs[0] == inverted.jobs[0] and plain.jobs[1] != inverted.jobs[1]
    store = stored(plan, datasets, tmp_path / "store")
    again = remeasured(plan, store, datasets)
    (record,) = store.records([plain.jobs[0]])
    errors = {trial.id: again.get(trial.id, record.results["pretrain_test_mse"]) for trial in plan.trials}
    assert len(again) == 1 and errors[inverted.id] > 1.5 * errors[plain.id]
