"""Modules that draw, or hold running statistics: in training they do, in evaluation they do not."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util

from pretrain.config import FinetuneConfig, PretrainConfig
from pretrain.learn import controls, layers, modes, train
from pretrain.learn.metrics import Batch
from pretrain.learn.modes import STATISTICS
from pretrain.learn.stage import Layout
from tests.launching import ROOT
from tests.learn import conftest
from tests.learn.conftest import CLASSES, LABELS, PIXELS, begun, results_of, run, walk
from tests.small_sweep import METHODS, make_plan, run_all

MOMENTUM, RATE = 0.8, 0.4


class Normed(nn.Module):
    """A dense layer with batch normalisation and dropout."""

    features: int = 7
    rate: float = 0.0

    @nn.compact
    def __call__(self, inputs, train: bool = False):
        sums = nn.Dense(self.features)(inputs)
        codes = nn.relu(nn.BatchNorm(not train, momentum=MOMENTUM)(sums))
        return nn.Dropout(self.rate, deterministic=not train)(codes)


class OfNnx(nnx.Module):
    """The same of nnx."""

    def __init__(self, inputs, features, rngs):
        self.dense = nnx.Linear(inputs, features, rngs=rngs)
        self.norm = nnx.BatchNorm(features, momentum=MOMENTUM, rngs=rngs)
        self.dropout = nnx.Dropout(RATE, rngs=rngs)

    def __call__(self, inputs, train: bool = False):
        codes = nnx.relu(self.norm(self.dense(inputs), use_running_average=not train))
        return self.dropout(codes, deterministic=not train)


STACK = Normed(7, RATE), Normed(5, RATE)


def phase(stack, depth=None, lowest=None, kind="autoencoder", **settings):
    """A stage of pretraining of the lowest layers, with its config."""
    section = PretrainConfig(method=METHODS[kind](), **{"epochs": 2, "batch_size": 15, **settings})
    n_examples = LABELS if section.method.reads_labels else 120
    stage, config = conftest.pretraining(section, (PIXELS,), stack[:depth], n_examples, CLASSES, lowest)
    return stage, config


def finetuning(stack, **settings):
    section = FinetuneConfig(**{"labels": LABELS, "label_subset": "first", "batch_size": 12, "epochs": 2, **settings})
    return conftest.last(section, (PIXELS,), stack, CLASSES)


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def statistics(params, layer):
    return params["encoder"][f"layers_{layer}"][STATISTICS]


def moves(before, after):
    return all(not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (before, after)), strict=True))


@pytest.mark.parametrize("kind", ["autoencoder", pytest.param("supervised", marks=pytest.mark.slow)])
def test_running_averages_are_those_of_numpy(kind, images):
    stage, config = phase((Normed(),), kind=kind)
    mean, var = np.zeros(7), np.ones(7)
    previous = begun((stage, config), images).state
    for number, ran in enumerate(walk((stage, config), images, stops=range(1, 6))):
        if number:
            rows = stage.rows.of_update(0, number - 1)
            layer = previous.params["encoder"]["layers_0"]["Dense_0"]
            pixels = np.asarray(images.train.inputs[rows], np.float64) / 255
            sums = pixels @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
            mean, var = (
                MOMENTUM * old + (1 - MOMENTUM) * new for old, new in ((mean, sums.mean(0)), (var, sums.var(0)))
            )
            found = statistics(ran.state.params, 0)["BatchNorm_0"]
            np.testing.assert_allclose(found["mean"], mean, rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(found["var"], var, rtol=2e-5, atol=1e-6)
        previous = ran.state


@pytest.mark.parametrize(
    ("kind", "lowest"),
    [
        ("autoencoder", 1),
        pytest.param("autoencoder", 0, marks=pytest.mark.slow),
        pytest.param("supervised", 1, marks=pytest.mark.slow),
        pytest.param("contrastive", 1, marks=pytest.mark.slow),
        pytest.param("teacher", 0, marks=pytest.mark.slow),
        pytest.param("masked", 1, marks=pytest.mark.slow),
        pytest.param("vime", 1, marks=pytest.mark.slow),
    ],
)
def test_methods_train_layers_with_a_mode_and_leave_those_below_alone(kind, lowest, images):
    def ran_by(stage, config, parent):
        made = replace(stage, static=stage.static._replace(layout=Layout((PIXELS,))))
        return made, run((made, config), images, parent=parent)

    below = ran_by(*phase(STACK, 1, kind=kind), None)[1].state.params if lowest else None
    stage, ran = ran_by(*phase(STACK, lowest=lowest, kind=kind, cache_codes=False), below)
    before, after = ran.before.params, ran.state.params
    held_out = ran.curves[f"validation_{stage.method.held_out}"][-1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((ran.state, held_out)))
    moved = jax.tree.map(lambda *pair: not np.array_equal(*pair), before["encoder"], after["encoder"])
    assert all(jax.tree.leaves(moved["layers_1"]))
    if lowest:
        same(before["encoder"]["layers_0"], after["encoder"]["layers_0"])
        same(after["encoder"]["layers_0"], below["encoder"]["layers_0"])
    else:
        assert all(jax.tree.leaves(moved["layers_0"]))
    assert not any(STATISTICS in path for path in traverse_util.flatten_dict(ran.state.trainable, sep="/"))
    moments = jax.tree_util.tree_flatten_with_path(ran.state.opt_state)[0]
    assert not any(STATISTICS in jax.tree_util.keystr(path) for path, _ in moments)


@pytest.mark.parametrize("kind", controls.KINDS)
def test_controls_keep_running_averages(kind, images):
    layer = run(phase(STACK, 1), images, stops=[3]).state.params["encoder"]["layers_0"]
    made = controls.control(layer, jax.random.key(0), kind)
    same(made[STATISTICS], layer[STATISTICS])
    assert not np.array_equal(made["Dense_0"]["kernel"], layer["Dense_0"]["kernel"])


@pytest.mark.parametrize(
    "frozen", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param("all", marks=pytest.mark.slow)]
)
def test_fine_tuning_leaves_frozen_layers_in_evaluation(frozen, images):
    parent = run(phase(STACK, lowest=0), images).state.params
    stage, config = finetuning(STACK, frozen_layers=frozen)
    ran = run((stage, config), images, parent=parent)
    for layer in range(2):
        pair = (statistics(params, layer) for params in (ran.before.params, ran.state.params))
        if layer < {"all": 2}.get(frozen, frozen):
            same(*pair)
        else:
            assert moves(*pair)
    same(ran.before.params["encoder"], parent["encoder"])
    first, again = (results_of(stage, ran.state.params, images) for _ in range(2))
    same(first, again)
    assert ran.curves["validation_accuracy"][-1] > 0.5


def test_draws_differ_by_update_layer_and_seed_and_are_off_in_evaluation(images):
    stage, _ = phase((nn.Dropout(RATE), nn.Dropout(RATE)), lowest=0)
    stack, ones = stage.stack, jnp.ones((50, PIXELS))
    state = train.TrainState({"encoder": {}}, {}, ())

    def kept(seed, number):
        keys = train.with_draws(stage.static, state, jnp.uint32(seed), number).draws
        params = modes.in_training({"encoder": {}}, keys)
        first = layers.encode(stack.layers, params["encoder"], ones, 0, 1)
        second = layers.encode(stack.layers, params["encoder"], ones, 1, 2)
        again = layers.encode(stack.layers, params["encoder"], ones, 1, 2)
        return [np.asarray(each > 0) for each in (first, second, again)]

    masks = [*kept(0, 0), *kept(0, 1), *kept(1, 0)]
    for number, mask in enumerate(masks):
        assert abs(mask.mean() - (1 - RATE)) < 0.06
        for other in masks[:number]:  # independent masks agree at (1 - r)^2 + r^2 of places
            assert abs((mask == other).mean() - ((1 - RATE) ** 2 + RATE**2)) < 0.06
    same(kept(0, 1), masks[3:6])
    np.testing.assert_array_equal(stack.codes({}, ones), ones)


def test_dropout_keeps_the_mean_of_what_is_trained(images):
    """The errors of an update are those of its mask, which another seed has not; measurements have none."""
    stage, config = phase((nn.Dropout(0.9),), 1)
    state = begun((stage, config), images).state
    batch = Batch(images.train.inputs[:15])
    errors = []
    for number in (None, 0, 1):
        drawn = state if number is None else train.with_draws(stage.static, state, jnp.uint32(0), number)
        objective = partial(stage.method.update, stage.static, config, drawn, batch, jnp.uint32(0))
        errors.append(float(objective(train.Step(jnp.int32(0), jnp.float32(0)))[1]["mse"]))
    assert len(set(errors)) == 3
    measured = stage.method.measure(stage.static, config, state, batch, jnp.uint32(0))["mse"]
    assert float(measured.total / measured.count) == pytest.approx(errors[0], rel=1e-6)


def test_a_run_in_chunks_equals_a_run_in_one(images):
    stage = phase(STACK, lowest=0)
    whole, chunked = (run(stage, images, stops=stops) for stops in ([8], [1, 7, 8]))
    same(chunked.state, whole.state)
    same(chunked.curves, whole.curves)


def test_training_that_ends_early_keeps_the_statistics_of_its_best_measurement(images):
    stage, config = phase(STACK, lowest=0, stop="validation", patience=1, validate_every=1, epochs=6)
    ran = run((stage, config), images)
    best = int(ran.state.stopping.best_update)
    assert 0 < best < int(ran.state.stopping.updates)
    then = run((stage, config), images, stops=[best]).state
    same(ran.state.kept, then.params)
    assert moves(statistics(then.params, 0), statistics(ran.state.params, 0))


def test_modules_of_nnx_are_as_those_of_linen(images):
    of_nnx = nnx.bridge.to_linen(OfNnx, PIXELS, 7)
    stage, config = phase((of_nnx,))
    ran = run((stage, config), images)
    assert moves(ran.before.statistics, ran.state.statistics) and set(statistics(ran.state.params, 0)) == {"norm"}
    same(ran.before.params["decoder"].keys(), ran.state.params["decoder"].keys())
    rows = np.asarray(images.train.inputs[stage.rows.of_update(0, 0)], np.float64) / 255
    dense = jax.tree.map(np.float64, ran.before.params["encoder"]["layers_0"]["dense"])
    sums = rows @ dense["kernel"] + dense["bias"]
    first = statistics(run((stage, config), images, stops=[1]).state.params, 0)["norm"]
    np.testing.assert_allclose(first["mean"], (1 - MOMENTUM) * sums.mean(0), rtol=1e-5, atol=1e-6)
    codes = [stage.stack.codes(ran.state.params, images.test.inputs) for _ in range(2)]
    same(*codes)


def test_an_update_of_ones_own_that_leaves_a_mode_out_is_refused(images):
    stage, config = phase((Normed(),))
    idle = stage.method._replace(update=lambda static, config, state, *rest: (state, {"mse": jnp.float32(0)}))
    with pytest.raises(ValueError, match="update makes no train_step"):
        run((replace(stage, method=idle), config), images)

    def unapplied(static, config, state, batch, seed, step):
        loss = lambda params, batch: (jnp.sum(params["decoder"]["layers_0"]["bias"]), {})
        return train.train_step(state, batch, loss, train.optimizer_of(static, config))

    with pytest.raises(ValueError, match=r"the loss does not apply encoder/layers_0 by pretrain.learn.layers.encode"):
        run((replace(stage, method=stage.method._replace(update=unapplied)), config), images)


@pytest.mark.slow
def test_trials_of_a_pack_on_two_devices_equal_themselves_alone(experiment, dataset):
    made = {"encoder": {"layers": (f"{ROOT}/tests/moded_layers.py:layers", 5)}, "finetune": {"frozen_layers": 1}}
    found = make_plan(experiment(sweep=({"finetune.encoder_init": ("pretrained", "he")},), seeds=2, **made), dataset)
    packed, alone = (run_all(found, dataset, memory=memory) for memory in (1 << 30, 1))
    same(packed, alone)
    fresh = [job for job in found.jobs.values() if job.stage.name == "finetune" and job.parent is None]
    for job in fresh:  # whose frozen layer has seen no batch
        held = statistics(packed[job.id][0], 0)["BatchNorm_0"]
        assert not held["mean"].any() and (held["var"] == 1).all()
        assert statistics(packed[job.id][0], 1)["mean"].any()
