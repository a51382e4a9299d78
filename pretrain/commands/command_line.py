"""The command line: a config's name, then its fields as options."""

import contextlib
import dataclasses
import io
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import tyro
from annotated_types import Ge, Gt
from pydantic import TypeAdapter, ValidationError

from pretrain.commands.axes import Axis, element, is_sequence, parse_axis, read_value
from pretrain.config import Experiment, Settings, SweptValue, fitting
from pretrain.config.effects import inert_because
from pretrain.config.fields import (
    ConfigError,
    complaint,
    fields,
    get,
    nearest,
    replace,
    replace_all,
    unknown,
    with_values,
)
from pretrain.config.grids import Grid, LogUniform, Uniform, random_search

_FLAGS = ("dry_run", "tensorboard")
_AXES = ("sweep", "tune", "per_layer")  # options that are given once for each field
_SHORT = {"--engine": "--engine.name", "--until-conclusive": "--study.until-conclusive"}


@dataclasses.dataclass(frozen=True)
class Command:
    """Options of a launch besides its experiment."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the plan - trials, shared stages, packs, parameters, estimated memory, FLOPs and time - and stop."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write TensorBoard event files to the run directory, too (`pip install 'pretrain[tensorboard]'`)."""
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


class Request(NamedTuple):
    """A parsed command line."""

    experiment: Experiment
    dry_run: bool
    tensorboard: bool
    chosen: frozenset[str]  # fields that the options or the config set, which are not fitted to data
    notes: tuple[str, ...]  # a line for each default that was fitted to the options


def parse(argv: Sequence[str], default: Experiment, program: str, description: str) -> Request:
    """Reads options over a default experiment; ``--help`` prints every field and exits.

    An option for a swept field takes the place of that field's sweep; ``--sweep`` adds axes to every grid. Defaults are
    fitted to the depth of an encoder and the number of labels that options ask for.

    Raises:
      ConfigError: an option is unknown, its value is missing or does not fit, or the fields do not fit together.
    """
    # Of a union, the fields of one kind are options: that of the default, or the one that an option names.
    settings = {"prog": program, "description": description, "config": (tyro.conf.AvoidSubcommands,)}
    argv = _unshortened(argv)
    if {"-h", "--help"} & set(argv):
        kinds = _given(_of_kind_options([token for token in argv if token not in ("-h", "--help")]))
        return tyro.cli(Command, args=["--help"], default=Command(_of_kinds(default, kinds)), **settings)
    given = _given(argv)
    default = _of_kinds(default, given)
    # The sweep is put in place before tyro builds the experiment, which then checks its points with all options set.
    unchecked = with_values(default, {"sweep": _sweep(default, given), "per_layer": _per_layer(default, given)})
    unchecked = with_values(unchecked, {"study.tune": _tuned(default, given)})
    axes = [parse_axis(values[0], option)[0] for option in _AXES for values in given.get(option, ())]
    chosen = fitting.chosen(default, {*given, *axes})
    unchecked, notes = _fitted(unchecked, given, chosen)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro explains in a box; our explanation is one line
            others = _of_kind_options(argv, others=True)  # the default is of its kinds already
            command = tyro.cli(Command, args=others, default=Command(unchecked), **settings)
    except SystemExit:
        raise ConfigError("arguments", " ".join(argv), "cannot be read; --help lists every option") from None
    _check_effects(command.experiment, [*given, *axes])
    return Request(command.experiment, command.dry_run, command.tensorboard, chosen, notes)


def _fitted(
    unchecked: Experiment, given: Mapping[str, list[list[str]]], chosen: Collection[str]
) -> tuple[Experiment, tuple[str, ...]]:
    """Returns an experiment whose defaults fit the options to come, and what was changed."""
    kinds = fields(unchecked)
    names = [name for name in given if name in kinds and name not in _AXES]
    whole = replace_all(unchecked, {name: _typed(name, kinds[name], given[name][-1]) for name in names})
    words = [point.settings.words for point in whole.points]
    if any(word.kind == "own" for each in words for word in each):  # as deep as a file says
        fitted = fitting.Fitted(whole)
    else:
        fitted = fitting.to_depth(whole, chosen, min(map(len, words)))
    fitted = fitting.to_labels(fitted, chosen)
    kept = {name: get(unchecked, name) for name in names}
    return with_values(fitted.experiment, kept), fitted.notes


