"""Pretraining that goes on from a checkpoint: it starts from its weights, layer by layer and all at once."""

import dataclasses

import jax
import numpy as np
import pytest
from rich.console import Console

from pretrain import data
from pretrain.config import AdamConfig, DataConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.fields import ConfigError
from pretrain.engines.here import run_here
from pretrain.engines.request import Request
from pretrain.plan import plan as planning
from pretrain.plan.snapshots import passed
from pretrain.runs import before
from pretrain.store.store import Store
from tests.plan.test_imported import dense
from tests.small_sweep import FINGERPRINTS, names, of_kind, path

LAYERS = (12, 6)
STILL = AdamConfig(learning_rate=1e-30)  # whose updates round to nothing


@pytest.fixture
def continued(tiny_path, tmp_path):
    """Plans trials whose pretraining goes on from a checkpoint of some seed, on the tiny dataset."""
    n_inputs = data.load(DataConfig(name=tiny_path, validation=60)).train.inputs.shape[1]

    def make(seed=0, sweep=(), finetune=None, **pretrain):
        arrays = dense(tmp_path / "w.npz", n_inputs, LAYERS, np.random.default_rng(seed))
        own = {"labels": 80, "batch_size": 20, "readout": "ridge", "weights_layout": "flax", **(finetune or {})}
        fields = {"epochs": 1, "batch_size": 20, "encoder_init": "weights", "l2": 0.0, "optimizer": STILL, **pretrain}
        experiment = Experiment(
            data=DataConfig(name=tiny_path, validation=60),
            encoder=EncoderConfig(layers=LAYERS, activation="sigmoid"),
            pretrain=PretrainConfig(**fields),
            finetune=FinetuneConfig(weights=str(tmp_path / "w.npz"), **own),
            sweep=sweep,
            seeds=2,
        )
        datasets = data.load_all(experiment)
        return arrays, experiment, planning.plan(experiment, datasets, FINGERPRINTS), datasets

    return make


def trained(experiment, plan, datasets, root):
    faults = []
    store = Store(root, faults.append)
    run_here(Request(experiment, plan, datasets, store, Console(quiet=True), lambda: False, lambda work: None))
    assert store.verified(plan.jobs) == plan.jobs.keys() and not faults
    return store


WAYS = {
    "greedy": {},
    "end to end": {"training": "end_to_end"},
    "both": {"training": "greedy_then_end_to_end"},
    "machines": of_kind("rbm"),
    "labels": of_kind("supervised"),
    "tied": of_kind("autoencoder", tied=True),
}


@pytest.mark.parametrize("way", [way if way == "greedy" else pytest.param(way, marks=pytest.mark.slow) for way in WAYS])
def test_pretraining_starts_from_the_weights_of_each_layer(way, continued, tmp_path):
    arrays, experiment, plan, datasets = continued(**WAYS[way])
    store = trained(experiment, plan, datasets, tmp_path / "store")
    for number in range(len(plan.trials)):
        stages = path(plan, number)[:-1]
        assert stages and all(job.stage.stack.head is None for job in stages)
        kept = store.params(stages[-1].id)
        for layer in range(len(LAYERS)):
            for leaf in ("kernel", "bias"):
                found = kept["encoder"][f"layers_{layer}"][leaf]
                np.testing.assert_array_equal(found, arrays[f"layers_{layer}/{leaf}"])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(kept))
    # What stands beside the encoder starts afresh, for each seed.
    side = next(iter(sorted(kept.keys() - {"encoder"})))
    other = store.params(path(plan)[-2].id)
    assert len(plan.trials) == 2 and not jax.tree.all(jax.tree.map(np.array_equal, other[side], kept[side]))
    errors = before.of_plan(plan, store, datasets, {})
    assert errors and np.isfinite([*errors.values()]).all()


@pytest.mark.slow
def test_weights_are_trained_on_and_the_checkpoint_stays_as_it_is(continued, tmp_path):
    arrays, experiment, plan, datasets = continued(optimizer=AdamConfig(learning_rate=0.01), epochs=5)
    store = trained(experiment, plan, datasets, tmp_path / "store")
    lowest, second, _ = path(plan)
    below, above = store.params(lowest.id)["encoder"], store.params(second.id)["encoder"]
    assert not np.array_equal(below["layers_0"]["kernel"], arrays["layers_0/kernel"])
    np.testing.assert_array_equal(below["layers_0"]["kernel"], above["layers_0"]["kernel"])
    assert np.corrcoef(above["layers_1"]["kernel"].ravel(), arrays["layers_1/kernel"].ravel())[0, 1] > 0.8
    np.testing.assert_array_equal(lowest.weights["encoder"]["layers_0"]["kernel"], arrays["layers_0/kernel"])


def test_stages_are_named_by_the_weights_that_they_go_on_from(continued):
    _, _, plan, _ = continued()
    assert names(plan) == ["finetune"] * 2 + ["pretrain/0"] * 2 + ["pretrain/1"] * 2
    assert plan.jobs.keys().isdisjoint(continued(seed=1)[2].jobs) and plan.jobs.keys() == continued()[2].jobs.keys()
    afresh = continued(encoder_init="he")[2]
    assert plan.jobs.keys().isdisjoint(afresh.jobs)
    assert all(job.weights is None and not job.weights_digest for job in afresh.jobs.values())
    # The checkpoint as it is, beside it.
    inits = ({"finetune.encoder_init": ("weights", "he", "pretrained")},)
    beside = continued(sweep=inits)[2]
    assert plan.jobs.keys() < beside.jobs.keys() and names(beside).count("pretrain/weights") == 1


def test_a_longer_stage_passes_a_shorter_one_from_the_same_weights_alone(continued):
    optimizer = AdamConfig(learning_rate=0.01)
    short, long, other = (
        path(continued(optimizer=optimizer, **each)[2])[0] for each in ({}, {"epochs": 2}, {"epochs": 2, "seed": 1})
    )
    assert [job.id for job in passed([short, long])[long.id]] == [short.id]
    assert not passed([short, other])


def test_what_does_not_fit_is_one_line(continued):
    for wanted, changed in (
        ("pretrain.encoder_init: 'weights' is trained on, where a method in closed form", of_kind("pca")),
        ("finetune.weights: '' names no checkpoint", {"finetune": {}}),
    ):
        with pytest.raises(ConfigError) as error:
            _, experiment, _, _ = continued(**(changed if "method" in changed else {}))
            dataclasses.replace(experiment, finetune=FinetuneConfig())
        assert str(error.value).startswith(wanted)
