"""Layers of transformers: patches with positions, attention blocks, norms, means of positions; and their decoders.

Tokens keep the sides of what they were cut from, [B, *grid, units], so that any layer may follow any other. Tokens of
series that are padding are negative zeros, as padded steps are (see ``padding``): attention looks at none of them, and
means leave them out. What a convolution makes of padding is not marked, and counts.
"""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from pretrain.learn.annotations import Array
from pretrain.learn.padding import marked, real_tokens
from pretrain.learn.products import product

RATIO = 4  # units of a block's hidden layer by those of a token
Tokens = Float[Array, "rows *grid units"]


class Patches(nn.Module):
    """Patches, embedded linearly, with learned positions: [B, H, W, C] to [B, ceil(H / w), ceil(W / w), features].

    It goes over all sides of series [B, T, 1, C] and volumes, too; along a side of 1 the window is 1. Zeros fill the
    last patch of a side. Kernels start from LeCun's normal, biases from zero, positions from a deviation of 0.02
    (Dosovitskiy et al., 2021). Given places among all patches, it embeds these alone.
    """

    features: int
    window: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "rows *sides channels"], places: Int[Array, "rows visible"] | None = None
    ) -> Tokens:
        if inputs.ndim < 4:
            raise ValueError("patches are cut from images [H, W, C], series [T, 1, C] or volumes [D, H, W, C]")
        window = windows(inputs.shape[1:-1], self.window)
        cut = patches(inputs, window)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (*window, inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        positions = self.param("positions", nn.initializers.normal(0.02), (*cut.shape[1:-1], self.features))
        if places is not None:
            cut = chosen(cut, places)
            own = one_hot(places, math.prod(positions.shape[:-1])).astype(jnp.float32)
            positions = (own @ positions.reshape(-1, self.features)).reshape(*cut.shape[:-1], self.features)
        sums = product(cut, kernel.reshape(-1, self.features))
        tokens = sums + jnp.broadcast_to(positions + jnp.broadcast_to(bias, positions.shape), sums.shape)
        return marked(tokens, real_tokens(cut))


class Attention(nn.Module):
    """A block of attention and a perceptron, each behind a norm and beside a shortcut: tokens to as many of as many.

    All tokens of an example attend to one another, whatever their sides. The perceptron has four times as many hidden
    units, of the exact GELU (Vaswani et al., 2017; Dosovitskiy et al., 2021). Parameters have timm's names.
    """

    heads: int

    @nn.compact
    def __call__(self, inputs: Tokens) -> Tokens:
        *shape, units = inputs.shape
        n_tokens = math.prod(shape[1:])
        if len(shape) < 2:
            raise ValueError("attention reads tokens [..., units], as 64p4 makes them, and no vectors")
        if units % self.heads:
            raise ValueError(f"t{self.heads} has {self.heads} heads, which do not divide {units} units; give a divisor")
        present = real_tokens(inputs)
        tokens = inputs.reshape(shape[0], n_tokens, units)
        keys = None if present is None else present.reshape(shape[0], n_tokens)
        tokens = tokens + _Attending(self.heads, name="attn")(LayerNorm(name="norm1")(tokens), keys)
        tokens = tokens + _Perceptron(name="mlp")(LayerNorm(name="norm2")(tokens))
        return marked(tokens.reshape(inputs.shape), present)


class _Attending(nn.Module):
    """Attention of several heads: tokens [B, N, units] to what each finds among those that are present."""

    heads: int

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "rows n units"], present: Bool[Array, "rows n"] | None
    ) -> Float[Array, "rows n units"]:
        n_rows, n_tokens, units = tokens.shape
        width = units // self.heads
        joint = Linear(3 * units, name="qkv")(tokens).reshape(n_rows, n_tokens, 3, self.heads, width)
        queries, keys, values = jnp.moveaxis(joint, (2, 3), (0, 2))  # [B, heads, N, width]
        sums = product(queries * width**-0.5, jnp.swapaxes(keys, -1, -2))
        if present is not None:
            # Not infinite: of a row without a token the softmax would be none.
            sums = jnp.where(jnp.broadcast_to(present[:, None, None], sums.shape), sums, -1e30)
        found = jnp.swapaxes(product(nn.softmax(sums), values), 1, 2)
        return Linear(units, name="proj")(found.reshape(tokens.shape))


class _Perceptron(nn.Module):
    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        units = tokens.shape[-1]
        hidden = nn.gelu(Linear(RATIO * units, name="fc1")(tokens), approximate=False)
        return Linear(units, name="fc2")(hidden)


