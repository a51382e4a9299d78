"""Layers against matrix products and window sums written out, and what cannot be a layer."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.learn.layers import (
    ACTIVATIONS,
    Convolution,
    Dense,
    LayerError,
    Residual,
    activation_of,
    encode,
    flat,
    fresh,
    known_activation,
    scaled,
    shapes_of,
)
from tests.learn.conftest import dense
from tests.learn.formulas import double, drawn_layers

KEY = jax.random.key(0)


def drawn(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def product(params, inputs, activation):
    return ACTIVATIONS[activation](np.asarray(inputs) @ np.asarray(params["kernel"]) + np.asarray(params["bias"]))


def test_encode_applies_the_layers_asked_for():
    layers, params = dense((6, 4), "tanh"), drawn_layers(np.random.default_rng(0), (9, 6, 4))
    images = drawn(5, 9)
    first = product(params["layers_0"], images, "tanh")
    second = product(params["layers_1"], first, "tanh")
    np.testing.assert_allclose(encode(layers, params, images), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encode(layers, params, images, 0, 1), first, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encode(layers, params, first, 1), second, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(encode(layers, params, images, 0, 0), images)
    # What is not applied need not have parameters.
    np.testing.assert_allclose(encode(layers, {"layers_1": params["layers_1"]}, first, 1), second, rtol=1e-5, atol=1e-6)


def test_encode_goes_on_from_any_layer_of_any_kind():
    layers = (Convolution(4, 3, 2, "relu"), Residual(6, 2, "relu"), Dense(5, "tanh"))
    inputs, params, reached = drawn(3, 9, 7, 2), {}, []
    for number, (layer, shapes) in enumerate(zip(layers, shapes_of(layers, (9, 7, 2)), strict=True)):
        params[f"layers_{number}"] = fresh(layer, shapes.inputs, jax.random.key(number))
    between = jax.jit(encode, static_argnums=(0, 3, 4))
    reached = [inputs, *(between(layers, params, inputs, 0, stop) for stop in (1, 2, 3))]
    assert [codes.shape for codes in reached] == [(3, 9, 7, 2), (3, 5, 4, 4), (3, 3, 2, 6), (3, 5)]
    for start, stop in itertools.combinations_with_replacement(range(4), 2):
        found = between(layers, params, reached[start], start, stop)
        np.testing.assert_allclose(found, reached[stop], rtol=1e-5, atol=1e-6)


def test_pixels_are_scaled_and_codes_are_not():
    np.testing.assert_allclose(scaled(jnp.array([0, 51, 255], jnp.uint8)), [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_array_equal(scaled(jnp.array([0.0, 51.0])), np.float32([0, 51]))


def test_values_are_flattened_row_by_row():
    values = drawn(3, 2, 4, 5)
    np.testing.assert_array_equal(flat(jnp.asarray(values)), values.reshape(3, 40))
    vectors = jnp.asarray(values.reshape(3, 40))
    assert flat(vectors) is vectors


def test_a_dense_layer_flattens_what_it_reads():
    images = drawn(3, 4, 5, 2)
    layer = Dense(6, "tanh")
    params = fresh(layer, (4, 5, 2), KEY)
    found = jax.jit(layer.apply)({"params": params}, images)
    np.testing.assert_allclose(found, product(params, images.reshape(3, -1), "tanh"), rtol=1e-5, atol=1e-6)


def window_sums(images, kernel, bias, stride):
    """A convolution with SAME padding by its definition, in float64: the window's centre goes from pixel to pixel."""
    images, kernel, bias = double((images, kernel, bias))
    height, width = images.shape[1:3]
    shape = math.ceil(height / stride), math.ceil(width / stride)
    sides = list(zip(shape, (height, width), kernel.shape[:2], strict=True))
    pads = [max((size - 1) * stride + window - full, 0) for size, full, window in sides]
    padded = np.pad(images, [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
    sums = np.zeros((len(images), *shape, kernel.shape[-1]))
    for row, column in np.ndindex(shape):
        top, left = row * stride, column * stride
        patch = padded[:, top : top + kernel.shape[0], left : left + kernel.shape[1]]
        sums[:, row, column] = np.tensordot(patch, kernel, axes=3) + bias
    return sums


WINDOWS = list(itertools.product([(7, 7, 1), (6, 9, 2), (1, 2, 3)], [1, 2, 3, 5], [1, 2, 3]))  # shapes, sides, strides
# Each side, stride and shape once and more; windows that leave pixels out, and that are larger than images.
QUICK = {
    *(((6, 9, 2), 1, 3), ((6, 9, 2), 2, 1), ((6, 9, 2), 3, 2)),
    *(((7, 7, 1), 5, 1), ((7, 7, 1), 2, 2), ((1, 2, 3), 5, 3)),
}


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in WINDOWS],
)
def test_a_convolution_is_the_sum_over_every_window(shape, window, stride):
    layer = Convolution(4, window, stride, "tanh")
    shapes = shapes_of((layer,), shape)[0]
    sides = tuple(window if size > 1 else 1 for size in shape[:2])  # along a side of 1 there is nothing to look at
    assert shapes.params["kernel"].shape == (*sides, shape[2], 4) and shapes.params["bias"].shape == (4,)
    assert shapes.outputs == (math.ceil(shape[0] / stride), math.ceil(shape[1] / stride), 4)
    images, params = drawn(2, *shape), {"kernel": 0.3 * drawn(*sides, shape[2], 4), "bias": drawn(4)}
    found = jax.jit(layer.apply)({"params": params}, images)
    expected = np.tanh(window_sums(images, params["kernel"], params["bias"], stride))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def group_norm(values, params, groups):
    """Group normalisation (Wu and He, 2018, equation 1), in float64."""
    grouped = values.reshape(*values.shape[:3], groups, -1)
    mean, deviation = (of(grouped, axis=(1, 2, 4), keepdims=True) for of in (np.mean, np.std))
    normal = ((grouped - mean) / np.sqrt(deviation**2 + 1e-6)).reshape(values.shape)
    return normal * params["scale"] + params["bias"]


