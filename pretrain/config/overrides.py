"""Overrides of a config: fields by dotted name, and axes to sweep or tune; defaults are fitted to them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pretrain.config import fitting
from pretrain.config.effects import inert_because
from pretrain.config.experiment import Experiment
from pretrain.config.fields import ConfigError, Faults, fields, get, replace_all, unknown, with_values
from pretrain.config.grids import Grid, LogUniform, Uniform, random_search
from pretrain.config.layers import read_word
from pretrain.config.settings import OF_CHECKPOINT, Settings, SweptValue

Axis = Sequence[SweptValue] | Uniform | LogUniform


class Overridden(NamedTuple):
    """An experiment with overrides in place."""

    experiment: Experiment
    chosen: frozenset[str]  # fields that the config or an override set, which are not fitted to data
    notes: tuple[str, ...]  # a line for each default that was fitted to the overrides


def override(
    config: Experiment,
    values: Mapping[str, Any],
    sweep: Mapping[str, Axis] | None = None,
    tune: Mapping[str, Axis] | None = None,
    per_layer: Mapping[str, Axis] | None = None,
    draws: int = 20,
    draw_seed: int = 0,
) -> Overridden:
    """Returns an experiment with fields set, and axes swept besides the config's.

    A value for a swept field takes the place of that field's sweep. Defaults are fitted to the depth of the encoder and
    to the number of labels.

    >>> made = override(Experiment(), {"encoder.layers": (100,)}, sweep={"pretrain.epochs": (1, 4)})
    >>> [point.values for point in made.experiment.points], sorted(made.chosen)
    ([{'pretrain.epochs': 1}, {'pretrain.epochs': 4}], ['encoder.layers', 'pretrain.epochs'])

    Args:
      config: the experiment without overrides.
      values: by dotted name of a field.
      sweep: axes to sweep, in the place of the config's of the same fields.
      tune: axes of which each arm chooses a value.
      per_layer: a value a layer, from the images up.
      draws: points that are drawn from axes which are distributions.
      draw_seed: of these draws.

    Raises:
      ConfigError: a field is unknown, a value does not fit, a field has no effect, or fields do not fit together.
    """
    sweep, tune, per_layer = sweep or {}, tune or {}, per_layer or {}
    before, config = config, with_kinds(config, values)
    grids = _sweep(config, values, sweep, tune, draws, draw_seed)
    fixed = values.keys() | {
        name for name, axis in sweep.items() if not isinstance(axis, Uniform | LogUniform) and len(set(axis)) == 1
    }
    changes = {
        "sweep": grids,
        "per_layer": _per_layer(config, values, per_layer),
        "study.tune": tuple(dict.fromkeys([*(name for name in config.study.tune if name not in fixed), *tune])),
        "study.compare": _compared(config, grids, sweep),
    }
    axes = {**sweep, **tune, **per_layer}
    chosen = fitting.chosen(config, {*values, *axes})
    given = {name: value for name, value in changes.items() if name not in values and get(config, name) != value}
    experiment = replace_all(with_values(config, given), values)
    fitted, encoders = fitting.Fitted(experiment), fitting.values_of(experiment, "encoder.layers")
    if all(read_word(word).kind != "own" for layers in encoders for word in layers):  # else as deep as a file says
        fitted = fitting.to_depth(fitted, chosen, min(map(len, encoders)))
    fitted = fitting.to_labels(fitted, chosen)
    if fitted.experiment is not before:
        fitted.experiment.__post_init__()
    _check_effects(fitted.experiment, [*values, *axes])
    return Overridden(fitted.experiment, chosen, fitted.notes)


def with_kinds(config: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Returns a config with the kinds that are among some values, each with that kind's own defaults.

    Raises:
      ConfigError: one of the values is of no kind that the config then has.
    """
    config = replace_all(config, {name: value for name, value in values.items() if name.endswith(".kind")})
    for name, value in values.items():
        if name not in fields(config):
            raise ConfigError(name, value, unknown(config, name))
    return config


