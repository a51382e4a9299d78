"""Prospects of a run before it trains: by counts alone, and by the spread of earlier trials."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import Experiment, StudyConfig
from pretrain.study import sequential
from pretrain.study.arms import arms
from pretrain.study.comparisons import by_family, compare, planned
from pretrain.study.power import fewest_seeds, smallest_seen
from pretrain.study.row_parts import Read, RowParts
from pretrain.study.sequential import Look
from pretrain.study.summary import compared_metric


class Spread(NamedTuple):
    """Deviations of earlier trials' differences within a seed, in the metric's unit."""

    least: float  # of the comparison that has the least
    most: float
    seeds: int  # that each comparison has, at least
    metric: str
    of_rows: tuple[float, float] = (0.0, 0.0)  # variance by test rows, of the same two, which no seed takes away


class Prospect(NamedTuple):
    """Effects that the comparisons of a run can show."""

    n_own: int  # comparisons of the question
    n_exploratory: int
    looks: tuple[Look, ...]
    fewest: int  # seeds at which the question's can show an effect, by count alone, were there one look
    spread: Spread | None  # None where no earlier trials are stored

    @property
    def first(self) -> Look | None:
        """The first look at which the question's own comparisons can show an effect, by count alone."""
        return next((look for look in self.looks if look.can_conclude(self.n_own)), None)

    @property
    def smallest_seen(self) -> tuple[float, float] | None:
        """The smallest effects that the last look shows with 80 % power: of the least and of the most spread."""
        last = self.looks[-1]
        if not self.spread or not self.first:
            return None
        ends = zip(self.spread[:2], self.spread.of_rows, strict=True)
        least, most = sorted(smallest_seen(last.seeds, end, last.level, self.n_own, rows) for end, rows in ends)
        return least, most


def prospect(
    experiment: Experiment,
    points: Sequence[Mapping[str, object]],
    earlier: pa.Table | None = None,
    read: Read | None = None,
) -> Prospect | None:
    """Returns the prospects of a run; None where it compares nothing.

    Args:
      points: of its trials, by dotted name.
      earlier: those of its trials that were finished before, as a run's table of trials.
      read: returns the influences of test rows on them, by which these count, too.
    """
    compared = planned(points, experiment.study)
    n_exploratory = sum(comparison.is_exploratory for comparison in compared)
    n_own = len(compared) - n_exploratory
    if not n_own:
        return None
    looks = tuple(sequential.looks(experiment))
    earlier_spread = spread(earlier, experiment.study, read) if earlier else None
    return Prospect(n_own, n_exploratory, looks, fewest_seeds(1 - looks[0].level, n_own), earlier_spread)


def spread(trials: pa.Table, study: StudyConfig, read: Read | None = None) -> Spread | None:
    """Returns how much differences between compared arms vary from seed to seed; None where no pair has two seeds."""
    metric, run = compared_metric(trials, study), arms(trials)
    pairs = [each for each in by_family(compare(run, metric, study))[0] if len(each.where_both_train) > 1]
    if not pairs:
        return None
    of_rows = [each.of_rows if each else 0.0 for each in RowParts(read=read).of(pairs, run, "comparisons")]
    deviations = [float(np.std(pair.where_both_train, ddof=1)) for pair in pairs]
    (least, few), (most, many) = (end(zip(deviations, of_rows, strict=True)) for end in (min, max))
    return Spread(least, most, min(len(pair.where_both_train) for pair in pairs), metric, (few, many))
