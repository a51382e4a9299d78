"""The convolution by slices against XLA's own, which is the one of accelerators."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from pretrain.learn.convolution import convolve, native
from pretrain.learn.layers import Convolution, Residual
from pretrain.learn.stack import ConvolutionDecoder, mirror

sides = st.integers(1, 9)


def drawn(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), np.float32) for shape in shapes]


def close(found, expected):
    """Asserts that values agree to float32 rounding of the largest among them."""
    largest = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-6 * largest)


@functools.partial(jax.jit, static_argnums=3)
def both(images, kernel, slopes, stride):
    """Values and both gradients, given the slopes of the values, by slices and by XLA."""
    found = []
    for convolution in (convolve, native):
        values, pull_back = jax.vjp(lambda images, kernel, of=convolution: of(images, kernel, stride), images, kernel)
        found.append((values, *pull_back(slopes)))
    return found


@pytest.mark.parametrize(
    ("height", "width", "channels", "features", "window", "stride"),
    [
        (1, 1, 1, 1, 5, 3),  # more window than image
        (1, 1, 1, 1, 4, 1),
        (9, 2, 3, 2, 1, 3),  # pixels that no window reads
        (2, 9, 2, 3, 2, 3),
        (5, 8, 2, 2, 4, 2),  # padding unlike before and after
        (8, 5, 1, 3, 5, 1),
        (7, 6, 3, 2, 3, 2),
    ],
)
def test_values_and_gradients_are_xlas_at_the_edges(height, width, channels, features, window, stride):
    check_values_and_gradients(height, width, channels, features, window, stride, 0)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(sides, sides, st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**31))
def test_values_and_gradients_are_xlas(height, width, channels, features, window, stride, seed):
    check_values_and_gradients(height, width, channels, features, window, stride, seed)


@pytest.mark.parametrize(("window", "stride"), [((5, 1), 1), ((4, 1), 2), ((3, 1), 3), ((1, 5), 2), ((2, 3), 1)])
def test_windows_of_unlike_sides_are_xlas(window, stride):
    for channels, features in ((3, 2), (2, 4)):
        shape = 2, math.ceil(9 / stride), math.ceil(4 / stride), features
        images, kernel, slopes = drawn(1, (2, 9, 4, channels), (*window, channels, features), shape)
        (values, *gradients), (expected, *exact) = both(images, kernel, slopes, stride)
        close(values, expected)
        for found, gradient in zip(gradients, exact, strict=True):
            close(found, gradient)


@pytest.mark.parametrize(
    ("sides", "channels", "features", "window", "stride"),
    [
        ((4, 5, 6), 1, 2, (3, 3, 3), 2),
        ((5, 4, 7), 3, 2, (2, 3, 4), 1),  # which multiplies first
        ((3, 7, 2), 2, 3, (3, 3, 3), 3),
        ((2, 1, 3), 1, 1, (5, 1, 4), 2),  # more window than volume
        ((9, 2, 2), 2, 2, (1, 1, 1), 3),  # pixels that no window reads
    ],
)
def test_values_and_gradients_of_volumes_are_xlas_and_scipys(sides, channels, features, window, stride):
    shape = 2, *(math.ceil(side / stride) for side in sides), features
    volumes, kernel, slopes = drawn(4, (2, *sides, channels), (*window, channels, features), shape)
    (values, *gradients), (expected, *exact) = both(volumes, kernel, slopes, stride)
    for found, gradient in zip((values, *gradients), (expected, *exact), strict=True):
        assert found.shape == gradient.shape and found.dtype == gradient.dtype
        close(found, gradient)
    close(values, correlated(volumes, kernel, stride))


def correlated(volumes, kernel, stride):
    """A convolution of volumes by SciPy, in double precision."""
    window, (channels, features) = kernel.shape[:3], kernel.shape[3:]
    pads = []
    for size, side in zip(volumes.shape[1:4], window, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + side - size, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(volumes.astype(np.float64), [(0, 0), *pads, (0, 0)])
    made = [
        sum(correlate(each[..., channel], kernel[..., channel, feature], "valid") for channel in range(channels))
        for each in padded
        for feature in range(features)
    ]
    whole = np.stack(made).reshape(len(volumes), features, *made[0].shape)
    return np.moveaxis(whole, 1, -1)[:, ::stride, ::stride, ::stride]


@pytest.mark.parametrize("stride", [1, 2])
def test_descent_over_volumes_inside_a_loop_is_the_same(stride):
    size = math.ceil(5 / stride**2)
    volumes, targets, kernel = drawn(5, (3, 5, 5, 5, 2), (3, size, size, size, 2), (3, 3, 3, 2, 2))
    found, expected = (descended(convolution, stride, volumes, targets, kernel) for convolution in (convolve, native))
    assert float(jnp.max(jnp.abs(expected - kernel))) > 1e-4
    close(found, expected)


def test_layers_follow_the_axes_of_an_example():
    series, image, volume = jnp.ones((2, 9, 1, 3)), jnp.ones((2, 9, 8, 3)), jnp.ones((2, 9, 8, 7, 3))
    for inputs, window, outputs in (
        (series, (5, 1), (5, 1)),
        (image, (5, 5), (5, 4)),
        (volume, (5, 5, 5), (5, 4, 4)),
    ):
        layer = Convolution(4, 5, 2)
        values, variables = layer.init_with_output(jax.random.key(0), inputs)
        assert values.shape == (2, *outputs, 4) and variables["params"]["kernel"].shape == (*window, 3, 4)
        assert Residual(4, 2).init_with_output(jax.random.key(0), inputs)[0].shape == values.shape
        decoder = mirror(layer, inputs.shape[1:])
        assert decoder.init_with_output(jax.random.key(0), values)[0].shape == inputs.shape
    with pytest.raises(ValueError, match="images"):
        Convolution(4, 5).init(jax.random.key(0), jnp.ones((2, 30)))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_decoder_of_volumes_repeats_codes_along_each_axis(stride):
    shape = 5, 4, 6, 2
    decoder = ConvolutionDecoder(shape, 3, stride)
    (codes,) = drawn(6, (2, *(math.ceil(side / stride) for side in shape[:3]), 3))
    params = decoder.init(jax.random.key(0), codes)
    wide = np.kron(codes, np.ones((1, stride, stride, stride, 1)))[:, :5, :4, :6].astype(np.float32)
    close(decoder.apply(params, codes), correlated(wide, np.asarray(params["params"]["convolution"]["kernel"]), 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_a_series_is_numpys(stride):
    layer = Convolution(3, 5, stride)
    series = jnp.asarray(drawn(3, (4, 11, 1, 2))[0])
    params = layer.init(jax.random.key(0), series)["params"]
    assert params["kernel"].shape == (5, 1, 2, 3)
    total = max((-(-11 // stride) - 1) * stride + 5 - 11, 0)
    padded = np.pad(np.asarray(series)[:, :, 0], [(0, 0), (total // 2, total - total // 2), (0, 0)]).astype(np.float64)
    kernel = np.asarray(params["kernel"][:, 0], np.float64)
    expected = [
        np.einsum("btc,tcf->bf", padded[:, at * stride : at * stride + 5], kernel) for at in range(-(-11 // stride))
    ]
    close(layer.apply({"params": params}, series)[:, :, 0], np.stack(expected, axis=1))


def check_values_and_gradients(height, width, channels, features, window, stride, seed):
    shape = 2, math.ceil(height / stride), math.ceil(width / stride), features
    drawn_for = (2, height, width, channels), (window, window, channels, features), shape
    (values, *gradients), (expected, *exact) = both(*drawn(seed, *drawn_for), stride)
    assert values.shape == shape
    close(values, expected)
    for found, gradient in zip(gradients, exact, strict=True):
        assert found.shape == gradient.shape and found.dtype == gradient.dtype
        close(found, gradient)


def error(convolution, stride, images, targets, kernel):
    return jnp.mean(jnp.square(convolution(jnp.tanh(convolution(images, kernel, stride)), kernel, stride) - targets))


@functools.partial(jax.jit, static_argnums=(0, 1))
def descended(convolution, stride, images, targets, kernel):
    """The kernel after steps down the gradient of two convolutions, one on top of the other."""
    slope = jax.grad(functools.partial(error, convolution, stride, images, targets))
    return jax.lax.fori_loop(0, 5, lambda _, kernel: kernel - 0.02 * slope(kernel), kernel)


@pytest.mark.parametrize("stride", [1, 2])
def test_descent_inside_a_loop_is_the_same(stride):
    size = math.ceil(7 / stride**2)
    images, targets, kernel = drawn(0, (4, 7, 7, 2), (4, size, size, 2), (3, 3, 2, 2))
    found, expected = (descended(convolution, stride, images, targets, kernel) for convolution in (convolve, native))
    assert float(jnp.max(jnp.abs(expected - kernel))) > 1e-3
    close(found, expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("axes", [(0, 0, 0), (None, None, 0), (0, 0, None)], ids=["all", "kernels", "images"])
def test_descent_of_several_trials_side_by_side_is_that_of_each_alone(axes, stride):
    size = math.ceil(6 / stride**2)
    images, targets, kernels = drawn(1, (3, 4, 6, 6, 2), (3, 4, size, size, 2), (3, 3, 3, 2, 2))
    given_ = [leaf if axis == 0 else leaf[0] for leaf, axis in zip((images, targets, kernels), axes, strict=True)]
    found = jax.vmap(functools.partial(descended, convolve, stride), axes)(*given_)
    for trial in range(3):
        own = [leaf[trial] if axis == 0 else leaf for leaf, axis in zip(given_, axes, strict=True)]
        close(found[trial], descended(native, stride, *own))


@pytest.mark.parametrize("stride", [1, 2])
def test_trials_one_after_another_in_a_mapped_loop_are_each_alone(stride):
    size = math.ceil(6 / stride**2)
    images, targets, kernels = drawn(2, (3, 4, 6, 6, 2), (3, 4, size, size, 2), (3, 3, 3, 2, 2))
    own = functools.partial(descended, convolve, stride)
    found = jax.jit(lambda *trials: jax.lax.map(lambda trial: own(*trial), trials))(images, targets, kernels)
    for trial in range(3):
        close(found[trial], descended(native, stride, images[trial], targets[trial], kernels[trial]))
