"""One seed's two networks of each comparison, on the same test rows (McNemar, 1947)."""

from typing import NamedTuple

import numpy as np
from scipy import special

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.study.arms import arms
from pretrain.study.choice import choose
from pretrain.study.comparisons import Comparison, by_family, compare, pairs_of
from pretrain.study.results import Run
from pretrain.study.summary import compared_metric


class Pair(NamedTuple):
    """Two networks on the same rows: which predicts what the other gets wrong."""

    comparison: Comparison
    rows: int
    treated: int  # rows that the treatment's network alone gets right
    untreated: int  # and the baseline's
    p_value: float  # that so unequal counts are luck of these rows; of these two networks, and not of their training


def mcnemar(treated: int, untreated: int) -> float:
    """Returns the exact two-sided p-value of counts of rows that one network alone gets right."""
    return min(1.0, 2 * float(special.bdtr(min(treated, untreated), treated + untreated, 0.5)))


def of_seed(run: Run, seed: int, field: str = "mcnemar") -> list[Pair]:
    """Returns the networks of a seed, for each of the question's own comparisons that has the seed; its first repeat's.

    Raises:
      ConfigError: the run has no such seed in both arms, predicts no classes, or predictions are not stored in full.
    """
    study = run.experiment.study
    trials = choose(run.trials, study).trials if study.tune else run.trials
    run_arms = arms(trials)
    compared, _ = by_family(compare(run_arms, compared_metric(trials, study), study))
    jobs = {row["trial_id"]: row["stage_id"] for row in run.stages.to_pylist() if row["stage"] == "finetune"}
    found = []
    for comparison, pair in zip(compared, pairs_of(compared, run_arms), strict=True):
        if all(seed in arm.seeds for arm in pair):
            found.append((comparison, [jobs[arm.trial_ids[arm.seeds.index(seed)]] for arm in pair]))
    if not found:
        remedy = f"is no seed of both arms of a comparison; the run has {counted(len(set(trials['seed'])), 'seed')}"
        raise ConfigError(field, seed, f"{remedy}, counted from 0")
    hits = _hits(run, {job for _, pair in found for job in pair}, seed, field)
    pairs = []
    for comparison, (treated, untreated) in found:
        one, other = hits[treated], hits[untreated]
        if one.shape == other.shape:
            alone = int(np.sum(one & ~other)), int(np.sum(other & ~one))
            pairs.append(Pair(comparison, len(one), *alone, mcnemar(*alone)))
    return pairs


def _hits(run: Run, jobs: set[str], seed: int, field: str) -> dict[str, np.ndarray]:
    """Returns which test rows each of these fine-tunings gets right."""
    from pretrain.store.store import Store  # takes a second, and tables do not need it

    faults: list[str] = []
    store = Store(run.experiment.store, warn=faults.append, read_only=True)
    if missing := jobs - store.verified(jobs):
        reason = faults[0] if faults else f"the store {run.experiment.store} lacks {len(missing)} of {len(jobs)}"
        remedy = "run the run's command again, or name another store by --store"
        raise ConfigError(field, seed, f"takes predictions: {reason}; {remedy}")
    stored = {job: store.predictions(job, "test") for job in jobs}
    if any("classes" not in each for each in stored.values()):
        raise ConfigError(field, seed, "counts rows of the right class, and this run predicts no classes; leave it out")
    return {job: each["classes"] == each["targets"] for job, each in stored.items()}
