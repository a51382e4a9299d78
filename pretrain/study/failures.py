"""Failed training: the seeds in which an arm failed, how often, and arms that are no better than chance.

A trial failed if it diverged, if it predicts one thing only, or if it lies near chance across a gap from others of its
arm. The gap begins less than h/2 above chance, is h/3 wide and two standard deviations of what lies beyond it, and no
trial of the compared arms is in it; h is the lower of the arms' upper quartiles above chance, of those that are no luck
of the rows. So weak arms, whose trials vary around a low level, do not count as broken, and an arm that is better now
and then is no failure of the other seeds. Validation rows decide, where the arm has them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from pretrain.config.metrics import CHANCE, IN_COMMON, MARGIN, metric_of, split_of
from pretrain.study.arms import Arm, by_seed
from pretrain.study.statistics import FEWEST_SEEDS, LEVEL, Estimate, Verdict

_WIDE = 2.0  # deviations of the trials beyond a gap, which is as wide at least
_ABOVE = (1 - LEVEL) / 4  # tail of an arm's interval, for the two arms of a comparison together
_CERTAIN = 2.0  # margins of the rows, beyond which a trial has learned for certain


class Failures(NamedTuple):
    """Seeds in which the arms of a comparison failed, and what holds where neither did."""

    of: int  # seeds of both arms, diverged ones included
    treated: int  # of them, failed
    untreated: int
    at_most: tuple[float, float]  # rates of failure, upper ends at 95 % (Clopper and Pearson, 1934)
    n_apart: int  # seeds in which one arm alone failed
    p_value: float  # of equal rates, exact, paired by seed; adjusted with the comparisons' own where it counts
    both_train: np.ndarray  # [seeds with a result in both arms]
    difference: Estimate | None  # where both train; None where they never do
    verdict: Verdict  # where both train; never in favour of the arm that fails in more seeds
    of_untreated: int | None = None  # seeds of the baseline, where arms are no pairs and ``of`` is the treatment's

    @property
    def sizes(self) -> tuple[int, int]:
        """Seeds of treatment and baseline."""
        return self.of, self.of if self.of_untreated is None else self.of_untreated

    @property
    def more_often(self) -> int:
        """Which arm fails more often: 1 the treatment, -1 the baseline, 0 neither."""
        one, other = self.sizes
        return int(np.sign(self.treated * other - self.untreated * one))

    @property
    def any(self) -> bool:
        """Whether an arm failed in any seed."""
        return self.treated + self.untreated > 0

    @property
    def mostly(self) -> tuple[bool, bool]:
        """Whether treatment and baseline failed in more than half of the seeds."""
        return 2 * self.treated > self.of, 2 * self.untreated > self.sizes[1]


def validation_of(arm: Arm, metric: str) -> str:
    """Returns the column of a metric on validation rows; the metric's own where an arm has not all of its values."""
    name = f"validation_{split_of(metric)[1]}"
    return name if name in arm.results and np.isfinite(arm.results[name]).all() else metric


def on_validation(arm: Arm, metric: str) -> np.ndarray:
    """Returns a metric of an arm's trials on validation rows, more being better: [trials], -inf where it is missing."""
    values = arm.results.get(f"validation_{split_of(metric)[1]}", np.full(len(arm.trial_ids), np.nan))
    return np.where(np.isfinite(values), values if metric_of(metric).higher_is_better else -values, -np.inf)


def failed(arms: Sequence[Arm], metric: str) -> list[set[int]]:
    """Returns the seeds in which each of a few arms failed, in any repeat."""
    heights = [above_chance(arm, metric, validation_of(arm, metric)) for arm in arms]
    below = _across_a_gap(heights, [_margin(arm, metric) for arm in arms])
    return [
        {seed for seed, _ in (*arm.diverged, *arm.collapsed)}
        | {arm.seeds[place] for place in np.flatnonzero(heights <= below)}
        for arm, heights in zip(arms, heights, strict=True)
    ]


def rates(
    treated: set[int], untreated: set[int], of: int, both_train: np.ndarray, of_untreated: int | None = None
) -> Failures:
    """Returns how often two arms failed, by the seeds in which they did, and nothing of where both train yet."""
    n, size = (len(treated), len(untreated)), of if of_untreated is None else of_untreated
    apart = (len(treated - untreated), len(untreated - treated))
    p_value = min(1.0, 2 * float(special.bdtr(min(apart), sum(apart), 0.5))) if sum(apart) else 1.0
    return Failures(
        *(of, *n, (_at_most(n[0], of), _at_most(n[1], size)), sum(apart), p_value, both_train, None, "inconclusive"),
        of_untreated,
    )


def _at_most(k: int, n: int) -> float:
    """Returns the rate that k failures of n leave open, as zero of eight leave 31 %."""
    return float(special.betaincinv(k + 1, n - k, LEVEL)) if k < n else 1.0