def _sweep(
    config: Experiment,
    values: Mapping[str, Any],
    sweep: Mapping[str, Axis],
    tune: Mapping[str, Axis],
    draws: int,
    draw_seed: int,
) -> tuple[Grid, ...]:
    """Returns the config's grids without the fields that are set, and with the axes that are swept or tuned."""
    for name, axis in tune.items():
        if isinstance(axis, Uniform | LogUniform):
            raise ConfigError("tune", name, "draws at random; list its values, or write field=log:low:high:count")
        if name in sweep:
            raise ConfigError("tune", name, "is swept, too; leave one of the two out")
    axes = {**sweep, **tune}
    for name in values.keys() & axes.keys():
        raise ConfigError("sweep", name, "is set by an option too; leave one of the two out")
    kept = tuple({name: axis for name, axis in grid.items() if name not in values} for grid in config.sweep)
    if not axes:
        return kept
    drawn = {name: axis for name, axis in axes.items() if isinstance(axis, Uniform | LogUniform)}
    listed = {name: tuple(axis) for name, axis in axes.items() if name not in drawn}
    points = random_search(drawn, draws, draw_seed) if drawn else ({},)
    grids = kept or ({},)
    return tuple(
        {**grid, **{name: axis for name, axis in {**listed, **point}.items() if _takes(grid, name, grids)}}
        for grid in grids
        for point in points
    )


def _takes(grid: Grid, name: str, grids: Sequence[Grid]) -> bool:
    """Returns whether an axis is of a grid: what only some sweep is theirs alone, such as weights beside raw inputs."""
    several = [len(each.get(name, ())) > 1 for each in grids]
    return len(grid.get(name, ())) > 1 if any(several) else name in grid or not any(name in each for each in grids)


def _compared(config: Experiment, grids: Sequence[Grid], sweep: Mapping[str, Axis]) -> str:
    """Returns the field to compare: one that was swept by an option, where the config's has a single value."""
    compared = config.study.compare
    several = [name for name, axis in sweep.items() if isinstance(axis, Uniform | LogUniform) or len(set(axis)) > 1]
    several = [name for name in several if name not in config.study.tune]
    is_open = len({value for grid in grids for value in grid.get(compared, ())}) > 1
    return compared if is_open or not several else several[0]


def _per_layer(
    config: Experiment, values: Mapping[str, Any], per_layer: Mapping[str, Axis]
) -> dict[str, tuple[SweptValue, ...]]:
    """Returns the config's values by layer without those of fields that are set, and with others."""
    for name, layers in per_layer.items():
        if name in values:
            raise ConfigError("per_layer", name, "is set by an option too; leave one of the two out")
        if isinstance(layers, Uniform | LogUniform):
            raise ConfigError("per_layer", name, "has no random values; list one a layer, as in field=value,value")
    kept = {name: layers for name, layers in config.per_layer.items() if name not in values}
    return {**kept, **{name: tuple(layers) for name, layers in per_layer.items()}}


def _check_effects(experiment: Experiment, names: Sequence[str]) -> None:
    """Checks that fields that were asked for have an effect on some trial.

    Raises:
      ConfigError: one has none.
    """
    known = fields(Settings)
    silent = {name for name in names if name in known and name != "per_layer"}
    remedies: dict[str, tuple[SweptValue, str]] = {}
    for settings in (each for point in experiment.points for each in _settings_by_layer(point.settings)):
        if not silent:
            return
        own = fields(settings)
        for name in sorted(silent & own.keys()):
            reason = inert_because(settings, name)
            is_off = reason is not None and reason.startswith(f"{name} is ")  # as clip_norm of 0
            if reason is None or is_off or (name in OF_CHECKPOINT and settings.goes_on):
                silent.discard(name)
            else:
                remedy = f"has no effect where {reason}; leave it out, or set that"
                remedies.setdefault(name, (get(settings, name), remedy))
    faults = Faults()
    for name in sorted(silent):
        kind = f"{name.rpartition('.')[0]}.kind"
        none = f"has no effect, for no trial has the {kind} that it is of; leave it out, or set that"
        faults.append(ConfigError(name, *(remedies[name] if name in remedies else (get(experiment, name), none))))
    faults.check()


def _settings_by_layer(settings: Settings) -> list[Settings]:
    """Returns the settings of each layer, where layers differ, and those of all layers, where all are trained so."""
    depth = max(map(len, settings.per_layer.values()), default=0)
    layers = [settings.at_layer(layer) for layer in range(depth)]
    return layers + ([settings] if not layers or settings.pretrain.training != "greedy" else [])
