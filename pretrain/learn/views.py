"""Views: inputs changed at random, each example for itself, by a level that may be a tracer; at level 0 as they are.

Examples have their own shapes here: images [B, H, W, C], series [B, T, 1, C], columns [B, D].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key

from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.randomness import normal, uniform
from pretrain.learn.stage import Layout

Examples = Float[Array, "rows *shape"]
Level = Scalar | float
_ASPECT = 4 / 3  # of sides that a crop has, at most (Szegedy et al., 2015)
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
_CHROMA = np.array([(0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])  # of YIQ, from red, green and blue
_COLOURS = np.linalg.inv(np.vstack([_LUMA, _CHROMA]))  # from YIQ
_NARROWEST = 1e-3  # pixels; a Gaussian so narrow leaves an image as it is


def changed(inputs: Examples, key: Key[Array, ""], names: Sequence[str], levels: Any, layout: Layout) -> Examples:
    """Returns a view of inputs.

    Args:
      inputs: examples [B, ...], in their own shape or flattened, as they are returned.
      key: of the view; another for every update.
      names: changes, in their order.
      levels: each change's, as an attribute of its name.
      layout: of the inputs.
    """
    examples = inputs.reshape(len(inputs), *layout.shape)
    for number, name in enumerate(names):
        own = jax.random.fold_in(key, number)
        if name == "swap":
            examples = swapped(examples, own, levels.swap, layout.groups)
        elif name not in VIEWS:
            examples = next(view for view in layout.own if view.word == name)(examples, own)
        else:
            examples = VIEWS[name](examples, own, getattr(levels, name))
    return examples.reshape(inputs.shape)


def swapped(
    inputs: Float[Array, "rows columns"], key: Key[Array, ""], level: Level, groups: Sequence[int] = ()
) -> Float[Array, "rows columns"]:
    """Returns rows of which columns have values of other rows of the batch (Bahri et al., 2022, "SCARF").

    Args:
      inputs: [B, D].
      key: of the draws.
      level: probability of a column to be swapped.
      groups: number of each column's group; columns of one group, as of one category, come from the same row. By
        default each is alone.
    """
    n_rows, places = len(inputs), np.asarray(groups if len(groups) else range(inputs.shape[1]))
    draws = uniform(key, (2, n_rows, int(places.max()) + 1))
    others = jnp.arange(n_rows)[:, None] + 1 + (draws[1] * (n_rows - 1)).astype(jnp.int32)
    rows = jnp.where(draws[0] < level, others % n_rows, jnp.arange(n_rows)[:, None])
    return jnp.take_along_axis(inputs, rows[:, places], axis=0)


def _evenly(key: Key[Array, ""], n_rows: int, n_axes: int, level: Level) -> Array:
    """Returns a number between -level and level for each example: [B, 1, ...] of so many axes."""
    return level * (2 * uniform(key, (n_rows,)) - 1).reshape(n_rows, *[1] * (n_axes - 1))


def _crop(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns parts of images or series, enlarged to the whole by linear interpolation."""
    n_rows, sides = len(inputs), [axis for axis in (1, 2) if inputs.shape[axis] > 1]
    draws = uniform(key, (2 + len(sides), n_rows))
    share = 1 - level * draws[0]
    # The aspect goes with the level, so that none is left at none.
    stretch = jnp.exp(level * np.log(_ASPECT) * (2 * draws[1] - 1))
    lengths = [jnp.sqrt(share * stretch), jnp.sqrt(share / stretch)] if len(sides) > 1 else [share]
    for axis, length, place in zip(sides, lengths, draws[2:], strict=True):
        size, length = inputs.shape[axis], jnp.minimum(length, 1.0)[:, None]
        middles = (jnp.arange(size) + 0.5)[None]
        read = place[:, None] * size * (1 - length) + middles * length - 0.5
        weights = _interpolation(jnp.clip(read, 0, size - 1), size)
        inputs = _mixed(inputs, axis, weights)
    return inputs


def _mixed(inputs: Examples, axis: int, weights: Float[Array, "rows size size"]) -> Examples:
    """Returns weighted sums of values along an axis, each example by its own weights."""
    moved = jnp.moveaxis(inputs, axis, 1)
    sums = jnp.einsum("bij,bjk->bik", weights, moved.reshape(*moved.shape[:2], -1))
    return jnp.moveaxis(sums.reshape(moved.shape), 1, axis)


def _interpolation(places: Float[Array, "rows places"], size: int) -> Float[Array, "rows places size"]:
    """Returns the weights of values 0 to size - 1 at places between them, which are linear."""
    return jnp.maximum(0, 1 - jnp.abs(places[:, :, None] - jnp.arange(size)[None, None]))


