"""Gains over label budgets and epochs of pretraining, in sentences."""

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.metrics import metric_of, split_of
from pretrain.report.names import (
    brief,
    capital,
    difference,
    listed,
    metric_name,
    percent,
    setting,
    treatment_of,
)
from pretrain.study.budgets import BudgetCurve
from pretrain.study.epochs import EpochCurve
from pretrain.study.statistics import FEWEST_SEEDS

_MOST_BUDGETS = 6  # that a sentence lists


def budget(curve: BudgetCurve) -> str:
    """Returns the gain over many budgets, in a few sentences."""
    change = treatment_of(curve)
    sure = ((curve.low > 0) | (curve.high < 0)) & (curve.n >= FEWEST_SEEDS)
    where = setting(curve.shared)
    parts = [f"Gain of {change} against labels{f' {where}' if where else ''}:"]
    if sure.any():
        band = f"{percent(curve.level)} band over all budgets"
        parts.append(f"it differs from zero at {_budgets(curve, sure)} ({band});")
    else:
        parts.append("at no budget does the band over all budgets leave zero out;")
    parts.append(f"over all budgets it is {difference(curve.area, curve.metric)} on average.")
    if curve.crossover and sure.any():  # else noise makes a sign change anywhere
        low, high = (f"{end:,.0f}" for end in curve.crossover[1:])
        parts.append(
            f"It changes its sign at about {curve.crossover.mean:,.0f} labels [{low}, {high}] "
            f"(so do {curve.crossing:.0%} of bootstrap samples)."
        )
    middle = len(curve.labels) // 2
    for place in dict.fromkeys((0, middle)):
        worth = curve.equivalents[place]
        parts.append(
            f"With it, {curve.labels[place]:,} labels are worth {_worth(worth.mean, curve)} without "
            f"[{_worth(worth.low, curve)}, {_worth(worth.high, curve)}]."
        )
    return " ".join(parts)


def epochs(curve: EpochCurve, level: float) -> str:
    """Returns whether the error of pretraining would have chosen its epochs well, in a sentence."""
    where = setting(curve.setting)
    by_error, by_validation = (_usual(chosen) for chosen in (curve.by_error, curve.by_validation))
    start = f"{capital(where)}, choosing" if where else "Choosing"
    change, n = curve.change, counted(curve.seeds, "seed")
    is_sure = curve.seeds >= FEWEST_SEEDS and curve.p_value <= 1 - level + 1e-12
    if not is_sure or change.low <= 0 <= change.high:
        judged = "which is better is not certain"
    else:
        is_better = (change.mean > 0) is metric_of(curve.metric).higher_is_better
        judged = f"the former is {'better' if is_better else 'worse'}"
    name = metric_name(split_of(curve.metric)[1])
    chosen = f"by {curve.error} takes {by_error}, by validation {name} {by_validation}"
    return f"{start} {brief(curve.field)} {chosen}; {judged} ({difference(change, curve.metric)}, {n})."


def _usual(chosen: np.ndarray) -> str:
    """Returns the choice of most seeds, and their number where not all agree."""
    values, counts = np.unique(chosen, return_counts=True)
    most = int(np.argmax(counts))
    return f"{values[most]}" + (f" (in {counts[most]} of {len(chosen)} seeds)" if len(values) > 1 else "")


def _budgets(curve: BudgetCurve, sure: np.ndarray) -> str:
    """Returns the budgets at which a gain is certain, all of them or how many."""
    budgets = [f"{labels:,}" for labels in curve.labels[sure]]
    if len(budgets) <= _MOST_BUDGETS:
        return f"{listed(budgets)} labels"
    return f"{len(budgets)} of {len(curve.labels)} budgets, from {budgets[0]} to {budgets[-1]} labels"


def _worth(labels: float, curve: BudgetCurve) -> str:
    if np.isinf(labels):
        return f"more than {curve.labels[-1]:,}"
    return f"{labels:,.0f}" if labels else f"less than {curve.labels[0]:,}"
