"""Verdicts for new rows like those of the test: variance components of each comparison, kept as a table of the run."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.runs.scored import RowScores
from pretrain.study import families, variation
from pretrain.study.answer import Answer
from pretrain.study.arms import Arm, key, places, without_idle
from pretrain.study.comparisons import Comparison, by_family, points_of, smallest_of
from pretrain.study.power import largest_error, seeds_to_settle, smallest_p
from pretrain.study.rows import Components, ForNewRows, components, for_new_rows, interval
from pretrain.study.statistics import FEWEST_SEEDS, Estimate

_MOST_EXPLORED = 64  # comparisons, beyond which those that explore are left out
_TIMES = (1, 2, 4, 8, 16)  # the rows that a mean as it is takes
_AT_ONCE = 64  # comparisons whose trials are held in memory
_NUMBERS = [name for name, kind in Components.__annotations__.items() if kind is float]
_COUNTS = [name for name, kind in Components.__annotations__.items() if kind is int]
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("treatment", "baseline", "metric", "unit")),
        *((name, pa.int64()) for name in _COUNTS),
        *((name, pa.float64()) for name in _NUMBERS),
    ]
)

Read = Callable[[str, Collection[str]], Mapping[str, RowScores]]


def table_of(compared: Sequence[Comparison], arms: Sequence[Arm], read: Read) -> pa.Table | None:
    """Returns the variance components of a run's comparisons, a row each; None where there are none.

    Columns: ``treatment`` and ``baseline``, the points of both arms as JSON, ``metric``, ``unit`` (``row``, or
    ``group`` where the data have groups), and those of ``Components``. Left out are exploratory comparisons of many,
    and those of fewer than two seeds, of arms with unlike rows, and of metrics that have no influences.

    Args:
      compared: the comparisons, of one metric.
      arms: of the run.
      read: returns the influences of rows on a metric of some trials, as ``row_scores.of_trials``.
    """
    own, explored = by_family(compared)
    kept, place_of = own + explored[: max(0, _MOST_EXPLORED - len(own))], places(arms)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(kept), _AT_ONCE):
        pairs = [
            (comparison, [arms[place_of[key(without_idle(point))]] for point in points_of(comparison)])
            for comparison in kept[start : start + _AT_ONCE]
        ]
        trials = {trial for _, pair in pairs for arm in pair for trial in arm.trial_ids}
        scores = read(kept[start].metric, trials)
        for comparison, pair in pairs:
            if found := _components(comparison, pair, scores):
                unit = "group" if found.is_grouped else "row"
                parts = {name: value for name, value in found._asdict().items() if name in (*_COUNTS, *_NUMBERS)}
                rows.append({**_key(comparison), "unit": unit, **parts})
    return pa.Table.from_pylist(rows, _SCHEMA) if rows else None


def _key(comparison: Comparison) -> dict[str, str]:
    """Returns what names a comparison in the table."""
    treatment, baseline = (json.dumps(point, sort_keys=True) for point in points_of(comparison))
    return {"treatment": treatment, "baseline": baseline, "metric": comparison.metric}


def _components(comparison: Comparison, pair: Sequence[Arm], scores: Mapping[str, RowScores]) -> Components | None:
    """Returns the variance components of a comparison where both arms train.

    None where seeds or rows are too few, or rows not the same.
    """
    sides, both_train = [_by_seed(arm, scores) for arm in pair], comparison.failures.both_train
    seeds = [seed for seed, train in zip(comparison.seeds, both_train, strict=True) if train]
    if len(seeds) < 2 or not all(seed in side for seed in seeds for side in sides):
        return None
    differences, origins = [], []
    for seed in seeds:
        (treated, origin), (untreated, other) = (side[seed] for side in sides)
        if not np.array_equal(origin.places, other.places) or not _same(origin.targets, other.targets):
            return None
        differences.append(treated - untreated)
        origins.append(origin)
    if min(map(len, differences)) < 2:
        return None
    number = {place: at for at, place in enumerate(np.unique(np.concatenate([each.places for each in origins])))}
    if all(len(each.places) == len(number) for each in origins) and not all(
        _same(each.targets, origins[0].targets) for each in origins
    ):
        return None
    whole, groups = np.full((len(seeds), len(number)), np.nan), None
    for row, values, origin, mean in zip(whole, differences, origins, comparison.where_both_train, strict=True):
        at = [number[place] for place in origin.places.tolist()]
        row[at] = values + mean
        if origin.groups is not None:
            groups = np.empty(len(number), int) if groups is None else groups
            groups[at] = origin.groups
    if groups is not None and len(np.unique(groups)) < 2:
        return None
    return components(whole, groups)


def _by_seed(arm: Arm, scores: Mapping[str, RowScores]) -> dict[int, tuple[np.ndarray, RowScores]]:
    """Returns the influences of rows on an arm's mean over repeats, and the rows, by seed."""
    by_seed: dict[int, list[RowScores]] = {}
    for seed, trial in zip(arm.seeds, arm.trial_ids, strict=True):
        if trial in scores:
            by_seed.setdefault(seed, []).append(scores[trial])
    return {seed: (np.mean([each.values for each in some], axis=0), some[0]) for seed, some in by_seed.items()}


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def with_rows(answer: Answer, table: pa.Table | None, study: StudyConfig) -> Answer:
    """Returns an answer whose comparisons say what holds for new rows.

    A verdict holds for new rows where p by all components, too, adjusted as that over seeds, is small enough:
    of a difference from zero, or, of *no difference*, from the smallest effect that matters on both sides.

    Args:
      answer: over seeds.
      table: as ``table_of`` makes it; None where there is none.
      study: the question.
    """
    if table is None:
        return answer
    parts = components_of(table, answer.comparisons)
    found = [each and for_new_rows(_gains(one), each) for one, each in zip(answer.comparisons, parts, strict=True)]
    smallest = [smallest_of(each.metric, each.untreated, study) for each in answer.comparisons]
    adjusted = _adjusted(found, smallest, answer.comparisons)
    compared = []
    for place, comparison in enumerate(answer.comparisons):
        of_rows, on_new, verdict = parts[place], found[place], comparison.failures.verdict
        if not of_rows or not on_new or comparison.both_at_chance:
            compared.append(comparison)
            continue
        p_value, alpha = adjusted[place][verdict == "no difference"], 1 - comparison.level
        holds = verdict != "inconclusive" and p_value <= alpha
        judged = comparison._replace(
            new_rows=_interval(comparison, on_new),
            p_new_rows=p_value,
            holds_for_new_rows=holds,
            rows=of_rows,
        )
        if comparison.seeds_to_settle or (verdict != "inconclusive" and not holds):
            alike = [
                both for both, other in zip(adjusted, answer.comparisons, strict=True) if _alike(other, comparison)
            ]
            judged = _settling(judged, of_rows, smallest[place], max(1, sum(max(both) > alpha for both in alike)))
        compared.append(judged)
    return answer._replace(comparisons=compared, variation=variation.with_rows(answer.variation, compared))


