"""Convolutions that are as fast inside a loop on a CPU as outside of one.

XLA's CPU backend runs a convolution inside a loop 12 to 20 times slower than elsewhere (jax-ml/jax#12868). There, a
convolution is shifted slices of the images and a matrix product, and so is its gradient; on accelerators it is the
native one.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from pretrain.learn.annotations import Array

Images = Float[Array, "rows height width channels"]
Kernel = Float[Array, "rows_of_window columns_of_window channels features"]
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(images: Images, kernel: Kernel, stride: int) -> Float[Array, "rows h w features"]:
    """Returns the convolution with SAME padding, without a bias.

    Args:
      images: [B, H, W, C].
      kernel: [window, window, C, features]; of images of a single row or column, a series, 1 on that side.
      stride: of the window, in both directions (pixels).

    Returns:
      [B, ceil(H / stride), ceil(W / stride), features].
    """
    by_slices = functools.partial(_by_slices, stride=stride)
    return jax.lax.platform_dependent(images, kernel, cpu=by_slices, default=functools.partial(native, stride=stride))


def native(images: Images, kernel: Kernel, stride: int) -> Float[Array, "rows h w features"]:
    """Returns the same by XLA's own convolution."""
    padding = _padding(images.shape, kernel.shape, stride)
    return jax.lax.conv_general_dilated(images, kernel, (stride, stride), padding, dimension_numbers=_DIMENSIONS)


def _forward(images: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(images, kernel, stride), (images, kernel)


def _backward(stride: int, saved: tuple[jax.Array, jax.Array], slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    def native_gradient(images: jax.Array, kernel: jax.Array, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(functools.partial(native, stride=stride), images, kernel)[1](slopes)

    by_slices = functools.partial(_gradient_by_slices, stride=stride)
    return jax.lax.platform_dependent(*saved, slopes, cpu=by_slices, default=native_gradient)


convolve.defvjp(_forward, _backward)


def _padding(shape: tuple[int, ...], window: Sequence[int], stride: int) -> list[tuple[int, int]]:
    """Returns the SAME padding before and after each side of images [B, H, W, C]; a window is of two sides."""
    pads = []
    for size, side in zip(shape[1:3], window[:2], strict=True):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def _patches(images: jax.Array, window: Sequence[int], stride: int) -> jax.Array:
    """Returns every window of images [B, H, W, C], its pixels side by side: [B, rows, columns, taps · C]."""
    return jnp.concatenate(_taps(images, window, stride), axis=-1)


def _taps(images: jax.Array, window: Sequence[int], stride: int) -> list[jax.Array]:
    """Returns the pixels of images [B, H, W, C] under each tap of a kernel: as many times [B, rows, columns, C]."""
    height, width = (-(-size // stride) for size in images.shape[1:3])
    padded = jnp.pad(images, [(0, 0), *_padding(images.shape, window, stride), (0, 0)])
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    return [
        padded[:, row : row + rows : stride, column : column + columns : stride]
        for row in range(window[0])
        for column in range(window[1])
    ]


def _by_slices(images: Images, kernel: Kernel, stride: int) -> Float[Array, "rows h w features"]:
    *window, channels, features = kernel.shape
    if features >= channels:
        return _patches(images, window, stride) @ kernel.reshape(-1, features)
    # To multiply first moves fewer values: those of each tap are then added up.
    products = images @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
    parts = jnp.split(products, math.prod(window), axis=-1)
    return functools.reduce(jnp.add, [_taps(part, window, stride)[tap] for tap, part in enumerate(parts)])


def _gradient_by_slices(
    images: jax.Array, kernel: jax.Array, slopes: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of images and kernel, given that of the convolution."""
    window, features = kernel.shape[:2], kernel.shape[-1]
    vectors = slopes.reshape(-1, features)
    # The narrow factor is the one to transpose; the barrier keeps XLA from swapping the two (4.1 against 5.5 ms).
    transposed = jax.lax.optimization_barrier(vectors.T @ _patches(images, window, stride).reshape(len(vectors), -1))
    return _image_gradient(images.shape, kernel, slopes, stride), transposed.T.reshape(kernel.shape)


def _image_gradient(shape: tuple[int, ...], kernel: jax.Array, slopes: jax.Array, stride: int) -> jax.Array:
    """Returns the gradient of images of a shape.

    Pixels fall into stride² grids, by their remainder; those of one grid lie under the same taps of the kernel, so that
    the gradient of each grid is a sum of shifted products of slopes and those taps, and grids do not overlap.
    """
    (tall, wide), features = kernel.shape[:2], kernel.shape[-1]
    batch, height, width, channels = shape
    (above, _), (left, _) = _padding(shape, kernel.shape, stride)
    # Of a grid, padding included.
    rows, columns = -(-(height + above) // stride), -(-(width + left) // stride)

    def shifted(values: jax.Array, row: int, column: int) -> jax.Array:
        """Returns values [B, h, w, ...] on a grid, moved down and to the right."""
        kept = values[:, : rows - row, : columns - column]
        below, right = rows - row - kept.shape[1], columns - column - kept.shape[2]
        return jnp.pad(kept, [(0, 0), (row, below), (column, right), (0, 0)])

    multiplies_first = channels <= features
    if multiplies_first:
        products = slopes @ kernel.reshape(-1, features).T  # [B, h, w, taps · channels]
        parts = jnp.split(products, tall * wide, axis=-1)
    grids = []
    for row in range(stride):
        for column in range(stride):
            # Taps that are moved past the end of the grid lie over no pixel.
            across = range(column, min(wide, columns * stride), stride)
            taps = [(r, c) for r in range(row, min(tall, rows * stride), stride) for c in across]
            if not taps:
                grids.append(jnp.zeros((batch, rows, columns, channels), slopes.dtype))
            elif multiplies_first:
                each = [shifted(parts[r * wide + c], r // stride, c // stride) for r, c in taps]
                grids.append(functools.reduce(jnp.add, each))
            else:
                moved = jnp.concatenate([shifted(slopes, r // stride, c // stride) for r, c in taps], axis=-1)
                grids.append(moved @ jnp.concatenate([kernel[r, c].T for r, c in taps]))
    whole = jnp.stack(grids, axis=3).reshape(batch, rows, columns, stride, stride, channels)
    whole = whole.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * stride, columns * stride, channels)
    return whole[:, above : above + height, left : left + width]