@pytest.mark.parametrize(
    ("features", "groups", "stride"),
    [
        *((6, 2, 2), (3, 1, 1), (64, 32, 2)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(6, 2, 1), (3, 1, 2), (64, 32, 1)]),
    ],
)
def test_a_residual_block_is_two_normalised_convolutions_beside_a_shortcut(features, groups, stride):
    layer, shape = Residual(features, stride, "relu"), (5, 6, 3)
    shapes = shapes_of((layer,), shape)[0]
    assert shapes.outputs == (math.ceil(5 / stride), math.ceil(6 / stride), features)
    leaves, structure = jax.tree.flatten(shapes.params)
    leaves = [0.4 * drawn(*leaf.shape, seed=seed) for seed, leaf in enumerate(leaves)]
    params, images = jax.tree.unflatten(structure, leaves), drawn(2, *shape)
    found = jax.jit(layer.apply)({"params": params}, images)
    own = double(params)
    convolved = lambda name, values, stride=1: window_sums(values, own[name]["kernel"], own[name]["bias"], stride)
    values = np.maximum(group_norm(convolved("lower", images, stride), own["lower_norm"], groups), 0)
    values = group_norm(convolved("upper", values), own["upper_norm"], groups)
    assert ("shortcut" in own) == ((stride, features) != (1, 3))
    beside = convolved("shortcut", images, stride) if "shortcut" in own else images
    np.testing.assert_allclose(found, np.maximum(values + beside, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_names_the_activation_of_its_codes(name):
    assert [activation_of(layer) for layer in (Dense(2, name), Convolution(2, 1, 1, name))] == [name, name]


class Activated(nn.Module):
    activation: object


def test_a_module_of_no_known_activation_counts_as_linear():
    for layer in (nn.Dense(3), Activated("swish"), Activated(nn.PReLU()), Activated(lambda: 1), Activated(jnp.sum)):
        assert activation_of(layer) == "identity" and known_activation(layer) is None


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_function_is_the_activation_that_it_equals(name):
    given = {"elu": nn.elu, "relu": lambda values: jnp.maximum(values, 0), "gelu": nn.gelu, "identity": lambda x: x}
    given |= {"sigmoid": lambda values: 1 / (1 + jnp.exp(-values)), "tanh": jnp.tanh}
    assert activation_of(Activated(given[name])) == name
    # In a program, too, where its values must be known while it is traced.
    jax.jit(lambda x: ACTIVATIONS[activation_of(Activated(lambda values: given[name](values)))](x))(jnp.ones(3))


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        (nn.hard_sigmoid, "sigmoid"),
        (lambda values: jnp.exp(-jnp.square(values)), "sigmoid"),
        (nn.soft_sign, "tanh"),
        (nn.hard_tanh, "tanh"),
        (jnp.sin, "tanh"),
        (nn.softplus, "identity"),
        (nn.relu6, "identity"),
        (nn.swish, "identity"),
    ],
)
def test_another_function_counts_by_its_bounds(function, bounds):
    assert activation_of(Activated(function)) == known_activation(Activated(function)) == bounds


# The truncated normal's, corrected for the truncation at two standard deviations of the normal before it.
WIDEST = 2 / 0.87962566


@pytest.mark.parametrize(
    ("layer", "example", "fan_in"), [(Dense(400), (500,), 500), (Convolution(300, 5), (9, 9, 20), 500)]
)
def test_a_fresh_layer_has_he_variance_and_zero_bias(layer, example, fan_in):
    params = fresh(layer, example, jax.random.key(0))
    kernel = np.asarray(params["kernel"], np.float64)
    assert kernel.size == fan_in * layer.features
    assert abs(kernel.mean()) < 5e-4
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan_in), rtol=0.01)
    np.testing.assert_allclose(np.abs(kernel).max(), WIDEST * np.sqrt(2 / fan_in), rtol=1e-3)
    np.testing.assert_array_equal(params["bias"], 0)


