"""The modules that ``encoder.layers`` names: this package's, and those of the user's own files."""

import dataclasses
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn

from pretrain.config import Settings
from pretrain.config.fields import ConfigError
from pretrain.config.layers import Word
from pretrain.learn.layers import Convolution, Dense, Residual

Layers = tuple[nn.Module, ...]
_LOADED: dict[tuple[str, int], object] = {}  # modules of the user's, by path and time of change


def build(settings: Settings) -> Layers:
    """Returns the encoder's modules, from the images up.

    A word of the user's own may stand for several layers.

    Raises:
      ConfigError: a file or function of the user's is not there, fails, or returns no modules.
    """
    layers: list[nn.Module] = []
    for word in settings.words:
        if word.kind == "own":
            layers += own_layers(word, settings.encoder.layers)
            continue
        layers.append(_module(word, _activation(settings, len(layers))))
    return tuple(layers)


def names(settings: Settings) -> list[object]:
    """Returns the encoder's words as they name a stage: files of the user's without their directories."""
    words = zip(settings.encoder.layers, settings.words, strict=True)
    return [f"{Path(word.file).name}:{word.function}" if word.kind == "own" else written for written, word in words]


def own_layers(word: Word, written: Sequence[int | str]) -> list[nn.Module]:
    """Returns the modules that a function of the user's returns.

    Raises:
      ConfigError: the file or function is not there, fails, or returns no modules.
    """
    path = Path(word.file).expanduser().resolve()
    field, value = "encoder.layers", " ".join(map(str, written))
    if not path.is_file():
        raise ConfigError(field, value, f"names {path}, which is no file; give the path of a Python file")
    try:
        function = getattr(_loaded(path), word.function, None)
        if not callable(function):
            raise ConfigError(field, value, f"names {word.function}, which {path.name} does not define")
        made = function()
    except ConfigError:
        raise
    except Exception as error:  # a user's file is code, and may fail in any way
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None) or 1
        remedy = f"fails with {type(error).__name__}: {error} ({path.name}:{line})"
        raise ConfigError(field, value, remedy) from None
    layers = [made] if isinstance(made, nn.Module) else list(made) if isinstance(made, list | tuple) else []
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


def _loaded(path: Path) -> object:
    """Returns a file as a module, which is run once."""
    key = str(path), path.stat().st_mtime_ns
    if key not in _LOADED:
        name = f"own_layers_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # so that dataclasses find where they are defined
        spec.loader.exec_module(module)
        _LOADED[key] = module
    return _LOADED[key]


def _activation(settings: Settings, number: int) -> str:
    """Returns a layer's activation; whether there is a value for each layer is checked once all are built."""
    by_layer = settings.per_layer.get("encoder.activation", ())
    return by_layer[number] if number < len(by_layer) else settings.encoder.activation


def _module(word: Word, activation: str) -> nn.Module:
    match word.kind:
        case "dense":
            return Dense(word.features, activation)
        case "convolution":
            return Convolution(word.features, word.window, word.stride, activation)
    return Residual(word.features, word.stride, activation)
