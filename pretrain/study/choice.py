"""Trials of tuned arms: of each arm and seed the one that validation chooses, and how the choice went."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import fields, get
from pretrain.config.metrics import TUNING_SCORE, metric_of, split_of
from pretrain.study.summary import compared_metric, metrics, swept_fields
from pretrain.study.tuning import best_by_seed, beyond, edge, times_chosen

_SHARE = 3  # of the seeds, one of which chooses a value that is said to be chosen most
_KEYS = ("seed", "repeat")


class TunedField(NamedTuple):
    """How one arm chose one field."""

    field: str
    values: tuple[object, ...]  # that it chose from, in their order
    times: tuple[int, ...]  # by how many trials each was chosen
    results: np.ndarray  # [values, trials] of the compared metric, at the chosen values of the other tuned fields
    edge: Literal["lowest", "highest"] | None  # of the grid, on which the value lies that was chosen most
    further: tuple[object, ...]  # values beyond that edge


class TunedArm(NamedTuple):
    """How an arm was tuned."""

    point: dict[str, object]  # its swept fields besides those tuned
    n_settings: int  # that it chose from
    fields: tuple[TunedField, ...]


class Choice(NamedTuple):
    """The trials that tuned arms choose, and the way they were chosen."""

    trials: pa.Table  # one for each arm, seed and repeat; tuned fields are no columns of it
    arms: list[TunedArm]
    by: str  # the metric that chose
    n_by_all: int  # choices by all validation rows, for those that were to choose left no score


def choose(trials: pa.Table, study: StudyConfig) -> Choice:
    """Returns the trials that tuned arms choose: for each seed and repeat, that with the best score on validation rows.

    Scores are those of the column ``tuning_score``; or, of seeds in which a sound trial has none, as AUROC has none on
    rows of one class, the metric on all validation rows. Ties go to the middle setting of the grid, and diverged trials
    are chosen only where all settings diverged.

    Args:
      trials: a run's table of trials, at every setting.
      study: names the tuned fields.
    """
    others = [name for name in swept_fields(trials) if name not in study.tune]
    metric, first = compared_metric(trials, study), split_of(metrics(trials)[0])[1]
    by = first if split_of(metric)[1] == "loss" else split_of(metric)[1]  # a loss is not among predictions' measures
    validation = f"validation_{by}"
    rows = trials.select(
        list(dict.fromkeys([*_KEYS, *others, *study.tune, "status", TUNING_SCORE, metric, validation]))
    ).to_pylist()
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(repr([row[name] for name in others]), []).append(number)
    kept: list[int] = []
    arms, n_by_all = [], 0
    for numbers in groups.values():
        grid = _grid([rows[number] for number in numbers], numbers, study)
        few, everything = (
            np.array([[_value(rows[number], name) for number in row] for row in grid.places])
            for name in (TUNING_SCORE, validation)
        )
        lost = np.array([[rows[number]["status"] == "diverged" for number in row] for row in grid.places])
        lacks = (np.isnan(few) & ~lost).any(axis=0)
        n_by_all += int(lacks.sum())
        scores = np.where(lost, np.nan, np.where(lacks, everything, few))
        if not metric_of(validation).higher_is_better:
            scores = -scores
        chosen = best_by_seed(scores)
        kept += [
            int(grid.places[setting if setting >= 0 else int(np.argmin(lost[:, unit])), unit])
            for unit, setting in enumerate(chosen)
        ]
        results = np.array([[_value(rows[number], metric) for number in row] for row in grid.places])
        point = {name: rows[numbers[0]][name] for name in others}
        arms.append(TunedArm(point, len(grid.settings), tuple(_fields(grid.settings, chosen, results, study.tune))))
    left = trials.take(sorted(kept))
    return Choice(left.drop_columns(list(study.tune)), arms, by, n_by_all)


def usual_values(experiment: Experiment) -> dict[str, object]:
    """Returns the values of tuned fields that an experiment would have untuned."""
    return {name: get(experiment, name) for name in experiment.study.tune if name in fields(experiment)}


def at_values(trials: pa.Table, usual: Mapping[str, object], study: StudyConfig) -> pa.Table:
    """Returns the trials at given values of the tuned fields, which are no columns of it; none where a value lacks."""
    rows = trials.select(list(study.tune)).to_pylist()
    kept = [
        number
        for number, row in enumerate(rows)
        if all(name in usual and _is(row[name], usual[name]) for name in study.tune)
    ]
    return trials.take(pa.array(kept, pa.int64())).drop_columns(list(study.tune))


def _is(value: object, wanted: object) -> bool:
    if isinstance(value, float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return _frozen(value) == wanted


class _Grid(NamedTuple):
    settings: list[tuple[object, ...]]  # values of the tuned fields, in the table's order
    places: np.ndarray  # [settings, units] rows of the table


def _grid(rows: Sequence[dict], numbers: Sequence[int], study: StudyConfig) -> _Grid:
    """Returns an arm's rows by setting and unit; only units that have every setting."""
    by_unit: dict[tuple[int, int], dict[tuple, int]] = {}
    for row, number in zip(rows, numbers, strict=True):
        setting = tuple(_frozen(row[name]) for name in study.tune)
        by_unit.setdefault((row["seed"], row["repeat"]), {})[setting] = number
    settings = list(dict.fromkeys(setting for own in by_unit.values() for setting in own))
    whole = [own for own in by_unit.values() if len(own) == len(settings)]
    return _Grid(settings, np.array([[own[setting] for own in whole] for setting in settings], int))


def _fields(
    settings: Sequence[tuple], chosen: np.ndarray, results: np.ndarray, names: Sequence[str]
) -> list[TunedField]:
    found = []
    for place, name in enumerate(names):
        values = [setting[place] for setting in settings]
        counts = times_chosen(values, chosen)
        known = tuple(counts)
        most = max(range(len(known)), key=lambda number: counts[known[number]])
        times = sorted([0, *counts.values()])
        is_clear = times[-1] > times[-2] and _SHARE * times[-1] >= sum(times)  # else no value stands out
        side = edge(known, most) if is_clear else None
        further = tuple(beyond(known, side)) if side else ()
        curves = np.array([_along(settings, chosen, results, place, value) for value in known])
        found.append(TunedField(name, known, tuple(counts.values()), curves, side, further))
    return found


def _along(settings: Sequence[tuple], chosen: np.ndarray, results: np.ndarray, place: int, value: object) -> np.ndarray:
    """Returns each unit's result at a value of one field, with the others as the unit chose them: [units]."""
    index = {setting: number for number, setting in enumerate(settings)}
    found = []
    for unit, own in enumerate(chosen):
        setting = settings[max(own, 0)]
        found.append(results[index[(*setting[:place], value, *setting[place + 1 :])], unit])
    return np.array(found)


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _value(row: dict, metric: str) -> float:
    return np.nan if row[metric] is None else row[metric]
