"""Pretraining watched, whatever it minimises: its errors before the first update, at the end and at the best."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.metrics import BEFORE, PRETRAINING_BEST
from pretrain.study.arms import Arm
from pretrain.study.curves import Curve, Curves

_HELD_OUT = ("loss", "mse")  # metrics by which methods are measured on validation rows, the first that is there
_UNKNOWN = (np.nan,) * len(BEFORE)
_FIRST, _LAST = 10, 0.1  # batches that show the noise of one; share of the updates whose errors are those at the end
_FALLEN = 0.9  # of the first error, below which there is learning, whatever the noise
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
    before_noise: np.ndarray  # standard error of that
    trained: np.ndarray  # on training rows, at the end
    last: np.ndarray  # on validation rows, at the end
    best: np.ndarray  # the lowest of them
    best_update: np.ndarray  # after which it was measured
    updates: np.ndarray  # in all
    keeps_best: np.ndarray  # whether the parameters are those at the lowest error

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
        """What became of each trial's stage: ``learns``, ``did not train``, ``overfitted``."""
        kept, noise = np.where(self.keeps_best, self.best, self.last), self.noise
        noise = np.where(self.is_measured, self.before_noise, noise)
        flat = (kept > self.start - 2 * noise) & (kept > _FALLEN * self.start)
        over = ~self.keeps_best & (self.last > _OVERFITTED * self.best) & (self.trained < _FAR * self.last)
        states = np.select([flat, over], ["did not train", "overfitted"], "learns")
        return states.tolist()


def before(stages: pa.Table | None, *keys: str) -> dict[tuple[str, ...], tuple[float, ...]]:
    """Returns errors before the first update, as ``BEFORE``, by columns of a table of stages; nothing of an old one."""
    if stages is None or not set(BEFORE) <= set(stages.column_names):
        return {}
    errors = np.stack([stages[name].cast(pa.float64()).to_numpy() for name in BEFORE], axis=1).tolist()
    is_measured = stages[BEFORE[1]].is_valid().to_pylist()
    named = zip(*(stages[name].to_pylist() for name in keys), strict=True)
    return {key: tuple(each) for key, each, there in zip(named, errors, is_measured, strict=True) if there}


def watched(curves: Curves, arms: Sequence[Arm], stages: pa.Table | None = None) -> Iterator[Watched]:
    """Yields the stages of each arm's pretraining that make updates, where both kinds of rows were measured.

    Args:
      curves: of the run.
      arms: of the run.
      stages: the run's table of stages, with errors before the first update.
    """
    known = before(stages, "trial_id", "stage")
    for arm in arms:
        for stage in (stage for stage in curves.stages if stage.startswith("pretrain/")):
            for metric in _HELD_OUT:
                training, held_out = curves.of(metric, stage), curves.of(f"validation_{metric}", stage)
                trials = [trial for trial in arm.trial_ids if trial in training and trial in held_out]
                trials = [trial for trial in trials if len(training[trial][1]) > 1]  # others are in closed form
                if trials:
                    start = [known.get((trial, stage), _UNKNOWN) for trial in trials]
                    errors = np.array([_errors(training[trial], held_out[trial]) for trial in trials])
                    errors = np.concatenate([errors[:, :2], start, errors[:, 2:]], axis=1)
                    kept = dict(zip(arm.trial_ids, arm.results.get(PRETRAINING_BEST, ()), strict=False))
                    keeps_best = np.array([kept.get(trial, np.nan) >= 0 for trial in trials])
                    yield Watched(arm, stage, metric, tuple(trials), *[*errors.T, keeps_best])
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
