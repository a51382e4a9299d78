"""Stacks: what is trained beside layers, how it starts, and how codes are decoded."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import AutoencoderConfig, RbmConfig, SupervisedConfig
from pretrain.learn.layers import ACTIVATIONS, Convolution, Dense, MaxPooling, Residual, apply, fresh
from pretrain.learn.randomness import Purpose, key_for
from pretrain.learn.stack import (
    ConvolutionDecoder,
    DenseDecoder,
    Enlarged,
    Stack,
    below,
    decode,
    decoder_params,
    fresh_layer,
    is_dense,
    layer_shapes,
    mirror,
    stack_shapes,
)
from pretrain.learn.tasks import Task
from tests.learn import conftest
from tests.learn.formulas import drawn_layers

SIZES = (9, 6, 4)
PLAIN, TIED, VARIATIONAL = AutoencoderConfig(), AutoencoderConfig(tied=True), AutoencoderConfig(variational=True)
GAUSSIAN = RbmConfig(visible="gaussian")


def stack_of(method=PLAIN, activation="tanh", n_classes=0):
    layers = conftest.dense(SIZES[1:], activation)
    return Stack(layers, SIZES[:1], conftest.companions(method, layers, SIZES[:1], Task(n_outputs=n_classes)))


def drawn(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def filled(shapes):
    """Parameters of some shapes, drawn."""
    leaves, structure = jax.tree.flatten(shapes)
    return jax.tree.unflatten(structure, [drawn(leaf.shape, seed) for seed, leaf in enumerate(leaves)])


def dense(params, inputs, activation):
    return ACTIVATIONS[activation](np.asarray(inputs) @ np.asarray(params["kernel"]) + np.asarray(params["bias"]))


# Decoders.


def test_decode_mirrors_the_encoder_and_ends_linear():
    rng = np.random.default_rng(0)
    back = drawn_layers(rng, SIZES[::-1])
    params = {"decoder": {"layers_0": back["layers_1"], "layers_1": back["layers_0"]}}
    codes = drawn((5, 4))
    under = dense(params["decoder"]["layers_1"], codes, "tanh")
    images = dense(params["decoder"]["layers_0"], under, "identity")
    outputs, sums = decode(stack_of(), params, codes)
    np.testing.assert_allclose(outputs, images, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(sums, outputs)
    outputs, sums = decode(stack_of(), params, codes, 1)
    np.testing.assert_allclose(outputs, under, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.tanh(sums), under, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "variance"), [(PLAIN, None), (TIED, 1), (RbmConfig(), 1), (GAUSSIAN, 0.25)], ids=str
)
def test_a_decoder_without_a_kernel_takes_the_encoders_transposed(method, variance):
    stack = stack_of(method, "sigmoid")
    params = filled(stack_shapes(stack))
    if method == GAUSSIAN:
        params["decoder"]["layers_1"]["variance"] = np.float32(variance)
    found = decoder_params(stack, params, 1)
    own = params["decoder"]["layers_1"]
    kernel = own["kernel"] if variance is None else variance * params["encoder"]["layers_1"]["kernel"].T
    np.testing.assert_array_equal(found["kernel"], kernel)
    np.testing.assert_array_equal(found["bias"], own["bias"])
    assert ("kernel" in own) == (variance is None)


@pytest.mark.parametrize("shape", [(7,), (3, 4, 2)])
@pytest.mark.parametrize("codes", [(5,), (2, 3, 4)])
def test_a_dense_decoder_turns_codes_of_any_shape_into_any_shape(shape, codes):
    decoder, codes = DenseDecoder(shape), drawn((6, *codes))
    params = fresh(decoder, codes.shape[1:], jax.random.key(0))
    assert params["kernel"].shape == (codes[0].size, int(np.prod(shape)))
    found = jax.jit(decoder.apply)({"params": params}, codes)
    expected = dense(params, codes.reshape(6, -1), "identity").reshape(6, *shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", [(7, 7, 1), (6, 9, 2), (1, 2, 3)])
def test_a_convolution_decoder_repeats_codes_and_convolves_them(shape, stride):
    layer = Convolution(4, 3, stride)
    decoder = mirror(layer, shape)
    assert decoder == ConvolutionDecoder(shape, 3, stride)
    (shapes,) = Stack((layer,), shape).shapes
    codes = drawn((2, *shapes.outputs))
    params = fresh(decoder, shapes.outputs, jax.random.key(0))
    sides = tuple(3 if size > 1 else 1 for size in shape[:2])
    assert params["convolution"]["kernel"].shape == (*sides, 4, shape[-1])
    found = jax.jit(decoder.apply)({"params": params}, codes)
    assert found.shape == (2, *shape)
    rows, columns = (np.arange(size) // stride for size in shape[:2])  # every pixel reads the code that covers it
    wide = codes[:, rows][:, :, columns]
    expected = jax.jit(Convolution(shape[-1], 3).apply)({"params": params["convolution"]}, wide)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class Own(nn.Module):
    """A module that says how it is decoded."""

    def __call__(self, inputs):
        return inputs

    def decoder(self, shape):
        return Dense(shape[0], "tanh")


@pytest.mark.parametrize("shape", [(6, 4, 3), (7, 1, 2), (5, 4, 6, 1)])
def test_pooling_is_mirrored_by_values_at_every_position_of_their_windows(shape):
    values = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    codes = apply(MaxPooling(2), {}, values)
    expected = np.asarray(codes)
    for axis, size in enumerate(shape[:-1], 1):
        wide = np.repeat(expected, 2 if size > 1 else 1, axis=axis)
        beside = [(0, size - wide.shape[axis] if at == axis else 0) for at in range(values.ndim)]
        expected = np.pad(wide, beside, mode="edge")
    np.testing.assert_array_equal(apply(mirror(MaxPooling(2), shape), {}, codes), expected)
    np.testing.assert_array_equal(apply(MaxPooling(2), {}, expected), codes)


def test_every_kind_of_layer_is_mirrored_by_its_own_kind():
    assert mirror(Dense(5), (9,)) == DenseDecoder((9,))
    assert mirror(Dense(5), (4, 4, 1)) == DenseDecoder((4, 4, 1))
    assert mirror(Convolution(8, 5, 2), (6, 6, 3)) == ConvolutionDecoder((6, 6, 3), 5, 2)
    assert mirror(Residual(8, 2), (6, 6, 3)) == ConvolutionDecoder((6, 6, 3), 3, 2)
    assert mirror(nn.Dense(5), (4, 4, 1)) == DenseDecoder((4, 4, 1))
    assert mirror(MaxPooling(2), (6, 6, 3)) == Enlarged((6, 6, 3), 2)
    assert mirror(Own(), (9,)) == Dense(9, "tanh")


def test_a_stack_of_all_kinds_goes_up_and_down_through_every_shape():
    layers, example = (Convolution(4, 3, 2, "relu"), Residual(6, 2, "relu"), Dense(5, "tanh")), (9, 7, 2)
    stack = Stack(layers, example, conftest.companions(PLAIN, layers, example))
    params = filled(stack_shapes(stack))
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, *example)), jnp.uint8)
    codes = stack.encoding(params)(images)
    assert (codes.shape, stack.n_codes) == ((3, 5), 5)
    for start, shapes in enumerate(stack.shapes):
        assert decode(stack, params, codes, start)[0].shape == (3, *shapes.inputs)
    assert stack.codes(params, images).shape == (3, 5)
    lower = Stack(layers[:2], example, stack.companions[:2])
    assert lower.n_codes == 3 * 2 * 6 and lower.codes(params, images).shape == (3, 36)


def test_below_is_the_activation_of_what_a_layer_reads():
    layers = (Dense(3, "elu"), Convolution(3, 3, 1, "tanh"), nn.Dense(4), Dense(2))
    assert [below(layers, number) for number in range(4)] == [None, "elu", "tanh", "identity"]
    assert [is_dense(layer) for layer in layers] == [True, False, False, True]


# Shapes and starts.


def test_shapes_are_those_that_modules_initialise():
    stack = stack_of()
    rng = np.random.default_rng(0)
    encoder, back = drawn_layers(rng, SIZES), drawn_layers(rng, SIZES[::-1])
    expected = {"encoder": encoder, "decoder": {"layers_0": back["layers_1"], "layers_1": back["layers_0"]}}
    assert jax.tree.map(lambda leaf: leaf.shape, stack_shapes(stack)) == jax.tree.map(lambda leaf: leaf.shape, expected)
    for number, example in enumerate(SIZES[:2]):
        modules = {"encoder": stack.layers[number], "decoder": stack.companion("decoder", number).module}
        for side, inputs in (("encoder", example), ("decoder", SIZES[number + 1])):
            made = jax.eval_shape(modules[side].init, jax.random.key(0), jnp.zeros((1, inputs)))["params"]
            assert made == layer_shapes(stack, number)[side]


@pytest.mark.parametrize(
    ("method", "beside"),
    [
        (PLAIN, {"decoder": {"kernel": (4, 6), "bias": (6,)}}),
        (TIED, {"decoder": {"bias": (6,)}}),
        (RbmConfig(), {"decoder": {"bias": (6,)}}),
        (GAUSSIAN, {"decoder": {"bias": (6,), "variance": ()}}),
        (
            VARIATIONAL,
            {"decoder": {"kernel": (4, 6), "bias": (6,)}, "log_variance": {"kernel": (6, 4), "bias": (4,)}},
        ),
        (SupervisedConfig(), {"classifier": {"kernel": (4, 3), "bias": (3,)}}),
    ],
    ids=["untied", "tied", "bernoulli", "gaussian", "variational", "supervised"],
)
def test_each_method_trains_its_own_beside_a_layer(method, beside):
    stack = stack_of(method, "sigmoid", n_classes=3)
    shapes = jax.tree.map(lambda leaf: leaf.shape, layer_shapes(stack, 1))
    assert shapes == {"encoder": {"kernel": (6, 4), "bias": (4,)}, **beside}
    assert stack.reconstructs == ("decoder" in beside)
    assert {side for side, _ in stack.companions[1]} == set(beside)
    made = fresh_layer(stack, 1, 7)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), made) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), layer_shapes(stack, 1)
    )


def test_a_stack_without_companions_reconstructs_nothing():
    assert not Stack(conftest.dense((3,), "elu"), (4,)).reconstructs


def test_a_fresh_layer_is_drawn_for_its_seed_and_place():
    stack = stack_of()
    params = fresh_layer(stack, 1, 5)
    np.testing.assert_array_equal(
        params["encoder"]["kernel"], fresh(Dense(4), (6,), key_for(5, Purpose.ENCODER_INIT, 1))["kernel"]
    )
    np.testing.assert_array_equal(
        params["decoder"]["kernel"], fresh(DenseDecoder((6,)), (4,), key_for(5, Purpose.DECODER_INIT, 1))["kernel"]
    )
    assert not np.array_equal(params["encoder"]["kernel"], fresh_layer(stack, 1, 6)["encoder"]["kernel"])
    # What is trained beside a layer changes nothing about it, nor do the layers in training.
    for other in (stack_of(TIED), stack_of(VARIATIONAL), dataclasses.replace(stack, start=1)):
        np.testing.assert_array_equal(fresh_layer(other, 1, 5)["encoder"]["kernel"], params["encoder"]["kernel"])


def test_log_variances_and_biases_start_at_zero_and_variances_at_one():
    variational, gaussian, tied = (
        fresh_layer(stack_of(method, "sigmoid"), 0, 0) for method in (VARIATIONAL, GAUSSIAN, TIED)
    )
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(variational["log_variance"]))
    assert np.any(variational["decoder"]["kernel"])
    assert gaussian["decoder"]["variance"] == 1
    for params in (gaussian, tied):
        np.testing.assert_array_equal(params["decoder"]["bias"], np.zeros(9))


def test_inputs_are_read_and_codes_made_from_images_or_cached_codes():
    params = filled(stack_shapes(stack_of()))
    images = np.random.default_rng(0).integers(0, 256, (5, 9)).astype(np.uint8)
    first = dense(params["encoder"]["layers_0"], images / np.float32(255), "tanh")
    second = dense(params["encoder"]["layers_1"], first, "tanh")
    for encoded, inputs in ((0, images), (1, first)):
        stack = dataclasses.replace(stack_of(), start=1, encoded=encoded)
        np.testing.assert_allclose(stack.read(params, jnp.asarray(inputs)), first, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stack.codes(params, jnp.asarray(inputs)), second, rtol=1e-5, atol=1e-6)
    encode = stack_of().encoding
    np.testing.assert_allclose(encode(params)(jnp.asarray(images)), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encode(params, 1)(jnp.asarray(images)), first, rtol=1e-5, atol=1e-6)
