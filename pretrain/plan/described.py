"""Layers of this package in words, as exported networks state them, and as they are compared with a checkpoint's."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn

from pretrain.config.fields import ConfigError
from pretrain.data import Dataset
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches
from pretrain.learn.layers import Convolution, Dense, MaxPooling, PaddedConvolution, Residual
from pretrain.learn.residual_network import ResNet18

KINDS: Mapping[str, type[nn.Module]] = {
    "dense": Dense,
    "convolution": Convolution,
    "padded convolution": PaddedConvolution,
    "patches": Patches,
    "attention": Attention,
    "norm": LayerNorm,
    "mean": Mean,
    "pooling": MaxPooling,
    "residual": Residual,
    "resnet18": ResNet18,
}
_POOLING, _STANDARDISE = ("pooling", "mean"), "standardise"
FIELDS = ("features", "window", "stride", "padding", "heads", "activation", "norm")
Described = Mapping[str, Any]  # of a layer: its kind, and those of its fields


def described(layer: nn.Module) -> dict[str, Any] | None:
    """Returns a layer in words; None of a module of the user's."""
    kind = next((name for name, known in KINDS.items() if type(layer) is known), None)
    own = {field.name for field in dataclasses.fields(layer)}
    return None if kind is None else {"kind": kind, **{name: getattr(layer, name) for name in FIELDS if name in own}}


def word(of: Described) -> str:
    """Returns the word of ``encoder.layers`` that stands for a layer."""
    features, window, stride, padding, heads = (of.get(name) for name in FIELDS[:5])
    steps = f"s{stride}" if stride != 1 else ""
    match of["kind"]:
        case "dense":
            return f"{features}"
        case "residual":
            return f"r{features}{steps}"
        case "patches":
            return f"{features}p{window}"
        case "attention":
            return f"t{heads}"
        case "pooling":
            return f"max{window}"
        case "convolution":
            return f"{features}c{window}{steps}"
        case "padded convolution":
            return f"{features}c{window}{steps}p{padding}"
    return str(of["kind"])


def check(
    name: str, stated: Sequence[Described], layers: Sequence[nn.Module], pairs: Sequence[tuple[str, str]]
) -> Iterator[ConfigError]:
    """Yields what a network states of its layers, and an encoder's are not; some of it fits every shape."""
    places = {f"layers_{number}": each for number, each in enumerate(stated)}
    names = {ours: theirs for ours, theirs in pairs if ours}
    own = [described(layer) for layer in layers]
    taken = [names.get(f"layers_{number}", f"layers_{number}") for number in range(len(layers))]
    last = max((number for number, place in enumerate(places) if place in taken), default=-1)
    are_dropped = any(not ours for ours, _ in pairs)  # layers above the last that is taken, by name
    for number, (place, each) in enumerate(places.items()):
        if each["kind"] in _POOLING and place not in taken and (number < last or not are_dropped):
            remedy = f"lacks {word(each)}, layer {number} of {name!r}, which has no arrays to miss; give it, too"
            yield ConfigError("encoder.layers", " ".join(word(of) for of in own if of), remedy)
    for number, of in enumerate(own):
        if stated and of and of["kind"] in _POOLING and taken[number] not in places:
            remedy = f"is layer {number} here, and none of {name!r}; leave it out"
            yield ConfigError("encoder.layers", word(of), remedy)
    both = [(ours, places[place]) for ours, place in zip(own, taken, strict=True) if ours and place in places]
    mine, wanted = ([word(each[side]) for each in both] for side in (0, 1))
    if mine != wanted:
        yield ConfigError("encoder.layers", " ".join(mine), f"{_other(name, mine, wanted)}; give these layers")
    usual = {kind: getattr(known, "norm", "") for kind, known in KINDS.items()}  # as networks of old have it
    mine, wanted = (
        [str(each[side].get("norm", usual.get(str(each[side]["kind"]), ""))) for each in both] for side in (0, 1)
    )
    if mine != wanted:
        yield ConfigError("encoder.norm", " ".join(filter(None, mine)), f"{_other(name, mine, wanted)}; set it to that")
    mine, wanted = ([str(each[side].get("activation", "")) for each in both] for side in (0, 1))
    if mine != wanted:
        single = {each for each in wanted if each}
        remedy = f"set it to {single.pop()}" if len(single) == 1 else "give each layer its own by --per-layer"
        yield ConfigError("encoder.activation", " ".join(filter(None, mine)), f"{_other(name, mine, wanted)}; {remedy}")


def check_inputs(name: str, scaling: str | None, columns: Sequence[str], dataset: Dataset) -> None:
    """Checks that inputs are what a network states of its own: their columns, and their scale.

    Bytes by unit and numbers in [0, 1] by none are one scale. Means and deviations of standardised inputs are those of
    the rows at hand.

    Raises:
      ConfigError: they are not.
    """
    own, low, high = dataset.scaling, *dataset.interval
    if columns and tuple(columns) != own.columns:
        pairs = itertools.zip_longest(columns, own.columns)
        theirs, ours = next(pair for pair in pairs if pair[0] != pair[1])
        remedy = f"reads {theirs or 'nothing'} where the data have {ours or 'nothing'}; give columns in its order"
        raise ConfigError("finetune.weights", name, remedy)
    is_unit = scaling in ("unit", "none")
    if scaling and (is_unit != (own.method != _STANDARDISE) or (is_unit and (low < 0 or high > 1))):
        remedy = f"differs from {name!r}, which reads inputs by {scaling}"
        remedy += "; set it to that" if own.method != scaling else f", and these lie between {low:.3g} and {high:.3g}"
        raise ConfigError("data.scaling", own.method, remedy)


def _other(name: str, mine: Sequence[str], wanted: Sequence[str]) -> str:
    at = next(number for number, pair in enumerate(zip(mine, wanted, strict=True)) if pair[0] != pair[1])
    return f"differs from {name!r}, whose layer {at} has {wanted[at] or 'none'} in the place of {mine[at] or 'none'}"
