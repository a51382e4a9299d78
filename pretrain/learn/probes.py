"""Read-outs of an encoder's codes, fitted in closed form."""

import jax
import jax.numpy as jnp

from pretrain.learn.model import Params


def ridge(codes: jax.Array, labels: jax.Array, n_classes: int, penalty: jax.Array | float) -> Params:
    """Fits a linear head by ridge regression of class indicators on codes (Hoerl and Kennard, 1970).

    Args:
      codes: [N, units].
      labels: class numbers [N].
      n_classes: how many classes there are.
      penalty: of the squared kernel, as a fraction of the codes' mean variance, so that it means the same at any scale
        of the codes; the bias is not penalised.

    Returns:
      ``kernel`` [units, classes] and ``bias`` [classes], whose outputs approach 1 for an example's class and 0 for the
      others.
    """
    targets = jax.nn.one_hot(labels, n_classes)
    mean_code, mean_target = jnp.mean(codes, axis=0, keepdims=True), jnp.mean(targets, axis=0, keepdims=True)
    centred = codes - jnp.broadcast_to(mean_code, codes.shape)
    covariance = centred.T @ centred / len(codes)
    variance = jnp.trace(covariance) / len(covariance)
    products = centred.T @ (targets - jnp.broadcast_to(mean_target, targets.shape)) / len(codes)
    # By eigenvalues, which rounding leaves at or above zero: with fewer examples than units a solver may find none.
    spreads, directions = jnp.linalg.eigh(covariance)
    shrunk = jnp.maximum(spreads, 0) + penalty * jnp.where(variance > 0, variance, 1)
    kernel = directions @ ((directions.T @ products) / jnp.broadcast_to(shrunk[:, None], products.shape))
    return {"kernel": kernel, "bias": (mean_target - mean_code @ kernel)[0]}
