"""The command line: a config's name, then its fields as options."""

import dataclasses
import typing
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import tyro
from annotated_types import Ge, Gt
from pydantic import TypeAdapter, ValidationError

from pretrain.commands.axes import Axis, element, is_sequence, parse_axis, read_value
from pretrain.config import Experiment, invocation
from pretrain.config.complaints import complaint
from pretrain.config.fields import ConfigError, Faults, fields, join, unknown
from pretrain.config.grids import LogUniform, Uniform
from pretrain.config.overrides import override, with_kinds
from pretrain.config.suggestions import of_options

_FLAGS = ("dry_run", "tensorboard")
_AXES = ("sweep", "tune", "per_layer")  # options that are given once for each field
_DRAWS = ("draws", "draw_seed")
_SWITCHES = {
    f"--{name}": f"--study.{name}" for name in ("until-conclusive", "variation", "baselines")
}  # True without a value
_SWITCHES["--detach"] = "--engine.detach"
_SHORT = {"--engine": "--engine.name", **_SWITCHES}


@dataclasses.dataclass(frozen=True)
class Command:
    """Options of a launch besides its experiment."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the plan - trials, shared stages, packs, parameters, estimated memory, FLOPs and time - and stop."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write TensorBoard event files to the run directory, too (`pip install -e '.[tensorboard]'`)."""
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An axis to sweep besides the config's, or in place of its axis of the same field: field=value,value or
    field=log:low:high:count or field=lin:low:high:count. Several multiply. For random search: field=uniform:low:high
    or field=loguniform:low:high; all of these are drawn together."""
    tune: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An axis, as of --sweep, of which each arm chooses a value for each seed by validation, so that arms are compared
    each at its best. Several multiply; every arm has the same grid."""
    per_layer: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A field that differs from layer to layer, with a value for each, from the images up: field=value,value."""
    draws: Annotated[int, Gt(0)] = 20
    """Points of a random search (points)."""
    draw_seed: Annotated[int, Ge(0)] = 0
    """Seed of a random search; more draws with the same seed keep the first ones."""


class Arguments(NamedTuple):
    """A parsed command line."""

    experiment: Experiment
    dry_run: bool
    tensorboard: bool
    chosen: frozenset[str]  # fields that the options or the config set, which are not fitted to data
    notes: tuple[str, ...]  # a line for each default that was fitted to the options


def parse(argv: Sequence[str], default: Experiment, command: str, description: str) -> Arguments:
    """Reads options over a default experiment, as ``override`` does; ``--help`` prints every field and exits.

    Raises:
      ConfigError: an option is unknown, its value is missing or does not fit, or the fields do not fit together.
    """
    argv = _unshortened(argv)
    if {"-h", "--help"} & set(argv):
        kinds = _typed(_given(_kind_options(argv)), default)
        # Of a union, the fields of one kind are options: that of the default, or the one that an option names.
        settings = {
            "prog": invocation.command(command),
            "description": description,
            "config": (tyro.conf.AvoidSubcommands,),
        }
        with warnings.catch_warnings():
            joined = ".*(does not match any type in Union|is annotated with type)"  # as what joined one
            warnings.filterwarnings("ignore", joined)
            return tyro.cli(Command, args=["--help"], default=Command(with_kinds(default, kinds)), **settings)
    given = _given(argv)
    values = _typed(given, default)
    axes = {option: _axes(given, option) for option in _AXES}
    draws = {name: read_value(name, int, given[name][-1][0]) for name in _DRAWS if name in given}
    for name in draws:
        if not any(isinstance(axis, Uniform | LogUniform) for axis in {**axes["sweep"], **axes["tune"]}.values()):
            raise ConfigError(name, given[name][0][0], "draws from no --sweep field=uniform:low:high or loguniform")
    made = override(default, values, **axes, **draws)
    return Arguments(made.experiment, "dry_run" in given, "tensorboard" in given, made.chosen, made.notes)


def _typed(given: Mapping[str, list[list[str]]], default: Experiment) -> dict[str, Any]:
    """Returns the values of the options that set a field, by its name; the last of several counts."""
    kinds = {name: values[-1][0] for name, values in given.items() if name.endswith(".kind")}
    config = with_kinds(default, kinds)
    known = fields(config)
    for name in given:
        if name in fields(Experiment) and name not in known:
            raise ConfigError("option", f"--{name.replace('_', '-')}", unknown(config, name))
    return {name: _value(name, known[name], given[name][-1]) for name in given if name in known and name not in _AXES}


def _value(name: str, kind: Any, values: list[str]) -> Any:
    """Returns the value of an option, checked on its own."""
    if is_sequence(kind):
        return tuple(read_value(name, element(kind), value) for value in values)
    return read_value(name, kind, values[0])


def _axes(given: Mapping[str, list[list[str]]], option: str) -> dict[str, Axis]:
    """Returns the axes of an option that is given once for each, by field; the last of a field counts."""
    return dict(parse_axis(values[0], option) for values in given.get(option, ()))


def _kind_options(argv: Sequence[str]) -> list[str]:
    """Returns the options that name a kind, each with its value."""
    kept, names_kind = [], False
    for token in argv:
        if token in ("-h", "--help"):
            continue
        if token.startswith("--"):
            names_kind = token.partition("=")[0].endswith(".kind")
        if names_kind:
            kept.append(token)
    return kept


def _unshortened(argv: Sequence[str]) -> list[str]:
    """Writes ``--engine`` out as ``--engine.name``, and ``--variation``, a switch, as ``--study.variation True``."""
    written = []
    for place, token in enumerate(argv):
        option, equals, value = token.partition("=")
        option = option.replace("_", "-") if option.startswith("--") else option
        written.append(f"{_SHORT[option]}{equals}{value}" if option in _SHORT else token)
        bare = not equals and all(following.startswith("--") for following in argv[place + 1 : place + 2])
        if option in _SWITCHES and bare:
            written.append("True")
    return written


def _given(argv: Sequence[str]) -> dict[str, list[list[str]]]:
    """Returns the values of each option, by name, once for each time it is given; checks each on its own."""
    options: list[tuple[str, list[str]]] = []
    for token in argv:
        if token.startswith("--"):
            option, equals, value = token.partition("=")
            options.append((option, [value] if equals else []))
        elif options:
            options[-1][1].append(token)
        else:
            raise ConfigError("arguments", token, "is no option; options start with --, and --help lists them")
    _join(options)
    kinds = {**fields(Experiment), **typing.get_type_hints(Command, include_extras=True)}
    given: dict[str, list[list[str]]] = {}
    faults = Faults()
    for option, values in options:
        name = _named(option)
        with faults.noted():
            if name not in kinds or name == "experiment":
                raise ConfigError("option", option, f"is no field; {of_options(name, kinds)}")
            _check(name, kinds[name], values)
        given.setdefault(name, []).append(values)
    faults.check()
    return given


def _named(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _join(options: Sequence[tuple[str, list[str]]]) -> None:
    """Lets the kinds that options name join their unions, so that fields of the user's own are options, too."""
    for option, values in options:
        pairs = [(option, value) for value in values]
        if _named(option) in _AXES:
            axes = (value.partition("=") for value in values)
            pairs = [(name, value) for name, _, listed in axes for value in listed.split(",")]
        for name, value in pairs:
            join(Experiment, _named(name), value)


def _check(name: str, kind: Any, values: list[str]) -> None:
    if name in _FLAGS:
        if values:
            raise ConfigError(name, " ".join(values), "takes no value; leave it out")
    elif is_sequence(kind) and name not in _AXES:
        try:
            TypeAdapter(kind).validate_python(_value(name, kind, values))
        except ValidationError as error:
            raise ConfigError(name, " ".join(values), complaint(error)) from None
    elif len(values) != 1:
        one = f"each a --{name.replace('_', '-')} of its own" if name in _AXES else "one"
        remedy = f"has {len(values)} values; give {one}" if values else "has no value; give one"
        raise ConfigError(name, " ".join(values), remedy)
    elif name not in _AXES:
        read_value(name, kind, values[0])
