"""Comparisons of a run's arms, pair by pair."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config import StudyConfig
from pretrain.config.baselines import is_baseline
from pretrain.config.metrics import metric_of
from pretrain.study import failures, families, statistics
from pretrain.study.arms import CORNERS, Arm, by_seed, cut, key, places, without_idle
from pretrain.study.failures import Failures
from pretrain.study.power import SeedRange, seeds_to_settle, smallest_p, smallest_seen
from pretrain.study.rows import Components
from pretrain.study.speed import Speed
from pretrain.study.statistics import Estimate, Verdict
from pretrain.study.training_length import Length

ENCODER, _FROZEN = CORNERS
_REFERENCES = ("he", "none")  # encoders that others are compared with, the first that is there


class Comparison(NamedTuple):
    """Two arms that differ in one field, seed by seed."""

    field: str
    treatment: Any  # the field's value
    baseline: Any
    shared: dict[str, Any]  # the other swept fields, by dotted name
    n: int  # seeds in both arms
    treated: np.ndarray  # [n], in the order of seeds; trials that diverged at chance, where its level is known
    untreated: np.ndarray  # [n]
    difference: Estimate  # over these seeds, whether training failed or not
    improvement: Estimate  # probability that a seed is better
    p_value: float  # of no effect where both train, adjusted for all claims on its family and its rates of failure
    verdict: Verdict  # unstable where an arm failed in some seed
    seeds_to_settle: SeedRange | None  # None unless more seeds would settle the difference where both train
    failures: Failures
    level: float = statistics.LEVEL  # of the intervals, at once with those of n_at_once comparisons
    is_exploratory: bool = False  # not of the question's own family
    metric: str = "test_accuracy"  # in whose unit values and difference are
    n_diverged: int = 0  # trials of both arms
    n_collapsed: int = 0  # trials of both arms that predict the same of all examples
    both_at_chance: bool = False  # neither has learned, so that nothing is compared
    lengths: tuple[Length | None, Length | None] = (None, None)  # of the training of treatment and baseline
    speed: Speed | None = None  # None where nothing was measured during training, or nothing was learned
    seeds: tuple[int, ...] = ()  # [n], of treated and untreated
    p_nil: float = 1.0  # of an effect that matters, adjusted likewise
    n_at_once: int = 1  # comparisons whose differences the intervals hold, at once
    n_open: int = 1  # comparisons of its family that were not settled, among which its p is judged
    look: int | None = None  # the earlier look that settled it, and that all but speed and lengths is of

    @property
    def identity(self) -> Hashable:
        """A key that no other comparison of a run has, whatever its trials came to."""
        return key({**self.shared, self.field: self.treatment})

    # Of new rows like those of the test; None where their variance is not known.
    new_rows: Estimate | None = None  # the difference where both train, with an interval over seeds and rows
    p_new_rows: float | None = None  # of the verdict, by both, adjusted for all claims on its family
    holds_for_new_rows: bool | None = None  # whether the verdict does; else it is of these rows
    rows: Components | None = None
    rows_to_settle: int | None = None  # with which as many seeds would; None where seeds alone do, or rows would not

    @property
    def where_both_train(self) -> np.ndarray:
        """Treatment less baseline: [seeds]."""
        return (self.treated - self.untreated)[self.failures.both_train]

    @property
    def step(self) -> float:
        """The smallest gap between values where both train; infinite without one."""
        return statistics.step_of(*(side[self.failures.both_train] for side in (self.treated, self.untreated)))

    @property
    def smallest_seen(self) -> float:
        """The smallest effect that as many seeds in which both train, and rows, would show with 80 % power."""
        if not self.seeds or np.sum(self.failures.both_train) < statistics.FEWEST_SEEDS:
            return math.inf  # as of arms without pairs
        gains = statistics.with_one_off(self.where_both_train, self.step)
        if not np.ptp(gains):
            return math.inf  # for no spread is known
        of_rows = self.rows.of_rows if self.rows else 0.0
        return smallest_seen(len(gains), float(np.std(gains, ddof=1)), self.level, self.n_open, of_rows)

    @property
    def shown(self) -> Estimate:
        """The difference over all seeds, with the interval for new rows where it is known and no arm failed."""
        return self.new_rows if self.new_rows and self.verdict != "unstable" else self.difference


def compare(
    arms: Sequence[Arm],
    metric: str,
    study: StudyConfig,
    level: float = statistics.LEVEL,
    settled: Mapping[Hashable, Comparison] | None = None,
    keeps_lost: bool = False,
) -> list[Comparison]:
    """Compares each value of a field with its baseline, at every setting of the other swept fields.

    The field is ``study.compare`` where it is swept, else the first swept field; encoders are compared with ``he``,
    other values with the first, and baselines on raw inputs with nothing. Differences are taken within a seed, where
    label subset, head and batch order are shared; a seed's repeats, which share a pretraining, count as one by their
    mean. Two arms at chance are not judged. Where an arm failed in some seed the verdict is unstable, and p is of the
    seeds in which both train.

    Args:
      metric: the result to compare, as a column's name.
      study: names the field, the family and the smallest effect that matters.
      level: of the intervals; p-values are judged at one less it.
      settled: comparisons that stay as earlier looks judged them, by ``identity``.
      keeps_lost: whether to return those of no seed that has both arms, too, for their rates of failure.
    """
    arms = [arm for arm in arms if not is_baseline(arm.point, study.baselines)]
    field, settled = compared_field(arms, study), settled or {}
    pairs = _pairs(arms, field) if field else []
    is_own = [families.in_family(treatment.point, study) for treatment, _ in pairs]
    found = {place: settled.get(key(treatment.point)) for place, (treatment, _) in enumerate(pairs)}
    still = [place for place, comparison in found.items() if comparison is None]
    p_values, sides = _adjusted(
        [_sides(pairs[place], metric, study) for place in still],
        [is_own[place] for place in still],
        level,
        [(is_own[place], comparison.failures.verdict) for place, comparison in found.items() if comparison],
    )
    # Both claims on a comparison having been made, it counts for no other.
    n_open = Counter(is_own)
    n_open.subtract(is_own[place] for place, both in zip(still, p_values, strict=True) if max(both) <= 1 - level)
    for place, side, both in zip(still, sides, p_values, strict=True):
        if len(side.treated) or keeps_lost:
            own = is_own[place]
            n_at_once = is_own.count(own) if study.intervals == "simultaneous" else 1
            found[place] = _comparison(
                field, pairs[place], side, metric, level, both, max(1, n_open[own]), not own, n_at_once
            )
    return [comparison for comparison in found.values() if comparison]


def by_family(compared: Sequence[Comparison]) -> tuple[list[Comparison], list[Comparison]]:
    """Returns the question's own comparisons, and those that explore."""
    own = [comparison for comparison in compared if not comparison.is_exploratory]
    return own, [comparison for comparison in compared if comparison.is_exploratory]


