"""Convolutions with symmetric padding, and pooling, equal PyTorch's, in their gradients too, over one to three axes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pretrain.learn.layers import LayerError, MaxPooling, PaddedConvolution, outside_of_loops, shapes_of

RNG = np.random.default_rng(0)
SHAPES = {1: (11, 1, 2), 2: (7, 10, 2), 3: (5, 6, 4, 2)}  # channels last; series have a side of 1
CASES = [(2, 3, 2, 1), (1, 4, 1, 2), (3, 3, 2, 1)]  # axes, window, stride, padding
MANY = [(2, *each) for each in itertools.product((1, 2, 3, 4, 5), (1, 2, 3), (0, 1, 3)) if each != (3, 2, 1)]
MANY += [(1, 3, 2, 1), (1, 2, 3, 0), (3, 2, 3, 0), (3, 4, 1, 2)]


def first(values, n_axes):
    """Values with channels first, without a side of 1."""
    moved = np.moveaxis(np.asarray(values), -1, 1)
    return torch.tensor(moved[:, :, :, 0] if n_axes == 1 else moved)


@pytest.mark.parametrize(
    ("n_axes", "window", "stride", "padding"), [*CASES, *(pytest.param(*each, marks=pytest.mark.slow) for each in MANY)]
)
def test_a_padded_convolution_is_that_of_torch(n_axes, window, stride, padding):
    images = RNG.normal(size=(3, *SHAPES[n_axes])).astype(np.float32)
    layer = PaddedConvolution(4, window, stride, padding)
    (shapes,) = shapes_of((layer,), SHAPES[n_axes])
    params = jax.tree.map(lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32), shapes.params)
    kernel = np.moveaxis(np.asarray(params["kernel"]), (-1, -2), (0, 1))
    kernel = torch.tensor(kernel[..., 0] if n_axes == 1 else kernel, requires_grad=True)
    inputs = first(images, n_axes).requires_grad_()
    convolve = [torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d][n_axes - 1]
    wanted = convolve(inputs, kernel, torch.tensor(np.asarray(params["bias"])), stride, padding)
    wanted.square().sum().backward()

    def loss(params, images):
        return jnp.sum(jnp.square(layer.apply({"params": params}, images)))

    for each in (layer, outside_of_loops(layer)):
        made = each.apply({"params": params}, jnp.asarray(images))
        assert made.shape[1:] == shapes.outputs
        np.testing.assert_allclose(first(made, n_axes), wanted.detach(), rtol=1e-5, atol=1e-4)
    of_params, of_images = jax.grad(loss, (0, 1))(params, jnp.asarray(images))
    np.testing.assert_allclose(first(of_images, n_axes), inputs.grad, rtol=1e-4, atol=1e-3)
    slopes = np.moveaxis(np.asarray(of_params["kernel"]), (-1, -2), (0, 1))
    np.testing.assert_allclose(slopes[..., 0] if n_axes == 1 else slopes, kernel.grad, rtol=1e-4, atol=2e-2)


@pytest.mark.parametrize(("n_axes", "window"), [(1, 2), (2, 2), (2, 3), (3, 2), (2, 1)])
def test_pooling_is_that_of_torch(n_axes, window):
    images = RNG.normal(size=(3, *SHAPES[n_axes])).astype(np.float32)
    functional = torch.nn.functional
    pool = [functional.max_pool1d, functional.max_pool2d, functional.max_pool3d][n_axes - 1]
    made = MaxPooling(window).apply({}, jnp.asarray(images))
    np.testing.assert_array_equal(first(made, n_axes), pool(first(images, n_axes), window))
    assert shapes_of((MaxPooling(window),), SHAPES[n_axes])[0].outputs == made.shape[1:]


@pytest.mark.parametrize(
    ("layer", "words"),
    [(PaddedConvolution(4, 9, 1, 0), "a window of 9 does not fit 7 pixels"), (MaxPooling(8), "does not fit 7 pixels")],
)
def test_a_window_that_does_not_fit_is_refused(layer, words):
    with pytest.raises(LayerError, match=words):
        shapes_of((layer,), SHAPES[2])
