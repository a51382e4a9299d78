"""Convolutions that are as fast inside a loop on a CPU as outside of one.

XLA's CPU backend runs a convolution inside a loop 12 to 20 times slower than elsewhere (jax-ml/jax#12868). There, a
convolution is shifted slices of the examples and a matrix product, and so is its gradient; on accelerators it is the
native one. It goes over as many axes as an example has: two of images and series, three of volumes.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from pretrain.learn.annotations import Array
from pretrain.learn.products import by_hardware, product, rounded

Examples = Float[Array, "rows *sides channels"]
Kernel = Float[Array, "*window channels features"]
Convolve = Callable[[jax.Array, jax.Array, int], jax.Array]
_SIDES = "DHW"  # as XLA's dimension numbers name them, the last ones where there are fewer


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(images: Examples, kernel: Kernel, stride: int) -> Float[Array, "rows *s features"]:
    """Returns the convolution with SAME padding, without a bias.

    Args:
      images: [B, H, W, C], or volumes [B, D, H, W, C].
      kernel: [window, window, C, features], or of three sides; along a side of 1, as series have one, it is 1.
      stride: of the window, along each axis (pixels).

    Returns:
      [B, ceil(H / stride), ceil(W / stride), features], and as many sides as the images have.
    """
    by_slices = functools.partial(_by_slices, stride=stride)
    return jax.lax.platform_dependent(images, kernel, cpu=by_slices, default=functools.partial(native, stride=stride))


def native(images: Examples, kernel: Kernel, stride: int) -> Float[Array, "rows *s features"]:
    """Returns the same by XLA's own convolution."""
    return _of_rounded(rounded(images), rounded(kernel), stride)


def _of_rounded(images: Examples, kernel: Kernel, stride: int) -> Float[Array, "rows *s features"]:
    padding = _padding(images.shape[1:-1], kernel.shape, stride)
    sides = _SIDES[-len(padding) :]
    dimensions = f"N{sides}C", f"{sides}IO", f"N{sides}C"
    strides = (stride,) * len(sides)
    with by_hardware():
        return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=dimensions)


