"""Which arms of a run are compared, and what each comparison shows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.study import families, statistics
from pretrain.study.arms import CORNERS, Arm, by_seed, cut, trial_values, without_idle
from pretrain.study.power import SeedRange, seeds_to_settle
from pretrain.study.speed import Speed
from pretrain.study.statistics import Estimate, Verdict
from pretrain.study.summary import compared_metric
from pretrain.study.training_length import Length

ENCODER, _FROZEN = CORNERS
_REFERENCES = ("he", "none")  # encoders that others are compared with, whichever is there


class Comparison(NamedTuple):
    """Two arms that differ in one field, seed by seed."""

    field: str
    treatment: object  # the field's value
    baseline: object
    shared: dict[str, object]  # the other swept fields, by dotted name
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
    both_at_chance: bool = False  # neither predicts better than the same for all examples, so that nothing is compared
    lengths: tuple[Length | None, Length | None] = (None, None)  # of the training of treatment and baseline
    speed: Speed | None = None  # None where nothing was measured during training, or nothing was learned


def compare(
    trials: pa.Table, found: Sequence[Arm], study: StudyConfig, level: float = statistics.LEVEL
) -> list[Comparison]:
    """Compares each value of a field with its baseline, at every setting of the other swept fields.

    The field is ``study.compare`` where it is swept, else the first swept field; encoders are compared with ``he``,
    other values with the first. Differences are taken within a seed, where label subset, head and batch order are
    shared; a seed's repeats, which share a pretraining, count as one by their mean. Arms that both predict the same of
    all examples, in every trial, are not compared by accuracies.

    Args:
      trials: a run's table of trials.
      found: its arms.
      study: what to compare and what matters.
      level: of the intervals; p-values are judged at one less it.

    Raises:
      ConfigError: the trials have no such metric.
    """
    field = compared_field(found, study)
    if not field:
        return []
    pairs, metric = _pairs(found, field), compared_metric(trials, study)
    of_labels = metric_of(metric).is_fraction  # of what is predicted, which scores may order well all the same
    sides = [_sides(trials, pair, metric) for pair in pairs]
    own = [families.is_own(treatment.point, study) for treatment, _ in pairs]
    p_values = families.adjusted([statistics.sign_flip(treated - untreated) for treated, untreated in sides], own)
    n_open = Counter(is_own for p_value, is_own in zip(p_values, own, strict=True) if p_value > 1 - level)
    return [
        _comparison(
            field, pair, values, p_value, study.smallest_effect, level, max(1, n_open[is_own]), metric
        )._replace(is_exploratory=not is_own)
        for pair, values, p_value, is_own in zip(pairs, sides, p_values, own, strict=True)
        if len(values[0]) and not (of_labels and all(arm.n_collapsed == len(arm.trial_ids) for arm in pair))
    ]


def differences(trials: pa.Table, found: Sequence[Arm], study: StudyConfig) -> list[np.ndarray]:
    """Returns treatment less baseline [seeds] of each of the question's own comparisons."""
    field, metric = compared_field(found, study), compared_metric(trials, study)
    pairs = [pair for pair in (_pairs(found, field) if field else []) if families.is_own(pair[0].point, study)]
    return [treated - untreated for treated, untreated in (_sides(trials, pair, metric) for pair in pairs)]


class Planned(NamedTuple):
    """A comparison that a run is going to make."""

    field: str
    treated: dict[str, object]  # swept values of the treatment
    untreated: dict[str, object]  # and of the baseline
    is_exploratory: bool


def planned(points: Iterable[Mapping[str, object]], study: StudyConfig) -> list[Planned]:
    """Returns the comparisons that ``compare`` makes of trials at these points of a sweep, before there are any.

    Tuned fields are no condition, and so distinguish no arms.
    """
    points = list(points)
    names = list(dict.fromkeys(name for point in points for name in point if name not in study.tune))
    every = ({name: point.get(name) for name in names} for point in points)
    distinct = {repr(without_idle(point)): point for point in every}
    found = [Arm(point, (), (), 0) for point in distinct.values()]
    field = compared_field(found, study)
    pairs = _pairs(found, field) if field else []
    return [Planned(field, one.point, other.point, not families.is_own(one.point, study)) for one, other in pairs]


