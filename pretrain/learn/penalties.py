"""Penalties of codes besides reconstruction: sparsity, contraction, divergence from noise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from pretrain.learn.annotations import Array, Codes, Scalar

_SMALLEST_RATE = 1e-6  # a rate of 0 or 1 would be infinitely far from any target


def sparsity(codes: Float[Array, "rows ..."], kind: str, target: Scalar | float) -> Scalar:
    """Returns how far codes [B, ...] are from sparse; of a convolution, each place has units of its own.

    Args:
      codes: under ``kl``, between 0 and 1.
      kind: ``kl``: the divergence of Bernoulli variables of the target rate from those of each unit's mean over the
        batch, sum over units (nats; Lee et al., 2008; Ng, 2011, "Sparse autoencoder"); ``l1``: absolute values, mean
        over the batch and sum over units.
      target: rate of ``kl``, in (0, 1).
    """
    if kind == "l1":
        return jnp.sum(jnp.mean(jnp.abs(codes), axis=0))
    rates = jnp.clip(jnp.mean(codes, axis=0), _SMALLEST_RATE, 1 - _SMALLEST_RATE)
    return jnp.sum(target * jnp.log(target / rates) + (1 - target) * jnp.log((1 - target) / (1 - rates)))


def contraction(
    sums: Codes, kernel: Float[Array, "inputs units"], activation: Callable[[jax.Array], jax.Array]
) -> Scalar:
    """Returns the squared Frobenius norm of a layer's Jacobian, mean over the batch.

    Exact for elementwise activations: the Jacobian of unit j is its slope times its column of the kernel (Rifai et al.,
    2011, "Contractive auto-encoders").

    Args:
      sums: what the activation is applied to [B, units].
      kernel: [D, units].
      activation: elementwise.
    """
    _, slopes = jax.jvp(activation, (sums,), (jnp.ones_like(sums),))
    columns = jnp.sum(jnp.square(kernel), axis=0, keepdims=True)
    return jnp.mean(jnp.sum(jnp.square(slopes) * jnp.broadcast_to(columns, slopes.shape), axis=-1))


def divergence(means: Codes, log_variances: Codes) -> Scalar:
    """Returns the KL divergence of Gaussian codes from a standard Gaussian.

    See Kingma and Welling (2014), "Auto-encoding variational Bayes", appendix B.

    Args:
      means: [B, units].
      log_variances: [B, units].

    Returns:
      The divergence (nats), mean over the batch and sum over units.
    """
    each = jnp.square(means) + jnp.exp(log_variances) - 1 - log_variances
    return jnp.mean(jnp.sum(each, axis=-1)) / 2
