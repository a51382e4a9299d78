"""Trials of tuned arms: of each arm and seed the one that validation chooses, and how the choice went."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import fields, get
from pretrain.config.metrics import TUNING_SCORE, metric_of, split_of
from pretrain.study.arms import CORNERS, hashable, key
from pretrain.study.summary import compared_metric, metrics, swept_fields
from pretrain.study.tuning import best_by_seed, beyond, edge, times_chosen

_SHARE = 3  # of the seeds, one of which chooses a value that is said to be chosen most
_KEYS = ("seed", "repeat")


class TunedField(NamedTuple):
    """How one arm chose one field."""

    field: str
    values: tuple[Any, ...]  # that it chose from, in their order
    times: tuple[int, ...]  # by how many trials each was chosen
    results: np.ndarray  # [values, trials] of the compared metric, at the chosen values of the other tuned fields
    edge: Literal["lowest", "highest"] | None  # of the grid, on which the value lies that was chosen most
    further: tuple[Any, ...]  # values beyond that edge


class TunedArm(NamedTuple):
    """How an arm was tuned."""

    point: dict[str, Any]  # its swept fields besides those tuned
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

    Scores are those of the column ``tuning_score``, of the compared metric unless its name ends in another; or, of
    seeds in which a sound trial has none, as AUROC has none on rows of one class, the metric on all validation rows.
    Ties go to the middle setting of the grid, and diverged trials are chosen only where all settings diverged.
    """
    others = [name for name in swept_fields(trials) if name not in study.tune]
    metric, scores = compared_metric(trials, study), _scores(trials)
    by = scores.removeprefix(TUNING_SCORE)[1:] or _scored_by(trials, study)
    columns = (trials[name].cast(pa.float64()).to_numpy() for name in (scores, f"validation_{by}", metric))
    few_rows, all_rows, compared = columns
    diverged = np.array(trials["status"].to_pylist()) == "diverged"
    sign = 1 if metric_of(by).higher_is_better else -1
    rows = trials.select([*_KEYS, *others, *study.tune]).to_pylist()
    groups: dict[Hashable, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(key({name: row[name] for name in others}), []).append(number)
    kept: list[int] = []
    arms, n_by_all = [], 0
    for numbers in groups.values():
        settings, places = _grid(rows, numbers, study)
        lost = diverged[places]
        lacks = (np.isnan(few_rows[places]) & ~lost).any(axis=0)
        n_by_all += int(lacks.sum())
        chosen = best_by_seed(sign * np.where(lost, np.nan, np.where(lacks, all_rows[places], few_rows[places])))
        taken = np.where(chosen >= 0, chosen, np.argmin(lost, axis=0))
        kept += places[taken, np.arange(len(taken))].tolist()
        if all(value is None for value in settings[0]):  # of an arm whose grid has no tuned field
            continue
        tuned = tuple(_fields(settings, chosen, compared[places], study.tune))
        arms.append(TunedArm({name: rows[numbers[0]][name] for name in others}, len(settings), tuned))
    return Choice(trials.take(kept).drop_columns(list(study.tune)), arms, by, n_by_all)  # arm by arm, as in the table


def with_named_scores(trials: pa.Table, study: StudyConfig) -> pa.Table:
    """Returns a table of trials whose scores name the metric that they are of, for a question of another one.

    Args:
      trials: a run's table of trials; one without scores, or with such a name, stays as it is.
    """
    if TUNING_SCORE not in trials.column_names:
        return trials
    return trials.rename_columns({TUNING_SCORE: f"{TUNING_SCORE}_{_scored_by(trials, study)}"})


def _scores(trials: pa.Table) -> str:
    """Returns the name of the column of scores."""
    return next(name for name in trials.column_names if name.startswith(TUNING_SCORE))


def _scored_by(trials: pa.Table, study: StudyConfig) -> str:
    """Returns the metric that scores settings: the compared one, or the first for a loss, which no prediction has."""
    usual, measure = (split_of(name)[1] for name in (metrics(trials)[0], compared_metric(trials, study)))
    return usual if measure == "loss" else measure


def usual_values(experiment: Experiment) -> dict[str, Any]:
    """Returns the values of tuned fields that an experiment would have untuned."""
    return {name: get(experiment, name) for name in experiment.study.tune if name in fields(experiment)}


def at_values(trials: pa.Table, usual: Mapping[str, Any], study: StudyConfig) -> pa.Table:
    """Returns the trials at given values of the tuned fields, which are no columns of it; none where a value lacks."""
    rows = trials.select(list(study.tune)).to_pylist()
    kept = [
        number
        for number, row in enumerate(rows)
        if all(name in usual and _is(row[name], usual[name]) for name in study.tune)
    ]
    return trials.take(pa.array(kept, pa.int64())).drop_columns(list(study.tune))


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and isinstance(wanted, int | float):
        return math.isclose(value, wanted, rel_tol=1e-9)
    return hashable(value) == wanted


def _grid(rows: Sequence[dict[str, Any]], numbers: Sequence[int], study: StudyConfig) -> tuple[list[tuple], np.ndarray]:
    """Returns an arm's settings, and its rows [settings, units] of the units that have every setting."""
    by_unit: dict[tuple[int, int], dict[tuple, int]] = {}
    for number in numbers:
        row = rows[number]
        setting = tuple(hashable(row[name]) for name in study.tune)
        by_unit.setdefault((row["seed"], row["repeat"]), {})[setting] = number
    settings = list(dict.fromkeys(setting for places in by_unit.values() for setting in places))
    whole = [places for places in by_unit.values() if len(places) == len(settings)]
    return settings, np.array([[places[setting] for places in whole] for setting in settings], int)


def _fields(
    settings: Sequence[tuple], chosen: np.ndarray, results: np.ndarray, names: Sequence[str]
) -> Iterator[TunedField]:
    """Yields how each field was chosen, from results [settings, units]."""
    for place, name in enumerate(names):
        counts = times_chosen([setting[place] for setting in settings], chosen)
        values = tuple(counts)
        most = max(range(len(values)), key=lambda number: counts[values[number]])
        times = sorted([0, *counts.values()])
        is_clear = times[-1] > times[-2] and _SHARE * times[-1] >= sum(times)  # else no value stands out
        # Beyond no layer and all layers there is nothing to choose.
        side = edge(values, most) if is_clear and name != CORNERS[1] else None
        further = tuple(beyond(values, side)) if side else ()
        curves = np.array([_along(settings, chosen, results, place, value) for value in values])
        yield TunedField(name, values, tuple(counts.values()), curves, side, further)


def _along(settings: Sequence[tuple], chosen: np.ndarray, results: np.ndarray, place: int, value: Any) -> np.ndarray:
    """Returns each unit's result at a value of one field, with the others as the unit chose them: [units]."""
    number = {setting: number for number, setting in enumerate(settings)}
    others = (settings[max(choice, 0)] for choice in chosen)
    rows = [number[(*setting[:place], value, *setting[place + 1 :])] for setting in others]
    return results[rows, np.arange(len(rows))]
