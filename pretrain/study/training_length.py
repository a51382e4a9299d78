"""Whether arms were trained to their end: the slope of their validation loss over the last of their updates.

A slope is taken seed by seed, by least squares over the measurements of the last fifth of updates. Where these are
fewer than three, as with four epochs, it is taken between the last two, if these lie in the last half of training. It
counts as the change that a fifth of the updates makes at this pace, relative to the loss. By Student's interval over
seeds an arm improves where the loss certainly falls, and by 1 % or more; it has levelled off where the loss certainly
falls by no 1 %. What stops early, as most of an arm's trials may, has levelled off.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.study import statistics
from pretrain.study.arms import Arm, by_seed, cut
from pretrain.study.statistics import Estimate

METRIC = "validation_loss"
_PART = 0.2  # of the updates
_FEWEST = 3  # measurements in it
_EARLIEST = 0.5  # place of the last but one measurement, where there are fewer
_MATTERS = 0.01  # of the loss

Trend = Literal["improves", "level", "rises", "open", "unmeasured"]
Curve = tuple[np.ndarray, np.ndarray]  # updates after which a trial was measured, ascending, and values


class Length(NamedTuple):
    """How long an arm was trained, and what its validation loss did in the end."""

    updates: int  # of most of its trials
    trend: Trend
    change: Estimate | None  # of the loss by a fifth of the updates, relative to it; None where it is not measured
    since: int | None  # update of the first measurement that it is taken from
    n_stopped: int  # trials that stopped early


def measured(curves: pa.Table, metric: str) -> dict[str, Curve]:
    """Returns the curve of a metric of each fine-tuning, by trial."""
    wanted = pc.and_(pc.equal(curves["stage"], "finetune"), pc.equal(curves["metric"], metric))
    rows = curves.select(["trial_id", "step", "value"]).filter(wanted)
    trials = np.array(rows["trial_id"].cast(pa.string()).to_pylist(), object)
    steps, values = rows["step"].to_numpy(), rows["value"].to_numpy()
    order = np.lexsort((steps, trials.astype(str)))
    ends = np.flatnonzero(trials[order][1:] != trials[order][:-1]) + 1
    return {trials[rows[0]]: (steps[rows], values[rows]) for rows in np.split(order, ends) if len(rows)}


def lengths(trials: pa.Table, curves: pa.Table, found: Sequence[Arm]) -> list[Length | None]:
    """Returns how long each arm was trained; None of one that makes no updates, or of which no trial is left."""
    losses = measured(curves, METRIC)
    stopped: set[str] = set()
    if "finetune_stopped" in trials.column_names:
        stopped = set(trials.filter(pc.fill_null(trials["finetune_stopped"], False))["trial_id"].to_pylist())
    return [_length(arm, losses, stopped) for arm in found]


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


def relative_change(steps: np.ndarray, losses: np.ndarray) -> float:
    """Returns by how much a fifth of the updates changes a loss at its last pace, as a fraction of it.

    Args:
      steps: updates after which it was measured, of which ``last_measurements`` are enough.
      losses: as measured.
    """
    last = last_measurements(steps)
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


def _length(arm: Arm, losses: Mapping[str, Curve], stopped: set[str]) -> Length | None:
    known = [trial for trial in arm.trial_ids if trial in losses]
    if not known:
        return None
    made = [int(losses[trial][0][-1]) for trial in known]
    updates, n_stopped = int(np.median(made)), sum(trial in stopped for trial in known)
    if 2 * n_stopped > len(known):
        # Whose lowest loss was its first measurement was never trained.
        n_risen = sum(bool(np.argmin(losses[trial][1]) == 0) for trial in known if trial in stopped)
        return Length(updates, "rises" if 2 * n_risen > n_stopped else "level", None, None, n_stopped)
    units = zip(arm.units, arm.trial_ids, strict=True)
    kept = cut(arm, {unit for unit, trial in units if trial in losses and trial not in stopped})
    last = last_measurements(losses[kept.trial_ids[0]][0])
    if last is None:
        return Length(updates, "unmeasured", None, None, n_stopped)
    changes = np.array([relative_change(*losses[trial]) for trial in kept.trial_ids])
    change = statistics.student(by_seed(changes, kept))
    since = int(losses[kept.trial_ids[0]][0][last[0]])
    return Length(updates, trend(change), change, since, n_stopped)
