"""Tokens that masked pretraining leaves visible: drawn, encoded without the hidden ones, and predicted from."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from pretrain.learn.annotations import Array
from pretrain.learn.attention import (
    Attention,
    LayerNorm,
    Linear,
    Patches,
    TokenDecoder,
    Tokens,
    chosen,
    one_hot,
    patches,
    windows,
)
from pretrain.learn.layers import Params, encode
from pretrain.learn.masks import n_hidden, spread
from pretrain.learn.padding import marked, real_tokens
from pretrain.learn.randomness import shuffled
from pretrain.learn.stack import Stack

_HEAD = 16  # units of a head of the predictor


class Predictor(nn.Module):
    """A block of attention, and a linear map of each token to its patch: [B, *grid, units] to [B, *shape].

    The block has heads of 16 units, together at most half as many as tokens have, or 16. One serves fine-tuning as well
    as eight do (He et al., 2022, table 1). Hidden tokens are given as zeros: what they become is learned, the bias of
    the first map, and their positions.
    """

    shape: tuple[int, ...]  # sides and channels
    window: tuple[int, ...]  # along each side

    @nn.compact
    def __call__(self, codes: Tokens) -> Float[Array, "rows *sides channels"]:
        heads = max(1, codes.shape[-1] // (2 * _HEAD))
        tokens = Linear(_HEAD * heads, name="embed")(codes)
        positions = self.param("positions", nn.initializers.normal(0.02), tokens.shape[1:])
        tokens = marked(tokens + jnp.broadcast_to(positions, tokens.shape), real_tokens(codes))
        tokens = LayerNorm(name="norm")(Attention(heads, name="block")(tokens))
        return TokenDecoder(self.shape, self.window, name="decoder")(tokens)


class Visible(NamedTuple):
    """Which tokens of examples are visible, as many in each."""

    places: Int[Array, "rows visible"]  # among all, whatever their sides
    hidden: Bool[Array, "rows *shape"]  # values of the examples


def n_layers(layers: Sequence[nn.Module], shape: tuple[int, ...]) -> int:
    """Returns how many layers, from the lowest up, can be given some tokens of examples of a shape, and no others."""
    if not isinstance(layers[0], Patches | Attention | LayerNorm) or math.prod(_grid(layers[0], shape)) < 2:
        return 0
    above = itertools.takewhile(lambda layer: isinstance(layer, Attention | LayerNorm), layers[1:])
    return 1 + len(list(above))


def predictor(layer: nn.Module, shape: tuple[int, ...]) -> Predictor:
    """Returns the predictor of what a layer of tokens reads, examples of a shape."""
    return Predictor(shape, _windows(layer, shape))


def visible(key: Key[Array, ""], layer: nn.Module, n_rows: int, shape: tuple[int, ...], share: float) -> Visible:
    """Returns the visible tokens of examples of a shape that a layer reads, all but a share, drawn for each row."""
    grid = _grid(layer, shape)
    n_tokens = math.prod(grid)
    kept = jnp.arange(n_hidden(share, n_tokens), n_tokens)
    places = jax.vmap(lambda key: shuffled(key, kept, n_tokens))(jax.random.split(key, n_rows))
    hidden = ~one_hot(places, n_tokens).any(axis=1)
    return Visible(places, spread(hidden.reshape(n_rows, *grid, 1), _windows(layer, shape), shape))


def encoded(stack: Stack, params: Params, inputs: Float[Array, "rows *shape"], found: Visible, stop: int) -> Tokens:
    """Returns what layers of tokens make of visible ones alone: [B, *grid, units], with zeros in the place of others.

    Tokens of series that are padding stay so, hidden or not.

    Args:
      stack: of which the layers from its start up to, not including, ``stop`` are given visible tokens.
      params: of its encoder.
      inputs: of the lowest of them [B, *shape], to which no gradient goes.
      found: the visible tokens.
      stop: the end of the layers.
    """
    start, lowest = stack.start, stack.layers[stack.start]
    cut = patches(inputs, _windows(lowest, inputs.shape[1:]))
    *grid, _ = cut.shape[1:]
    if isinstance(lowest, Patches):  # which adds positions of the visible alone
        codes = cast(jax.Array, lowest.apply({"params": params[f"layers_{start}"]}, inputs, found.places))
        start += 1
    else:
        codes = chosen(cut, found.places)
    codes = encode(stack.layers, params, codes, start, stop)
    placed = jnp.swapaxes(one_hot(found.places, math.prod(grid)), 1, 2).astype(jnp.float32)
    whole = placed @ codes.reshape(*found.places.shape, -1)
    return marked(whole.reshape(len(whole), *grid, -1), real_tokens(cut))


def _windows(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    return windows(shape[:-1], layer.window if isinstance(layer, Patches) else 1)


def _grid(layer: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the tokens along each side that a layer makes of examples of a shape, or reads."""
    return tuple(-(-side // length) for side, length in zip(shape[:-1], _windows(layer, shape), strict=True))
