"""What a layer's codes are like: their statistics over unlabelled images, their rank, what they share with others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pretrain.learn import train
from pretrain.learn.model import Params
from pretrain.learn.objectives import Batch

_PIVOTS = 100  # images
_CONSTANT = 1e-6  # standard deviation, relative to the largest, below which a unit counts as constant


def identity_statistics(units: int) -> Params:
    """Returns the statistics that leave codes as they are: ``mean`` and ``scale`` [units]."""
    return {"mean": jnp.zeros(units), "scale": jnp.ones(units)}


def code_statistics(encode: Callable[[jax.Array], jax.Array], images: jax.Array) -> Params:
    """Returns what standardises codes: every unit's ``mean`` and ``scale``, one over its standard deviation: [units].

    Args:
      encode: from images [B, pixels] to codes [B, units].
      images: all images to take the statistics over [N, pixels].

    Returns:
      The statistics; a unit that is constant over the images keeps its scale, for it has none to be given.
    """
    # Codes are counted from a point among them: squares of what lies far from zero would not leave a variance.
    pivot = jnp.mean(encode(images[:_PIVOTS]), axis=0)

    def moments(batch: Batch) -> Params:
        codes = encode(batch.inputs)
        offsets = codes - jnp.broadcast_to(pivot, codes.shape)
        return {"first": offsets, "second": jnp.square(offsets)}

    means = train.mean_over(moments, Batch(images))
    deviation = jnp.sqrt(jnp.maximum(means["second"] - jnp.square(means["first"]), 0))
    varies = deviation > _CONSTANT * jnp.max(deviation)
    return {"mean": pivot + means["first"], "scale": jnp.where(varies, 1 / jnp.where(varies, deviation, 1), 1)}


def spectrum(codes: jax.Array) -> jax.Array:
    """Returns the singular values of centred codes [N, units], the largest first, and zero where rounding is all.

    These are [min(N, units)]; no more than N - 1 of them, and none of units that are constant, are above zero.
    """
    values = jnp.linalg.svd(_centred(codes), compute_uv=False)
    rounding = max(codes.shape) * jnp.finfo(values.dtype).eps * values[0]
    return jnp.where(values > rounding, values, 0)


def effective_rank(values: jax.Array) -> jax.Array:
    """Returns the exponential of the entropy of singular values taken as shares (Roy and Vetterli, 2007).

    From 1, of codes on a line, to as many as there are values; 0 where codes are all the same.
    """
    total = jnp.sum(values)
    shares = values / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(jnp.where(shares > 0, shares * jnp.log(jnp.where(shares > 0, shares, 1)), 0))
    return jnp.where(total > 0, jnp.exp(entropy), 0)


def condition_number(values: jax.Array) -> jax.Array:
    """Returns the ratio of the largest singular value to the smallest above zero; NaN where codes are all the same."""
    ratio = values[0] / jnp.min(jnp.where(values > 0, values, jnp.inf))
    return jnp.where(values[0] > 0, ratio, jnp.nan)


def alignment(codes: jax.Array, others: jax.Array) -> jax.Array:
    """Returns the linear centred kernel alignment of two sets of codes [N, units] of the same images.

    See Kornblith et al. (2019), "Similarity of neural network representations revisited". It is 1 where one is the
    other, rotated and scaled, and 0 where nothing linear is shared.
    """
    first, second = _centred(codes), _centred(others)
    shared = jnp.sum(jnp.square(first.T @ second))
    norms = [jnp.sqrt(jnp.sum(jnp.square(side.T @ side))) for side in (first, second)]
    return shared / (norms[0] * norms[1])


def _centred(codes: jax.Array) -> jax.Array:
    return codes - jnp.broadcast_to(jnp.mean(codes, axis=0, keepdims=True), codes.shape)
