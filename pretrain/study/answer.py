"""What a run answers, in numbers: comparisons, label budgets, and what the gap between its corners is made of."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import StudyConfig
from pretrain.study import statistics
from pretrain.study.arms import Arm, arms, by_seed, curve_values, four_corners, trial_values
from pretrain.study.attribution import Attribution, attribute
from pretrain.study.budgets import BudgetCurve, budget_curves
from pretrain.study.comparisons import Comparison, compare
from pretrain.study.sequential import n_seeds

BATCHES = (1, 5, 20, 40)
FACTORS = ("pretraining", "freezing")
_CURVES = ("post_update_accuracy", "validation_accuracy")


class Cause(NamedTuple):
    """A metric at the two corners that the seed's comparison was between, and what their gap is made of."""

    first: float  # He, trainable
    last: float  # pretrained, frozen
    parts: Attribution


class Answer(NamedTuple):
    """All that is concluded from a run's tables."""

    arms: list[Arm]
    comparisons: list[Comparison]
    budgets: list[BudgetCurve]
    causes: dict[str, Cause]  # by metric, as in `test_accuracy` or `post_update_accuracy after batch 1`
    n_corner_seeds: int  # that all four corners have; 0 without corners
    best: Arm | None  # on validation; None where all trials diverged
    best_test: statistics.Estimate | None
    n_seeds: int  # of the run, diverged ones included
    level: float  # of all intervals


def answer(
    trials: pa.Table, curves: pa.Table, study: StudyConfig | None = None, level: float = statistics.LEVEL
) -> Answer:
    """Draws all conclusions from a run's tables of trials and curves."""
    found = arms(trials)
    compared = compare(trials, found, study or StudyConfig(), level)
    corners = four_corners(found)
    sound = [arm for arm in found if arm.trial_ids]
    best = max(sound, key=lambda arm: np.mean(trial_values(trials, arm, "validation_accuracy")), default=None)
    return Answer(
        found,
        compared,
        budget_curves(compared, level),
        _causes(trials, curves, corners, level) if corners else {},
        len(set(corners[True, True].seeds)) if corners else 0,
        best,
        statistics.estimate(by_seed(trial_values(trials, best, "test_accuracy"), best), level) if best else None,
        n_seeds(trials),
        level,
    )


def _causes(
    trials: pa.Table, curves: pa.Table, corners: dict[tuple[bool, bool], Arm], level: float
) -> dict[str, Cause]:
    values: dict[str, dict[tuple[bool, bool], np.ndarray]] = {}
    for corner, arm in corners.items():
        for metric in _CURVES:
            measured = by_seed(curve_values(curves, arm, metric, BATCHES), arm)
            for batch, column in zip(BATCHES, measured.T, strict=True):
                values.setdefault(f"{metric} after batch {batch}", {})[corner] = column
        values.setdefault("test_accuracy", {})[corner] = by_seed(trial_values(trials, arm, "test_accuracy"), arm)
    return {
        name: Cause(
            float(cells[False, False].mean()), float(cells[True, True].mean()), attribute(cells, FACTORS, level)
        )
        for name, cells in values.items()
        if not np.isnan(list(cells.values())).any()  # training may have ended before
    }
