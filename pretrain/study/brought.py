"""Results that somebody brings, as a run's table of trials: a row an arm and seed, absent ones as failed."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.suggestions import suggestion
from pretrain.study import values
from pretrain.study.arms import CORNERS
from pretrain.study.brought_arms import ARM, Names, Scores, complete, means_of, trials_of
from pretrain.study.brought_columns import (
    codes_of,
    is_value,
    labels_at,
    numbers_of,
    places_within,
    rows_where,
    together,
)
from pretrain.study.values import Value

_OWN = ("trial_id", "seed", "repeat", "failed_stage", "status")  # names of a table of trials
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
    in_order: bool = False  # whether seeds without a name keep the order of their rows

    @property
    def conditions(self) -> tuple[str, ...]:
        """Columns of conditions, that of datasets first."""
        return tuple(dict.fromkeys(name for name in (self.datasets, *self.by) if name))


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
    arms = (*asked.treatment, asked.baseline)
    is_wide = all(text in table.column_names for text in arms)
    _check(table, asked, is_wide)
    faults, notes = Faults(), list[str]()
    kept = rows_where(table, asked.where, faults)
    if is_wide:
        field, labels = ARM, list[Any](arms)
        numbers = np.concatenate([numbers_of(table, name, faults) for name in arms])
        arm = np.repeat(np.arange(len(arms)), len(table))
        kept, times = np.tile(kept, len(arms)), len(arms)
    else:
        field, labels, arm = _chosen(table, asked, faults)
        numbers, times = numbers_of(table, asked.value, faults), 1
    kept &= arm >= 0
    faults.check()
    row = np.flatnonzero(kept)
    if not len(row):
        raise ConfigError("where", " ".join(asked.where), "leaves no row of these arms; name others")
    arm, numbers, place = arm[row], numbers[row], row % len(table)
    found = {name: codes_of(table[name]) for name in (*asked.conditions, *asked.pair, *filter(None, [asked.example]))}
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
        seed = _by_row(place, arm, condition, numbers, len(arms), pairing, asked.in_order)
    example, _ = together([found[asked.example]] if asked.example else [], place)
    # Arms are compared as asked, whatever their field means in a run.
    field = field.rpartition(".")[2] if field in CORNERS else field
    of_seeds = [found[name] for name in asked.pair]
    names = Names(
        *(field, labels, asked.conditions, conditions, asked.pair),
        lambda number: " ".join(map(str, labels_at(of_seeds, rows_of[number]))),
    )
    if pairing == "columns":
        with faults.noted():
            _check_once(table, (condition, arm, seed, example), place, names, asked, times)
    faults.check()
    value = values.of(asked.value or "value", numbers, asked.direction, asked.bounds, asked.chance)
    notes.append(values.in_words(value, asked.value or "value"))
    if asked.example:
        notes.append(_of_examples(condition, arm, seed, example))
    cells, scores = means_of((condition, arm, seed), numbers / value.scale, example)
    grid = list(complete(cells, names, bool(pairing), faults, notes))
    faults.check()
    trials, scores = trials_of(np.concatenate(grid), cells, scores, names, value)
    return Brought(trials, names.field, value, pairing, tuple(notes), scores)


def _check(table: pa.Table, asked: Asked, is_wide: bool) -> None:
    """Checks that all columns are there."""
    faults, names = Faults(), table.column_names
    fields = {"pair": asked.pair, "by": asked.by, "datasets": (asked.datasets,), "example": (asked.example,)}
    fields["where"] = tuple(text.partition("=")[0] for text in asked.where)
    if not is_wide:
        fields["value"] = (asked.value,)
        if not asked.value:
            faults.append(ConfigError("value", "", f"names no column; give one of {some(names, 9)}"))
    for field, named in fields.items():
        for name in filter(None, named):
            if name not in names:
                near = suggestion(name, names, f"it has {some(names, 9)}")
                faults.append(ConfigError(field, name, f"is no column of the table; {near}"))
    of_arms = [text.partition("=")[0] for text in asked.treatment[:1] if not is_wide]
    for name in (*asked.conditions, *of_arms):
        if name in _OWN and name in names:
            option = "treatment" if name in of_arms else "by"
            faults.append(
                ConfigError(option, name, "is a name that tables of trials have themselves; rename the column")
            )
    fields["treatment"] = tuple(dict.fromkeys(of_arms))
    roles: dict[str, list[str]] = {}
    for field in ("treatment", "pair", "by", "datasets", "example", "value"):
        for name in filter(None, fields.get(field, ())):
            roles.setdefault(name, []).append(field)
    for name, several in roles.items():
        if len(several) > 1 and set(several) != {"by", "datasets"}:
            faults.append(ConfigError(several[1], name, f"is the column of --{several[0]}, too; name another"))
    faults.check()


def _chosen(table: pa.Table, asked: Asked, faults: Faults) -> tuple[str, list[Any], np.ndarray]:
    """Returns the field of arms in rows, their values, and the number of each row's, -1 of other rows."""
    numbers = np.full(len(table), -1)
    labels: list[Any] = []
    fields = list(dict.fromkeys(text.partition("=")[0] for text in (*asked.treatment, asked.baseline)))
    if len(fields) > 1:
        remedy = f"and {fields[-1]!r} are two columns; name values of one, the rest by --where or --by"
        faults.append(ConfigError("treatment", fields[0], remedy))
        return fields[0], labels, numbers
    (field,) = fields
    if field not in table.column_names:
        near = suggestion(field, table.column_names, f"it has {some(table.column_names, 9)}")
        remedy = f"is no column of the table; write COLUMN=VALUE, or of a wide table columns; {near}"
        faults.append(ConfigError("treatment", field, remedy))
        return field, labels, numbers
    codes = codes_of(table[field])
    for number, text in enumerate((*asked.treatment, asked.baseline)):
        option = "baseline" if number == len(asked.treatment) else "treatment"
        wanted = text.partition("=")[2]
        code = next((code for code, label in enumerate(codes.labels) if is_value(label, wanted)), -1)
        if code < 0:
            known = [str(label) for label in codes.labels if label is not None]
            near = suggestion(wanted, known, f"the column has {some(known, 9)}")
            faults.append(ConfigError(option, text, f"names no row; {near}"))
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


