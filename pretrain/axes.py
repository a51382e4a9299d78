"""An axis of a sweep, as one writes it on the command line: ``finetune.labels=100,500,2000``."""

import math
import typing
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pretrain.config import Experiment, SweptValue
from pretrain.fields import ConfigError, complaint, fields, nearest

_LAX = ConfigDict(allow_inf_nan=False)


def parse_axis(text: str) -> tuple[str, tuple[SweptValue, ...]]:
    """Reads ``name=value,value,…``, or evenly spaced ``name=lin:low:high:count`` or ``name=log:low:high:count``.

    Returns:
      The dotted name of the field, and its values in the field's type.

    Raises:
      ConfigError: there is no such field, or a value does not fit it.
    """
    name, equals, listed = text.partition("=")
    name = name.replace("-", "_")
    kinds = fields(Experiment)
    if not equals or not listed:
        raise ConfigError("sweep", text, "names no values; write field=value,value")
    if name not in kinds:
        raise ConfigError("sweep", name, f"is no field; did you mean {nearest(name, kinds)!r}?")
    if is_sequence(kinds[name]):
        raise ConfigError("sweep", name, "takes several values at once; sweep it in a config file")
    tokens = _spaced(name, listed) if listed.startswith(("log:", "lin:")) else listed.split(",")
    return name, tuple(read_value(name, kinds[name], token) for token in tokens)


def read_value(name: str, kind: Any, text: str) -> SweptValue:
    """Returns a field's value from its text.

    Raises:
      ConfigError: the text does not fit the field's type or range.
    """
    try:
        value = TypeAdapter(kind, config=_LAX).validate_python(text)
    except ValidationError as error:
        raise ConfigError(name, text, complaint(error)) from None
    if type(value) is int and not text.lstrip("+-").isdigit():
        raise ConfigError(name, text, "should be a whole number")
    if type(value) is bool and text not in ("True", "False"):
        raise ConfigError(name, text, "should be True or False")
    return value


def is_sequence(kind: Any) -> bool:
    """Returns whether a field's type, annotations aside, is a tuple."""
    bare = typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
    return typing.get_origin(bare) is tuple


def _spaced(name: str, text: str) -> list[str]:
    """Returns the values of a range as text that reads back to them."""
    try:
        kind, low, high, count = text.split(":")
        ends, n_values = (float(low), float(high)), int(count)
        if kind == "log":
            ends = (math.log10(ends[0]), math.log10(ends[1]))
        if n_values < 2 or not all(map(math.isfinite, ends)):
            raise ValueError
    except ValueError:
        remedy = "is no range; write log:low:high:count or lin:low:high:count, with a count of 2 or more"
        raise ConfigError("sweep", f"{name}={text}", remedy) from None
    places = [ends[0] + (ends[1] - ends[0]) * index / (n_values - 1) for index in range(n_values)]
    # Twelve digits are more than float32 keeps, and hide the rounding of powers.
    return [f"{10**place if kind == 'log' else place:.12g}" for place in places]