def _typed(name: str, kind: Any, values: list[str]) -> Any:
    """Returns the value of an option, checked on its own."""
    if is_sequence(kind):
        return tuple(read_value(name, element(kind), value) for value in values)
    return read_value(name, kind, values[0])


def _of_kinds(default: Experiment, given: Mapping[str, list[list[str]]]) -> Experiment:
    """Returns the default with the kinds that options name, each with that kind's own defaults.

    Raises:
      ConfigError: an option is of another kind.
    """
    for name, values in given.items():
        if name.endswith(".kind"):
            default = replace(default, name, values[-1][0])
    for name in given:
        if name in fields(Experiment) and name not in fields(default):
            raise ConfigError("option", f"--{name.replace('_', '-')}", unknown(default, name))
    return default


def _check_effects(experiment: Experiment, names: Sequence[str]) -> None:
    """Checks that fields that were asked for have an effect on some trial.

    Raises:
      ConfigError: one has none.
    """
    known = fields(Settings)
    silent = {name for name in names if name in known and name != "per_layer"}
    remedies: dict[str, tuple[SweptValue, str]] = {}
    for settings in (each for point in experiment.points for each in _own_settings(point.settings)):
        if not silent:
            return
        own = fields(settings)
        for name in sorted(silent & own.keys()):
            reason = inert_because(settings, name)
            if reason is None:
                silent.discard(name)
            else:
                remedy = f"has no effect where {reason}; leave it out, or set that"
                remedies.setdefault(name, (get(settings, name), remedy))
    for name in sorted(silent):
        kind = f"{name.rpartition('.')[0]}.kind"
        none = f"has no effect, for no trial has the {kind} that it is of; leave it out, or set that"
        raise ConfigError(name, *(remedies[name] if name in remedies else (get(experiment, name), none)))


def _own_settings(settings: Settings) -> list[Settings]:
    """Returns the settings of each layer, where layers differ, and those of all layers, where all are trained so."""
    depth = max(map(len, settings.per_layer.values()), default=0)
    layers = [settings.at_layer(layer) for layer in range(depth)]
    return layers + ([settings] if not layers or settings.pretrain.training != "greedy" else [])


def _of_kind_options(argv: Sequence[str], others: bool = False) -> list[str]:
    """Returns the options that name a kind, each with its value, or all others."""
    kept, names_kind = [], False
    for token in argv:
        if token.startswith("--"):
            names_kind = token.partition("=")[0].endswith(".kind")
        if names_kind != others:
            kept.append(token)
    return kept


def _unshortened(argv: Sequence[str]) -> list[str]:
    """Writes ``--engine`` out as ``--engine.name``, and ``--until-conclusive`` as ``--study.until-conclusive True``."""
    written = []
    for place, token in enumerate(argv):
        option, equals, value = token.partition("=")
        option = option.replace("_", "-") if option.startswith("--") else option
        written.append(f"{_SHORT[option]}{equals}{value}" if option in _SHORT else token)
        bare = not equals and all(following.startswith("--") for following in argv[place + 1 : place + 2])
        if option == "--until-conclusive" and bare:
            written.append("True")
    return written