def _flip(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    return jnp.where(uniform(key, (len(inputs), 1, 1, 1)) < level, inputs[:, :, ::-1], inputs)


def _rotation(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns images turned about their middle, by bilinear interpolation; beyond an edge its values go on."""
    n_rows, height, width, _ = inputs.shape
    angles = jnp.deg2rad(_evenly(key, n_rows, 3, level))
    middle, centre = (height - 1) / 2, (width - 1) / 2
    down, right = (jnp.arange(height) - middle)[None, :, None], (jnp.arange(width) - centre)[None, None]
    rows = jnp.cos(angles) * down - jnp.sin(angles) * right + middle
    columns = jnp.sin(angles) * down + jnp.cos(angles) * right + centre

    def turned(channel: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(channel, [rows, columns], order=1, mode="nearest")

    of_channels = jax.vmap(turned, in_axes=(2, None, None), out_axes=2)
    return jax.vmap(of_channels)(inputs, rows, columns)


def _erasing(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns images without a rectangle, series without an interval, which are zero (Zhong et al., 2020)."""
    n_rows, sides = len(inputs), [axis for axis in (1, 2) if inputs.shape[axis] > 1]
    draws = uniform(key, (1 + len(sides), n_rows))
    length = (level * draws[0]) ** (1 / len(sides))
    erased = jnp.ones((n_rows, *[1] * (inputs.ndim - 1)), bool)
    for axis, place in zip(sides, draws[1:], strict=True):
        size = inputs.shape[axis]
        distances = jnp.abs((jnp.arange(size) + 0.5)[None] - (place * size)[:, None])
        inside = distances < (length * size / 2)[:, None]
        erased &= inside.reshape([n_rows if each == 0 else size if each == axis else 1 for each in range(inputs.ndim)])
    return jnp.where(erased, 0.0, inputs)


def _brightness(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    return inputs + jnp.broadcast_to(_evenly(key, len(inputs), inputs.ndim, level), inputs.shape)


def _contrast(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    mean = jnp.mean(inputs, axis=tuple(range(1, inputs.ndim)), keepdims=True)
    factors = 1 + _evenly(key, len(inputs), inputs.ndim, level)
    return jnp.broadcast_to(mean, inputs.shape) * (1 - factors) + inputs * factors


def _greyscale(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    luma = jnp.broadcast_to(inputs @ jnp.asarray(_LUMA)[:, None], inputs.shape)
    return jnp.where(uniform(key, (len(inputs), 1, 1, 1)) < level, luma, inputs)


def _hue(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns images whose colours are turned about grey, in the plane of equal luma (YIQ)."""
    into, back = jnp.asarray(_CHROMA.T, jnp.float32), jnp.asarray(_COLOURS[:, 1:].T, jnp.float32)
    chroma, angles = inputs @ into, 2 * jnp.pi * _evenly(key, len(inputs), inputs.ndim - 1, level)
    first, second = chroma[..., 0], chroma[..., 1]
    sine, less = (jnp.broadcast_to(each, first.shape) for each in (jnp.sin(angles), jnp.cos(angles) - 1))
    return inputs + jnp.stack([less * first - sine * second, sine * first + less * second], axis=-1) @ back


def _blur(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns images as means by a Gaussian of each one's own deviation, over the pixels that there are."""
    deviations = jnp.maximum(level * uniform(key, (len(inputs), 1, 1)), _NARROWEST)
    for axis in (1, 2):
        distances = np.square(np.subtract.outer(*[np.arange(inputs.shape[axis], dtype=np.float32)] * 2))[None]
        weights = jnp.exp(-distances / (2 * jnp.square(deviations)))
        inputs = _mixed(inputs, axis, weights / jnp.sum(weights, axis=2, keepdims=True))
    return inputs


def _solarise(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns images of which a share have their values above a half inverted; values lie in [0, 1]."""
    inverted = jnp.where(inputs > 0.5, 1 - inputs, inputs)
    return jnp.where(uniform(key, (len(inputs), 1, 1, 1)) < level, inverted, inputs)


def _noise(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    return inputs + level * normal(key, inputs.shape)


def _shift(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    """Returns series moved along time by whole steps, whose end comes first."""
    size = inputs.shape[1]
    steps = (uniform(key, (len(inputs), 1)) * (jnp.floor(level * size) + 1)).astype(jnp.int32)
    places = (jnp.arange(size)[None] - steps) % size
    return jnp.take_along_axis(inputs, places[:, :, None, None], axis=1)


def _slope(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    ramp = jnp.linspace(-1, 1, inputs.shape[1])[None, :, None, None]
    return inputs + jnp.broadcast_to(_evenly(key, len(inputs), 4, level) * ramp, inputs.shape)


def _offset(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    n_rows, channels = len(inputs), inputs.shape[-1]
    moved = level * (2 * uniform(key, (n_rows, 1, 1, channels)) - 1)
    return inputs + jnp.broadcast_to(moved, inputs.shape)


def _scale(inputs: Examples, key: Key[Array, ""], level: Level) -> Examples:
    return inputs * (1 + _evenly(key, len(inputs), inputs.ndim, level))


VIEWS: Mapping[str, Callable[[Examples, Key[Array, ""], Level], Examples]] = {
    "crop": _crop,
    "flip": _flip,
    "rotation": _rotation,
    "erasing": _erasing,
    "brightness": _brightness,
    "contrast": _contrast,
    "greyscale": _greyscale,
    "hue": _hue,
    "blur": _blur,
    "solarise": _solarise,
    "noise": _noise,
    "shift": _shift,
    "slope": _slope,
    "offset": _offset,
    "scale": _scale,
}
