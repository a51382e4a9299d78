"""Looks: when a run that adds seeds until it is conclusive is judged, and how strictly.

Seeds come in batches, and all comparisons are made again after each. Who looks often finds something by chance more
often, so a look may err only in a part of the 5 % that all looks may together: as large a part as its batch is of the
most seeds there may be (alpha spending; Lan and DeMets, 1983, "Discrete sequential boundaries for clinical trials").
By the union bound all looks then err in at most 5 %, whatever they have in common and whenever the run stops, and the
intervals of all looks cover at once (repeated confidence intervals; Jennison and Turnbull, 2000, "Group sequential
methods with applications to clinical trials", 9). Within a look, p-values are adjusted for all comparisons of their
family at the look's own share, so that all looks and comparisons together keep to it, too.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, with_values
from pretrain.study.comparisons import Comparison, by_family, planned
from pretrain.study.power import fewest_seeds, smallest_p
from pretrain.study.statistics import LEVEL


class Look(NamedTuple):
    """One of the times at which a run may be judged."""

    number: int  # from 1
    seeds: int  # so far
    level: float  # of its intervals; p-values are judged at one less it


def looks(experiment: Experiment) -> list[Look]:
    """Returns the looks that a run may take: a single one, at 95 %, unless it adds seeds until it is conclusive."""
    if not experiment.study.until_conclusive:
        return [Look(1, experiment.seeds, LEVEL)]
    most, alpha = experiment.study.most_seeds, 1 - LEVEL
    ends = [*range(experiment.seeds, most, experiment.seeds), most]
    batches = zip([0, *ends], ends, strict=False)  # the last end begins no batch
    return [Look(number, end, 1 - alpha * (end - begin) / most) for number, (begin, end) in enumerate(batches, 1)]


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
    return any(look.seeds >= fewest_seeds(1 - look.level, n_compared) for look in taken)


def look_at(experiment: Experiment, n_seeds: int) -> Look:
    """Returns the look that a run of so many seeds has come to.

    Raises:
      ConfigError: there is none, as where the experiment was changed and not run to its end since.
    """
    taken = looks(experiment)
    if not experiment.study.until_conclusive:
        return taken[0]
    for look in taken:
        if look.seeds == n_seeds:
            return look
    remedy = f"is none of the run's looks, at {seeds_of(taken)} seeds; run its command again"
    raise ConfigError("trials.parquet: seeds", n_seeds, remedy)


def unsettled(compared: Sequence[Comparison]) -> list[Comparison]:
    """Returns the question's own comparisons that more seeds may settle, for which a run adds some."""
    own = by_family(compared)[0]
    return [
        each for each in own if each.verdict == "inconclusive" or (each.verdict == "unstable" and each.seeds_to_settle)
    ]


def n_seeds(trials: pa.Table) -> int:
    """Returns how many seeds a table of trials holds, diverged ones included."""
    return len(trials["seed"].unique())


def level(experiment: Experiment, trials: pa.Table) -> float:
    """Returns the level of a run's intervals, by how many seeds its trials have.

    Raises:
      ConfigError: the run has come to no look.
    """
    return look_at(experiment, n_seeds(trials)).level


def seeds_of(taken: Sequence[Look]) -> str:
    """Returns at how many seeds looks are taken, in words: the first three and the last."""
    ends = [str(look.seeds) for look in taken]
    return ", ".join(ends if len(ends) <= 4 else [*ends[:3], "…", ends[-1]])