def _sweep(default: Experiment, given: Mapping[str, list[list[str]]]) -> tuple[Grid, ...]:
    """Returns the default's grids without the fields that options set, and with the axes that options sweep."""
    axes: dict[str, Axis] = dict(parse_axis(values[0]) for values in given.get("sweep", ()))
    for name, axis in (parse_axis(values[0], option="tune") for values in given.get("tune", ())):
        if isinstance(axis, Uniform | LogUniform):
            raise ConfigError("tune", name, "draws at random; list its values, or write field=log:low:high:count")
        if name in axes:
            raise ConfigError("tune", name, "is swept, too; leave one of the two out")
        axes[name] = axis
    for name in given.keys() & axes.keys():
        raise ConfigError("sweep", name, "is set by an option too; leave one of the two out")
    drawn = {name: axis for name, axis in axes.items() if isinstance(axis, Uniform | LogUniform)}
    for name in ("draws", "draw_seed"):
        if name in given and not drawn:
            raise ConfigError(name, given[name][0][0], "draws from no --sweep field=uniform:low:high or loguniform")
    kept = [{name: values for name, values in grid.items() if name not in given} for grid in default.sweep]
    if not axes:
        return tuple(kept)
    listed = {name: axis for name, axis in axes.items() if name not in drawn}
    draws, seed = (
        read_value(name, int, given[name][0][0]) if name in given else getattr(Command, name)
        for name in ("draws", "draw_seed")
    )
    found = random_search(drawn, draws, seed) if drawn else ({},)
    return tuple({**grid, **listed, **point} for grid in kept or ({},) for point in found)


def _tuned(default: Experiment, given: Mapping[str, list[list[str]]]) -> tuple[str, ...]:
    """Returns the default's tuned fields without those that options set, and with those that options tune."""
    kept = [name for name in default.study.tune if name not in given]
    return tuple(dict.fromkeys((*kept, *(parse_axis(values[0])[0] for values in given.get("tune", ())))))


def _per_layer(default: Experiment, given: Mapping[str, list[list[str]]]) -> dict[str, tuple[SweptValue, ...]]:
    """Returns the default's fields that differ by layer without those that options set, and with those that they do."""
    kept = {name: values for name, values in default.per_layer.items() if name not in given}
    named = dict(parse_axis(values[0], option="per_layer") for values in given.get("per_layer", ()))
    for name, values in named.items():
        if name in given:
            raise ConfigError("per_layer", name, "is set by an option too; leave one of the two out")
        if isinstance(values, Uniform | LogUniform):
            raise ConfigError("per_layer", name, "has no random values; list one a layer, as in field=value,value")
    return {**kept, **named}


def _given(argv: Sequence[str]) -> dict[str, list[list[str]]]:
    """Returns the values of each option, by name, once for each time it is given; checks each on its own."""
    kinds = {**fields(Experiment), **typing.get_type_hints(Command, include_extras=True)}
    options: list[tuple[str, list[str]]] = []
    for token in argv:
        if token.startswith("--"):
            option, equals, value = token.partition("=")
            name = option.removeprefix("--").replace("-", "_")
            if name not in kinds or name == "experiment":
                near = nearest(name, kinds).replace("_", "-")
                raise ConfigError("option", option, f"is no field; did you mean --{near}?")
            options.append((name, [value] if equals else []))
        elif options:
            options[-1][1].append(token)
        else:
            raise ConfigError("arguments", token, "is no option; options start with --, and --help lists them")
    given: dict[str, list[list[str]]] = {}
    for name, values in options:
        _check(name, kinds[name], values)
        given.setdefault(name, []).append(values)
    return given


def _check(name: str, kind: Any, values: list[str]) -> None:
    if name in _FLAGS:
        if values:
            raise ConfigError(name, " ".join(values), "takes no value; leave it out")
    elif is_sequence(kind) and name not in _AXES:
        try:
            TypeAdapter(kind).validate_python(_typed(name, kind, values))
        except ValidationError as error:
            raise ConfigError(name, " ".join(values), complaint(error)) from None
    elif len(values) != 1:
        one = f"each a --{name.replace('_', '-')} of its own" if name in _AXES else "one"
        remedy = f"has {len(values)} values; give {one}" if values else "has no value; give one"
        raise ConfigError(name, " ".join(values), remedy)
    elif name not in _AXES:
        read_value(name, kind, values[0])
