"""Variance, invariance, covariance: views alike, units that vary and do not covary (Bardes et al., 2022, "VICReg")."""

import jax.numpy as jnp
import numpy as np

from pretrain.config.methods import VarianceConfig
from pretrain.learn import two_views
from pretrain.learn.annotations import Codes, Scalar
from pretrain.learn.train import Values

_LEAST = 1e-4  # added to variances


def vicreg(first: Codes, second: Codes, config: VarianceConfig) -> tuple[Scalar, Values]:
    """Returns the weighted sum of three terms, each a mean over units.

    Embeddings are centred and not standardised, which would leave the variance term without effect.

    Args:
      first: embeddings of one view [B, units].
      second: of the other.
      config: with the weights, which may be tracers.

    Returns:
      The loss. ``loss``; ``invariance``, the squared difference of the views; ``variance``, what standard deviations
      lack of 1, mean over both views; and ``covariance``, squared covariances, summed over views and other units.
    """
    lacking, covariances = zip(*(_of_view(each) for each in (first, second)), strict=True)
    terms = {
        "invariance": jnp.mean(jnp.square(first - second)),
        "variance": (lacking[0] + lacking[1]) / 2,
        "covariance": covariances[0] + covariances[1],
    }
    weights = (config.invariance_weight, config.variance_weight, config.covariance_weight)
    loss = sum(weight * term for weight, term in zip(weights, terms.values(), strict=True))
    return loss, {"loss": loss, **terms}


def _of_view(embeddings: Codes) -> tuple[Scalar, Scalar]:
    """Returns what deviations lack of 1, and squared covariances, mean over units."""
    n_rows, n_units = embeddings.shape
    centred = embeddings - jnp.broadcast_to(jnp.mean(embeddings, axis=0, keepdims=True), embeddings.shape)
    covariances = centred.T @ centred / max(n_rows - 1, 1)
    lacking = jnp.mean(jnp.maximum(0, 1 - jnp.sqrt(jnp.diagonal(covariances) + _LEAST)))
    off = jnp.where(np.eye(n_units, dtype=bool), 0.0, jnp.square(covariances))
    return lacking, jnp.sum(off) / n_units


METHOD = two_views.method(vicreg)
