"""The table of classes: how well each arm of the headline predicts each of them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pretrain.report.listings import Listing
from pretrain.report.names import arm_name
from pretrain.study.arms import Arm

_MOST_ROWS = 1000


def listing(arms: Sequence[Arm], classes: pa.Table) -> Listing | None:
    """Returns recall and precision of each class by arm, mean over trials; None where the trials of an arm lack.

    Args:
      arms: of the headline.
      classes: the run's table of classes.
    """
    by_trial: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in classes.to_pylist():
        values = (np.nan if row[name] is None else row[name] for name in ("support", "recall", "precision"))
        by_trial.setdefault(row["trial_id"], {})[row["class"]] = tuple(values)
    if not all(trial in by_trial for arm in arms for trial in arm.trial_ids):
        return None
    rows = []
    for name in classes["class"].unique().to_pylist():
        for arm in arms:
            measured = np.array([by_trial[trial][name] for trial in arm.trial_ids if name in by_trial[trial]])
            if len(measured):
                support, recall, precision = measured.T
                rows.append((name, arm_name(arm.point), _count(support), _mean(recall), _mean(precision)))
    note = f" Of {len(rows):,} rows, these are the first." if len(rows) > _MOST_ROWS else ""
    caption = (
        "Test rows of each class, mean over seeds: recall is the part of them that is predicted as such, precision the "
        f"part of those predicted as such that are; ± the standard deviation over seeds.{note}"
    )
    headings = ("class", "arm", "test rows", "recall", "precision")
    return Listing("classes", caption, headings, rows[:_MOST_ROWS], "llrrr")


def _count(support: np.ndarray) -> str:
    low, high = int(support.min()), int(support.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _mean(values: np.ndarray) -> str:
    values = values[~np.isnan(values)]
    if not len(values):
        return "–"
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")