def _alike(one: Comparison, other: Comparison) -> bool:
    return one.is_exploratory == other.is_exploratory


def _adjusted(
    found: Sequence[ForNewRows | None], smallest: Sequence[float], compared: Sequence[Comparison]
) -> list[tuple[float, float]]:
    """Returns p-values of no effect and of one that matters, adjusted as ``compare`` does, with rates of failure."""
    rates = [each for each in compared if smallest_p(each.failures.n_apart) <= 1 - each.level]
    none = [1.0] * len(rates)
    bounded = zip(found, smallest, strict=True)
    return families.adjusted(
        [*(each.p_apart() if each else 1.0 for each in found), *none],
        [*(each.p_within(bound) if each else 1.0 for each, bound in bounded), *none],
        [not each.is_exploratory for each in (*compared, *rates)],
    )[: len(compared)]


def components_of(table: pa.Table, compared: Sequence[Comparison]) -> list[Components | None]:
    """Returns the components of each comparison that a table has, of the same seeds."""
    kept = {_named(row): row for row in table.to_pylist()}
    return [_of_row(kept.get(_named(_key(each))), each) for each in compared]


def _named(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["treatment"], row["baseline"], row["metric"]


def _of_row(row: Mapping[str, Any] | None, comparison: Comparison) -> Components | None:
    """Returns components as the table holds them; None where the comparison is of other seeds by now."""
    if row is None or row["n"] != len(comparison.where_both_train):
        return None
    return Components(**{name: row[name] for name in (*_COUNTS, *_NUMBERS)}, is_grouped=row["unit"] == "group")


def _gains(comparison: Comparison) -> np.ndarray:
    """Returns by how much the treatment is better: [seeds where both train]."""
    gains = comparison.where_both_train
    return gains if metric_of(comparison.metric).higher_is_better else -gains


def _interval(comparison: Comparison, found: ForNewRows) -> Estimate:
    """Returns the difference with its interval for new rows."""
    measure, seen = metric_of(comparison.metric), comparison.failures.difference or comparison.difference
    if not measure.higher_is_better:
        seen = Estimate(-seen.mean, -seen.high, -seen.low)
    gain, widest = interval(found, seen, 1 - (1 - comparison.level) / comparison.n_at_once), measure.high - measure.low
    difference = gain if measure.higher_is_better else Estimate(-gain.mean, -gain.high, -gain.low)
    return difference.within(-widest, widest)


def _settling(comparison: Comparison, parts: Components, smallest: float, n_open: int) -> Comparison:
    """Returns an open comparison with the seeds that would settle it for new rows, and the rows where seeds would not.

    Seeds would not where the part of rows in the variance is more than leaves 80 % power for a mean as it is. Rows are
    then so many that their part is half of that, or a few times as many where that gives the range of seeds an end.
    """
    gains, level = _gains(comparison), comparison.level
    mean, seen = float(np.mean(gains)), float(np.var(gains, ddof=1))
    allowed = largest_error(mean, smallest, level, n_open) ** 2
    share = comparison.n / len(gains)  # of seeds, of which not all count
    if parts.of_rows <= allowed or len(gains) < FEWEST_SEEDS:
        seeds = seeds_to_settle(gains, smallest, level, n_open, parts.of_rows)
        return comparison._replace(seeds_to_settle=seeds.scaled(share))
    found = []
    for times in _TIMES[: None if n_open <= _AT_ONCE else 1]:
        rows = times * parts.rows * parts.of_rows / (allowed / 2)
        digits = 10 ** max(0, math.floor(math.log10(rows)) - 1)
        more = math.ceil(rows / digits) * digits
        # Each seed's difference varies less on more rows.
        of_cells = max(parts.residual_variance, 0) * parts.n / parts.cells * (1 - parts.rows / more)
        steadier = mean + (gains - mean) * math.sqrt(max(1 - of_cells / seen, 0) if seen else 1)
        seeds = seeds_to_settle(steadier, smallest, level, n_open, parts.of_rows * parts.rows / more)
        found.append(comparison._replace(seeds_to_settle=seeds.scaled(share), rows_to_settle=more))
        if seeds.high is not None:
            return found[-1]
    return found[0]