def _check_once(
    table: pa.Table, keys: tuple[np.ndarray, ...], place: np.ndarray, names: Names, asked: Asked, times: int
) -> None:
    """Checks that no arm has a seed twice, of the same example; names a column that tells them apart."""
    order = np.lexsort(keys[::-1])
    same = np.all([key[order][1:] == key[order][:-1] for key in keys], axis=0)
    if not same.any():
        return
    at = int(np.flatnonzero(same)[0])
    first, second = order[at], order[at + 1]
    condition, arm = (int(key[first]) for key in keys[:2])
    rest = [name for name in table.column_names if name not in (*asked.conditions, *asked.pair, asked.example)]
    rest = [name for name in rest if name not in (names.field, asked.value, *names.arms)]
    apart = [name for name in rest if table[name][int(place[first])].as_py() != table[name][int(place[second])].as_py()]
    seeds = ", ".join(f"{name}={table[name][int(place[first])].as_py()}" for name in asked.pair)
    remedy = f"name what tells them apart by --by or --pair: {some(apart, 3)}" if apart else "leave one out"
    if not apart and not asked.example:
        remedy += ", or name the column of examples by --example"
    rows = f"rows {place[first] + 1:,} and {place[second] + 1:,}"
    more = f", as {counted(int(same.sum()) - 1, 'more row')}" if same.sum() > 1 else ""
    raise ConfigError("pair", seeds, f"is twice in {names.arm(arm)}{names.within(condition)} ({rows}){more}; {remedy}")


def _of_examples(*keys: np.ndarray) -> str:
    """Returns how many examples the seeds of arms have, in a sentence."""
    _, counts = np.unique(np.stack(keys[:3]), axis=1, return_counts=True)
    n = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
    return f"Each seed's value is its mean over {n} examples."
