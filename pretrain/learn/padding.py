"""Padding of series of unlike lengths: negative zeros, which attention and errors of reconstructions leave out.

A network reads them as zeros, the mean of standardised inputs. No other value of a padded set is a negative zero, nor a
subnormal number, which XLA reads as one. Boltzmann machines, principal components and layers above the lowest, whose
inputs are codes, count what they read in the place of padding.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from pretrain.learn.annotations import Array


def is_real(values: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Returns which values are no padding."""
    return (values != 0) | ~jnp.signbit(values)


def squared_errors(
    outputs: Float[Array, "rows ..."], targets: Float[Array, "rows ..."], padded: bool
) -> Float[Array, " rows"]:
    """Returns the squared error of each row, mean over its values; of padded ones, over those that are no padding."""
    axes = tuple(range(1, targets.ndim))
    squares = jnp.square(outputs - targets)
    if not padded:
        return jnp.mean(squares, axis=axes)
    real = is_real(targets)
    return jnp.sum(jnp.where(real, squares, 0), axis=axes) / jnp.maximum(jnp.sum(real, axis=axes), 1)


def masked(values: jax.Array, targets: Float[Array, "rows ..."], padded: bool) -> jax.Array:
    """Returns values [B, ...], zero where targets are padding, if they have some."""
    return jnp.where(is_real(targets), values, 0) if padded else values


def real_tokens(values: Float[Array, "rows *grid units"]) -> Bool[Array, "rows *grid"] | None:
    """Returns which tokens of series [B, T, 1, units] are not padding; None of others, which have none."""
    return is_real(values).any(axis=-1) if values.ndim == 4 and values.shape[2] == 1 else None


def marked(tokens: Float[Array, "rows *grid units"], real: jax.Array | None) -> Float[Array, "rows *grid units"]:
    """Returns tokens of which those that are not real are padding."""
    return tokens if real is None else jnp.where(real[..., None], tokens, -0.0)
