"""Whether arms were trained to their end: the slope of their validation loss over the last of their updates.

A slope is taken seed by seed, by least squares over the measurements of the last fifth of updates. Where these are
fewer than three, as with four epochs, it is taken between the last two, if these lie in the last half of training. It
counts as the change that a fifth of the updates makes at this pace, relative to the loss. By Student's interval over
seeds an arm improves where the loss certainly falls, and by 1 % or more; it has levelled off where the loss certainly
falls by no 1 %. Of an arm most of whose trials stop early it is taken from those, over the last fifth of their
measurements or the last twelve: patience may end a loss that still falls, though slowly beside its noise.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from pretrain.study import statistics
from pretrain.study.arms import Arm, by_seed, cut
from pretrain.study.curves import Curve, Curves
from pretrain.study.statistics import Estimate

METRIC = "validation_loss"
_PART = 0.2  # of the updates
_FEWEST = 3  # measurements in it
_FEWEST_STOPPED = 6  # measurements of a trial that stopped early
_USUAL_STOPPED = 12  # where there are as many, since those after the lowest are higher by selection
_EARLIEST = 0.5  # place of the last but one measurement, where there are fewer
_MATTERS = 0.01  # of the loss

Trend = Literal["improves", "level", "rises", "open", "unmeasured"]


class Length(NamedTuple):
    """The length of an arm's training, and the trend of its validation loss in the end."""

    updates: int  # of most of its trials
    trend: Trend
    change: Estimate | None  # of the loss by a fifth of the updates, relative to it; None where it is not measured
    since: int | None  # update of the first measurement that it is taken from
    n_stopped: int  # trials that stopped early


def lengths(curves: Curves, arms: Sequence[Arm]) -> list[Length | None]:
    """Returns how long each arm was trained; None of one that makes no updates, or of which no trial is left."""
    losses = curves.of(METRIC)
    return [_length(arm, losses) for arm in arms]


def last_measurements(steps: np.ndarray) -> np.ndarray | None:
    """Returns the places of the measurements that a slope is taken from; None where they are too few or too early.

    Args:
      steps: updates after which a trial was measured, the last of them its last.
    """
    total = steps[-1]
    inside = np.flatnonzero(steps >= (1 - _PART) * total)
    if len(inside) >= _FEWEST:
        return inside
    return np.arange(len(steps) - 2, len(steps)) if len(steps) > 1 and steps[-2] >= _EARLIEST * total else None


def relative_change(steps: np.ndarray, losses: np.ndarray, last: np.ndarray | None = None) -> float:
    """Returns by how much a fifth of the updates changes a loss at its last pace, as a fraction of it.

    Args:
      steps: updates after which it was measured, of which ``last_measurements`` are enough.
      losses: as measured.
      last: places of the measurements that the pace is taken from, by default ``last_measurements``.
    """
    last = last_measurements(steps) if last is None else last
    at, values = steps[last].astype(float), np.asarray(losses, float)[last]
    offsets, level = at - at.mean(), values.mean()
    slope = float(offsets @ values / (offsets @ offsets))
    return slope * _PART * float(steps[-1]) / level if level else 0.0


def trend(change: Estimate) -> Trend:
    """Returns the trend that a change of the loss, relative to it, shows."""
    if change.high < 0 and change.mean <= -_MATTERS:
        return "improves"
    if change.low > 0 and change.mean >= _MATTERS:
        return "rises"
    return "level" if change.low > -_MATTERS else "open"


def _length(arm: Arm, losses: Mapping[str, Curve]) -> Length | None:
    if not losses:
        return None
    arm = cut(arm, {unit for unit, trial in zip(arm.units, arm.trial_ids, strict=True) if trial in losses})
    if not arm.trial_ids:
        return None
    updates = int(np.median([losses[trial][0][-1] for trial in arm.trial_ids]))
    stopped = arm.results.get("finetune_stopped", np.zeros(len(arm.trial_ids))) == 1
    n_stopped = int(stopped.sum())
    if 2 * n_stopped > len(stopped):
        # A trial whose first loss is its lowest was never trained.
        n_risen = sum(np.argmin(losses[arm.trial_ids[place]][1]) == 0 for place in np.flatnonzero(stopped))
        if 2 * n_risen > n_stopped:
            return Length(updates, "rises", None, None, n_stopped)
        arm = cut(arm, {unit for unit, is_stopped in zip(arm.units, stopped, strict=True) if is_stopped})
        return _stopped(arm, [losses[trial] for trial in arm.trial_ids], updates, n_stopped)
    arm = cut(arm, {unit for unit, is_stopped in zip(arm.units, stopped, strict=True) if not is_stopped})
    steps = losses[arm.trial_ids[0]][0]
    last = last_measurements(steps)
    if last is None:
        return Length(updates, "unmeasured", None, None, n_stopped)
    changes = np.array([relative_change(*losses[trial]) for trial in arm.trial_ids])
    change = statistics.student(by_seed(changes, arm))
    return Length(updates, trend(change), change, int(steps[last[0]]), n_stopped)


def _stopped(arm: Arm, losses: Sequence[Curve], updates: int, n_stopped: int) -> Length:
    """Returns the length of an arm of trials that stopped early, with their curves; what rises is level by then."""
    parts = [np.arange(len(steps))[-max(_USUAL_STOPPED, math.ceil(_PART * len(steps))) :] for steps, _ in losses]
    if min(map(len, parts)) < _FEWEST_STOPPED:
        return Length(updates, "unmeasured", None, None, n_stopped)
    changes = [relative_change(*curve, part) for curve, part in zip(losses, parts, strict=True)]
    change = statistics.student(by_seed(np.array(changes), arm))
    found, since = (
        trend(change),
        int(np.median([steps[part[0]] for (steps, _), part in zip(losses, parts, strict=True)])),
    )
    return Length(updates, "level" if found == "rises" else found, change, since, n_stopped)
