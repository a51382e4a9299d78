"""What to try where a checkpoint's names are not an encoder's: a map, if shapes leave one, or what they leave open."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from pretrain.config.counts import some
from pretrain.plan.layouts import Leaf, in_place, in_torch

_MOST_NAMED = 20  # pairs or modules
_OPTION = "--finetune.weights-names"


def proposed(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Leaf], layout: str, is_in_order: bool) -> str:
    """Returns a map of names, the only one whose shapes fit, or what shapes leave open; it is never taken.

    Args:
      arrays: of a checkpoint, in its layout.
      wanted: parameters of an encoder, by path.
      layout: of the arrays.
      is_in_order: whether they are as a module defines them, which a .safetensors file does not keep.
    """
    layers = list(dict.fromkeys(path.partition("/")[0] for path in wanted))
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in arrays))
    theirs = sorted({part for module in modules for part in _prefixes(module)}, key=_natural)
    fits = np.array([[_fits(arrays, wanted, layer, name, layout) for name in theirs] for layer in layers], bool)
    fits = fits.reshape(len(layers), len(theirs))
    if not _has_map(fits):
        return _of_shapes(arrays, modules if is_in_order else sorted(modules, key=_natural), layout)
    possible = [
        [theirs[at] for at in np.flatnonzero(fits[row]) if _may_be(fits, row, int(at))] for row in range(len(fits))
    ]
    if max(map(len, possible), default=0) > 1:
        choices = [f"{layer} may be {' or '.join(names)}" for layer, names in zip(layers, possible, strict=True)]
        asked = " ".join(f"{layer}=…" for layer in layers[:_MOST_NAMED])
        return (
            f"; shapes do not tell which is which: {', '.join(choices[:_MOST_NAMED])}; map names by {_OPTION} {asked} "
            "in the order of your forward pass, and check them by --finetune.reference"
        )
    taken = tuple(names[0] for names in possible)
    pairs = [f"{layer}={name}" for layer, name in zip(layers, taken, strict=True)]
    begins = tuple(f"{name}." for name in taken)
    pairs += [f"={module}" for module in modules if not f"{module}.".startswith(begins)]
    return f"; the only map that fits: {_OPTION} {' '.join(pairs[:_MOST_NAMED])}"


def _prefixes(module: str) -> list[str]:
    """Returns a module and those that hold it, by name; none of an array that is in no module."""
    parts = module.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts))] if module else []


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns what sorts names by the numbers in them; keys of some files are in no order of modules."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _fits(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Leaf], layer: str, module: str, layout: str) -> bool:
    """Returns whether a module holds each parameter of a layer, of its shape, and no others."""
    leaves = {path.partition("/")[2]: leaf for path, leaf in wanted.items() if path.startswith(f"{layer}/")}
    names = {(in_torch(path) if layout == "torch" else path).replace("/", "."): leaf for path, leaf in leaves.items()}
    held = {name.removeprefix(f"{module}."): array for name, array in arrays.items() if name.startswith(f"{module}.")}
    return held.keys() == names.keys() and all(
        in_place(held[name], leaf, layout).shape == leaf.shape for name, leaf in names.items()
    )


def _has_map(fits: np.ndarray) -> bool:
    """Returns whether each layer, a row, can have a module of its own, a column."""
    if not fits.size:
        return False
    return bool((maximum_bipartite_matching(csr_array(fits), perm_type="column") >= 0).all())


def _may_be(fits: np.ndarray, row: int, column: int) -> bool:
    """Returns whether a layer may be a module, so that each other layer has one, too."""
    one = fits.copy()
    one[row], one[:, column] = False, False
    one[row, column] = True
    return _has_map(one)


def _of_shapes(arrays: Mapping[str, np.ndarray], modules: Sequence[str], layout: str) -> str:
    """Returns the words of layers that shapes of kernels suggest: widths, and windows of convolutions."""
    words = []
    for module in modules:
        own = [array for name, array in arrays.items() if name.rpartition(".")[0] == module]
        kernel = next((array for array in own if array.ndim > 1), None)
        if kernel is None or len(set(window := kernel.shape[2:] if layout == "torch" else kernel.shape[:-2])) > 1:
            continue
        features = kernel.shape[0] if layout == "torch" else kernel.shape[-1]
        words.append(f"{features}{f'c{window[0]}' if window else ''} ({module or 'at the top'})")
    if not words:
        return ""
    return (
        f"; its shapes suggest --encoder.layers of {some(words, _MOST_NAMED)}, in the order of your forward pass; "
        "stride, padding and pooling (32c3s2p1, max2), which no shape shows, come from your code"
    )
