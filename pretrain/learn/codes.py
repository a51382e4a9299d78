"""Statistics of a layer's codes over unlabelled images, their rank, and their alignment with others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from pretrain.learn.annotations import Array, Codes, Scalar
from pretrain.learn.layers import Params, flat
from pretrain.learn.metrics import Batch, Metrics, evaluate, mean_of, sum_over

_PIVOTS = 100  # images
_BLOCK = 5000  # images that are encoded at once
_SMALLEST_VARIANCE = 1e-6  # of a direction, relative to the largest, that whitening makes 1
_CONSTANT = 1e-6  # standard deviation, relative to the largest, below which a unit counts as constant


def in_blocks(
    encode: Callable[[jax.Array], jax.Array], images: Shaped[Array, "rows ..."], most: int = _BLOCK
) -> Float[Array, "rows ..."]:
    """Returns codes of images [N, ...], whose float copies stay small: they go through in blocks of at most so many."""
    block = min(len(images), most)
    n_whole = len(images) // block
    whole = images[: n_whole * block].reshape(n_whole, block, *images.shape[1:])
    codes = jax.lax.map(encode, whole)
    codes = codes.reshape(-1, *codes.shape[2:])
    return codes if len(codes) == len(images) else jnp.concatenate([codes, encode(images[len(codes) :])])


def standardised(codes: Codes, statistics: Params) -> Codes:
    """Returns codes [B, units] less the ``mean`` [units] of the statistics, times their ``scale`` [units].

    Where they have a ``kernel`` [units, units] instead, which whitens, the difference goes through it.
    """
    offsets = codes - jnp.broadcast_to(statistics["mean"], codes.shape)
    if "kernel" in statistics:
        return offsets @ statistics["kernel"]
    return offsets * jnp.broadcast_to(statistics["scale"], codes.shape)


def identity_statistics(units: int, whitening: bool = False) -> Params:
    """Returns the statistics that leave codes as they are: ``mean`` and ``scale`` [units], or ``kernel``."""
    own = {"kernel": jnp.eye(units)} if whitening else {"scale": jnp.ones(units)}
    return {"mean": jnp.zeros(units), **own}


def code_statistics(encode: Callable[[jax.Array], jax.Array], images: Shaped[Array, "rows ..."]) -> Params:
    """Returns the statistics that standardise codes: every unit's ``mean``, and ``scale``, 1 / its deviation: [units].

    Args:
      encode: from images [B, ...] to codes [B, ...].
      images: all images to take the statistics over [N, ...].

    Returns:
      The statistics; a unit that is constant over the images keeps its scale, for it has none to be given.
    """
    # Codes are counted from a point among them: squares of what lies far from zero would not leave a variance.
    pivot = jnp.mean(flat(encode(images[:_PIVOTS])), axis=0)

    def moments(batch: Batch) -> Metrics:
        codes = flat(encode(batch.inputs))
        offsets = codes - jnp.broadcast_to(pivot, codes.shape)
        return {"first": mean_of(offsets, batch), "second": mean_of(jnp.square(offsets), batch)}

    means = evaluate(moments, Batch(images))
    deviation = jnp.sqrt(jnp.maximum(means["second"] - jnp.square(means["first"]), 0))
    varies = deviation > _CONSTANT * jnp.max(deviation)
    return {"mean": pivot + means["first"], "scale": jnp.where(varies, 1 / jnp.where(varies, deviation, 1), 1)}


def covariance(
    encode: Callable[[jax.Array], jax.Array], images: Shaped[Array, "rows ..."]
) -> tuple[Float[Array, " units"], Float[Array, "units units"]]:
    """Returns the mean [units] and covariance [units, units] of the codes of images [N, ...]; see above."""
    pivot = jnp.mean(flat(encode(images[:_PIVOTS])), axis=0)

    def moments(batch: Batch) -> Params:
        codes = flat(encode(batch.inputs))
        offsets = codes - jnp.broadcast_to(pivot, codes.shape)
        offsets = offsets * jnp.broadcast_to(batch.weights[:, None], codes.shape)
        return {"first": jnp.sum(offsets, axis=0), "second": offsets.T @ offsets}

    with jax.default_matmul_precision("highest"):  # accelerators otherwise round what is multiplied
        sums = sum_over(moments, Batch(images))
    offset, second = sums["first"] / len(images), sums["second"] / len(images)
    return pivot + offset, second - jnp.outer(offset, offset)


def whitening(encode: Callable[[jax.Array], jax.Array], images: Shaped[Array, "rows ..."]) -> Params:
    """Returns the statistics that whiten codes of images [N, ...], and turn them least.

    Returns:
      ``mean`` [units] and ``kernel`` [units, units], the inverse root of the covariance (ZCA; Kessy et al., 2018).
      Directions in which codes hardly vary are no further stretched than those of a millionth of the largest variance.
    """
    mean, spread = covariance(encode, images)
    variances, directions = jnp.linalg.eigh(spread)
    largest = jnp.where(variances[-1] > 0, variances[-1], 1)
    roots = jnp.sqrt(jnp.maximum(variances, _SMALLEST_VARIANCE * largest))
    return {"mean": mean, "kernel": (directions / jnp.broadcast_to(roots, directions.shape)) @ directions.T}


def principal_components(
    encode: Callable[[jax.Array], jax.Array], images: Shaped[Array, "rows ..."], units: int
) -> Params:
    """Returns the layer whose sums are the first principal components of codes of images [N, ...].

    Returns:
      ``kernel`` [D, units], orthonormal columns by falling variance, each with its largest weight positive; ``bias``
      [units], which centres the sums; and ``mean`` [D] of the codes.
    """
    mean, spread = covariance(encode, images)
    directions = jnp.linalg.eigh(spread)[1][:, ::-1][:, :units]
    largest = jnp.take_along_axis(directions, jnp.argmax(jnp.abs(directions), axis=0, keepdims=True), axis=0)
    kernel = directions * jnp.broadcast_to(jnp.sign(largest), directions.shape)
    return {"kernel": kernel, "bias": -mean @ kernel, "mean": mean}


def spectrum(codes: Codes) -> Float[Array, " values"]:
    """Returns the singular values of centred codes [N, units], the largest first, and zero where rounding is all.

    These are [min(N, units)]; no more than N - 1 of them, and none of units that are constant, are above zero.
    """
    return above_rounding(jnp.linalg.svd(_centred(codes), compute_uv=False), codes.shape)


def above_rounding(values: Float[Array, " values"], shape: tuple[int, ...]) -> Float[Array, " values"]:
    """Returns singular values of float32 codes of a shape, the largest first, with zero where rounding is all."""
    rounding = max(shape) * np.finfo(np.float32).eps * values[0]
    return jnp.where(values > rounding, values, 0)


def effective_rank(values: Float[Array, " values"]) -> Scalar:
    """Returns the exponential of the entropy of singular values taken as shares (Roy and Vetterli, 2007).

    From 1, of codes on a line, to as many as there are values; 0 where codes are all the same.
    """
    total = jnp.sum(values)
    shares = values / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(jnp.where(shares > 0, shares * jnp.log(jnp.where(shares > 0, shares, 1)), 0))
    return jnp.where(total > 0, jnp.exp(entropy), 0)


def condition_number(values: Float[Array, " values"]) -> Scalar:
    """Returns the ratio of the largest singular value to the smallest above zero; NaN where codes are all the same."""
    ratio = values[0] / jnp.min(jnp.where(values > 0, values, jnp.inf))
    return jnp.where(values[0] > 0, ratio, jnp.nan)


def alignment(codes: Codes, others: Float[Array, "rows others"]) -> Scalar:
    """Returns the linear centred kernel alignment of two sets of codes [N, units] of the same images.

    See Kornblith et al. (2019), "Similarity of neural network representations revisited". It is 1 where one is the
    other, rotated and scaled, and 0 where nothing linear is shared.
    """
    first, second = _centred(codes), _centred(others)
    shared = jnp.sum(jnp.square(first.T @ second))
    norms = [jnp.sqrt(jnp.sum(jnp.square(side.T @ side))) for side in (first, second)]
    return shared / (norms[0] * norms[1])


def _centred(codes: Codes) -> Codes:
    return codes - jnp.broadcast_to(jnp.mean(codes, axis=0, keepdims=True), codes.shape)
