"""Batches of examples, and metrics as numerators and denominators that are divided once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from pretrain.learn.annotations import Array
from pretrain.learn.layers import AnyArray

_BLOCK = 1000  # examples that are measured at once


class Batch(NamedTuple):
    """Examples."""

    inputs: AnyArray  # [B, ...] uint8 images, or float32 codes
    labels: AnyArray = None  # [B] int32 classes, or float32 labels or numbers [B, outputs]
    weights: AnyArray = None  # [B] float32, 0 for examples that are to count for nothing; by default all count


class Splits(NamedTuple):
    """The examples of each split, which all trials share; without labels where the stage's method reads none."""

    train: Batch
    validation: Batch
    test: Batch
    labelled: AnyArray = None  # [L] int32, rows of ``train`` whose label may be read; None where all may


def taken(examples: Batch, rows: Int[Array, " rows"] | None) -> Batch:
    """Returns the examples of some rows; of None, all."""
    return examples if rows is None else jax.tree.map(lambda leaf: leaf[rows], examples)


class Mean(NamedTuple):
    """A mean over examples that is still to be divided."""

    total: jax.Array
    count: jax.Array | float  # type: ignore[assignment]  # hides tuple.count


Metrics = dict[str, Mean]


def mean_of(values: Float[Array, "rows ..."], batch: Batch) -> Mean:
    """Returns the mean of values [B, ...] over a batch's examples: its numerator [...] and its denominator."""
    if batch.weights is None:
        return Mean(jnp.sum(values, axis=0), jnp.float32(len(values)))
    weights = batch.weights.reshape(len(values), *[1] * (values.ndim - 1))
    return Mean(jnp.sum(values * jnp.broadcast_to(weights, values.shape), axis=0), jnp.sum(batch.weights))


def divided(metrics: Metrics) -> dict[str, Float[Array, "..."]]:
    """Returns the means themselves."""
    return {name: mean.total / mean.count for name, mean in metrics.items()}


def sum_over(measure: Callable[[Batch], Any], examples: Batch) -> Any:
    """Returns the sum over all examples of what is measured block by block, which bounds memory.

    Args:
      measure: from a block of examples, with weights, to sums over those that count.
      examples: all of them.
    """
    return sum_and_rows(measure, lambda block: None, examples)[0]


def sum_and_rows(measure: Callable[[Batch], Any], compute: Callable[[Batch], Any], examples: Batch) -> tuple[Any, Any]:
    """Returns ``sum_over``, and beside it what is computed for each example: arrays [N, ...].

    Args:
      measure: from a block of examples, with weights, to sums over those that count.
      compute: from the same block to arrays [block, ...], or None.
      examples: all of them.
    """
    size = len(examples.inputs)
    block = min(size, _BLOCK)
    n_blocks = -(-size // block)

    def add_block(sums: Any, index: jax.Array) -> tuple[Any, Any]:
        # The last block may overlap the one before it; rows seen already weigh nothing.
        start = jnp.minimum(index * block, size - block)
        rows = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, block), examples)
        fresh = start + jnp.arange(block) >= index * block
        weighed = rows._replace(weights=fresh.astype(jnp.float32))
        return jax.tree.map(jnp.add, sums, measure(weighed)), compute(rows)

    first = jax.tree.map(lambda leaf: leaf[:block], examples)._replace(weights=jnp.ones(block))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), jax.eval_shape(measure, first))
    sums, computed = jax.lax.scan(add_block, zeros, jnp.arange(n_blocks))
    n_last = size - (n_blocks - 1) * block  # rows of the last block that the one before it has not

    def joined(blocks: jax.Array) -> jax.Array:
        whole = blocks[:-1].reshape(-1, *blocks.shape[2:])
        return jnp.concatenate([whole, blocks[-1, block - n_last :]])

    return sums, jax.tree.map(joined, computed)


def evaluate(measure: Callable[[Batch], Metrics], examples: Batch) -> dict[str, Float[Array, "..."]]:
    """Returns metrics, mean over all examples."""
    return divided(sum_over(measure, examples))


def measured_if(condition: Bool[Array, ""], measure: Callable[[], Any]) -> Any:
    """Returns ``measure()`` under a condition, and NaN otherwise, at no cost."""
    shapes = jax.eval_shape(measure)
    return jax.lax.cond(condition, measure, lambda: jax.tree.map(lambda _: jnp.full((), jnp.nan), shapes))
