"""Results that somebody brings, as a run's table of trials: a row an arm and seed, absent ones as failed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, Faults
from pretrain.study import values
from pretrain.study.brought_arms import ARM, Names, Scores, complete, means_of, trials_of
from pretrain.study.brought_checks import check_columns, check_once, plain
from pretrain.study.brought_columns import (
    Codes,
    is_value,
    keys_of,
    labels_at,
    near,
    numbers_of,
    parted,
    places_within,
    rows_where,
    together,
)
from pretrain.study.values import Value

_CURVES = pa.schema([(name, pa.string()) for name in ("trial_id", "stage", "metric")])
_CURVES = _CURVES.append(pa.field("step", pa.int64())).append(pa.field("value", pa.float64()))


class Asked(NamedTuple):
    """What is asked of a table."""

    treatment: tuple[str, ...]  # COLUMN=VALUE of rows, or columns of values
    baseline: str
    value: str = ""  # column of values, or of a wide table what they measure
    pair: tuple[str, ...] = ()  # columns whose values the rows of a pair share
    by: tuple[str, ...] = ()  # columns of conditions
    datasets: str = ""  # the column of conditions that are datasets
    example: str = ""  # column that numbers the examples of a seed
    where: tuple[str, ...] = ()  # COLUMN=VALUE that rows have
    direction: str | None = None
    bounds: tuple[float, float] | None = None
    chance: float | None = None
    smallest_effect: float | None = None  # in the values' unit
    looks: tuple[int, ...] = ()  # numbers of seeds

    @property
    def conditions(self) -> tuple[str, ...]:
        """Columns of conditions, that of datasets first."""
        return tuple(dict.fromkeys(name for name in (self.datasets, *self.by) if name))

    def is_wide(self, names: Sequence[str]) -> bool:
        """Returns whether arms are columns of a table with these names, or were to be."""
        arms = (*self.treatment, self.baseline)
        return all(text in names for text in arms) or not any("=" in text for text in arms)


class Brought(NamedTuple):
    """A table of results, laid out."""

    trials: pa.Table  # as a run's; the baseline first
    field: str  # of the arms
    value: Value
    pairing: str  # columns, rows, or nothing
    notes: tuple[str, ...]  # how the table was read, a sentence each
    scores: Scores  # of examples, where results are means of some

    @property
    def curves(self) -> pa.Table:
        """A run's table of curves, without any."""
        return _CURVES.empty_table()


def read(table: pa.Table, asked: Asked) -> Brought:
    """Returns a table of results as a run's table of trials.

    An arm lacks a seed that another arm of the same conditions has: it failed there, as one whose value is missing or
    not finite.

    Raises:
      ConfigError: a column or a condition is not there, values are no numbers, a seed is there twice in an arm, or
        arms have fewer than two seeds in common; a line for each fault.
    """
    arms, is_wide = (*asked.treatment, asked.baseline), asked.is_wide(table.column_names)
    faults, notes = Faults(), list[str]()
    found = {name: keys_of(table, name, option, faults) for name, option in check_columns(table, asked).items()}
    faults.check()
    kept = rows_where(table, asked.where, found, faults)
    if is_wide:
        field, labels = ARM, list[Any](arms)
        numbers = np.concatenate([numbers_of(table, name, faults) for name in arms])
        arm = np.repeat(np.arange(len(arms)), len(table))
        kept, times = np.tile(kept, len(arms)), len(arms)
    else:
        field, labels, arm = _chosen(table, asked, found, faults)
        numbers, times = numbers_of(table, asked.value, faults), 1
    kept &= arm >= 0
    faults.check()
    row = np.flatnonzero(kept)
    if not len(row):
        raise ConfigError("where", " ".join(asked.where), "leaves no row of these arms; name others")
    arm, numbers, place = arm[row], numbers[row], row % len(table)
    condition, rows = together([found[name] for name in asked.conditions], place)
    conditions = [labels_at([found[name] for name in asked.conditions], row) for row in rows]
    pairing = "columns" if asked.pair else "rows" if is_wide else ""
    if asked.pair:
        for name in asked.pair:
            if None in found[name].labels and np.any(found[name].of[place] == len(found[name].labels) - 1):
                faults.append(ConfigError("pair", name, "is missing in some rows; fill it, or leave these rows out"))
        seed, rows_of = together([found[name] for name in asked.pair], place)
    else:
        rows_of = np.zeros(0, int)
        seed = _by_row(place, arm, condition, numbers, len(arms), pairing, bool(asked.looks))
    example, _ = together([found[asked.example]] if asked.example else [], place)
    of_seeds = [found[name] for name in asked.pair]
    # Arms are compared, and conditions named, as asked, whatever their fields mean in a run.
    names = Names(
        *(plain(field), labels, tuple(map(plain, asked.conditions)), conditions, asked.pair),
        lambda number: " ".join(map(str, labels_at(of_seeds, rows_of[number]))),
    )
    keys = (condition, arm, seed, example)
    if pairing == "columns":
        with faults.noted():
            check_once(table, keys, place, names, asked, times)
    faults.check()
    groups = condition * len(arms) + arm
    value = values.of(asked.value or "value", numbers, asked.direction, asked.bounds, asked.chance, groups)
    if not pairing:
        values.check_small(asked.value, numbers)
    notes.append(values.in_words(value, asked.value or "value"))
    if asked.example:
        shared = _shared(*keys, notes)
        keys, numbers = tuple(key[shared] for key in keys), numbers[shared]
        if not len(numbers):
            raise ConfigError("example", asked.example, "gives no example that all arms of a seed have; name another")
        notes.append(_of_examples(*keys))
    cells, scores = means_of(keys[:3], numbers / value.scale, keys[3])
    grid = list(complete(cells, names, bool(pairing), faults, notes))
    faults.check()
    trials, scores = trials_of(np.concatenate(grid), cells, scores, names, value)
    return Brought(trials, names.field, value, pairing, tuple(notes), scores)