def n_claims(compared: Sequence[Comparison]) -> int:
    """Returns among how many p-values those of comparisons of one family are judged: with their rates of failure."""
    return max(1, len(compared) + sum(smallest_p(each.failures.n_apart) <= 1 - each.level for each in compared))


def points_of(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns the points of treatment and baseline."""
    return [{**comparison.shared, comparison.field: value} for value in (comparison.treatment, comparison.baseline)]


def places_of(compared: Iterable[Comparison], run: Sequence[Arm]) -> list[tuple[int, int]]:
    """Returns the places of treatment and baseline of each comparison among the arms of its run."""
    place_of = places(run)
    pairs = (points_of(each) for each in compared)
    return [(place_of[key(without_idle(first))], place_of[key(without_idle(second))]) for first, second in pairs]


def pairs_of(compared: Iterable[Comparison], run: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Returns the arms of each comparison, treatment and baseline."""
    return [(run[first], run[second]) for first, second in places_of(compared, run)]


class Planned(NamedTuple):
    """A comparison that a run is going to make."""

    field: str
    treated: dict[str, Any]  # swept values of the treatment
    untreated: dict[str, Any]  # and of the baseline
    is_exploratory: bool


def planned(points: Iterable[Mapping[str, Any]], study: StudyConfig) -> list[Planned]:
    """Returns the comparisons that ``compare`` makes of trials at these points of a sweep, before there are any.

    Tuned fields are no condition, and so distinguish no arms.
    """
    points = [point for point in points if not is_baseline(point, study.baselines)]
    names = list(dict.fromkeys(name for point in points for name in point if name not in study.tune))
    whole = ({name: point.get(name) for name in names} for point in points)
    arms = [Arm(point, (), ()) for point in {key(without_idle(point)): point for point in whole}.values()]
    field = compared_field(arms, study)
    pairs = _pairs(arms, field) if field else []
    return [
        Planned(field, treatment.point, baseline.point, not families.in_family(treatment.point, study))
        for treatment, baseline in pairs
    ]


def compared_field(arms: Sequence[Arm], study: StudyConfig) -> str:
    """Returns the field whose values are compared, or nothing where no field has two."""
    names = list(dict.fromkeys(name for arm in arms for name in arm.point))
    swept = [name for name in names if len({repr(arm.point.get(name)) for arm in arms}) > 1]
    return study.compare if study.compare in swept else next(iter(swept), "")


def _pairs(arms: Sequence[Arm], field: str) -> list[tuple[Arm, Arm]]:
    """Returns treatment and baseline of each comparison, in the table's order."""
    values = [arm.point[field] for arm in arms if arm.point[field] is not None]
    usual = [value for value in _REFERENCES if value in values] if field == ENCODER else []
    reference = [*usual, *values][0]
    pairs = []
    for group in _groups(arms, field):
        baseline = next((arm for arm in group if arm.point[field] == reference), None)
        pairs += [(arm, baseline) for arm in group if baseline is not None and arm is not baseline]
    return pairs


def _groups(arms: Sequence[Arm], field: str) -> list[list[Arm]]:
    """Returns the arms that differ in one field only, in the table's order.

    An arm without an encoder, which has no layers to freeze, is one of each number of frozen layers that has none yet.
    """
    groups: dict[Hashable, list[Arm]] = {}
    unfrozen: dict[Hashable, dict[Hashable, dict[str, Any]]] = {}  # settings of groups, by all but frozen layers
    for arm in arms:
        setting = {name: value for name, value in arm.point.items() if name != field}
        groups.setdefault(key(setting), []).append(arm)
        unfrozen.setdefault(_key_but_frozen(setting), {})[key(setting)] = setting
    if field == ENCODER:
        for arm in [arm for arm in arms if arm.point[field] == "none" and _FROZEN in arm.point]:
            for group, setting in unfrozen[_key_but_frozen(arm.point)].items():
                if all(other.point[field] != "none" for other in groups[group]):
                    groups[group].append(arm._replace(point={**setting, field: "none"}))
    return list(groups.values())


def _key_but_frozen(setting: Mapping[str, Any]) -> Hashable:
    return key({name: value for name, value in setting.items() if name not in (ENCODER, _FROZEN)})


class _Sides(NamedTuple):
    """A metric of both arms [seeds], of the seeds that have it in both, and where they failed."""

    seeds: tuple[int, ...]
    treated: np.ndarray
    untreated: np.ndarray
    failures: Failures
    smallest: float  # difference that matters, in units
    unit: float  # of gains: a power of 2 about as large as the values, so that statistics round alike at any scale
    gains: np.ndarray  # [seeds], by how much the treatment is better, in units
    step: float  # the smallest gap between values where both train, in units

    @property
    def sound(self) -> np.ndarray:
        """The gains where both train: [seeds]."""
        return self.gains[self.failures.both_train]


def _sides(pair: tuple[Arm, Arm], metric: str, study: StudyConfig) -> _Sides:
    lost = failures.failed(pair, metric)
    of = set.intersection(*(arm.all_seeds for arm in pair))
    full = [failures.whole(arm, metric) for arm in pair]
    treated, untreated = full
    is_whole = all(np.isfinite(arm.results[metric]).all() for arm in full)
    if not is_whole or (treated.seeds, treated.repeats) != (untreated.seeds, untreated.repeats):
        shared = set.intersection(*(_measured_units(arm, metric) for arm in full))
        treated, untreated = (cut(arm, shared) for arm in full)
    seeds = tuple(dict.fromkeys(treated.seeds))
    both_train = np.array([seed not in lost[0] | lost[1] for seed in seeds], bool)
    values = [by_seed(arm.results[metric], arm) for arm in (treated, untreated)]
    smallest = smallest_of(metric, values[1], study)
    found = failures.rates(lost[0] & of, lost[1] & of, len(of), both_train)
    unit = math.ldexp(0.5, math.frexp(np.max(np.abs(values), initial=0.0))[1])
    scaled = [each / unit for each in values]
    gains = (scaled[0] - scaled[1]) * (1 if metric_of(metric).higher_is_better else -1)
    gains[np.abs(gains) <= statistics.ROUNDING] = 0.0
    step = statistics.step_of(*(each[both_train] for each in scaled))
    return _Sides(seeds, values[0], values[1], found, smallest / unit, unit, gains, step)


def _adjusted(
    sides: Sequence[_Sides], is_own: Sequence[bool], level: float, settled: Sequence[tuple[bool, Verdict]]
) -> tuple[list[tuple[float, float]], list[_Sides]]:
    """Returns p-values of no effect and of one that matters where both train, and the sides with those of their rates.

    They are adjusted together. A rate that differs in so few seeds that it cannot be significant by itself counts for
    none (Tarone, 1990).
    """
    counts = [place for place, side in enumerate(sides) if smallest_p(side.failures.n_apart) <= 1 - level]
    adjusted = families.adjusted(
        [statistics.effect_p(side.sound, 1 - level, side.step) for side in sides]
        + [sides[place].failures.p_value for place in counts],
        [statistics.nil_p(side.sound, side.smallest, side.step) for side in sides] + [math.nan] * len(counts),
        [*is_own, *(is_own[place] for place in counts)],
        settled,
    )
    rates = {place: p_value for place, (p_value, _) in zip(counts, adjusted[len(sides) :], strict=True)}
    return adjusted[: len(sides)], [
        side._replace(failures=side.failures._replace(p_value=rates.get(place, side.failures.p_value)))
        for place, side in enumerate(sides)
    ]


def _measured_units(arm: Arm, metric: str) -> set[tuple[int, int]]:
    """Returns the seeds and repeats of an arm's trials that have a value of a metric."""
    return {unit for unit, is_measured in zip(arm.units, np.isfinite(arm.results[metric]), strict=True) if is_measured}


def _comparison(
    field: str,
    pair: tuple[Arm, Arm],
    sides: _Sides,
    metric: str,
    level: float,
    p_values: tuple[float, float],
    n_open: int,
    is_exploratory: bool,
    n_at_once: int,
) -> Comparison:
    treatment, baseline = (arm.point[field] for arm in pair)
    measure, found = metric_of(metric), sides.failures
    gains, sound, alpha = sides.gains, sides.sound, 1 - level
    interval = statistics.estimate if n_at_once == 1 else statistics.student
    gain = Estimate(math.nan, -math.inf, math.inf)  # where no seed has both arms
    if len(gains):
        gain = interval(gains, 1 - alpha / n_at_once, sides.step)
    gain_of_sound = (
        (interval(sound, 1 - alpha / n_at_once, sides.step) if len(sound) < len(gains) else gain)
        if len(sound)
        else None
    )
    verdict: Verdict = (
        statistics.verdict(gain_of_sound, p_values[0], len(sound), sides.smallest, alpha, p_values[1])
        if gain_of_sound
        else "inconclusive"
    )
    both_at_chance = all(failures.is_at_chance(arm, metric) for arm in pair)
    is_open = verdict == "inconclusive" and len(sound) > 1 and not both_at_chance
    is_open = is_open and (math.isfinite(sides.step) or not statistics.are_equal(sound))  # else no spread is known
    spread = statistics.with_one_off(sound, sides.step)
    to_settle = seeds_to_settle(spread, sides.smallest, level, n_open) if is_open else None
    if (verdict, found.more_often) in (("helps", 1), ("hurts", -1)):
        verdict = "inconclusive"  # for of what fails more often, the seeds in which it does not are no evidence

    def signed(gain: Estimate) -> Estimate:
        """Returns a gain as a difference of the metric, of which less may be better, within its bounds."""
        mean, low, high = (each * sides.unit for each in (gain if measure.higher_is_better else gain.turned()))
        return Estimate(mean, low, high).within(measure.low - measure.high, measure.high - measure.low)

    both = set.intersection(*(arm.all_seeds for arm in pair))
    found = found._replace(verdict=verdict, difference=gain_of_sound and signed(gain_of_sound))
    return Comparison(
        field,
        treatment,
        baseline,
        {name: value for name, value in pair[0].point.items() if name != field},
        len(gains),
        sides.treated,
        sides.untreated,
        signed(gain),
        statistics.improvement(gains, level) if len(gains) else gain,
        p_values[0],
        "inconclusive" if both_at_chance else "unstable" if found.any else verdict,
        to_settle and to_settle.scaled(len(gains) / len(sound)),
        found,
        level,
        is_exploratory,
        metric,
        n_diverged=sum(seed in both for arm in pair for seed, _ in arm.diverged),
        n_collapsed=sum(arm.n_collapsed for arm in pair),
        both_at_chance=both_at_chance,
        seeds=sides.seeds,
        p_nil=p_values[1],
        n_at_once=n_at_once,
        n_open=n_open,
    )


def smallest_of(metric: str, untreated: np.ndarray, study: StudyConfig) -> float:
    """Returns the smallest effect that matters: of a metric without a scale of its own, a part of a baseline."""
    return study.smallest_effect * metric_of(metric).effects_of(float(np.mean(untreated)) if len(untreated) else 1.0)
