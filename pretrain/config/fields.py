"""Fields of nested frozen configs: by dotted name, replaced, split into what is static and what is traced."""

import copy
import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

TRACED = "traced: an argument of the compiled program"
START = "start: decides the initial parameters only"

STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")  # of every config
Config = TypeVar("Config")


_LONGEST_VALUE = 300  # characters of a value that an error tells


class ConfigError(Exception):
    """A mistake in an experiment, told in one line: the field, its value, and what to do about it.

    Not a ``ValueError``, so that no parser or validator on the way up rewraps the line.
    """

    def __init__(self, field: str, value: Any, remedy: str):
        told = repr(value)
        told = told if len(told) <= _LONGEST_VALUE else f"{told[:_LONGEST_VALUE]}…"
        super().__init__(" ".join(f"{field}: {told} {remedy}".splitlines()))


def fields(config: type, prefix: str = "") -> dict[str, Any]:
    """Returns the type of every leaf field of a config class by its dotted name, annotations included."""
    leaves = {}
    for name, kind in typing.get_type_hints(config, include_extras=True).items():
        if dataclasses.is_dataclass(kind):
            leaves.update(fields(kind, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = kind
    return leaves


def get(config: Any, name: str) -> Any:
    """Returns the value of the field with a dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def replace(config: Config, name: str, value: Any) -> Config:
    """Returns the config with the field of a dotted name set to a value; how fields fit together is not checked.

    Raises:
      ConfigError: the name is no field of the config, or the value does not fit the field.
    """
    validators = _validators(type(config))
    if name not in validators:
        raise ConfigError("sweep", name, f"is no field; did you mean {nearest(name, validators)!r}?")
    try:
        value = validators[name].validate_python(value)
    except ValidationError as error:
        raise ConfigError(name, value, complaint(error)) from None
    return _replace(config, name.split("."), value)


@functools.cache
def _validators(config: type) -> dict[str, TypeAdapter]:
    """Returns what validates each leaf field of a config class; to build it takes as long as thousands of uses."""
    return {name: TypeAdapter(kind, config=STRICT) for name, kind in fields(config).items()}


def complaint(error: ValidationError) -> str:
    """Returns what is wrong with a value, from the first finding of a failed validation."""
    message = error.errors()[0]["msg"].replace("Input should", "should").replace("Tuple should", "should")
    return message.replace(" after validation, not 0", "")


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns the name most like the given one, by its last part first."""

    def likeness(other: str) -> tuple[float, float]:
        tails = name.rsplit(".", 1)[-1], other.rsplit(".", 1)[-1]
        whole = difflib.SequenceMatcher(None, name, other).ratio()
        return max(whole, difflib.SequenceMatcher(None, *tails).ratio()), whole

    return max(names, key=likeness)


def split_traced(config: Any) -> tuple[Any, dict[str, float]]:
    """Splits a config into its static rest and its traced numbers by dotted name.

    The rest is hashable and holds ``None`` in traced and start fields, so two configs share a compiled program just
    when their rests are equal. ``join_traced`` puts numbers, or tracers, back.
    """
    kinds = {name: typing.get_args(kind) for name, kind in fields(type(config)).items()}
    traced = {name: float(get(config, name)) for name, marks in kinds.items() if TRACED in marks}
    blank = dict.fromkeys(name for name, marks in kinds.items() if TRACED in marks or START in marks)
    return join_traced(config, blank), traced


def start_values(config: Any) -> dict[str, Any]:
    """Returns the values of a config's start fields by dotted name."""
    kinds = fields(type(config)).items()
    return {name: get(config, name) for name, kind in kinds if START in typing.get_args(kind)}


def join_traced(config: Any, values: Mapping[str, Any]) -> Any:
    """Returns a config with fields set by dotted name, unvalidated: the values may be tracers."""
    for name, value in values.items():
        config = _replace(config, name.split("."), value)
    return config


def _replace(config: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return _set_fields(config, {head: _replace(getattr(config, head), rest, value) if rest else value})


def _set_fields(config: Any, values: Mapping[str, Any]) -> Any:
    """Copies a frozen config with fields set, past its validation."""
    config = copy.copy(config)
    for name, value in values.items():
        object.__setattr__(config, name, value)
    return config
