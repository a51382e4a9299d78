"""An axis of a sweep, as one writes it on the command line: ``finetune.labels=100,500,2000``."""

import math
import typing
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pretrain.config import Experiment, SweptValue
from pretrain.config.complaints import complaint
from pretrain.config.fields import ConfigError, fields
from pretrain.config.grids import LogUniform, Uniform
from pretrain.config.layers import split_words
from pretrain.config.suggestions import suggestion

_LAX = ConfigDict(allow_inf_nan=False)


Axis = tuple[SweptValue, ...] | Uniform | LogUniform
_SPACED = ("lin", "log")
_DRAWN = {"uniform": Uniform, "loguniform": LogUniform}


def parse_axis(text: str, option: str = "sweep") -> tuple[str, Axis]:
    """Reads an axis of a sweep, or by the same rules the values of a field by layer.

    It is ``name=value,value,…``, where a tuple is written as in ``encoder.layers=300x150,64``; or evenly spaced
    ``name=lin:low:high:count`` or ``name=log:low:high:count``; or, for random search, ``name=uniform:low:high`` or
    ``name=loguniform:low:high``.

    Returns:
      The dotted name of the field, and its values in the field's type or the distribution to draw them from.

    Raises:
      ConfigError: there is no such field, or a value does not fit it.
    """
    name, equals, listed = text.partition("=")
    name = name.replace("-", "_")
    kinds = fields(Experiment)
    if not equals or not listed:
        raise ConfigError(option, text, "names no values; write field=value,value")
    if name not in kinds:
        raise ConfigError(option, name, f"is no field; {suggestion(name, kinds, '--help lists them')}")
    kind, colon, ends = listed.partition(":")
    if colon and kind in _DRAWN:
        return name, _distribution(name, kinds[name], _DRAWN[kind], ends)
    tokens = _spaced(name, listed) if colon and kind in _SPACED else listed.split(",")
    return name, tuple(_read(name, kinds[name], token) for token in tokens)


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
    return typing.get_origin(_bare(kind)) is tuple


def element(kind: Any) -> Any:
    """Returns the type of a tuple's elements."""
    return typing.get_args(_bare(kind))[0]


def _bare(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def _read(name: str, kind: Any, text: str) -> SweptValue:
    if not is_sequence(kind):
        return read_value(name, kind, text)
    values = tuple(read_value(name, element(kind), part) for part in split_words(text))
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise ConfigError(name, text, complaint(error)) from None


def _distribution(name: str, kind: Any, distribution: type, text: str) -> Uniform | LogUniform:
    ends = [] if is_sequence(kind) else [read_value(name, kind, end) for end in text.split(":")]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not numbers or ends[0] >= ends[1] or (distribution is LogUniform and ends[0] <= 0):
        remedy = "is no distribution; write uniform:low:high or loguniform:low:high, with low below high"
        raise ConfigError("sweep", f"{name}={text}", remedy)
    return distribution(*ends)


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
