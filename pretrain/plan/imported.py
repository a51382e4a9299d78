"""Weights of a checkpoint as an encoder's parameters: total, by name and shape, in the layout of this package."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from pretrain.config import FinetuneConfig
from pretrain.config.counts import counted
from pretrain.config.digests import sha256_of_arrays, sha256_of_json
from pretrain.config.fields import ConfigError, Faults
from pretrain.data import weights
from pretrain.data.files import State
from pretrain.learn.attention import Attention
from pretrain.learn.layers import (
    Convolution,
    Dense,
    Layers,
    PaddedConvolution,
    Params,
    Residual,
    Shapes,
    shapes_of,
)
from pretrain.learn.residual_network import ResNet18
from pretrain.plan import described, vits
from pretrain.plan.folded import Folded, folded
from pretrain.plan.layouts import Leaf, in_place, in_torch
from pretrain.plan.proposed import proposed


class Imported(NamedTuple):
    """An encoder's parameters from a checkpoint."""

    params: Params  # ``{"encoder": {"layers_0": ...}}``, float32
    digest: str  # SHA-256 of their names, shapes and values, whatever file and layout they come from
    layout: weights.Layout  # of the checkpoint
    scaling: str | None  # method by which the network read its inputs, where that is stated
    columns: tuple[str, ...]  # that a network of a table states
    unused: tuple[str, ...]  # names of arrays that the encoder needs not: torchvision's head, and counts of batches


def imported(section: FinetuneConfig, layers: Layers, example: tuple[int, ...], image: tuple[int, ...]) -> Imported:
    """Returns the parameters of an encoder from the checkpoint that a section names.

    Args:
      section: of fine-tuning, with the checkpoint, its layout and a map of names.
      layers: of the encoder.
      example: shape of what the lowest layer reads.
      image: shape of an example before it is flattened, channels last.

    Raises:
      ConfigError: it cannot be read, or does not hold each parameter once and nothing else; names every leaf.
    """
    states = weights.states(section.weights)
    asked = section.weights, section.weights_layout, section.weights_names
    return _imported(states, *asked, layers, tuple(example), tuple(image))


@functools.lru_cache(maxsize=16)
def _imported(
    states: tuple[State, ...],
    name: str,
    stated: str,
    names: Sequence[str],
    layers: Layers,
    example: tuple[int, ...],
    image: tuple[int, ...],
) -> Imported:
    """Returns what ``imported`` does, once for each state of its files."""
    read = weights.read(name)
    layout = _layout(name, stated, read.layout)
    shapes = shapes_of(layers, example)
    if layout == "torch":
        _check_own(name, layers, shapes)
    wanted = {
        f"layers_{number}/{path}": Leaf(leaf.shape, layer, image if number == 0 else each.inputs)
        for number, (layer, each) in enumerate(zip(layers, shapes, strict=True))
        for path, leaf in traverse_util.flatten_dict(each.params, sep="/").items()
    }
    made_of, pairs = Folded(read.arrays), _map(names)
    is_network = [isinstance(layer, ResNet18) for layer in layers]
    if layout == "torch" and not any(is_network):
        made_of = vits.renamed(name, read.arrays, layers, wanted, pairs) or made_of
    if any(is_network) and layout == "torch":
        made_of = folded(read.arrays, f"layers_{is_network.index(True)}", pairs)
    if read.stated:
        Faults(described.check(name, read.stated["layers"], layers, pairs)).check()
    placed, faults = _placed(made_of.arrays, wanted, [*pairs, *made_of.pairs], layout)
    made = {path: in_place(array, wanted[path], layout) for path, (_, array) in placed.items()}
    for path, array in made.items():
        faults += _misfits(path, placed[path][0], array, wanted[path].shape)
        faults += _other_channels(array, wanted[path])
    if faults:
        has_none = not (names or placed or any(is_network))
        asked = made_of.arrays, wanted, layout, not name.endswith(".safetensors")
        hint = proposed(*asked) if has_none else ""
        raise ConfigError(weights.FIELD, name, f"does not fit the encoder: {'; '.join(faults)}{hint}")
    params = {path: np.ascontiguousarray(made[path], np.float32) for path in sorted(made)}
    encoder: Params = {f"layers_{number}": {} for number in range(len(layers))}  # also of layers without parameters
    encoder |= traverse_util.unflatten_dict(params, sep="/")
    inputs: Mapping[str, Any] = read.stated["inputs"]["scaling"] if read.stated else {"method": None, "columns": ()}
    digest = sha256_of_json([list(params), sha256_of_arrays(*params.values())])
    return Imported({"encoder": encoder}, digest, layout, inputs["method"], tuple(inputs["columns"]), made_of.unused)


