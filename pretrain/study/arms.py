"""Arms of a run: trials that differ in their seed only, with their results."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.study.summary import metrics, swept_fields

CORNERS = ("finetune.encoder_init", "finetune.frozen_layers")
_NOT_PRETRAINED = ("he", "none")  # encoders


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
    def units(self) -> tuple[tuple[int, int], ...]:
        """Seed and repeat of each trial, by which trials of different arms are paired."""
        return tuple(zip(self.seeds, self.repeats or [0] * len(self.seeds), strict=True))


def arms(trials: pa.Table) -> list[Arm]:
    """Returns the arms of a run's table of trials, in the table's order."""
    names = swept_fields(trials)
    described = [name for name in trials.column_names if name not in metrics(trials)]
    results = {name: trials[name].cast(pa.float64()).to_numpy() for name in metrics(trials)}
    groups: dict[Hashable, list[dict[str, Any]]] = {}
    for place, row in enumerate(trials.select(described).to_pylist()):
        point = {name: row[name] for name in names}
        groups.setdefault(key(point), []).append({"repeat": 0, **row, "place": place, "point": point})
    has_repeats = "repeat" in described and any(trials["repeat"].to_pylist())
    return [_arm(rows, results, has_repeats) for rows in groups.values()]


def _arm(rows: Sequence[Mapping[str, Any]], results: Mapping[str, np.ndarray], has_repeats: bool) -> Arm:
    sound = sorted((row for row in rows if row["status"] != "diverged"), key=lambda row: (row["seed"], row["repeat"]))
    places = np.array([row["place"] for row in sound], int)
    return Arm(
        rows[0]["point"],
        tuple(row["seed"] for row in sound),
        tuple(row["trial_id"] for row in sound),
        _units(row for row in rows if row["status"] == "diverged"),
        tuple(row["repeat"] for row in sound) if has_repeats else (),
        _units(row for row in sound if row["status"] == "collapsed"),
        {name: values[places] for name, values in results.items()},
        tuple(row["failed_stage"] for row in rows if row.get("failed_stage")),
    )


def _units(rows: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, int], ...]:
    return tuple((row["seed"], row["repeat"]) for row in rows)


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
