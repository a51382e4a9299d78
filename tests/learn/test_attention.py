"""Layers of transformers equal NumPy's and PyTorch's float64, in their gradients too, and leave padding out."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import special

from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches, Repeat, TokenDecoder
from pretrain.learn.layers import LayerError, fresh, shapes_of
from pretrain.learn.padding import is_real
from pretrain.learn.stack import mirror
from tests import vit

RNG = np.random.default_rng(0)
IMAGE, SERIES, VOLUME = (7, 10, 3), (11, 1, 2), (5, 6, 4, 1)
TOKENS = {"image": (2, 3, 8), "series": (5, 1, 8), "vectors": (6, 8)}


def drawn(layer, example):
    """Random parameters of a layer in float64."""
    (shapes,) = shapes_of((layer,), example)
    return jax.tree.map(lambda leaf: 0.5 * RNG.normal(size=leaf.shape), shapes.params)


def norm(values, params):
    offsets = values - values.mean(axis=-1, keepdims=True)
    return offsets / np.sqrt(np.square(offsets).mean(axis=-1, keepdims=True) + 1e-6) * params["scale"] + params["bias"]


def dense(values, params):
    return values @ params["kernel"] + params["bias"]


def block(tokens, params, heads):
    """A block, token by token and head by head."""
    n, units = tokens.shape
    width, joint = units // heads, dense(norm(tokens, params["norm1"]), params["attn"]["qkv"])
    found = np.zeros((n, units))
    for head in range(heads):
        queries, keys, values = (joint[:, part * units + head * width :][:, :width] for part in range(3))
        for query in range(n):
            weights = np.exp(keys @ queries[query] / math.sqrt(width))
            found[query, head * width :][:width] = weights / weights.sum() @ values
    tokens = tokens + dense(found, params["attn"]["proj"])
    hidden = dense(norm(tokens, params["norm2"]), params["mlp"]["fc1"])
    gelu = hidden * (1 + special.erf(hidden / math.sqrt(2))) / 2
    return tokens + dense(gelu, params["mlp"]["fc2"])


@pytest.mark.parametrize(("shape", "window"), [(IMAGE, 4), (IMAGE, 2), (SERIES, 4), (VOLUME, 2)])
def test_a_patch_is_its_values_in_a_linear_map_at_its_position(shape, window):
    layer, images = Patches(6, window), RNG.normal(size=(2, *shape))
    params = drawn(layer, shape)
    sizes = [window if size > 1 else 1 for size in shape[:-1]]
    grid = [math.ceil(size / length) for size, length in zip(shape[:-1], sizes, strict=True)]
    wide = np.zeros((2, *(n * length for n, length in zip(grid, sizes, strict=True)), shape[-1]))
    wide[tuple(map(slice, images.shape))] = images
    wanted = np.zeros((2, *grid, 6))
    for place in np.ndindex(*grid):
        patch = tuple(slice(at * length, (at + 1) * length) for at, length in zip(place, sizes, strict=True))
        flat = wide[(slice(None), *patch)].reshape(2, -1)
        wanted[(slice(None), *place)] = flat @ params["kernel"].reshape(-1, 6) + params["bias"]
    wanted += params["positions"]
    with jax.enable_x64():
        np.testing.assert_allclose(layer.apply({"params": params}, jnp.asarray(images)), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("of", TOKENS)
def test_a_block_is_that_of_its_definition(of):
    tokens, layer = RNG.normal(size=(2, *TOKENS[of])), Attention(4)
    params = drawn(layer, TOKENS[of])
    wanted = [block(each.reshape(-1, 8), params, 4).reshape(each.shape) for each in tokens]
    with jax.enable_x64():
        np.testing.assert_allclose(layer.apply({"params": params}, jnp.asarray(tokens)), wanted, rtol=1e-10, atol=1e-12)


def test_slopes_are_those_of_torch():
    network = vit.drawn(8, 2, 4, 1, 6).double()
    tokens = RNG.normal(size=(3, 2, 3, 8))
    inputs = torch.tensor(tokens, requires_grad=True)
    network.blocks[0](inputs.reshape(3, 6, 8)).square().sum().backward()
    theirs = {name.replace(".", "/"): each for name, each in network.blocks[0].named_parameters()}

    def named(path):
        return "/".join(key.key for key in path).replace("kernel", "weight").replace("scale", "weight")

    params = jax.tree_util.tree_map_with_path(
        lambda path, _: theirs[named(path)].detach().numpy().T, drawn(Attention(4), (2, 3, 8))
    )
    with jax.enable_x64():
        loss = lambda params, tokens: jnp.square(Attention(4).apply({"params": params}, tokens)).sum()
        of_params, of_tokens = jax.grad(loss, (0, 1))(params, jnp.asarray(tokens))
    np.testing.assert_allclose(of_tokens, inputs.grad.numpy(), rtol=1e-9, atol=1e-9)
    for path, slopes in jax.tree_util.tree_leaves_with_path(of_params):
        np.testing.assert_allclose(slopes, theirs[named(path)].grad.numpy().T, rtol=1e-9, atol=1e-9)


def test_means_and_norms_are_those_of_positions_and_of_units():
    tokens = RNG.normal(size=(2, 4, 3, 8))
    params = drawn(LayerNorm(), (4, 3, 8))
    with jax.enable_x64():
        np.testing.assert_allclose(Mean().apply({}, jnp.asarray(tokens)), tokens.mean(axis=(1, 2)), rtol=1e-12)
        made = LayerNorm().apply({"params": params}, jnp.asarray(tokens))
    np.testing.assert_allclose(made, norm(tokens, params), rtol=1e-10, atol=1e-12)


def test_a_padded_series_has_the_codes_of_the_series_that_is_as_long_as_it():
    """With positions of the first steps, to which those behind them add nothing."""
    layers, lengths = (Patches(8, 2), Attention(2), LayerNorm(), Attention(4), Mean()), (12, 8, 3, 0)
    steps = RNG.normal(size=(4, 12, 1, 3)).astype(np.float32)
    for row, length in zip(steps, lengths, strict=True):
        row[length:] = -0.0
    shapes = shapes_of(layers, steps.shape[1:])
    params = [
        fresh(layer, each.inputs, jax.random.key(number))
        for number, (layer, each) in enumerate(zip(layers, shapes, strict=True))
    ]

    def codes(values, positions=None):
        made = [jnp.asarray(values)]
        for layer, own in zip(layers, params, strict=True):
            own = {**own, "positions": own["positions"][:positions]} if "positions" in own else own
            made.append(layer.apply({"params": own}, made[-1]))
        return made

    padded = codes(steps)
    for row, length in enumerate(lengths[:3]):
        n_tokens = -(-length // 2)
        alone = codes(steps[row : row + 1, : 2 * n_tokens], n_tokens)[-1]
        np.testing.assert_allclose(padded[-1][row], alone[0], rtol=1e-5, atol=1e-6)
        for tokens in padded[1:-1]:
            assert is_real(tokens[row, :n_tokens]).all() and not is_real(tokens[row, n_tokens:]).any()
    assert np.isfinite(padded[-1]).all() and not np.any(padded[-1][3])
    slopes = jax.grad(lambda values: sum(tokens.sum() for tokens in codes(values)[1:]))(jnp.asarray(steps))
    assert np.isfinite(slopes).all() and not np.any(slopes[2, 4:])


@pytest.mark.parametrize(
    ("layer", "shape", "decoder"),
    [
        (Patches(6, 4), IMAGE, TokenDecoder(IMAGE, (4, 4))),
        (Patches(6, 4), SERIES, TokenDecoder(SERIES, (4, 1))),
        (Patches(6, 2), VOLUME, TokenDecoder(VOLUME, (2, 2, 2))),
        (Attention(4), (2, 3, 8), TokenDecoder((2, 3, 8), (1, 1))),
        (LayerNorm(), (6, 8), TokenDecoder((6, 8), (1,))),
        (Mean(), (2, 3, 8), Repeat((2, 3, 8))),
    ],
)
def test_each_is_decoded_to_what_it_read(layer, shape, decoder):
    assert mirror(layer, shape) == decoder
    (shapes,) = shapes_of((layer,), shape)
    assert shapes_of((decoder,), shapes.outputs)[0].outputs == shape


def test_a_token_is_decoded_to_its_own_patch():
    """A linear map that repeats what patches hold gives the image back."""
    shape, images = (6, 8, 3), jnp.asarray(RNG.normal(size=(2, 6, 8, 3)), jnp.float32)
    eye, zeros = jnp.eye(12), jnp.zeros(12)
    params = {"kernel": eye.reshape(2, 2, 3, 12), "bias": zeros, "positions": jnp.zeros((3, 4, 12))}
    codes = Patches(12, 2).apply({"params": params}, images)
    made = TokenDecoder(shape, (2, 2)).apply({"params": {"linear": {"kernel": eye, "bias": zeros}}}, codes)
    np.testing.assert_array_equal(made, images)
    repeated = Repeat((2, 3, 12)).apply({}, codes[:, 0, 0])
    np.testing.assert_array_equal(repeated, np.tile(codes[:, :1, :1], (1, 2, 3, 1)))


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (Attention(3), (2, 3, 8), "t3 has 3 heads, which do not divide 8 units; give a divisor"),
        (Attention(2), (8,), "attention reads tokens"),
        (Patches(4, 2), (8,), "patches are cut from images"),
        (Mean(), (8,), "a mean over positions reads"),
    ],
)
def test_what_does_not_fit_is_one_line(layer, shape, words):
    with pytest.raises(LayerError, match=words) as fault:
        shapes_of((layer,), shape)
    assert len(str(fault.value).splitlines()) == 1
