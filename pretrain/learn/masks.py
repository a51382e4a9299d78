"""Masks: parts of inputs that are hidden, drawn at random, as many in every row (He et al., 2022).

A part is a patch of an image, a volume or a feature map, all channels of it; a window of a series; a column, together
with those of its category; or a unit of codes.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Key

from pretrain.learn.annotations import Array
from pretrain.learn.randomness import shuffled


def hidden(
    key: Key[Array, ""], n_rows: int, shape: tuple[int, ...], share: float, patch: int, groups: Sequence[int] = ()
) -> Bool[Array, "rows ..."]:
    """Returns which values of examples are hidden: [B, *shape].

    Args:
      key: of the draws.
      n_rows: examples.
      shape: of an example, channels last.
      share: of parts to hide (fraction); one is hidden and one is left at least.
      patch: length of a part along each side (values), at most half of the longest.
      groups: number of each column's group; by default each column, or unit, is a part.
    """
    *sides, _ = shape
    if max(sides, default=1) == 1:
        parts = drawn(key, n_rows, max(groups) + 1 if groups else math.prod(shape), share)
        return (parts[:, np.asarray(groups)] if groups else parts).reshape(n_rows, *shape)
    patch = min(patch, -(-max(sides) // 2))
    grid = [-(-side // patch) for side in sides]
    parts = drawn(key, n_rows, math.prod(grid), share).reshape(n_rows, *grid, 1)
    return spread(parts, [patch] * len(sides), shape)


def spread(
    parts: Bool[Array, "rows *grid 1"], window: Sequence[int], shape: tuple[int, ...]
) -> Bool[Array, "rows ..."]:
    """Returns which values of examples of a shape are hidden, given which windows of them are."""
    for axis, (length, side) in enumerate(zip(window, shape[:-1], strict=True), 1):
        parts = jax.lax.slice_in_dim(jnp.repeat(parts, length, axis), 0, side, axis=axis)
    return jnp.broadcast_to(parts, (len(parts), *shape))


def drawn(key: Key[Array, ""], n_rows: int, n_parts: int, share: float) -> Bool[Array, "rows parts"]:
    """Returns which parts of each row are hidden: a share of them, the same count in every row."""
    count = n_hidden(share, n_parts)

    def of_row(key: Key[Array, ""]) -> Bool[Array, " parts"]:
        return shuffled(key, jnp.arange(n_parts), n_parts) < count  # 40 times as fast as to sort, on a CPU

    return jax.vmap(of_row)(jax.random.split(key, n_rows))


def n_hidden(share: float, n_parts: int) -> int:
    """Returns how many of some parts are hidden: one at least, and all but one at most."""
    return max(1, min(round(share * n_parts), n_parts - 1))
