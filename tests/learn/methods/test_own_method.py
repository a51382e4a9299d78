"""The README's method of one's own: its loss against NumPy, and the tests of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import PretrainConfig
from pretrain.learn.before import alike, before
from pretrain.learn.corruption import corrupted
from pretrain.learn.metrics import Batch
from pretrain.learn.program import Inputs
from tests.learn.conftest import run
from tests.own_method import written
from tests.small_sweep import make_plan, run_all

GOLDEN = (41.392375, 2.796699)  # as those of tests/learn/test_train.py


@pytest.fixture
def method(tmp_path):
    return PretrainConfig(method={"kind": written(tmp_path), "projected": 6, "temperature": 0.5}).method


@pytest.fixture
def upper(phase, method, images):
    """A second layer's stage, and its parent's parameters."""
    return phase((9, 5), method=method), run(phase((9,), method=method), images).state.params


def test_the_loss_is_that_of_numpy(phase, method, images):
    stage, config = phase((9,), method=method)
    state = run((stage, config), images, stops=[1]).state
    batch = Batch(images.train.inputs[:15])
    found = {name: float(mean.total / mean.count) for name, mean in measured(stage, config, state, batch).items()}
    inputs = stage.stack.read(state.params, batch.inputs)
    views = []
    for key in jax.random.split(jax.random.key(0)):
        noisy = np.asarray(corrupted(inputs, key, "masking", 0.3), np.float64)
        layer, projection = (state.params[side]["layers_0"] for side in ("encoder", "projection"))
        units = noisy @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        codes = np.where(units > 0, units, np.expm1(np.minimum(units, 0)))
        outputs = codes @ np.asarray(projection["kernel"], np.float64) + np.asarray(projection["bias"], np.float64)
        views.append(outputs / np.linalg.norm(outputs + 1e-6, axis=1, keepdims=True))
    logits = views[0] @ views[1].T / 0.5
    losses = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == np.arange(15)).mean())


def measured(stage, config, state, batch):
    return stage.method.measure(stage.static, config, state, batch, jnp.uint32(0))


def test_the_error_before_the_first_update_is_of_all_rows_at_once(phase, method, images):
    stage, config = phase((9,), method=method)
    state = run((stage, config), images, stops=[0]).before
    trial = Inputs(jnp.uint32(0), jax.tree.map(jnp.float32, config), None)
    found = before(alike(stage), trial, images)
    expected = measured(stage, config, state, images.validation)["loss"]
    assert found.held_out == pytest.approx(float(expected.total / expected.count), rel=1e-5) and found.noise == 0
    assert found.held_out > 1  # near the logarithm of 30, where that of a row alone is 0


def test_what_is_trained_moves_and_nothing_else_does(upper, images):
    stage, parent = upper
    ran = run(stage, images, parent=parent, stops=[3])
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), ran.before.trainable, ran.state.trainable)
    assert all(jax.tree.leaves(moved)) and set(moved) == {"encoder", "projection"}
    jax.tree.map(np.testing.assert_array_equal, ran.state.frozen, ran.before.frozen)
    jax.tree.map(np.testing.assert_array_equal, ran.state.params["encoder"]["layers_0"], parent["encoder"]["layers_0"])


def test_three_updates_give_the_golden_numbers(upper, images):
    stage, parent = upper
    ran = run(stage, images, parent=parent, stops=[3])
    total = sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(ran.state.trainable))
    np.testing.assert_allclose((total, ran.curves["loss"][2]), GOLDEN, rtol=2e-5)


def test_a_run_in_chunks_equals_a_run_in_one(upper, images):
    stage, parent = upper
    whole, chunked = (run(stage, images, parent=parent, stops=stops) for stops in ([8], [1, 7, 8]))
    jax.tree.map(np.testing.assert_array_equal, chunked.state, whole.state)
    jax.tree.map(np.testing.assert_array_equal, chunked.curves, whole.curves)


def test_a_trial_of_a_pack_equals_the_trial_alone(method, experiment, dataset):
    sweep = ({"finetune.encoder_init": ("pretrained",), "pretrain.method.temperature": (0.1, 0.5)},)
    found = make_plan(experiment(sweep=sweep, seeds=2, encoder={"layers": (9,)}, pretrain={"method": method}), dataset)
    packed, alone = (run_all(found, dataset, memory=memory) for memory in (1 << 30, 1))
    jax.tree.map(np.testing.assert_array_equal, packed, alone)
    assert len({float(outcome[1]["loss"][-1]) for outcome in packed.values()}) == len(packed)
