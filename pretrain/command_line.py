"""The command line: a config's name, then its fields as options."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from pydantic import TypeAdapter, ValidationError

from pretrain.axes import is_sequence, parse_axis, read_value
from pretrain.config import Experiment, SweptValue
from pretrain.fields import ConfigError, complaint, fields, nearest


@dataclasses.dataclass(frozen=True)
class Command:
    """What to do."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the plan - trials, shared stages, packs, parameters, estimated memory - and stop."""
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An axis to sweep besides the config's, or in place of its axis of the same field: field=value,value or
    field=log:low:high:count or field=lin:low:high:count. Several multiply."""


def parse(argv: Sequence[str], default: Experiment, program: str, description: str) -> Command:
    """Reads options over a default experiment; ``--help`` prints every field and exits.

    An option for a swept field takes the place of that field's sweep; ``--sweep`` adds axes to every grid.

    Raises:
      ConfigError: an option is unknown, its value is missing or does not fit, or the fields do not fit together.
    """
    settings = {"prog": program, "description": description}
    if {"-h", "--help"} & set(argv):
        return tyro.cli(Command, args=["--help"], default=Command(default), **settings)
    given, axes = _given(argv)
    grids = default.sweep or (({},) if axes else ())
    kept = [{name: values for name, values in grid.items() if name not in given} for grid in grids]
    unswept = dataclasses.replace(default, sweep=())
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro explains in a box; our explanation is one line
            command = tyro.cli(Command, args=list(argv), default=Command(unswept), **settings)
    except SystemExit:
        raise ConfigError("arguments", " ".join(argv), "cannot be read; --help lists every option") from None
    # Only with the options in place can the points of the sweep be checked.
    experiment = dataclasses.replace(command.experiment, sweep=tuple({**grid, **axes} for grid in kept))
    return dataclasses.replace(command, experiment=experiment)


def _given(argv: Sequence[str]) -> tuple[set[str], dict[str, tuple[SweptValue, ...]]]:
    """Returns the fields that options set, and the axes to sweep, after checking each option on its own."""
    kinds = {**fields(Experiment), "dry_run": None}
    options: list[tuple[str, list[str]]] = []
    for token in argv:
        if token.startswith("--"):
            option, equals, value = token.partition("=")
            name = option.removeprefix("--").replace("-", "_")
            if name not in kinds:
                near = nearest(name, kinds).replace("_", "-")
                raise ConfigError("option", option, f"is no field; did you mean --{near}?")
            options.append((name, [value] if equals else []))
        elif options:
            options[-1][1].append(token)
        else:
            raise ConfigError("arguments", token, "is no option; options start with --, and --help lists them")
    for name, values in options:
        _check(name, kinds[name], values)
    given = {name for name, _ in options} - {"sweep"}
    axes = dict(parse_axis(values[0]) for name, values in options if name == "sweep")
    for name in given & axes.keys():
        raise ConfigError("sweep", name, "is set by an option too; leave one of the two out")
    return given, axes


def _check(name: str, kind: Any, values: list[str]) -> None:
    if name == "dry_run":
        if values:
            raise ConfigError(name, " ".join(values), "takes no value; leave it out")
    elif is_sequence(kind) and name != "sweep":
        try:
            TypeAdapter(kind).validate_python([read_value(name, int, value) for value in values])
        except ValidationError as error:
            raise ConfigError(name, " ".join(values), complaint(error)) from None
    elif len(values) != 1:
        remedy = f"has {len(values)} values; give one" if values else "has no value; give one"
        raise ConfigError(name, " ".join(values), remedy)
    elif name != "sweep":
        read_value(name, kind, values[0])
