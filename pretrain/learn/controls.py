"""Controls: encoders that keep some of what pretraining made of them, and not the rest."""

import jax
import jax.numpy as jnp

from pretrain.learn.model import Params

KINDS = ("matched", "permuted", "rotated")


def control(layer: Params, key: jax.Array, kind: str) -> Params:
    """Returns a layer that shares some property with a pretrained one, and is random otherwise.

    Args:
      layer: ``kernel`` [D, units] and ``bias`` [units].
      key: of the draw.
      kind: ``matched``: normal weights of the same mean and standard deviation, and so the biases; ``permuted``: the
        same weights in random places, and so the biases; ``rotated``: the same singular values and biases, with
        singular vectors from an even (Haar) distribution.
    """
    for_kernel, for_bias = jax.random.split(key)
    match kind:
        case "matched":
            return {"kernel": _matched(layer["kernel"], for_kernel), "bias": _matched(layer["bias"], for_bias)}
        case "permuted":
            kernel, bias = layer["kernel"], layer["bias"]
            shuffled = jax.random.permutation(for_kernel, kernel.ravel()).reshape(kernel.shape)
            return {"kernel": shuffled, "bias": jax.random.permutation(for_bias, bias)}
        case "rotated":
            return {"kernel": _rotated(layer["kernel"], for_kernel), "bias": layer["bias"]}
    raise ValueError(f"no kind of control: {kind!r}")


def _matched(values: jax.Array, key: jax.Array) -> jax.Array:
    return jnp.mean(values) + jnp.std(values) * jax.random.normal(key, values.shape)


def _rotated(kernel: jax.Array, key: jax.Array) -> jax.Array:
    values = jnp.linalg.svd(kernel, compute_uv=False)
    keys = jax.random.split(key)
    left, right = (_directions(keys[side], size, len(values)) for side, size in enumerate(kernel.shape))
    return (left * jnp.broadcast_to(values, left.shape)) @ right.T


def _directions(key: jax.Array, size: int, count: int) -> jax.Array:
    """Returns orthonormal columns [size, count] from an even distribution (Mezzadri, 2007)."""
    directions, upper = jnp.linalg.qr(jax.random.normal(key, (size, count)))
    return directions * jnp.broadcast_to(jnp.sign(jnp.diagonal(upper)), directions.shape)