def padded(
    images: Examples, kernel: Kernel, stride: int, padding: Sequence[int], convolution: Convolve
) -> Float[Array, "rows *s features"]:
    """Returns the convolution with as many zeros before each side as after it, by one with SAME padding.

    That goes over a larger canvas, whose size is a multiple of the stride, and what comes of its margins is cut off.

    Args:
      images: as of ``convolve``.
      kernel: likewise.
      stride: likewise.
      padding: zeros before and after each side (pixels).
      convolution: ``convolve`` or ``native``.

    Raises:
      ValueError: the window is wider than a padded side.
    """
    margins, kept = [(0, 0)], [slice(None)]
    for size, window, pad in zip(images.shape[1:-1], kernel.shape, padding, strict=False):
        n_outputs = (size + 2 * pad - window) // stride + 1
        if n_outputs < 1:
            raise ValueError(f"a window of {window} does not fit {size} pixels with a padding of {pad}")
        first = max(window - stride, 0) // 2  # zeros of SAME before the canvas
        skipped = max(0, -((pad - first) // stride))
        before = skipped * stride + pad - first
        length = stride * max(-(-(size + before) // stride), skipped + n_outputs)
        margins.append((before, length - size - before))
        kept.append(slice(skipped, skipped + n_outputs))
    return convolution(jnp.pad(images, [*margins, (0, 0)]), kernel, stride)[tuple(kept)]


def largest(images: Examples, window: int, stride: int, padding: int) -> Float[Array, "rows *s channels"]:
    """Returns the largest value under a window at every stride, with as much padding, which no value is under.

    Sides come to floor((H + 2 padding - window) / stride) + 1.
    """
    sides = images.shape[1:-1]
    around = jnp.pad(images, [(0, 0), *[(padding, padding)] * len(sides), (0, 0)], constant_values=-jnp.inf)
    reach = [(size + 2 * padding - window) // stride * stride + 1 for size in sides]
    taps = itertools.product(range(window), repeat=len(sides))
    under = (
        around[(slice(None), *(slice(at, at + size, stride) for at, size in zip(tap, reach, strict=True)))]
        for tap in taps
    )
    return functools.reduce(jnp.maximum, under)


def _forward(images: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(images, kernel, stride), (images, kernel)


def _backward(stride: int, saved: tuple[jax.Array, jax.Array], slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    def native_gradient(images: jax.Array, kernel: jax.Array, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Past the rounding, whose transpose would round the sums as well.
        operands = rounded(images), rounded(kernel)
        return jax.vjp(functools.partial(_of_rounded, stride=stride), *operands)[1](rounded(slopes))

    by_slices = functools.partial(_gradient_by_slices, stride=stride)
    return jax.lax.platform_dependent(*saved, slopes, cpu=by_slices, default=native_gradient)


convolve.defvjp(_forward, _backward)


def _padding(sides: tuple[int, ...], window: Sequence[int], stride: int) -> list[tuple[int, int]]:
    """Returns the SAME padding before and after each side of an image; a window has as many sides."""
    pads = []
    for size, side in zip(sides, window[: len(sides)], strict=True):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def _patches(images: jax.Array, window: Sequence[int], stride: int) -> jax.Array:
    """Returns every window of images [B, ..., C], its pixels side by side: [B, ..., taps · C]."""
    return jnp.concatenate(_taps(images, window, stride), axis=-1)


def _taps(images: jax.Array, window: Sequence[int], stride: int) -> list[jax.Array]:
    """Returns the pixels of images [B, ..., C] under each tap of a kernel: as many times [B, ..., C]."""
    padded = jnp.pad(images, [(0, 0), *_padding(images.shape[1:-1], window, stride), (0, 0)])
    reach = [(-(-size // stride) - 1) * stride + 1 for size in images.shape[1:-1]]
    return [
        padded[(slice(None), *(slice(at, at + size, stride) for at, size in zip(tap, reach, strict=True)))]
        for tap in itertools.product(*map(range, window))
    ]


def _by_slices(images: Examples, kernel: Kernel, stride: int) -> Float[Array, "rows *s features"]:
    *window, channels, features = kernel.shape
    if features >= channels:
        return product(_patches(images, window, stride), kernel.reshape(-1, features))
    # To multiply first moves fewer values: those of each tap are then added up.
    n_sides = len(window)
    products = product(images, kernel.transpose(n_sides, *range(n_sides), n_sides + 1).reshape(channels, -1))
    parts = jnp.split(products, math.prod(window), axis=-1)
    return functools.reduce(jnp.add, [_taps(part, window, stride)[tap] for tap, part in enumerate(parts)])


def _gradient_by_slices(
    images: jax.Array, kernel: jax.Array, slopes: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients of images and kernel, given that of the convolution."""
    window, features = kernel.shape[:-2], kernel.shape[-1]
    vectors = slopes.reshape(-1, features)
    # The narrow factor is the one to transpose; the barrier keeps XLA from swapping the two (4.1 against 5.5 ms).
    sums = product(vectors.T, _patches(images, window, stride).reshape(len(vectors), -1))
    transposed = jax.lax.optimization_barrier(sums)
    return _image_gradient(images.shape, kernel, slopes, stride), transposed.T.reshape(kernel.shape)


def _image_gradient(shape: tuple[int, ...], kernel: jax.Array, slopes: jax.Array, stride: int) -> jax.Array:
    """Returns the gradient of images of a shape.

    Pixels fall into a grid for each remainder of their places by the stride; those of one grid lie under the same taps
    of the kernel, so that the gradient of each grid is a sum of shifted products of slopes and those taps, and grids do
    not overlap.
    """
    window, features = kernel.shape[:-2], kernel.shape[-1]
    batch, *sides, channels = shape
    before = [first for first, _ in _padding(shape[1:-1], kernel.shape, stride)]
    # Of a grid, padding included.
    grid = [-(-(size + first) // stride) for size, first in zip(sides, before, strict=True)]

    def shifted(values: jax.Array, tap: Sequence[int]) -> jax.Array:
        """Returns values [B, ..., channels] on a grid, moved towards the ends of its sides."""
        moves = [place // stride for place in tap]
        kept = values[(slice(None), *(slice(None, size - move) for size, move in zip(grid, moves, strict=True)))]
        sizes = zip(grid, moves, kept.shape[1:-1], strict=True)
        return jnp.pad(kept, [(0, 0), *((move, size - move - left) for size, move, left in sizes), (0, 0)])

    all_taps = list(itertools.product(*map(range, window)))
    multiplies_first = channels <= features
    if multiplies_first:
        products = product(slopes, kernel.reshape(-1, features).T)  # [B, ..., taps · channels]
        parts = dict(zip(all_taps, jnp.split(products, len(all_taps), axis=-1), strict=True))
    grids = []
    for remainder in itertools.product(range(stride), repeat=len(sides)):
        # Taps that are moved past the end of the grid lie over no pixel.
        along = zip(remainder, window, grid, strict=True)
        taps = list(itertools.product(*(range(at, min(side, size * stride), stride) for at, side, size in along)))
        if not taps:
            grids.append(jnp.zeros((batch, *grid, channels), slopes.dtype))
        elif multiplies_first:
            grids.append(functools.reduce(jnp.add, [shifted(parts[tap], tap) for tap in taps]))
        else:
            moved = jnp.concatenate([shifted(slopes, tap) for tap in taps], axis=-1)
            grids.append(product(moved, jnp.concatenate([kernel[tap].T for tap in taps])))
    n = len(sides)
    whole = jnp.stack(grids, axis=n + 1).reshape(batch, *grid, *[stride] * n, channels)
    paired = [axis for side in range(n) for axis in (1 + side, 1 + n + side)]
    whole = whole.transpose(0, *paired, 2 * n + 1).reshape(batch, *(size * stride for size in grid), channels)
    return whole[(slice(None), *(slice(first, first + size) for first, size in zip(before, sides, strict=True)))]