def _layout(name: str, stated: str, written: weights.Layout | None) -> weights.Layout:
    """Returns the layout that a file or a field states; shapes say nothing of it, for a square kernel fits both ways.

    Raises:
      ConfigError: neither does, or they differ.
    """
    if stated == "auto" and written is None:
        remedy = f"is not written in {name!r}; set it to torch (dense kernels [out, in]) or flax ([in, out])"
        remedy += ", as by --finetune.weights-layout torch"
        raise ConfigError("finetune.weights_layout", stated, remedy)
    if written and stated not in ("auto", written):
        raise ConfigError("finetune.weights_layout", stated, f"differs from {name!r}, which is {written}; leave it out")
    return written or ("torch" if stated == "torch" else "flax")


def _check_own(name: str, layers: Layers, shapes: Sequence[Shapes]) -> None:
    """Refuses kernels whose order of rows nobody knows: of modules of the user's, which may flatten what they read.

    Raises:
      ConfigError: a module may.
    """
    for layer, each in zip(layers, shapes, strict=True):
        has_matrix = any(len(leaf.shape) == 2 for leaf in traverse_util.flatten_dict(each.params).values())
        if (
            not isinstance(layer, Dense | Convolution | PaddedConvolution | Residual | Attention)
            and has_matrix
            and len(each.inputs) > 1
        ):
            remedy = f"is in torch's layout, and {type(layer).__name__} may flatten channels first or last; save it in "
            raise ConfigError(weights.FIELD, name, f"{remedy}flax's layout")


def _map(names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns pairs of our names and theirs, the longest of theirs first.

    Raises:
      ConfigError: an entry is no pair.
    """
    pairs = [each.partition("=") for each in names]
    for entry, (_, equals, theirs) in zip(names, pairs, strict=True):
        if not equals or not theirs:
            remedy = "is no pair; write ours=theirs, as layers_0=encoder.0, or =decoder to leave decoder.* out"
            raise ConfigError("finetune.weights_names", entry, remedy)
    made = [(ours.replace(".", "/"), theirs.replace("/", ".")) for ours, _, theirs in pairs]
    return sorted(made, key=lambda pair: -len(pair[1]))


def _placed(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Leaf], pairs: Sequence[tuple[str, str]], layout: str
) -> tuple[dict[str, tuple[str, np.ndarray]], list[str]]:
    """Returns each array, with its name, by the place that it takes, and the faults of names."""
    placed: dict[str, tuple[str, np.ndarray]] = {}
    faults, used = [], set()
    by_torch = {in_torch(path): path for path in wanted} if layout == "torch" else {}
    for name, array in arrays.items():
        pair = next((pair for pair in pairs if f"{name}.".startswith(f"{pair[1]}.")), None)
        used.add(pair)
        if pair and not pair[0]:
            continue
        path = f"{pair[0]}{name[len(pair[1]) :]}".replace(".", "/") if pair else name.replace(".", "/")
        path = path if path in wanted else by_torch.get(path, path)
        if path not in wanted:
            faults.append(f"{name} has no place" + f" ({path} is none)" * (pair is not None))
        elif path in placed:
            faults.append(f"{name} and {placed[path][0]} both are {path}")
        else:
            placed[path] = name, array
    faults += [f"{path} is missing" for path in wanted if path not in placed]
    faults += [f"{'='.join(pair)} names nothing in it" for pair in pairs if pair not in used]
    return placed, faults


def _misfits(path: str, name: str, array: np.ndarray, shape: tuple[int, ...]) -> Iterator[str]:
    where = path if name.replace(".", "/") == path else f"{path} ({name})"
    if array.shape != shape:
        yield f"{where} is {list(array.shape)} in our layout, wanted {list(shape)}"
    elif array.dtype.kind != "f":
        yield f"{where} is {array.dtype}, wanted float32"
    else:
        with np.errstate(over="ignore"):
            if not np.isfinite(array.astype(np.float32)).all():
                yield f"{where} is not finite"


def _other_channels(kernel: np.ndarray, leaf: Leaf) -> Iterator[str]:
    """Yields what to do where images have other channels than a network was made for."""
    is_stem = isinstance(leaf.layer, ResNet18) and leaf.shape[:2] == (7, 7)
    if is_stem and kernel.ndim == 4 and kernel.shape[2] != leaf.shape[2]:
        repeated = ", as numpy.repeat(x[..., None], 3, axis=-1) makes them of grey ones" * (kernel.shape[2] == 3)
        yield f"its stem reads images of {counted(kernel.shape[2], 'channel')}; give data with as many{repeated}"
