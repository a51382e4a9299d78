"""Arms of a run: trials that differ in their seed only, with their results."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.study.summary import metrics, swept_fields

CORNERS = ("finetune.encoder_init", "finetune.frozen_layers")
_LARGEST = 2**62  # number of groups of rows
_NOT_PRETRAINED = ("he", "weights", "none")  # encoders


class Arm(NamedTuple):
    """Trials that differ in their seed and repeat only."""

    point: dict[str, Any]  # swept values by dotted name
    seeds: tuple[int, ...]  # of the trials that did not diverge, once for each of a seed's repeats
    trial_ids: tuple[str, ...]  # of the same trials
    diverged: tuple[tuple[int, int], ...] = ()  # seeds and repeats of the other trials
    repeats: tuple[int, ...] = ()  # of the same trials; empty where no seed has several
    collapsed: tuple[tuple[int, int], ...] = ()  # of the same trials: those that predict the same of all examples
    results: Mapping[str, np.ndarray] = {}  # of the same trials, by column of the table: [trials], null as NaN
    failed_stages: tuple[str, ...] = ()  # in which the other trials diverged

    @property
    def n_diverged(self) -> int:
        """Trials that diverged."""
        return len(self.diverged)

    @property
    def n_collapsed(self) -> int:
        """Trials that predict the same of all examples."""
        return len(self.collapsed)

    @property
    def all_seeds(self) -> set[int]:
        """Seeds, those of diverged trials among them."""
        return {*self.seeds, *(seed for seed, _ in self.diverged)}

    @property
    def units(self) -> tuple[tuple[int, int], ...]:
        """Seed and repeat of each trial, by which trials of different arms are paired."""
        return tuple(zip(self.seeds, self.repeats or [0] * len(self.seeds), strict=True))


def arms(trials: pa.Table) -> list[Arm]:
    """Returns the arms of a run's table of trials, in the table's order."""
    names = swept_fields(trials)
    described = [name for name in trials.column_names if name not in metrics(trials)]
    results = {name: trials[name].cast(pa.float64()).to_numpy() for name in metrics(trials)}
    columns = {name: trials[name].to_numpy(zero_copy_only=False) for name in described}
    columns.setdefault("repeat", np.zeros(len(trials), int))
    group = combined([trials[name] for name in names]) if names else np.zeros(len(trials), np.int64)
    rows = np.argsort(group, kind="stable")
    groups = sorted(np.split(rows, np.flatnonzero(np.diff(group[rows])) + 1), key=lambda rows: rows[0])
    points = trials.select(names).take([rows[0] for rows in groups]).to_pylist() if len(rows) else []
    has_repeats = bool(np.any(columns["repeat"]))
    return [
        _arm(point if names else {}, rows, columns, results, has_repeats)
        for point, rows in zip(points or [{}] * len(groups), groups, strict=True)
        if len(rows)
    ]


def combined(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """Returns rows of columns as numbers [rows] that equal rows have in common."""
    group, size = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        codes = _codes(column)
        n = int(codes.max(initial=0)) + 1
        if size * n > _LARGEST:
            group = np.unique(group, return_inverse=True)[1]
            size = len(group)
        group, size = group * n + codes, size * n
    return group


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Returns a column as numbers of its different values: [rows]."""
    if pa.types.is_nested(column.type):
        numbers: dict[Any, int] = {}
        return np.array([numbers.setdefault(hashable(value), len(numbers)) for value in column.to_pylist()], int)
    encoded = column.combine_chunks()
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode("encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(int)


def _arm(
    point: dict[str, Any],
    rows: np.ndarray,
    columns: Mapping[str, np.ndarray],
    results: Mapping[str, np.ndarray],
    has_repeats: bool,
) -> Arm:
    """Returns the arm of some rows of a table of trials."""
    seeds, repeats, status = (columns[name] for name in ("seed", "repeat", "status"))
    is_lost = status[rows] == "diverged"
    sound, lost = rows[~is_lost], rows[is_lost]
    sound = sound[np.lexsort((repeats[sound], seeds[sound]))]

    def units(some: np.ndarray) -> tuple[tuple[int, int], ...]:
        return tuple(zip(seeds[some].tolist(), repeats[some].tolist(), strict=True))

    return Arm(
        point,
        tuple(seeds[sound].tolist()),
        tuple(columns["trial_id"][sound].tolist()),
        units(lost),
        tuple(repeats[sound].tolist()) if has_repeats else (),
        units(sound[status[sound] == "collapsed"]),
        {name: values[sound] for name, values in results.items()},
        tuple(stage for stage in columns["failed_stage"][rows] if stage) if "failed_stage" in columns else (),
    )


def key(point: Mapping[str, Any]) -> Hashable:
    """Returns a key that equal points have in common, whatever the order of their fields."""
    return frozenset((name, hashable(value)) for name, value in point.items())


def hashable(value: Any) -> Any:
    """Returns a swept value as a key holds it; a tuple is a list in tables."""
    return tuple(value) if isinstance(value, list) else value


def places(arms: Sequence[Arm]) -> dict[Hashable, int]:
    """Returns the place of each arm by its point, of which idle fields are left out."""
    # Of several with one key the first.
    return {key(without_idle(arm.point)): place for place, arm in reversed(list(enumerate(arms)))}


def without_idle(point: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a point without fields that its grid does not sweep, or of layers to freeze where there is no encoder."""
    init, frozen = CORNERS
    swept = {name: value for name, value in point.items() if value is not None}
    return {name: value for name, value in swept.items() if name != frozen or point.get(init) != "none"}


def distinguished(point: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a point without fields that its arm does not depend on: those of pretraining, where it has none."""
    is_pretrained = point.get(CORNERS[0]) not in _NOT_PRETRAINED
    kept = without_idle(point).items()
    return {name: value for name, value in kept if is_pretrained or not name.startswith("pretrain.")}


def distinct(arms: Sequence[Arm]) -> list[Arm]:
    """Returns arms, of those that are the same by all they depend on the first."""
    first: dict[Hashable, Arm] = {}
    for arm in arms:
        first.setdefault(key(distinguished(arm.point)), arm)
    return list(first.values())


def by_seed(values: np.ndarray, arm: Arm) -> np.ndarray:
    """Returns an arm's values [trials, ...] averaged over the repeats of a seed, which share a pretraining.

    Returns:
      Values [seeds, ...], which are independent.
    """
    if len(set(arm.seeds)) == len(arm.seeds):
        return values
    seeds = np.array(arm.seeds)
    return np.array([np.mean(values[seeds == seed], axis=0) for seed in dict.fromkeys(arm.seeds)])


def cut(arm: Arm, units: Collection[tuple[int, int]]) -> Arm:
    """Returns an arm with the trials of some seeds and repeats only."""
    kept = [index for index, unit in enumerate(arm.units) if unit in units]
    if len(kept) == len(arm.seeds):
        return arm
    return arm._replace(
        seeds=tuple(arm.seeds[index] for index in kept),
        trial_ids=tuple(arm.trial_ids[index] for index in kept),
        repeats=tuple(arm.repeats[index] for index in kept) if arm.repeats else (),
        collapsed=tuple(unit for unit in arm.collapsed if unit in units),
        results={name: values[kept] for name, values in arm.results.items()},
    )
