"""The table of classes: how well the headline's two arms predict each of them, side by side."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pretrain.report.listings import Listing
from pretrain.report.names import arm_name
from pretrain.study.arms import Arm

_MOST_ROWS = 1000
_MEASURES = ("recall", "precision", "F1")


def listing(arms: Sequence[Arm], classes: pa.Table) -> Listing | None:
    """Returns recall, precision and F1 of each class by arm, and the difference; None where an arm's trials lack."""
    measured = [_of_arm(arm, classes) for arm in arms]
    if not arms or not all(measured):
        return None
    names = [name for name in classes["class"].unique().to_pylist() if name in measured[0]]
    rows = []
    for name in names[:_MOST_ROWS]:
        sides = [each[name] for each in measured if each and name in each]
        cells = [_count(np.concatenate([side[0] for side in sides]))]
        for place in range(1, 1 + len(_MEASURES)):
            means = [_mean(side[place]) for side in sides]
            cells += [f"{mean:.3f}" if np.isfinite(mean) else "–" for mean in means]
            if len(arms) > 1:
                gained = means[0] - means[-1] if len(means) > 1 else np.nan
                cells.append(f"{gained:+.3f}".replace("-", "−") if np.isfinite(gained) else "–")
        rows.append((name, *cells))
    several = len(arms) > 1
    sides = ("A", "B", "A − B") if several else ("",)
    headings = ("class", "test rows", *(f"{measure} {side}".strip() for measure in _MEASURES for side in sides))
    called = " and ".join(f"{side} is {arm_name(arm.point)}" for side, arm in zip("AB", arms, strict=False))
    whose = called if several else f"The arm is {arm_name(arms[0].point)}"
    note = f" Of {len(names):,} classes, these are the first." if len(names) > _MOST_ROWS else ""
    caption = (
        f"Test rows of each class, mean over trials: {whose}. Recall is the part of them that is predicted as such, "
        f"precision the part of those predicted as such that are, and F1 their harmonic mean.{note}"
    )
    return Listing("classes", caption, headings, rows, "l" + "r" * (len(headings) - 1))


def _of_arm(arm: Arm, classes: pa.Table) -> dict[str, np.ndarray] | None:
    """Returns support, recall, precision and F1 [4, trials] by class; None where a trial lacks."""
    by_class: dict[str, list[tuple[float, ...]]] = {}
    seen = set()
    wanted = set(arm.trial_ids)
    for row in classes.to_pylist():
        if row["trial_id"] in wanted:
            seen.add(row["trial_id"])
            support, recall, precision = (
                np.nan if row[name] is None else row[name] for name in ("support", "recall", "precision")
            )
            by_class.setdefault(row["class"], []).append((support, recall, precision, f1(recall, precision)))
    return {name: np.array(values).T for name, values in by_class.items()} if wanted and seen == wanted else None


def f1(recall: float, precision: float) -> float:
    """Returns the harmonic mean of recall and precision: 0 where one of them has no value, NaN where both have none."""
    if np.isnan(recall) or np.isnan(precision):
        return np.nan if np.isnan(recall) and np.isnan(precision) else 0.0
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _count(support: np.ndarray) -> str:
    low, high = int(support.min()), int(support.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
