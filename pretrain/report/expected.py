"""Figures that a config's page keeps, beside those of a run: whether it was reproduced, at the digits shown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.report import names
from pretrain.study import arms as of_arms
from pretrain.study.curves import Curves


class Figure(NamedTuple):
    """A figure of a page, as ``.880 ± .003``, mean and standard deviation over trials, and the run's like it."""

    name: str
    expected: str
    found: str


def figures(expected: Mapping[str, Any], trials: pa.Table, curves: pa.Table) -> list[Figure]:
    """Returns each figure that is expected of a run, with the run's own.

    Args:
      expected: ``arms``, a list: each its ``point`` of the sweep, and by metric a text, or texts by update.
      trials: of the run.
      curves: of the run, of fine-tuning.
    """
    by_point = {of_arms.key(arm.point): arm for arm in of_arms.arms(trials)}
    read, found = Curves(curves), list[Figure]()
    for row in expected["arms"]:
        arm, whose = by_point.get(of_arms.key(row["point"])), names.arm_name(row["point"])
        for metric, texts in row.items():
            if metric == "point":
                continue
            for step, text in texts.items() if isinstance(texts, dict) else [("", texts)]:
                values: Sequence[float] | np.ndarray = ()
                if arm and step:
                    values = read.values(arm.trial_ids, metric, [int(step)])[:, 0]
                elif arm:
                    values = arm.results.get(metric, ())
                at = f" after update {step}" if step else ""
                found.append(Figure(f"{names.metric_name(metric)}{at}, {whose}", text, like(text, values)))
    return found


def like(text: str, values: Sequence[float] | np.ndarray) -> str:
    """Returns the mean of values, and its deviation where a text has one, with as many decimals as the text."""
    if not len(values):
        return "none"
    shown, numbers = text.split(" ± "), (np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan)
    return " ± ".join(_like(each, number) for each, number in zip(shown, numbers, strict=False))


def _like(text: str, number: float) -> str:
    written = f"{number:.{len(text.partition('.')[2])}f}"
    return written.removeprefix("0") if text.startswith(".") else written
