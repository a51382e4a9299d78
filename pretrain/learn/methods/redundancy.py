"""Redundancy: units are alike in two views, and correlate with no other (Zbontar et al., 2021, "Barlow Twins")."""

import jax.numpy as jnp
import numpy as np

from pretrain.config.methods import RedundancyConfig
from pretrain.learn import two_views
from pretrain.learn.annotations import Codes, Scalar
from pretrain.learn.train import Values


def barlow_twins(first: Codes, second: Codes, config: RedundancyConfig) -> tuple[Scalar, Values]:
    """Returns how far units' correlations between views are from the identity.

    Args:
      first: embeddings of one view [B, units].
      second: of the other.
      config: with the weight of correlations between units, which may be a tracer.

    Returns:
      The squared differences from one on the diagonal, and the weighted squares off it, sums over units, divided by
      the number of units. ``loss``; and ``alike``, units' correlation with themselves, mean over units.
    """
    n_rows, n_units = first.shape
    correlations = two_views.standardised(first).T @ two_views.standardised(second) / n_rows
    diagonal = jnp.diagonal(correlations)
    off = jnp.sum(jnp.where(np.eye(n_units, dtype=bool), 0.0, jnp.square(correlations)))
    loss = (jnp.sum(jnp.square(1 - diagonal)) + config.off_diagonal * off) / n_units
    return loss, {"loss": loss, "alike": jnp.mean(diagonal)}


METHOD = two_views.method(barlow_twins)
