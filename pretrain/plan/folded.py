"""torchvision's state dict of ResNet-18: batch normalisation, whose statistics are fixed, folded into convolutions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.learn.residual_network import STEM, kernels

_EPSILON = 1e-5  # of torch's BatchNorm2d
_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNT = "num_batches_tracked"
_HEAD = ("fc.weight", "fc.bias")


class Folded(NamedTuple):
    """Arrays in which convolutions have biases, and no normalisation is left."""

    arrays: Mapping[str, np.ndarray]
    unused: tuple[str, ...] = ()  # names of those that features need not, which are left out
    pairs: tuple[tuple[str, str], ...] = ()  # places of those whose names begin with nothing, and their names


def folded(arrays: Mapping[str, np.ndarray], layer: str, pairs: Sequence[tuple[str, str]]) -> Folded:
    """Returns a checkpoint's arrays with the normalisations of a ResNet-18 folded.

    Where a normalisation is not whole, its arrays stay, and have no place.

    Args:
      arrays: of the checkpoint, in torch's layout.
      layer: the place of the network, ``layers_0``.
      pairs: places and names that are mapped to them, of which one may say what all names of the network begin with.
    """
    begins = [*(f"{theirs}." for ours, theirs in pairs if ours == layer), f"{layer}.", ""]
    begin = next((each for each in begins if f"{each}{STEM}.weight" in arrays), None)
    if begin is None:
        return Folded(arrays)
    made, left_out = dict(arrays), []
    for name in _convolutions():
        convolution, norm = f"{begin}{name}", f"{begin}{_norm_of(name)}"
        parts = [made.get(f"{norm}.{part}") for part in _NORM]
        kernel = made.get(f"{convolution}.weight")
        if kernel is None or f"{convolution}.bias" in made or not _are_of(parts, kernel):
            continue
        scale, shift, mean, variance = (np.asarray(part, float) for part in parts)
        with np.errstate(all="ignore"):  # what is not finite is named later
            scale = scale / np.sqrt(variance + _EPSILON)
            made[f"{convolution}.weight"] = kernel * scale[:, None, None, None]
            made[f"{convolution}.bias"] = shift - mean * scale
        for part in _NORM:
            del made[f"{norm}.{part}"]
        left_out += [f"{norm}.{_COUNT}"]
    mapped = tuple(f"{theirs}." for ours, theirs in pairs if ours != layer)
    left_out += [f"{begin}{name}" for name in _HEAD if not f"{begin}{name}.".startswith(mapped)]
    unused = tuple(name for name in left_out if name in made)
    kept = {name: array for name, array in made.items() if name not in unused}
    tops = dict.fromkeys(name.partition(".")[0] for name in _convolutions())
    bare = () if begin else tuple((f"{layer}/{top}", top) for top in tops if any(_is_under(top, kept)))
    return Folded(kept, unused, bare)


def stated(unused: Iterable[str]) -> str:
    """Returns names of arrays that are left out, counts of batches as one."""
    named = [name for name in unused if not name.endswith(_COUNT)]
    n_counts = sum(name.endswith(_COUNT) for name in unused)
    return ", ".join([*named, *([f"{n_counts} × {_COUNT}"] if n_counts else [])])


def _convolutions() -> list[str]:
    tops = kernels(3).items()
    return [".".join(filter(None, (top, *name.split("/")))) for top, within in tops for name in within]


def _norm_of(convolution: str) -> str:
    """Returns the name of the normalisation behind a convolution."""
    return re.sub(r"downsample\.0$", "downsample.1", re.sub(r"conv(\d)$", r"bn\1", convolution))


def _are_of(parts: Sequence[np.ndarray | None], kernel: np.ndarray) -> bool:
    """Returns whether arrays are those of a normalisation of a kernel's features."""
    fit = (part is not None and part.shape == kernel.shape[:1] and part.dtype.kind == "f" for part in parts)
    return kernel.ndim == 4 and kernel.dtype.kind == "f" and all(fit)


def _is_under(top: str, arrays: Iterable[str]) -> Iterable[bool]:
    return (name.startswith(f"{top}.") for name in arrays)
