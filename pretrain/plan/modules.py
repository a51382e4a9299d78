"""The modules that ``encoder.layers`` names: this package's, and those of the user's own files."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from pretrain.config import Settings
from pretrain.config.fields import ConfigError
from pretrain.config.layers import Word
from pretrain.config.method import LayerFacts
from pretrain.config.own_code import kept
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches
from pretrain.learn.layers import Convolution, Dense, Layers, MaxPooling, PaddedConvolution, Residual, known_activation
from pretrain.learn.norms import HasNorm
from pretrain.learn.residual_network import ResNet18


class Built(NamedTuple):
    """An encoder's layers, from the images up."""

    layers: Layers
    names: tuple[str, ...]  # by which each names a stage: files of the user's without their directories
    activations: tuple[str | None, ...]  # that settings give them; None where a file of the user's does


def build(settings: Settings) -> Built:
    """Returns the encoder's modules, of which a word of the user's own may stand for several.

    Raises:
      ConfigError: a file or function of the user's is not there, fails, or returns no modules.
    """
    layers: list[nn.Module] = []
    names: list[str] = []
    activations: list[str | None] = []
    for word in settings.words:
        if word.kind == "own":
            made = own_layers(word, settings.encoder.layers)
            layers += made
            names += [f"{Path(word.file).name}:{word.function}[{number}]" for number in range(len(made))]
            activations += [None] * len(made)
            continue
        activation = _activation(settings, len(layers))
        norm = word.norm(settings.encoder.norm)
        layers.append(_module(word, activation, norm))
        names.append(f"{word.kind} {word.features} {word.window} {word.stride}")
        names[-1] += "" if word.padding is None else f" {word.padding}"
        names[-1] += "" if norm == word.norm("auto") else f" {norm}"
        names[-1] += f" {word.heads}" if word.heads else ""
        activations.append(activation if hasattr(layers[-1], "activation") and word.kind != "resnet18" else None)
    return Built(tuple(layers), tuple(names), tuple(activations))


def finetuned(settings: Settings) -> Built:
    """Returns the encoder's modules as fine-tuning takes them: those that it trains may have another activation.

    Raises:
      ConfigError: as of ``build``.
    """
    section = settings.finetune
    built = build(settings) if section.encoder_init != "none" else Built((), (), ())
    if section.activation == "encoder" or not section.makes_updates or section.frozen_layers == "all":
        return built
    changes = [number >= section.frozen_layers and bool(each) for number, each in enumerate(built.activations)]
    layers = zip(built.layers, changes, strict=True)
    activations = zip(built.activations, changes, strict=True)
    other: dict[str, Any] = {"activation": section.activation}
    return built._replace(
        layers=tuple(layer.clone(**other) if is_changed else layer for layer, is_changed in layers),
        activations=tuple(section.activation if is_changed else each for each, is_changed in activations),
    )


def facts_of(built: Built) -> list[LayerFacts]:
    """Returns the facts of built layers that a method's check is given."""
    known = [known_activation(layer) for layer in built.layers]
    return [
        LayerFacts(
            type(layer).__name__,
            isinstance(layer, Dense),
            known[number],
            known[number - 1] if number else None,
            layer.norm if isinstance(layer, HasNorm) else "none",
        )
        for number, layer in enumerate(built.layers)
    ]


def own_layers(word: Word, written: Sequence[int | str]) -> list[nn.Module]:
    """Returns the modules that a function of the user's returns.

    Raises:
      ConfigError: the file or function is not there, fails, or returns no modules.
    """
    field, value = "encoder.layers", " ".join(map(str, written))
    made = kept(field, value, word.file, word.function)  # functions among their fields would make others of them
    layers = list(made) if isinstance(made, list | tuple) else [made]
    if bridged := next((layer for layer in layers if _is_nnx(layer)), None):
        kind = (bridged if isinstance(bridged, type) else type(bridged)).__name__
        remedy = f"returns nnx modules, where layers are linen modules; return nnx.bridge.to_linen({kind}, ...)"
        raise ConfigError(field, value, f"{remedy} with its arguments but rngs, as pretrain/README.md shows")
    if not layers or not all(isinstance(layer, nn.Module) for layer in layers):
        raise ConfigError(field, value, f"names {word.function}, which must return linen modules, not {made!r}")
    layers = [_with_tuples(layer) for layer in layers]
    for number, layer in enumerate(layers):
        try:
            hash(layer)
        except TypeError:
            remedy = f"must have fields with a hash, as tuples in the place of dictionaries: layer {number} of"
            raise ConfigError(field, value, f"{remedy} {word.function}, a {type(layer).__name__}, has not") from None
    return layers


def _is_nnx(layer: object) -> bool:
    """Returns whether a layer is a module of nnx, or a class of such; nnx takes long to import, and need not be."""
    bases = (layer if isinstance(layer, type) else type(layer)).__mro__
    return any(base.__module__.startswith("flax.nnx") and base.__name__ == "Module" for base in bases)


def _with_tuples(value: Any) -> Any:
    """Returns a module whose lists are tuples, which have a hash, as in ``nn.Sequential([...])``."""
    if isinstance(value, list | tuple):
        return tuple(map(_with_tuples, value))
    if isinstance(value, nn.Module):
        fields = (
            field.name for field in dataclasses.fields(value) if field.init and field.name not in ("parent", "name")
        )
        changed = {name: _with_tuples(getattr(value, name)) for name in fields}
        return value.clone(**{name: part for name, part in changed.items() if part is not getattr(value, name)})
    return value


def _activation(settings: Settings, number: int) -> str:
    """Returns a layer's activation; whether there is a value for each layer is checked once all are built."""
    by_layer = settings.per_layer.get("encoder.activation", ())
    return str(by_layer[number]) if number < len(by_layer) else settings.encoder.activation


def _module(word: Word, activation: str, norm: str) -> nn.Module:
    match word.kind:
        case "dense":
            return Dense(word.features, activation, norm)
        case "convolution" if word.padding is not None:
            return PaddedConvolution(word.features, word.window, word.stride, word.padding, activation, norm=norm)
        case "patches":
            return Patches(word.features, word.window)
        case "attention":
            return Attention(word.heads)
        case "norm":
            return LayerNorm()
        case "mean":
            return Mean()
        case "pooling":
            return MaxPooling(word.window)
        case "resnet18":
            return ResNet18()
        case "convolution":
            return Convolution(word.features, word.window, word.stride, activation, norm=norm)
    return Residual(word.features, word.stride, activation, norm=norm)
