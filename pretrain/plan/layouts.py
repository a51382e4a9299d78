"""Arrays of checkpoints in the layout of this package."""

from typing import NamedTuple

import flax.linen as nn
import numpy as np

from pretrain.learn.layers import Dense
from pretrain.learn.modes import STATISTICS

_TORCH_NAMES = {"kernel": "weight", "scale": "weight"}  # of a torch module's arrays, by ours


class Leaf(NamedTuple):
    """A parameter that an encoder wants."""

    shape: tuple[int, ...]
    layer: nn.Module
    inputs: tuple[int, ...]  # shape of what the layer reads, flattened of a dense one


def in_torch(path: str) -> str:
    """Returns the name that torch gives to a parameter of ours, by its path."""
    *parts, last = path.split("/")
    if STATISTICS in parts:
        return "/".join([*(part for part in parts if part != STATISTICS), f"running_{last}"])
    return "/".join([*parts, _TORCH_NAMES.get(last, last)])


def in_place(array: np.ndarray, leaf: Leaf, layout: str) -> np.ndarray:
    """Returns an array in the layout of this package: kernels [in, out] and [*window, in, out], rows channels last."""
    if layout == "flax" or array.ndim < 2:
        return array
    if array.ndim > 2:
        kernel = np.moveaxis(array, (0, 1), (-1, -2))
        is_series = kernel.ndim + 1 == len(leaf.shape) and leaf.shape[1] == 1
        return kernel[:, None] if is_series else kernel
    kernel = array.T
    *sides, channels = leaf.inputs
    if not isinstance(leaf.layer, Dense) or not sides or len(kernel) != channels * int(np.prod(sides)):
        return kernel
    by_channel = kernel.reshape(channels, *sides, -1)  # as torch flattens [C, *sides]
    return np.moveaxis(by_channel, 0, -2).reshape(kernel.shape)
