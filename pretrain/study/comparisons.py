"""Comparisons of a run's arms, pair by pair."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.study import families, statistics
from pretrain.study.arms import CORNERS, Arm, by_seed, cut, key, without_idle
from pretrain.study.power import SeedRange, seeds_to_settle
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
    treated: np.ndarray  # [n], in the order of seeds
    untreated: np.ndarray  # [n]
    difference: Estimate
    improvement: Estimate  # probability that a seed is better
    p_value: float  # Holm's, over all comparisons of its family
    verdict: Verdict
    seeds_to_settle: SeedRange | None  # None unless the verdict is inconclusive
    level: float = statistics.LEVEL  # of the intervals
    is_exploratory: bool = False  # not of the question's own family
    metric: str = "test_accuracy"  # in whose unit values and difference are
    n_diverged: int = 0  # trials of both arms that are left out
    n_collapsed: int = 0  # trials of both arms that predict the same of all examples
    both_at_chance: bool = False  # neither has learned, so that nothing is compared
    lengths: tuple[Length | None, Length | None] = (None, None)  # of the training of treatment and baseline
    speed: Speed | None = None  # None where nothing was measured during training, or nothing was learned
    seeds: tuple[int, ...] = ()  # [n], of treated and untreated


def compare(arms: Sequence[Arm], metric: str, study: StudyConfig, level: float = statistics.LEVEL) -> list[Comparison]:
    """Compares each value of a field with its baseline, at every setting of the other swept fields.

    The field is ``study.compare`` where it is swept, else the first swept field; encoders are compared with ``he``,
    other values with the first. Differences are taken within a seed, where label subset, head and batch order are
    shared; a seed's repeats, which share a pretraining, count as one by their mean. Arms that both predict the same of
    all examples, in every trial, are not compared by accuracies.

    Args:
      arms: of the run.
      metric: the result to compare, as a column's name.
      study: names the field, the family and the smallest effect that matters.
      level: of the intervals; p-values are judged at one less it.
    """
    field = compared_field(arms, study)
    pairs = _pairs(arms, field) if field else []
    of_labels = metric_of(metric).is_fraction  # of predicted labels, beside which scores may order examples well
    sides = [_sides(pair, metric) for pair in pairs]
    in_family = [families.in_family(treatment.point, study) for treatment, _ in pairs]
    p_values = families.adjusted([statistics.sign_flip(side.treated - side.untreated) for side in sides], in_family)
    n_open = Counter(family for p_value, family in zip(p_values, in_family, strict=True) if p_value > 1 - level)
    return [
        _comparison(field, pair, values, metric, study, level, p_value, max(1, n_open[family]), not family)
        for pair, values, p_value, family in zip(pairs, sides, p_values, in_family, strict=True)
        if values.seeds and not (of_labels and all(arm.n_collapsed == len(arm.trial_ids) for arm in pair))
    ]


def differences(arms: Sequence[Arm], metric: str, study: StudyConfig) -> list[np.ndarray]:
    """Returns treatment less baseline [seeds] of each of the question's own comparisons."""
    field = compared_field(arms, study)
    pairs = [pair for pair in (_pairs(arms, field) if field else []) if families.in_family(pair[0].point, study)]
    return [sides.treated - sides.untreated for sides in (_sides(pair, metric) for pair in pairs)]


def by_family(compared: Sequence[Comparison]) -> tuple[list[Comparison], list[Comparison]]:
    """Returns the question's own comparisons, and those that explore."""
    own = [comparison for comparison in compared if not comparison.is_exploratory]
    return own, [comparison for comparison in compared if comparison.is_exploratory]


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
    points = list(points)
    names = list(dict.fromkeys(name for point in points for name in point if name not in study.tune))
    whole = ({name: point.get(name) for name in names} for point in points)
    arms = [Arm(point, (), (), 0) for point in {key(without_idle(point)): point for point in whole}.values()]
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
    """A metric of both arms of a comparison, of the seeds that have it in both."""

    seeds: tuple[int, ...]
    treated: np.ndarray  # [seeds]
    untreated: np.ndarray


def _sides(pair: tuple[Arm, Arm], metric: str) -> _Sides:
    shared = set.intersection(*(_measured_units(arm, metric) for arm in pair))
    whole = [cut(arm, shared) for arm in pair]
    return _Sides(tuple(dict.fromkeys(whole[0].seeds)), *(by_seed(arm.results[metric], arm) for arm in whole))


def _measured_units(arm: Arm, metric: str) -> set[tuple[int, int]]:
    """Returns the seeds and repeats of an arm's trials that have a value of a metric."""
    return {unit for unit, is_measured in zip(arm.units, np.isfinite(arm.results[metric]), strict=True) if is_measured}


def _comparison(
    field: str,
    pair: tuple[Arm, Arm],
    sides: _Sides,
    metric: str,
    study: StudyConfig,
    level: float,
    p_value: float,
    n_open: int,
    is_exploratory: bool,
) -> Comparison:
    treatment, baseline = (arm.point[field] for arm in pair)
    measure, n = metric_of(metric), len(sides.seeds)
    gains = (1 if measure.higher_is_better else -1) * (sides.treated - sides.untreated)
    # Of a metric without a scale of its own, a part of the baseline.
    smallest = study.smallest_effect * (1 if measure.high == 1 else abs(float(np.mean(sides.untreated))))
    gain, widest = statistics.estimate(gains, level), measure.high - measure.low
    difference = gain if measure.higher_is_better else Estimate(-gain.mean, -gain.high, -gain.low)
    verdict = statistics.verdict(gain, p_value, n, smallest, alpha=1 - level)
    is_open = verdict == "inconclusive" and n > 1
    return Comparison(
        field,
        treatment,
        baseline,
        {name: value for name, value in pair[0].point.items() if name != field},
        n,
        sides.treated,
        sides.untreated,
        difference.within(-widest, widest),
        statistics.improvement(gains, level),
        p_value,
        verdict,
        seeds_to_settle(gains, smallest, level, n_open) if is_open else None,
        level,
        is_exploratory,
        metric,
        n_diverged=sum(arm.n_diverged for arm in pair),
        n_collapsed=sum(arm.n_collapsed for arm in pair),
        seeds=sides.seeds,
    )
