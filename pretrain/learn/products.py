"""Matrix products of layers, with float32 sums: of float32 operands, or of operands that are rounded first.

The precision is that of the stage that is being traced. Losses, statistics and read-outs in closed form are no products
of layers, and stay in float32; so do modules of the user's.
"""

import contextlib

import jax
import jax.numpy as jnp
from jaxtyping import Float

from pretrain.learn.annotations import Array

_precision = jax.make_user_context("float32")  # traces of one precision are not taken for those of another


def in_precision(name: str) -> contextlib.AbstractContextManager[None]:
    """Returns a context in which products are traced in a precision: ``float32``, ``bfloat16`` or ``tf32``."""
    return _precision(name)


def product(left: Float[Array, "*rows inner"], right: Float[Array, "*batch inner units"]) -> Float[Array, "*r units"]:
    """Returns ``left @ right``, of which ``right`` is a matrix or has the leading axes of ``left``."""
    if _precision.value == "bfloat16":
        return _in_bfloat16(left, right)
    with by_hardware():
        return left @ right


def by_hardware() -> contextlib.AbstractContextManager[None]:
    """Returns a context under which products are of TensorFloat-32 if asked for, on hardware that has such."""
    is_tf32 = _precision.value == "tf32"
    return jax.default_matmul_precision("tensorfloat32") if is_tf32 else contextlib.nullcontext()


def rounded(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns operands of products that go without ``product``, rounded under bfloat16, in float32."""
    return values.astype(jnp.bfloat16).astype(values.dtype) if _precision.value == "bfloat16" else values


@jax.custom_vjp
def _in_bfloat16(left: jax.Array, right: jax.Array) -> jax.Array:
    left, right = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    return jnp.matmul(left, right, preferred_element_type=jnp.float32)


def _forward(left: jax.Array, right: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _in_bfloat16(left, right), (left, right)


def _backward(operands: tuple[jax.Array, jax.Array], slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    left, right = operands
    of_left = _in_bfloat16(slopes, jnp.swapaxes(right, -1, -2))
    if right.ndim == 2:
        left, slopes = left.reshape(-1, left.shape[-1]), slopes.reshape(-1, slopes.shape[-1])
    return of_left, _in_bfloat16(jnp.swapaxes(left, -1, -2), slopes)


_in_bfloat16.defvjp(_forward, _backward)
