"""The command line: a config's name, then its fields as options."""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Sequence
from typing import Annotated

import tyro
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pretrain.config import Experiment
from pretrain.fields import ConfigError, complaint, fields, nearest

_LAX = ConfigDict(allow_inf_nan=False)


@dataclasses.dataclass(frozen=True)
class Command:
    """What to do."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the plan - trials, shared stages, packs, parameters, estimated memory - and stop."""


def parse(argv: Sequence[str], default: Experiment, program: str, description: str) -> Command:
    """Reads options over a default experiment; ``--help`` prints every field and exits.

    An option for a swept field takes the place of that field's sweep.

    Raises:
      ConfigError: an option is unknown, its value is missing or does not fit, or the fields do not fit together.
    """
    settings = {"prog": program, "description": description}
    if {"-h", "--help"} & set(argv):
        return tyro.cli(Command, args=["--help"], default=Command(default), **settings)
    given = _given(argv)
    fixed = tuple({name: values for name, values in grid.items() if name not in given} for grid in default.sweep)
    unswept = dataclasses.replace(default, sweep=fixed)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro explains in a box; our explanation is one line
            return tyro.cli(Command, args=list(argv), default=Command(unswept), **settings)
    except SystemExit:
        raise ConfigError("arguments", " ".join(argv), "cannot be read; --help lists every option") from None


def _given(argv: Sequence[str]) -> set[str]:
    """Returns the dotted names of the fields that options set, after checking each option on its own."""
    kinds = {**fields(Experiment), "dry_run": None}
    del kinds["sweep"]
    options: dict[str, list[str]] = {}
    for token in argv:
        if token.startswith("--"):
            name, equals, value = token[2:].partition("=")
            name = name.replace("-", "_")
            if name not in kinds:
                option = nearest(name, kinds).replace("_", "-")
                raise ConfigError(
                    "option", f"--{token[2:].partition('=')[0]}", f"is no field; did you mean --{option}?"
                )
            options.pop(name, None)  # given twice, the last counts, and what follows is its
            options[name] = [value] if equals else []
        elif options:
            options[next(reversed(options))].append(token)
        else:
            raise ConfigError("arguments", token, "is no option; options start with --, and --help lists them")
    for name, values in options.items():
        if name != "dry_run":
            _check(name, kinds[name], values)
        elif values:
            raise ConfigError("dry_run", " ".join(values), "takes no value; leave it out")
    return set(options)


def _check(name: str, kind: typing.Any, values: list[str]) -> None:
    is_sequence = typing.get_origin(_bare(kind)) is tuple
    if len(values) != 1 and not is_sequence:
        remedy = f"has {len(values)} values; give one" if values else "has no value; give one"
        raise ConfigError(name, " ".join(values), remedy)
    try:
        parsed = TypeAdapter(kind, config=_LAX).validate_python(values if is_sequence else values[0])
    except ValidationError as error:
        raise ConfigError(name, " ".join(values), complaint(error)) from None
    for token, value in zip(values, parsed if is_sequence else [parsed], strict=True):
        if type(value) is int and not token.lstrip("+-").isdigit():
            raise ConfigError(name, " ".join(values), "should be a whole number")
        if type(value) is bool and token not in ("True", "False"):
            raise ConfigError(name, " ".join(values), "should be True or False")


def _bare(kind: typing.Any) -> typing.Any:
    """Returns a type without its annotations."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
