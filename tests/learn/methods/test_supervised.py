"""Supervised greedy training against NumPy in float64: value, gradient, and the labelled subset it reads."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from pretrain.config import PretrainConfig, SupervisedConfig
from pretrain.learn.methods.supervised import objective
from pretrain.learn.metrics import Batch, divided
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from tests.learn.conftest import CLASSES, LABELS, dense, pretraining, results_of, run
from tests.learn.formulas import ACTIVATION_OF, check_gradient, double, drawn_inputs, drawn_layers, pixels


def labelled_value(params, inputs, labels):
    """Cross-entropy of a linear classifier on elu codes, in float64, and whether it is right, image by image."""
    for layer in params["encoder"].values():
        inputs = ACTIVATION_OF["elu"](inputs @ layer["kernel"] + layer["bias"])
    (classifier,) = params["classifier"].values()
    logits = inputs @ classifier["kernel"] + classifier["bias"]
    return -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels], logits.argmax(1) == labels


def stack_of(sizes):
    """The stack of the topmost layer's stage, which reads images."""
    config = PretrainConfig(method=SupervisedConfig(), cache_codes=False)
    return pretraining(config, sizes[:1], dense(sizes[1:], "elu"), LABELS, CLASSES)[0].stack


@functools.partial(jax.jit, static_argnums=0)
def supervised(stack, params, batch):
    """The loss, with the metrics of every example alone, and the gradient."""
    n = len(batch.inputs)

    def of_one(weights):
        return divided(objective(params, batch._replace(weights=weights), stack=stack)[1])

    def loss(params):
        found, metrics = objective(params, batch, stack=stack)
        return found, divided(metrics)

    (found, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return found, metrics, jax.vmap(of_one)(jnp.eye(n)), gradient


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([(5, 3), (4, 6, 2)]), st.sampled_from(["uint8", "float32"]))
def test_value_and_gradient_are_the_formulas(seed, sizes, dtype):
    rng = np.random.default_rng(seed)
    top = f"layers_{len(sizes) - 2}"
    params = {
        "encoder": drawn_layers(rng, sizes),
        "classifier": {top: drawn_layers(rng, (sizes[-1], CLASSES))["layers_0"]},
    }
    inputs, labels = drawn_inputs(rng, 6, sizes[0], dtype), rng.integers(0, CLASSES, 6)
    stack = stack_of(sizes)
    found, metrics, each, gradient = supervised(stack, params, Batch(inputs, labels))
    losses, correct = labelled_value(double(params), pixels(inputs), labels)
    np.testing.assert_allclose(found, losses.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], found, rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], correct.mean(), rtol=1e-6)
    np.testing.assert_allclose(each["loss"], losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(each["accuracy"], correct)
    exact = lambda params: labelled_value(params, pixels(inputs), labels)[0].mean()
    check_gradient(gradient, exact, params)
    if len(sizes) == 3:  # the same from codes of the layer below
        layer = double(params["encoder"]["layers_0"])
        codes = ACTIVATION_OF["elu"](pixels(inputs) @ layer["kernel"] + layer["bias"]).astype(np.float32)
        above = {**params, "encoder": {"layers_1": params["encoder"]["layers_1"]}}
        on_codes = supervised(dataclasses.replace(stack, encoded=1), above, Batch(codes, labels))[0]
        np.testing.assert_allclose(on_codes, found, rtol=1e-4)


def test_a_phase_reads_its_labelled_subset_and_learns_its_classes(phase, images):
    stage, config = phase((9,), method=SupervisedConfig(), epochs=20, label_subset="random")
    ran = run((stage, config), images)
    assert len(ran.labelled) == stage.rows.n == 60
    rows = batch_rows(key_for(0, Purpose.PRETRAIN_BATCHES, 0), jnp.int32(0), 60, 15, "epoch")
    rows = np.asarray(ran.labelled)[rows]
    x, labels = pixels(images.train.inputs)[rows], np.asarray(images.train.labels)[rows]
    losses, correct = labelled_value(double(ran.before.params), x, labels)
    np.testing.assert_allclose(ran.curves["loss"][0], losses.mean(), rtol=1e-4)
    np.testing.assert_allclose(ran.curves["accuracy"][0], correct.mean(), rtol=1e-6)
    assert ran.curves["validation_accuracy"][-1] > 0.6
    assert ran.curves.keys() == {"loss", "accuracy", "validation_loss", "validation_accuracy"}
    assert results_of(stage, ran.state.params, images) == {}
