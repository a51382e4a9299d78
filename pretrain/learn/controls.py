"""Controls: encoders that keep one property of the pretrained layers and lose the others."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from pretrain.learn.annotations import Array
from pretrain.learn.layers import Params
from pretrain.learn.modes import STATISTICS


def control(layer: Params, key: Key[Array, ""], kind: str) -> Params:
    """Returns a layer that shares some property with a pretrained one, and is random otherwise.

    Args:
      layer: its parameters, nested where its module holds others. A kernel [..., units] counts as a matrix.
      key: of the draw.
      kind: ``matched``: normal weights of the same mean and standard deviation, leaf by leaf; ``permuted``: the same
        weights in random places of their leaf; ``rotated``: kernels of the same singular values, with singular vectors
        from an even (Haar) distribution, and all else as it is. Running statistics stay as they are.
    """
    of_kernel, of_rest = KINDS[kind]
    for_kernel, for_rest = jax.random.split(key)
    held = {name: layer[name] for name in layer if name == STATISTICS}
    nested = [name for name in sorted(layer.keys() - held) if isinstance(layer[name], dict)]
    rest = [name for name in sorted(layer.keys() - held) if name not in nested and name != "kernel"]
    # From 2 up: to split a key is to fold 0 and 1 into it.
    made: Params = {
        name: control(layer[name], jax.random.fold_in(key, number), kind) for number, name in enumerate(nested, 2)
    }
    if "kernel" in layer:
        made["kernel"] = of_kernel(layer["kernel"], for_kernel)
    for number, name in enumerate(rest):
        drawn = for_rest if number == 0 else jax.random.fold_in(for_rest, number)
        made[name] = of_rest(layer[name], drawn)
    return {**made, **held}


def _matched(values: Float[Array, "*shape"], key: Key[Array, ""]) -> Float[Array, "*shape"]:
    return jnp.mean(values) + jnp.std(values) * jax.random.normal(key, values.shape)


def _permuted(values: Float[Array, "*shape"], key: Key[Array, ""]) -> Float[Array, "*shape"]:
    return jax.random.permutation(key, values.ravel()).reshape(values.shape)


def _rotated(kernel: Float[Array, "*shape"], key: Key[Array, ""]) -> Float[Array, "*shape"]:
    matrix = kernel.reshape(-1, kernel.shape[-1])
    values = jnp.linalg.svd(matrix, compute_uv=False)
    keys = jax.random.split(key)
    left, right = (_directions(keys[side], size, len(values)) for side, size in enumerate(matrix.shape))
    return ((left * jnp.broadcast_to(values, left.shape)) @ right.T).reshape(kernel.shape)


def _directions(key: Key[Array, ""], size: int, count: int) -> Float[Array, "size count"]:
    """Returns orthonormal columns [size, count] from an even distribution (Mezzadri, 2007)."""
    directions, upper = jnp.linalg.qr(jax.random.normal(key, (size, count)))
    return directions * jnp.broadcast_to(jnp.sign(jnp.diagonal(upper)), directions.shape)


def _kept(values: Float[Array, "*shape"], key: Key[Array, ""]) -> Float[Array, "*shape"]:
    return values


# What becomes of a kernel, and of any other leaf.
KINDS = {"matched": (_matched, _matched), "permuted": (_permuted, _permuted), "rotated": (_rotated, _kept)}