def compared_field(found: Sequence[Arm], study: StudyConfig) -> str:
    """Returns the field whose values are compared, or nothing where no field has two."""
    names = list(dict.fromkeys(name for arm in found for name in arm.point))
    swept = [name for name in names if len({repr(arm.point.get(name)) for arm in found}) > 1]
    return study.compare if study.compare in swept else next(iter(swept), "")


def _pairs(found: Sequence[Arm], field: str) -> list[tuple[Arm, Arm]]:
    """Returns treatment and baseline of each comparison, in the table's order."""
    values = [arm.point[field] for arm in found if arm.point[field] is not None]
    usual = [value for value in _REFERENCES if value in values] if field == ENCODER else []
    reference = [*usual, *values][0]
    pairs = []
    for group in _groups(found, field):
        baseline = next((arm for arm in group if arm.point[field] == reference), None)
        pairs += [(arm, baseline) for arm in group if baseline is not None and arm is not baseline]
    return pairs


def _groups(found: Sequence[Arm], field: str) -> list[list[Arm]]:
    """Returns the arms that differ in one field only, in the table's order.

    An arm without an encoder, which has no layers to freeze, is one of each number of frozen layers that has none yet.
    """
    settings = [{name: value for name, value in arm.point.items() if name != field} for arm in found]
    groups: dict[str, list[Arm]] = {repr(rest): [] for rest in settings}
    distinct = {repr(rest): rest for rest in settings}
    for arm, own in zip(found, settings, strict=True):
        groups[repr(own)].append(arm)
    bare = [arm for arm in found if field == ENCODER and arm.point[field] == "none" and _FROZEN in arm.point]
    for arm in bare:
        for key, rest in distinct.items():
            shared = {**rest, field: "none"}
            has_one = any(other.point[field] == "none" for other in groups[key])
            if not has_one and {**shared, _FROZEN: arm.point[_FROZEN]} == arm.point:
                groups[key].append(arm._replace(point=shared))
    return list(groups.values())


def _sides(trials: pa.Table, pair: tuple[Arm, Arm], metric: str) -> list[np.ndarray]:
    """Returns a metric [seeds] of both arms, of the seeds that have it in both."""
    shared = _units(trials, pair[0], metric) & _units(trials, pair[1], metric)
    return [by_seed(trial_values(trials, arm, metric), arm) for arm in (cut(arm, shared) for arm in pair)]


def _units(trials: pa.Table, arm: Arm, metric: str) -> set[tuple[int, int]]:
    """Returns the seeds and repeats of an arm's trials that have a value of a metric."""
    measured = np.isfinite(trial_values(trials, arm, metric))
    return {unit for unit, is_there in zip(arm.units, measured, strict=True) if is_there}


def _comparison(
    field: str,
    pair: tuple[Arm, Arm],
    sides: Sequence[np.ndarray],
    p_value: float,
    smallest: float,
    level: float,
    n_open: int,
    metric: str,
) -> Comparison:
    treatment, baseline = (arm.point[field] for arm in pair)
    shared = {name: value for name, value in pair[0].point.items() if name != field}
    measure, n = metric_of(metric), len(sides[0])
    gains = sides[0] - sides[1] if measure.higher_is_better else sides[1] - sides[0]
    if measure.high != 1:  # of a metric without a scale of its own
        smallest *= abs(float(np.mean(sides[1])))
    gain = statistics.estimate(gains, level)
    found = statistics.verdict(gain, p_value, n, smallest, alpha=1 - level)
    is_open = found == "inconclusive" and n > 1
    more = seeds_to_settle(gains, smallest, level, n_open) if is_open else None
    widest = measure.high - measure.low
    difference = gain if measure.higher_is_better else Estimate(-gain.mean, -gain.high, -gain.low)
    difference = difference.within(-widest, widest)
    chance = statistics.improvement(gains, level)
    return Comparison(
        field,
        treatment,
        baseline,
        shared,
        n,
        *sides,
        difference,
        chance,
        p_value,
        found,
        more,
        level,
        metric=metric,
        n_diverged=sum(arm.n_diverged for arm in pair),
        n_collapsed=sum(arm.n_collapsed for arm in pair),
    )
