"""Pretraining watched, whatever it minimises: its errors before the first update, at the end and at the best; ranks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.metrics import BEFORE, PRETRAINING_BEST, RANKS
from pretrain.study.arms import Arm
from pretrain.study.curves import Curve, Curves
from pretrain.study.levels import Reached, reached

_HELD_OUT = ("loss", "mse")  # metrics by which methods are measured on validation rows, the first that is there
_MEASURED = (*BEFORE, *RANKS)
_UNKNOWN = (np.nan,) * len(_MEASURED)
_FIRST, _LAST = 10, 0.1  # batches that show the noise of one; share of the updates whose errors are those at the end
_FALLEN = 0.9  # of the first error, below which there is learning, whatever the noise
_LOW_RANK = 1 / 3  # of the untrained encoder's effective rank, below which codes have collapsed
_OVERFITTED, _FAR = 1.05, 0.8  # times the lowest error, at the end; times it, the error on training rows


class Watched(NamedTuple):
    """Errors of one stage of an arm's pretraining, by trial [n]."""

    arm: Arm
    stage: str
    metric: str
    trial_ids: tuple[str, ...]
    first: np.ndarray  # of the first batch, before any update
    noise: np.ndarray  # standard deviation of a batch's error
    before_training: np.ndarray  # on training rows, before any update; NaN where it was not measured, as the next two
    before_held_out: np.ndarray  # on validation rows
    before_noise: np.ndarray  # standard error of that; 0 where it is not known
    trained: np.ndarray  # on training rows, at the end
    last: np.ndarray  # on validation rows, at the end
    best: np.ndarray  # the lowest of them
    best_update: np.ndarray  # after which it was measured
    updates: np.ndarray  # in all
    keeps_best: np.ndarray  # whether the parameters are those at the lowest error
    rank: np.ndarray  # effective, of codes of validation rows; NaN where it was not measured, as the next
    untrained_rank: np.ndarray  # of the same encoder untrained
    reached: Reached | None = None  # of a method that has a level at which embeddings are alike

    @property
    def is_measured(self) -> np.ndarray:
        """Whether the error on validation rows before the first update was measured."""
        return np.isfinite(self.before_held_out)

    @property
    def start(self) -> np.ndarray:
        """The error to fall below: on validation rows before the first update; of the first batch where unmeasured."""
        return np.where(self.is_measured, self.before_held_out, self.first)

    @property
    def states(self) -> list[str]:
        """What became of each trial's stage, the first that is true.

        ``at chance`` or ``collapsed``, of embeddings that are alike; ``did not train``, ``low rank``, ``overfitted``;
        ``learns``.
        """
        kept = np.where(self.keeps_best, self.best, self.last)
        # Of an error that compares rows the standard error is not known: it is 0, row by row.
        noise = np.where(self.before_noise > 0, self.before_noise, self.noise)
        flat = (kept > self.start - 2 * noise) & (kept > _FALLEN * self.start)
        over = ~self.keeps_best & (self.last > _OVERFITTED * self.best) & (self.trained < _FAR * self.last)
        low = self.rank < _LOW_RANK * self.untrained_rank
        conditions, outcomes = [flat, low, over], ["did not train", "low rank", "overfitted"]
        if self.reached:
            conditions, outcomes = [self.reached.is_there, *conditions], [self.reached.level.outcome, *outcomes]
        return np.select(conditions, outcomes, "learns").tolist()


def measured(stages: pa.Table | None, *keys: str) -> dict[tuple[str, ...], tuple[float, ...]]:
    """Returns errors before the first update and ranks, as ``BEFORE`` and ``RANKS``, by columns of a table of stages.

    A column that an older table lacks is NaN; rows without any of them are left out.
    """
    if stages is None:
        return {}
    none = pa.nulls(len(stages), pa.float64())
    columns = [stages[name] if name in stages.column_names else none for name in _MEASURED]
    values = np.stack([column.cast(pa.float64()).to_numpy(zero_copy_only=False) for column in columns], axis=1).tolist()
    is_there = np.any([column.is_valid().to_numpy(zero_copy_only=False) for column in columns], axis=0)
    named = zip(*(stages[name].to_pylist() for name in keys), strict=True)
    return {key: tuple(each) for key, each, there in zip(named, values, is_there, strict=True) if there}


def watched(curves: Curves, arms: Sequence[Arm], stages: pa.Table | None = None) -> Iterator[Watched]:
    """Yields the stages of each arm's pretraining that make updates, where both kinds of rows were measured."""
    known = measured(stages, "trial_id", "stage")
    for arm in arms:
        for stage in (stage for stage in curves.stages if stage.startswith("pretrain/")):
            for metric in _HELD_OUT:
                training, held_out = curves.of(metric, stage), curves.of(f"validation_{metric}", stage)
                trials = [trial for trial in arm.trial_ids if trial in training and trial in held_out]
                trials = [trial for trial in trials if len(training[trial][1]) > 1]  # others are in closed form
                if trials:
                    found = np.array([known.get((trial, stage), _UNKNOWN) for trial in trials])
                    start, ranks = found[:, : len(BEFORE)], found[:, len(BEFORE) :]
                    errors = np.array([_errors(training[trial], held_out[trial]) for trial in trials])
                    errors = np.concatenate([errors[:, :2], start, errors[:, 2:]], axis=1)
                    kept = dict(zip(arm.trial_ids, arm.results.get(PRETRAINING_BEST, ()), strict=False))
                    keeps_best = np.array([kept.get(trial, np.nan) >= 0 for trial in trials])
                    *_, best_updates, updates = errors.T
                    level = reached(curves, stage, trials, np.where(keeps_best, best_updates, updates))
                    values = [*errors.T, keeps_best, *ranks.T]
                    yield Watched(arm, stage, metric, tuple(trials), *values)._replace(reached=level)
                    break


def last_errors(stages: Iterable[Watched]) -> dict[str, float]:
    """Returns the error on validation rows at the end of the last stage of pretraining, by trial."""
    return {trial: error for each in stages for trial, error in zip(each.trial_ids, each.last.tolist(), strict=True)}


def _errors(trained: Curve, measured: Curve) -> tuple[float, ...]:
    (updates, training), (measured_at, held_out) = trained, measured
    n_last = max(1, round(_LAST * len(training)))
    noise = float(np.std(np.diff(training[:_FIRST])) / np.sqrt(2))  # beside a trend
    best = int(np.argmin(held_out))
    errors = training[0], noise, float(np.mean(training[-n_last:])), held_out[-1], held_out[best]
    return *errors, measured_at[best], updates[-1]
