"""Variance components of a run's comparisons over seeds and rows: measured from predictions, and kept as a table."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.runs.scored import RowScores
from pretrain.study.arms import Arm, by_seed
from pretrain.study.attribution import Effect, effects, effects_of
from pretrain.study.comparisons import Comparison, by_family, pairs_of, points_of
from pretrain.study.factorial import Factorial
from pretrain.study.rows import Components, components
from pretrain.study.statistics import LEVEL

_MOST_EXPLORED = 64  # comparisons, beyond which those that explore are left out
_AT_ONCE = 64  # comparisons whose trials are held in memory
_NUMBERS = [name for name, kind in Components.__annotations__.items() if kind is float]
_COUNTS = [name for name, kind in Components.__annotations__.items() if kind is int]
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("treatment", "baseline", "metric", "unit", "part")),
        *((name, pa.int64()) for name in ("seeds", *_COUNTS)),
        *((name, pa.float64()) for name in _NUMBERS),
    ]
)

Read = Callable[[str, Collection[str]], Mapping[str, RowScores]]
Part = Literal["comparisons", "apart", "untuned"]  # of an answer


class _Key(NamedTuple):
    """What names a comparison in the table."""

    treatment: str  # its point as JSON
    baseline: str
    metric: str
    part: str
    seeds: int  # at an earlier look fewer than in the end
    n: int  # of these, in which both arms train


class RowParts:
    """The variance components of comparisons: those of a table, and others where predictions can be read.

    Left out are exploratory comparisons of many, and those of fewer than two seeds, of arms with unlike rows, and of
    metrics that have no influences.

    Attributes:
      read: returns the influences of rows on a metric of some trials, as ``row_scores.of_trials``; None where only the
        table is there.
      level: of the last look that may follow, at which seeds settle what they can.
    """

    def __init__(self, table: pa.Table | None = None, read: Read | None = None, level: float = LEVEL):
        self.read, self.level = read, level
        self._known: dict[_Key, Components | None] = dict(_rows(table))

    def of(self, compared: Sequence[Comparison], arms: Sequence[Arm], part: Part) -> list[Components | None]:
        """Returns the components of each comparison of one metric; None where there are none."""
        if self.read:
            own, explored = by_family(compared)
            kept = own + explored[: max(0, _MOST_EXPLORED - len(own))]
            self._measure([each for each in kept if _key(each, part) not in self._known], arms, part)
        return [self._known.get(_key(each, part)) for each in compared]

    def _measure(self, compared: Sequence[Comparison], arms: Sequence[Arm], part: Part) -> None:
        whole = list(zip(compared, pairs_of(compared, arms), strict=True))
        for start in range(0, len(compared), _AT_ONCE):
            pairs = whole[start : start + _AT_ONCE]
            trials = {trial for _, pair in pairs for arm in pair for trial in arm.trial_ids}
            scores = self.read(pairs[0][0].metric, trials) if self.read else {}
            for comparison, pair in pairs:
                self._known[_key(comparison, part)] = _components(comparison, pair, scores)

    def of_effects(self, factorial: Factorial) -> dict[Effect, Components | None]:
        """Returns the components of each effect in a factorial's result; none unless its cells have the same seeds."""
        seeds = [list(dict.fromkeys(arm.seeds)) for arm in factorial.cells.values()]
        if any(each != seeds[0] for each in seeds):
            return {}
        fields, metric, n = [factor.field for factor in factorial.factors], factorial.end, len(seeds[0])
        ends = (json.dumps(arm.point, sort_keys=True) for arm in (factorial.last, factorial.first))
        treatment, baseline = ends
        names = {
            effect: _Key(treatment, baseline, metric, " ".join(("attribution", *effect)), n, n)
            for effect in effects_of(fields)
        }
        if self.read and not self._known.keys() >= set(names.values()):
            trials = {trial for arm in factorial.cells.values() for trial in arm.trial_ids}
            stacked = _stacked(list(factorial.cells.values()), seeds[0], self.read(metric, trials))
            if stacked:
                results = [by_seed(arm.results[metric], arm)[:, None] for arm in factorial.cells.values()]
                whole = dict(zip(factorial.cells, stacked[0] + np.array(results), strict=True))
                found = {effect: components(values, stacked[1]) for effect, values in effects(whole, fields).items()}
                self._known |= {names[effect]: parts for effect, parts in found.items()}
        return {effect: self._known.get(name) for effect, name in names.items()}

    def table(self) -> pa.Table | None:
        """Returns all components that are known, a row a comparison; None where there are none.

        Columns: ``treatment`` and ``baseline``, the points of both arms as JSON, ``metric``, ``unit`` (``row``, or
        ``group`` where the data have groups), the ``part`` of the answer, of attribution with the fields of an effect,
        ``seeds``, and those of ``Components``.
        """
        rows = [
            {**name._asdict(), **found._asdict(), "unit": "group" if found.is_grouped else "row"}
            for name, found in self._known.items()
            if found
        ]
        return pa.Table.from_pylist(rows, _SCHEMA) if rows else None