def _chosen(
    table: pa.Table, asked: Asked, found: Mapping[str, Codes], faults: Faults
) -> tuple[str, list[Any], np.ndarray]:
    """Returns the field of arms in rows, their values, and the number of each row's, -1 of other rows."""
    numbers, labels = np.full(len(table), -1), list[Any]()
    field, _ = parted(asked.baseline, table.column_names)
    codes = found[field]
    for number, text in enumerate((*asked.treatment, asked.baseline)):
        option = "baseline" if number == len(asked.treatment) else "treatment"
        wanted = parted(text, table.column_names)[1]
        code = next((code for code, label in enumerate(codes.labels) if is_value(label, wanted)), -1)
        if code < 0:
            faults.append(ConfigError(option, text, f"names no row; {near(wanted, codes)}"))
        elif (numbers[codes.of == code] >= 0).any():
            faults.append(ConfigError(option, text, "is named twice; compare different arms"))
        numbers[codes.of == code] = number
        labels.append(codes.labels[code])
    return field, labels, numbers


def _by_row(
    place: np.ndarray,
    arm: np.ndarray,
    condition: np.ndarray,
    numbers: np.ndarray,
    n_arms: int,
    pairing: str,
    in_order: bool,
) -> np.ndarray:
    """Returns numbers of seeds without a name: of rows, or, where arms are no pairs, of an arm's values."""
    if pairing == "rows":
        _, inner = np.unique(place, return_inverse=True)
        of_row = np.full((n_arms, inner.max() + 1), np.nan)
        of_row[arm, inner] = numbers
        group = np.zeros(of_row.shape[1], int)
        group[inner] = condition
        order = np.arange(of_row.shape[1]) if in_order else np.lexsort(of_row)
        order = order[np.argsort(group[order], kind="stable")]
        seed_of = np.empty(len(order), int)
        seed_of[order] = places_within(group[order])
        return seed_of[inner]
    group = condition * n_arms + arm
    order = np.lexsort((np.arange(len(place)) if in_order else numbers, group))
    seed = np.empty(len(place), int)
    seed[order] = places_within(group[order])
    return seed


def _shared(
    condition: np.ndarray, arm: np.ndarray, seed: np.ndarray, example: np.ndarray, notes: list[str]
) -> np.ndarray:
    """Returns the rows [rows] of examples that all arms which have their seed have, and notes others."""
    of_seed = np.unique(condition * (seed.max() + 1) + seed, return_inverse=True)[1]
    of_example = np.unique(of_seed * (example.max() + 1) + example, return_inverse=True)[1]
    n_arms = np.bincount(np.unique(of_seed * (arm.max() + 1) + arm) // (arm.max() + 1))
    shared = np.bincount(of_example)[of_example] == n_arms[of_seed]
    if not shared.all():
        n_seeds = len(n_arms) - len(np.unique(of_seed[shared]))
        without = f", among them all of {counted(n_seeds, 'seed')}" if n_seeds else ""
        n = counted(int(np.sum(~shared)), "value")
        notes.append(f"Left out: {n} of examples that not all arms of their seed have{without}.")
    return shared


def _of_examples(*keys: np.ndarray) -> str:
    """Returns how many examples the seeds of arms have, in a sentence."""
    _, counts = np.unique(np.stack(keys[:3]), axis=1, return_counts=True)
    n = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
    return f"Each seed's value is its mean over {n} example{'s' * (n != '1')}."