class Linear(nn.Module):
    """A linear map of the last axis; kernels start from LeCun's normal, biases from zero."""

    features: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "rows *grid inner"]) -> Float[Array, "rows *grid features"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        sums = product(inputs, kernel)
        return sums + jnp.broadcast_to(bias, sums.shape)


class LayerNorm(nn.Module):
    """The norm of Ba et al. (2016): the units of each token to mean 0 and variance 1, scaled and shifted."""

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        scale = self.param("scale", nn.initializers.ones, tokens.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, tokens.shape[-1:])
        offsets = tokens - tokens.mean(axis=-1, keepdims=True)
        rates = jax.lax.rsqrt(jnp.square(offsets).mean(axis=-1, keepdims=True) + 1e-6)
        normed = offsets * rates * jnp.broadcast_to(scale, tokens.shape) + jnp.broadcast_to(bias, tokens.shape)
        return marked(normed, real_tokens(tokens))


class Mean(nn.Module):
    """The mean over all positions: [B, *sides, units] to [B, units]."""

    @nn.compact
    def __call__(self, inputs: Tokens) -> Float[Array, "rows units"]:
        if inputs.ndim < 3:
            raise ValueError("a mean over positions reads [..., units] with positions, and no vectors")
        axes, present = tuple(range(1, inputs.ndim - 1)), real_tokens(inputs)
        if present is None:
            return inputs.mean(axis=axes)
        sums = inputs.sum(axis=axes)  # to which negative zeros add nothing
        counts = jnp.maximum(present.sum(axis=axes), 1)
        return sums / jnp.broadcast_to(counts[:, None], sums.shape)


class TokenDecoder(nn.Module):
    """A linear map of each token [B, *grid, units] to the patch that it stands for, or to as many values: [B, *shape].

    A linear decoder learns codes as good as deeper ones for fine-tuning (Xie et al., 2022, "SimMIM"), and leaves the
    exchange among tokens to the encoder; what lies past the last whole patch is cut off.
    """

    shape: tuple[int, ...]  # sides and channels
    window: tuple[int, ...]  # along each side

    @nn.compact
    def __call__(self, codes: Tokens) -> Float[Array, "rows *sides channels"]:
        *grid, _ = codes.shape[1:]
        channels, n = self.shape[-1], len(self.window)
        values = Linear(math.prod(self.window) * channels, name="linear")(codes)
        values = values.reshape(len(codes), *grid, *self.window, channels)
        paired = [axis for side in range(n) for axis in (1 + side, 1 + n + side)]
        whole = (size * window for size, window in zip(grid, self.window, strict=True))
        values = values.transpose(0, *paired, 2 * n + 1).reshape(len(codes), *whole, channels)
        return values[(slice(None), *map(slice, self.shape[:-1]))]


class Repeat(nn.Module):
    """Codes [B, units] at every position: [B, *shape]."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: Float[Array, "rows units"]) -> Tokens:
        positions = [1] * (len(self.shape) - 1)
        return jnp.broadcast_to(codes.reshape(len(codes), *positions, -1), (len(codes), *self.shape))


def windows(sides: tuple[int, ...], window: int) -> tuple[int, ...]:
    """Returns the window along each side, which is 1 along a side of 1."""
    return tuple(window if size > 1 else 1 for size in sides)


def patches(inputs: Float[Array, "rows *sides channels"], window: tuple[int, ...]) -> Float[Array, "rows *grid values"]:
    """Returns patches, the values of each side by side: [B, *sides, C] to [B, *grid, prod(window) * C]."""
    n_rows, *sides, channels = inputs.shape
    grid = [-(-size // length) for size, length in zip(sides, window, strict=True)]
    after = [(0, each * length - size) for each, length, size in zip(grid, window, sides, strict=True)]
    whole = jnp.pad(inputs, [(0, 0), *after, (0, 0)], constant_values=-0.0)
    cut = whole.reshape(n_rows, *itertools.chain(*zip(grid, window, strict=True)), channels)
    n = len(grid)
    return cut.transpose(0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1).reshape(n_rows, *grid, -1)


def chosen(tokens: Tokens, places: Int[Array, "rows visible"]) -> Float[Array, "rows ... units"]:
    """Returns the tokens [B, *grid, units] at places of rows: [B, visible, units]; series [B, visible, 1, units]."""
    found = jnp.take_along_axis(tokens.reshape(len(tokens), -1, tokens.shape[-1]), places[:, :, None], axis=1)
    return found[:, :, None] if real_tokens(tokens) is not None else found


def one_hot(places: Int[Array, "rows visible"], n_tokens: int) -> Bool[Array, "rows visible tokens"]:
    """Returns whether each token is at a place: a product with it gathers and scatters without a loop."""
    return places[:, :, None] == jnp.arange(n_tokens)[None, None]