def is_at_chance(arm: Arm, metric: str) -> bool:
    """Returns whether an arm may be no better than the same prediction for every example.

    That is unless the interval of its mean above chance, over seeds and rows, lies above zero, or a quarter of its
    trials lie so far above it that each has learned for certain, whatever the others came to. One seed's rows have
    half of the margin as standard error. Seeds share that luck as far as they share rows: what differs between splits
    is part of the variance over seeds already, which is no less than luck alone makes it. The interval is at 97.5 %, so
    that of two arms at chance one is called better in 2.5 % at most.

    Args:
      arm: of which trials that diverged say nothing.
    """
    if not arm.trial_ids or len(arm.collapsed) == len(arm.trial_ids):
        return bool(arm.trial_ids)
    above = by_seed(above_chance(arm, metric, metric), arm)
    above, margin = above[np.isfinite(above)], _margin(arm, metric)
    if not len(above):
        return False
    n, of_rows = len(above), (margin / 2) ** 2
    of_seeds = float(np.var(above, ddof=1)) / n if n > 1 else 0.0
    shared = _in_common(arm, metric)
    variance = max(of_seeds + shared * of_rows, of_rows * (shared + (1 - shared) / n))
    freedom = min((n - 1) * (variance / of_seeds) ** 2, 1e6) if of_seeds else 1e6
    low = np.mean(above) + special.stdtrit(freedom, _ABOVE) * math.sqrt(variance)
    return bool(low <= 0 and np.quantile(above, 0.75) <= _CERTAIN * margin)


def whole(arm: Arm, metric: str) -> Arm:
    """Returns an arm with its diverged trials at chance, as predictions without a network are; as it is without any.

    Where the level of chance is not known, or no trial is left that has it, it stays without them.
    """
    if not arm.diverged or not arm.trial_ids or f"{metric}{CHANCE}" not in arm.results:
        return arm
    level, measure = float(np.mean(arm.results[f"{metric}{CHANCE}"])), split_of(metric)[1]
    units = [*arm.units, *arm.diverged]
    order = sorted(range(len(units)), key=units.__getitem__)
    ids = (*arm.trial_ids, *[""] * len(arm.diverged))
    return arm._replace(
        seeds=tuple(units[place][0] for place in order),
        trial_ids=tuple(ids[place] for place in order),
        repeats=tuple(units[place][1] for place in order) if arm.repeats else (),
        results={
            name: np.append(values, [level if split_of(name)[1] == measure else math.nan] * len(arm.diverged))[order]
            for name, values in arm.results.items()
        },
    )


def above_chance(arm: Arm, metric: str, column: str) -> np.ndarray:
    """Returns by how much a column of an arm's trials is better than chance: [trials], NaN where it is not known."""
    if f"{metric}{CHANCE}" not in arm.results:
        return np.full(len(arm.trial_ids), np.nan)
    return (arm.results[column] - arm.results[f"{metric}{CHANCE}"]) * (1 if metric_of(metric).higher_is_better else -1)


def _margin(arm: Arm, metric: str) -> float:
    margins = arm.results.get(f"{metric}{MARGIN}", np.zeros(0))
    return float(np.mean(margins)) if len(margins) else math.nan


def _in_common(arm: Arm, metric: str) -> float:
    """Returns the part of a seed's rows that other seeds have, too: all where they share a split."""
    parts = arm.results.get(f"{split_of(metric)[0]}{IN_COMMON}", np.zeros(0))
    return float(np.mean(parts)) if len(parts) and np.isfinite(parts).all() else 1.0


def _across_a_gap(heights: Sequence[np.ndarray], margins: Sequence[float]) -> float:
    """Returns the height of the best trial that failed; minus infinity where none did.

    Args:
      heights: of each arm's trials above chance [trials].
      margins: of each arm's rows.
    """
    sides = [side[np.isfinite(side)] for side in heights]
    upper = [np.quantile(side, 0.75) if len(side) else 0.0 for side in sides]
    height = min((each for each, margin in zip(upper, margins, strict=True) if each > margin), default=0.0)
    ordered = np.sort(np.concatenate(sides))
    if not height > 0:
        return -math.inf
    for place in reversed(np.flatnonzero((np.diff(ordered) >= height / 3) & (ordered[:-1] < height / 2))):
        beyond = [side[side > ordered[place]] for side in sides]
        straddles = any(len(above) and len(above) < len(side) for above, side in zip(beyond, sides, strict=True))
        if not straddles or sum(map(len, beyond)) < FEWEST_SEEDS:
            continue  # one arm is better than the other, or too few show how far sound trials lie apart
        spread = max((np.std(side, ddof=1) for side in beyond if len(side) > 1), default=0.0)
        if ordered[place + 1] - ordered[place] >= _WIDE * spread:
            return float(ordered[place])
    return -math.inf
