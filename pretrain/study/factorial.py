"""Full factorials among a run's arms: two corners, the changes between them, and the share of each in the gap."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import failures, statistics
from pretrain.study.arms import CORNERS, Arm, by_seed, cut, key
from pretrain.study.attribution import Attribution, Corner, attribute
from pretrain.study.curves import Curves
from pretrain.study.statistics import FEWEST_SEEDS, Estimate

BATCHES = (1, 5, 20, 40)
FIRST_BATCHES = 40  # over which curves are averaged
# On the batch just trained on and on validation images: the latter of two metrics where the former is not measured.
_CURVES = (("post_update_accuracy", "validation_accuracy"), ("post_update_loss", "validation_loss"))
_DIAGNOSTICS = ("logit_change", "effective_rank", "condition_number", "update_size/", "gradient_norm/")
_MOST_FACTORS = 6
_MOST_SETTINGS = 4  # at which the original question is answered
# Of fields whose values have an order of their own, the one of the first corner.
_OFF = {"finetune.encoder_init": "he", "finetune.codes": "raw", "finetune.head_init": "random"}

Cell = TypeVar("Cell")


class Factor(NamedTuple):
    """A change between two corners: a swept field and its values before and after."""

    field: str
    off: Any
    on: Any


class Cause(NamedTuple):
    """A metric at the first corner and at the last, and the parts of the gap between them."""

    first: float
    last: float
    parts: Attribution  # by the factors' fields


class Factorial(NamedTuple):
    """Arms that switch factors on and off in all ways, paired by seed."""

    factors: tuple[Factor, ...]
    cells: dict[Corner, Arm]  # by which factors are on; cut to the seeds in which each trains
    seeds: int  # in any cell
    causes: dict[str, Cause]  # by metric, as in `test_accuracy` or `validation_accuracy after batch 1`
    diagnostics: dict[str, tuple[Estimate, Estimate]]  # after batch 1, at the first corner and at the last
    # Effects at the last corner of each factor that is off, switched on by itself: by metric and field.
    remedies: dict[str, dict[str, Estimate]]
    others: tuple[Factor, ...]  # the factors that are off
    setting: dict[str, Any]  # of the other swept fields
    end: str = "test_accuracy"  # the cause that is the result

    @property
    def first(self) -> Arm:
        """The arm with every factor off."""
        return self.cells[(False,) * len(self.factors)]

    @property
    def last(self) -> Arm:
        """The arm with every factor on."""
        return self.cells[(True,) * len(self.factors)]

    @property
    def n(self) -> int:
        """The fewest seeds in which a cell trains."""
        return min(len(set(arm.seeds)) for arm in self.cells.values())

    @property
    def is_original_question(self) -> bool:
        """Whether it is between a He, trainable and a pretrained, frozen network, and of these two changes alone."""
        ends = {factor.field: (factor.off, factor.on) for factor in self.factors}
        init, frozen = (ends.pop(name, (None, None)) for name in CORNERS)
        return init == ("he", "pretrained") and frozen[0] == 0 and not ends


def factorials(arms: Sequence[Arm], curves: Curves, level: float, metric: str = "test_accuracy") -> list[Factorial]:
    """Returns the full factorials of a run, explained in their curves and in a result.

    Where encoder and freezing (of frozen layers, the most and the fewest) are swept, that of these two comes first; the
    other fields are then at each of their combinations, if there are few, or else at their first. Where all swept
    fields have two values, that of all fields follows. Each combination is estimated from the seeds in which it trains;
    where one failed in some, six must be left.
    """
    values = _values(arms)
    factors = _factors(values)
    inner = tuple(factor for factor in factors if factor.field in CORNERS)
    rest = {name: seen for name, seen in values.items() if name not in CORNERS}
    whole = len(factors) if len(factors) == sum(len(seen) > 1 for seen in values.values()) else 0

    by_point = {key(arm.point): arm for arm in arms}

    def explained(some: tuple[Factor, ...], setting: dict[str, Any], others: tuple[Factor, ...]) -> list[Factorial]:
        factorial = _explained(by_point, curves, some, setting, others, level, metric)
        return [factorial] if factorial else []

    result = []
    others = tuple(factor for factor in factors if factor not in inner)
    if len(inner) == len(CORNERS):
        firsts = {name: seen[0] for name, seen in rest.items()} | {factor.field: factor.off for factor in others}
        combined = [dict(zip(rest, point, strict=True)) for point in itertools.product(*rest.values())]
        if len(combined) > _MOST_SETTINGS or 2 < whole <= _MOST_FACTORS:
            combined = [firsts]
        for setting in combined:
            result += explained(inner, setting, others if setting == firsts and whole > 2 else ())
    if len(inner) < whole <= _MOST_FACTORS and whole > 1:
        result += explained(factors, {name: seen[0] for name, seen in values.items() if len(seen) == 1}, ())
    return result


def _explained(
    by_point: Mapping[Hashable, Arm],
    curves: Curves,
    factors: tuple[Factor, ...],
    setting: dict[str, Any],
    others: tuple[Factor, ...],
    level: float,
    metric: str,
) -> Factorial | None:
    """Returns the factorial of some factors with the other fields at a setting; None where a cell or a result lacks."""
    cells = _cells(factors, setting, by_point, metric)
    if not cells:
        return None
    values = _measured(curves, cells, metric)
    if metric not in values:
        return None
    seeds = {name: tuple(dict.fromkeys(arm.seeds)) for name, arm in cells.items()}
    names = [factor.field for factor in factors]
    first, last = (False,) * len(names), (True,) * len(names)
    causes = {}
    for name, of_cells in values.items():
        measure, corners = metric_of(name), _in_all_seeds(of_cells, seeds)
        parts = attribute(corners, names, level, measure.high - measure.low)
        causes[name] = Cause(float(corners[first].mean()), float(corners[last].mean()), parts)
    ends = cells[first], cells[last]
    remedies = _remedies(by_point, curves, ends[1], others, level, metric)
    n = len(set().union(*seeds.values()))
    return Factorial(factors, cells, n, causes, _diagnostics(curves, ends, level), remedies, others, setting, metric)


def _values(arms: Sequence[Arm]) -> dict[str, list[Any]]:
    """Returns the values of each swept field, in their order; none where grids sweep different fields."""
    values: dict[str, list[Any]] = {}
    for arm in arms:
        if None in arm.point.values() or set(arm.point) != set(arms[0].point):
            return {}
        for name, value in arm.point.items():
            seen = values.setdefault(name, [])
            seen += [value] if value not in seen else []
    return values


def _factors(values: Mapping[str, list[Any]]) -> tuple[Factor, ...]:
    """Returns the fields that make a factor: of two values, or of frozen layers the fewest and the most."""
    factors = []
    for name, seen in values.items():
        if name == CORNERS[1] and len(seen) > 1:
            factors.append(Factor(name, min(seen), max(seen)))
        elif len(seen) == 2:
            off = _OFF[name] if name in _OFF and _OFF[name] in seen else seen[0]
            factors.append(Factor(name, off, next(value for value in seen if value != off)))
    return tuple(factors)


def _cells(
    factors: Sequence[Factor], setting: Mapping[str, Any], by_point: Mapping[Hashable, Arm], metric: str
) -> dict[Corner, Arm] | None:
    """Returns the arms of every combination at a setting, each cut to the seeds in which it trains; None if too few."""
    cells = {}
    for corner in itertools.product((False, True), repeat=len(factors)):
        switched = {factor.field: factor.on if on else factor.off for factor, on in zip(factors, corner, strict=True)}
        arm = by_point.get(key({**setting, **switched}))
        if arm is None:
            return None
        cells[corner] = arm
    lost = failures.failed(list(cells.values()), metric)
    sound = [
        {unit for unit in arm.units if unit[0] not in gone} for arm, gone in zip(cells.values(), lost, strict=True)
    ]
    n = [len({seed for seed, _ in units}) for units in sound]
    of = set().union(*(arm.all_seeds for arm in cells.values()))
    if any(k < min(len(of), FEWEST_SEEDS) or not k for k in n):
        return None
    return {corner: cut(arm, units) for (corner, arm), units in zip(cells.items(), sound, strict=True)}


def _in_all_seeds(values: Mapping[Cell, np.ndarray], seeds: Mapping[Cell, Sequence[int]]) -> dict[Cell, np.ndarray]:
    """Returns values of cells, each [own seeds], as of all seeds that any has: in the others, the cell's mean.

    Deviations are so much larger that a mean's standard error stays that of its own seeds.
    """
    rows = {seed: row for row, seed in enumerate(sorted(set().union(*seeds.values())))}
    filled, n = {}, len(rows)
    for cell, own in values.items():
        mean, k = own.mean(), len(own)
        scale = np.sqrt(n * (n - 1) / (k * (k - 1))) if 1 < k < n else 1.0
        filled[cell] = np.full(n, mean)
        filled[cell][[rows[seed] for seed in seeds[cell]]] = mean + scale * (own - mean) if k < n else own
    return filled


def _measured(curves: Curves, cells: Mapping[Cell, Arm], result: str) -> dict[str, dict[Cell, np.ndarray]]:
    """Returns every metric [seeds] of every cell, by metric; only those that all trials have."""
    values: dict[str, dict[Cell, np.ndarray]] = {}
    shown = next((pair for pair in _CURVES if curves.of(pair[0])), _CURVES[0])
    for cell, arm in cells.items():
        for metric in shown:
            measured = by_seed(curves.values(arm.trial_ids, metric, range(1, FIRST_BATCHES + 1)), arm)
            for batch in BATCHES:
                values.setdefault(f"{metric} after batch {batch}", {})[cell] = measured[:, batch - 1]
            values.setdefault(f"{metric} over {FIRST_BATCHES} batches", {})[cell] = _mean_over_steps(measured)
        values.setdefault(result, {})[cell] = by_seed(arm.results[result], arm)
    # Missing values were not measured, or training ended before.
    return {metric: of for metric, of in values.items() if not any(np.isnan(each).any() for each in of.values())}


def _remedies(
    by_point: Mapping[Hashable, Arm],
    curves: Curves,
    arm: Arm,
    others: Sequence[Factor],
    level: float,
    result: str,
) -> dict[str, dict[str, Estimate]]:
    changed = {factor.field: by_point.get(key({**arm.point, factor.field: factor.on})) for factor in others}
    cells = {field: cell for field, cell in {"as it is": arm, **changed}.items() if cell}
    units = set.intersection(*(set(cell.units) for cell in cells.values()))
    if len(cells) <= len(others) or not others or not units:
        return {}
    values = _measured(curves, {name: cut(cell, units) for name, cell in cells.items()}, result)
    return {
        metric: {
            factor.field: statistics.estimate(
                of[factor.field] - of["as it is"], level, statistics.step_of(of[factor.field], of["as it is"])
            )
            for factor in others
        }
        for metric, of in values.items()
    }


def _mean_over_steps(curves: np.ndarray) -> np.ndarray:
    """Returns curves' [seeds, steps] means over steps by the trapezoidal rule; NaN unless both ends are measured."""
    measured = np.flatnonzero(~np.isnan(curves).any(axis=0))
    if not len(measured) or measured[0] != 0 or measured[-1] != curves.shape[1] - 1:
        return np.full(len(curves), np.nan)
    return np.trapezoid(curves[:, measured], measured, axis=1) / (curves.shape[1] - 1)


def _diagnostics(curves: Curves, ends: Sequence[Arm], level: float) -> dict[str, tuple[Estimate, Estimate]]:
    names = [name for name in curves.metrics if name.startswith(_DIAGNOSTICS)]
    sides = {name: [by_seed(curves.values(arm.trial_ids, name, (1,)), arm)[:, 0] for arm in ends] for name in names}
    return {
        name: (statistics.estimate(first, level), statistics.estimate(last, level))
        for name, (first, last) in sorted(sides.items())
        if np.isfinite([first, last]).all()  # frozen layers have none
    }
