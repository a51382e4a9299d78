"""Noise on what a denoising autoencoder reads (Vincent et al., 2010, "Stacked denoising autoencoders")."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Float, Key

from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.layers import flat
from pretrain.learn.randomness import normal, uniform
from pretrain.learn.views import swapped


def corrupted(
    inputs: Float[Array, "*shape"], key: Key[Array, ""], kind: str, level: Scalar | float, groups: Sequence[int] = ()
) -> Float[Array, "*shape"]:
    """Returns inputs [B, ...] with noise.

    Args:
      inputs: what is to be corrupted, float32.
      key: of the noise; another for every update.
      kind: ``masking`` sets values to 0, ``salt_and_pepper`` to the least or the largest of 0 and 1 at even odds, each
        with a probability of ``level``; ``swap`` gives columns values of other rows of the batch, likewise;
        ``gaussian`` adds noise of standard deviation ``level``; ``none`` does nothing.
      level: the level, which may be a tracer.
      groups: of swap, the number of each column's group: those of one group go together.
    """
    match kind:
        case "none":
            return inputs
        case "masking":
            return jnp.where(uniform(key, inputs.shape) < level, 0.0, inputs)
        case "swap":
            return swapped(flat(inputs), key, level, groups).reshape(inputs.shape)
        case "salt_and_pepper":
            places = uniform(key, inputs.shape)
            return jnp.where(places < level, jnp.where(places < level / 2, 0.0, 1.0), inputs)
    return inputs + level * normal(key, inputs.shape)