# Shapes, and what cannot be a layer.


def test_shapes_are_those_that_modules_initialise_one_on_top_of_another():
    layers = (Convolution(4, 3, 2), Residual(8, 2), Dense(6), Dense(2))
    shapes = shapes_of(layers, (9, 8, 3))
    assert [each.inputs for each in shapes] == [(9, 8, 3), (5, 4, 4), (3, 2, 8), (6,)]
    assert [each.outputs for each in shapes] == [(5, 4, 4), (3, 2, 8), (6,), (2,)]
    for layer, each in zip(layers, shapes, strict=True):
        params = fresh(layer, each.inputs, KEY)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), each.params
        )


def refused(layer, example=(6,)):
    """The message by which a module is refused as the second layer of a stack."""
    with pytest.raises(LayerError) as error:
        shapes_of((Dense(math.prod(example)), layer) if len(example) == 1 else (layer,), example)
    text = str(error.value)
    assert text.splitlines() == [text] and text.startswith(type(layer).__name__)
    return text


class Normed(nn.Module):
    """A dense layer with batch normalisation."""

    averages: bool

    @nn.compact
    def __call__(self, inputs):
        return nn.BatchNorm(use_running_average=self.averages)(nn.Dense(3)(inputs))


class Counting(nn.Module):
    """A layer that counts its calls."""

    @nn.compact
    def __call__(self, inputs):
        calls = self.variable("calls", "count", lambda: jnp.zeros(()))
        return inputs + calls.value


class Dropping(nn.Module):
    """A layer that draws."""

    @nn.compact
    def __call__(self, inputs):
        return nn.Dropout(0.5, deterministic=False)(inputs)


class Made(nn.Module):
    """A layer that returns what it is given to."""

    of: object

    def __call__(self, inputs):
        return self.of(inputs)


@pytest.mark.parametrize("averages", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_batch_norm_without_a_mode_is_refused_with_the_remedy(averages, inside):
    text = refused(Normed(averages) if inside else nn.BatchNorm(use_running_average=averages))
    assert "batch_stats" in text and "train: bool = False" in text and "use_running_average=not train" in text


def test_other_state_is_refused_by_its_name():
    text = refused(Counting())
    assert "calls" in text and "batch_stats of nn.BatchNorm" in text


def test_a_module_that_draws_is_refused():
    text = refused(Dropping())
    assert "draws at random whenever it is applied" in text and "deterministic=True" in text and "http" not in text


class Switched(nn.Module):
    """A layer whose mode is chosen by an argument without a default."""

    of: object

    @nn.compact
    def __call__(self, inputs, is_training):
        return self.of(self, inputs) if is_training else inputs


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (lambda module, inputs: inputs + module.make_rng("noise"), "draws from a stream that it has not"),
        (lambda module, inputs: inputs[:, :1], "has other outputs or statistics in training than in evaluation"),
        (
            lambda module, inputs: nn.BatchNorm(False, use_scale=False, use_bias=False)(inputs),
            "other outputs or statistics",
        ),
        (lambda module, inputs: 1 / 0, "fails in training (division by zero)"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused(of, text):
    assert text in refused(Switched(of))


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm(), nn.Dropout(0.5), Switched(lambda module, inputs: nn.Dropout(0.5, deterministic=False)(inputs))],
)
def test_modules_with_a_mode_are_layers(layer):
    assert shapes_of((Dense(6), layer), (4,))[1].outputs == (6,)


def test_a_module_that_fails_on_its_input_is_refused_with_the_reason():
    assert "fails on [6] values an example" in refused(Convolution(3, 2))
    text = refused(nn.Conv(3, (2, 2), strides=(1, 2, 3)), (5, 4, 2))
    assert "fails on [5, 4, 2] values an example (" in text

    def broken(inputs):
        raise ValueError("no such\nthing " + "x" * 1000)

    text = refused(Made(broken))
    assert "no such thing xxx" in text and len(text) < 300


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32"])
def test_codes_of_another_type_are_refused(dtype):
    text = refused(Made(lambda inputs: inputs.astype(dtype)))
    assert f"float32 into {dtype}" in text and "must be float32" in text


@pytest.mark.parametrize(
    "of",
    [
        lambda inputs: (inputs, inputs),
        lambda inputs: {"codes": inputs},
        lambda inputs: inputs[0],
        lambda inputs: inputs[:, 0],
        lambda inputs: jnp.mean(inputs),
        lambda inputs: inputs.T,
        lambda inputs: None,
    ],
    ids=["pair", "dict", "one example", "one value", "mean", "transposed", "nothing"],
)
def test_a_module_that_does_not_turn_examples_into_codes_is_refused(of):
    assert "does not turn [B, ...] into one array [B, ...]" in refused(Made(of))
