"""Looks: when a run that adds seeds until it is conclusive is judged, and how strictly.

Seeds come in batches, and comparisons that are open are made again after each. Who looks often finds something by
chance more often, so a look may err only in a part of the 5 % that all looks may together, which grows as those of
O'Brien and Fleming (1979) do (alpha spending; Lan and DeMets, 1983, "Discrete sequential boundaries for clinical
trials"): early looks take overwhelming evidence only, and the last one nearly all of the 5 %. A comparison that a look
settles keeps that look's verdict and interval, and its arms take no more seeds unless another needs them. It counts on
for the claims that were not made of it: of what is left, the true ones would be selected otherwise, and err more often
than their share. The intervals of all looks cover at once (Jennison and Turnbull, 2000, "Group sequential methods with
applications to clinical trials", 9).
"""

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from scipy import special

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, with_values
from pretrain.data.findings import MISSING, Finding
from pretrain.study.arms import key, without_idle
from pretrain.study.comparisons import Comparison, by_family, planned, points_of
from pretrain.study.power import fewest_seeds, smallest_p
from pretrain.study.statistics import LEVEL


class Look(NamedTuple):
    """One of the times at which a run may be judged."""

    number: int  # from 1
    seeds: int  # so far
    level: float  # of its intervals; p-values are judged at one less it

    def can_conclude(self, n_compared: int) -> bool:
        """Returns whether one of so many comparisons can be significant, by counts alone."""
        return self.level < 1 and self.seeds >= fewest_seeds(1 - self.level, n_compared)


def looks(experiment: Experiment) -> list[Look]:
    """Returns the looks that a run may take: a single one, at 95 %, unless it adds seeds until it is conclusive."""
    if not experiment.study.until_conclusive:
        return [Look(1, experiment.seeds, LEVEL)]
    most = experiment.study.most_seeds
    return looks_at([*range(experiment.seeds, most, experiment.seeds), most])


def looks_at(ends: Sequence[int]) -> list[Look]:
    """Returns the looks that are taken at these numbers of seeds, ascending."""
    spent = [0.0, *(_spent(end / ends[-1]) for end in ends)]
    return [
        Look(number, end, 1 - (until - before))
        for number, (end, before, until) in enumerate(zip(ends, spent, spent[1:], strict=False), 1)
    ]


def _spent(part: float) -> float:
    """Returns how often looks at up to a part of the most seeds may err."""
    return 2 * float(special.ndtr(special.ndtri((1 - LEVEL) / 2) / math.sqrt(part)))


def check(experiment: Experiment) -> None:
    """Checks that a run which adds seeds until it is conclusive can be, with all comparisons of its question.

    Raises:
      ConfigError: at none of its looks there are enough seeds for a p-value that is small enough.
    """
    if not experiment.study.until_conclusive:
        return
    compared = planned((point.values for point in experiment.points), experiment.study)
    n_compared = max(1, sum(not each.is_exploratory for each in compared))
    taken, most = looks(experiment), experiment.study.most_seeds
    if _can_conclude(taken, n_compared):
        return
    enough = next(
        n
        for n in itertools.count(most)
        if _can_conclude(looks(with_values(experiment, {"study.most_seeds": n})), n_compared)
    )
    last = taken[-1]
    best = min(1.0, n_compared * smallest_p(last.seeds))
    among = f" among {n_compared} comparisons" if n_compared > 1 else ""
    remedy = (
        f"can never be conclusive: {counted(last.seeds, 'seed')} give p = {best:.2g} at best{among}, and "
        f"the last look takes at most {1 - last.level:.2g}; raise it to {enough}"
    )
    raise ConfigError("study.most_seeds", most, remedy)


def _can_conclude(taken: list[Look], n_compared: int) -> bool:
    return any(look.can_conclude(n_compared) for look in taken)


def look_at(experiment: Experiment, n_seeds: int, findings: Iterable[Finding] = ()) -> Look:
    """Returns the look that a run of so many seeds has come to.

    Args:
      n_seeds: the last seed and one, so that seeds that are missing in all arms count.
      findings: of the run; where trials are missing, the look is the first of at least so many seeds.

    Raises:
      ConfigError: there is none, as where the experiment was changed and not run to its end since.
    """
    taken = looks(experiment)
    if not experiment.study.until_conclusive:
        return taken[0]
    if any(finding.kind == MISSING for finding in findings):
        return next((look for look in taken if look.seeds >= n_seeds), taken[-1])
    for look in taken:
        if look.seeds == n_seeds:
            return look
    remedy = f"is none of the run's looks, at {seeds_of(taken)} seeds; run its command again"
    raise ConfigError("trials.parquet: seeds", n_seeds, remedy)


def is_open(comparison: Comparison) -> bool:
    """Returns whether more seeds may settle a comparison, or what it is on new rows; else it keeps its look's verdict.

    A verdict that is certain of these rows, and of new ones only with more rows, is settled.
    """
    more = comparison.seeds_to_settle is not None
    if comparison.verdict == "unstable":
        return more or not comparison.n
    of_new_rows = comparison.holds_for_new_rows is False and more and not comparison.rows_to_settle
    return comparison.verdict == "inconclusive" or of_new_rows


def unsettled(compared: Sequence[Comparison]) -> list[Comparison]:
    """Returns the question's own comparisons that are open, for which a run adds seeds."""
    return [each for each in by_family(compared)[0] if is_open(each)]


def needed(compared: Sequence[Comparison]) -> set[Hashable]:
    """Returns the arms that take more seeds, as ``arm_of`` gives them: those of the question's open comparisons."""
    return {key(without_idle(point)) for each in in_need_of_seeds(compared) for point in points_of(each)}


def arm_of(point: Mapping[str, object], experiment: Experiment) -> Hashable:
    """Returns the arm that a trial at a point of a sweep belongs to."""
    return key(without_idle({name: value for name, value in point.items() if name not in experiment.study.tune}))


def in_need_of_seeds(compared: Sequence[Comparison]) -> list[Comparison]:
    """Returns those of ``unsettled`` for which a run adds seeds: not those that only more test rows would settle."""
    return [comparison for comparison in unsettled(compared) if not comparison.rows_to_settle]


def n_seeds(trials: pa.Table) -> int:
    """Returns how many seeds a table of trials holds, diverged ones included."""
    return len(trials["seed"].unique())


def taken(experiment: Experiment, trials: pa.Table, findings: Iterable[Finding] = ()) -> list[Look]:
    """Returns the looks of a run so far, by how many seeds its trials have, as ``look_at`` finds the last.

    Raises:
      ConfigError: the run has come to no look.
    """
    return looks(experiment)[: look_at(experiment, 1 + max(trials["seed"].to_pylist()), findings).number]


def seeds_of(taken: Sequence[Look]) -> str:
    """Returns at how many seeds looks are taken, in words: the first three and the last."""
    ends = [str(look.seeds) for look in taken]
    return ", ".join(ends if len(ends) <= 4 else [*ends[:3], "…", ends[-1]])
