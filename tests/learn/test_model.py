"""The networks against matrix products written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.learn.model import ACTIVATIONS, Decoder, Encoder, scaled
from pretrain.learn.transfer import stack_shapes

SIZES = (9, 6, 4)


@pytest.fixture
def params():
    leaves, structure = jax.tree.flatten(stack_shapes(SIZES))
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(structure, [jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves])


def dense(params, inputs, activation):
    return ACTIVATIONS[activation](np.asarray(inputs) @ np.asarray(params["kernel"]) + np.asarray(params["bias"]))


def test_encoder_applies_the_layers_asked_for(params):
    encoder, variables = Encoder(SIZES[1:], ("tanh", "tanh")), {"params": params["encoder"]}
    images = np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32)
    first = dense(params["encoder"]["layers_0"], images, "tanh")
    second = dense(params["encoder"]["layers_1"], first, "tanh")
    np.testing.assert_allclose(encoder.apply(variables, images), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.apply(variables, images, 0, 1), first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder.apply(variables, first, 1), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(encoder.apply(variables, images, 0, 0), images)


def test_decoder_mirrors_the_encoder_and_ends_linear(params):
    decoder, variables = Decoder(SIZES[:-1], ("identity", "tanh")), {"params": params["decoder"]}
    codes = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    below = dense(params["decoder"]["layers_1"], codes, "tanh")
    images = dense(params["decoder"]["layers_0"], below, "identity")
    np.testing.assert_allclose(decoder.apply(variables, codes), images, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decoder.apply(variables, codes, 1, 2), below, rtol=1e-5, atol=1e-6)


def test_modules_initialise_the_shapes_that_transfer_expects():
    shapes = stack_shapes(SIZES)
    encoder = jax.eval_shape(Encoder(SIZES[1:], ("elu", "elu")).init, jax.random.key(0), jnp.zeros((1, 9)))["params"]
    mirror = Decoder(SIZES[:-1], ("identity", "elu"))
    decoder = jax.eval_shape(mirror.init, jax.random.key(0), jnp.zeros((1, 4)))["params"]
    assert {"encoder": encoder, "decoder": decoder} == shapes


def test_pixels_are_scaled_and_codes_are_not():
    np.testing.assert_allclose(scaled(jnp.array([0, 51, 255], jnp.uint8)), [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_array_equal(scaled(jnp.array([0.0, 51.0])), np.float32([0, 51]))