def _rows(table: pa.Table | None) -> Iterator[tuple[_Key, Components]]:
    """Yields the rows of a table."""
    for row in table.to_pylist() if table else []:
        parts = {name: row[name] for name in (*_COUNTS, *_NUMBERS)}
        yield _Key(*(row[name] for name in _Key._fields)), Components(**parts, is_grouped=row["unit"] == "group")


def _key(comparison: Comparison, part: Part) -> _Key:
    treatment, baseline = (json.dumps(point, sort_keys=True) for point in points_of(comparison))
    return _Key(treatment, baseline, comparison.metric, part, comparison.n, len(comparison.where_both_train))


def _components(comparison: Comparison, pair: Sequence[Arm], scores: Mapping[str, RowScores]) -> Components | None:
    """Returns the variance components of a comparison where both arms train; None where rows are not the same."""
    both_train = comparison.failures.both_train
    seeds = [seed for seed, train in zip(comparison.seeds, both_train, strict=True) if train]
    stacked = _stacked(pair, seeds, scores)
    if not stacked:
        return None
    (treated, untreated), groups = stacked
    return components(treated - untreated + comparison.where_both_train[:, None], groups)


def _stacked(
    arms: Sequence[Arm], seeds: Sequence[int], scores: Mapping[str, RowScores]
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Returns influences [arms, seeds, rows], NaN where a row is none of a seed, and the groups [rows] of rows.

    None where seeds or rows are too few, or arms have other rows.
    """
    sides = [_by_seed(arm, scores) for arm in arms]
    if len(seeds) < 2 or not all(seed in side for seed in seeds for side in sides):
        return None
    origins = [sides[0][seed][1] for seed in seeds]
    for seed, origin in zip(seeds, origins, strict=True):
        for other in (side[seed][1] for side in sides[1:]):
            if not np.array_equal(origin.places, other.places) or not _same(origin.targets, other.targets):
                return None
    all_places = np.unique(np.concatenate([each.places for each in origins]))
    are_whole = all(len(each.places) == len(all_places) for each in origins)
    if are_whole and not all(_same(each.targets, origins[0].targets) for each in origins):
        return None
    stacked, groups = np.full((len(arms), len(seeds), len(all_places)), np.nan), None
    for place, (seed, origin) in enumerate(zip(seeds, origins, strict=True)):
        at = np.searchsorted(all_places, origin.places)
        stacked[:, place, at] = [side[seed][0] for side in sides]
        if origin.groups is not None:
            groups = np.empty(len(all_places), int) if groups is None else groups
            groups[at] = origin.groups
    n_units = min(len(each.places) for each in origins) if groups is None else len(np.unique(groups))
    return (stacked, groups) if n_units > 1 else None


def _by_seed(arm: Arm, scores: Mapping[str, RowScores]) -> dict[int, tuple[np.ndarray, RowScores]]:
    """Returns the influences of rows on an arm's mean over repeats, and the rows, by seed."""
    by_seed: dict[int, list[RowScores]] = {}
    for seed, trial in zip(arm.seeds, arm.trial_ids, strict=True):
        if trial in scores:
            by_seed.setdefault(seed, []).append(scores[trial])
    return {seed: (np.mean([each.values for each in some], axis=0), some[0]) for seed, some in by_seed.items()}


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
