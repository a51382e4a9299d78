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
    low, high = curve.ends
    sure = ((low > 0) | (high < 0)) & (curve.n >= FEWEST_SEEDS)
    for_new = ", for new rows" if _is_for_new_rows(curve) else ""
    where = setting(curve.shared)
    parts = [f"Gain of {change} against labels{f' {where}' if where else ''}:"]
    if sure.any():
        band = f"{percent(curve.level)} band over all budgets{for_new}"
        parts.append(f"it differs from zero at {_budgets(curve, sure)} ({band});")
    else:
        parts.append(f"at no budget does the band over all budgets{for_new} leave zero out;")
    parts.append(f"over all budgets it is {difference(curve.area, curve.metric)} on average{_these(curve)}.")
    parts.append(_crossing(curve))
    for place in dict.fromkeys((0, len(curve.labels) // 2)):
        parts.append(_worth(curve, place))
    return " ".join(filter(None, parts))


def _is_for_new_rows(curve: BudgetCurve) -> bool:
    return bool(np.isfinite(curve.new_low).all())


def _these(curve: BudgetCurve) -> str:
    """Returns the rows that figures over seeds are of, where others are for new rows."""
    return " on these rows" if _is_for_new_rows(curve) else ""


def _crossing(curve: BudgetCurve) -> str:
    """Returns where the gain changes its sign, or that it may, in a sentence; nothing where no sign is certain."""
    if curve.crossover:
        mean, low, high = (f"{end:,.0f}" for end in curve.crossover)
        return f"It changes its sign at about {mean} labels [{low}, {high}]{_these(curve)}."
    if not curve.signs.any() or curve.signs.all():
        return ""
    is_certain = curve.signs != 0
    last = int(np.flatnonzero(is_certain)[-1])
    where = (
        f"up to {curve.labels[last]:,} labels" if is_certain[: last + 1].all() else f"at {_budgets(curve, is_certain)}"
    )
    return f"The gain is certain {where}{_these(curve)}, by Bonferroni's t; whether it changes its sign is open."


def _worth(curve: BudgetCurve, place: int) -> str:
    """Returns the labels that a budget is worth without the treatment, and its utility, in a sentence."""
    labels, worth, utility = f"{curve.labels[place]:,}", curve.equivalents[place], curve.utility[place]
    if worth.low == 0 and np.isinf(worth.high):
        return f"How many labels without it {labels} with it are worth is open."
    ends = ", ".join(_labels(end, curve) for end in worth[1:])
    said = f"With it, {labels} labels are worth {_labels(worth.mean, curve)} without [{ends}]"
    if not np.isfinite(utility.mean) or worth.mean == 0:
        return f"{said}."
    low, high = (f"{end:+.2g}" if np.isfinite(end) and end > -1 else "open" for end in utility[1:])
    return f"{said}: utility {utility.mean:+.2g} [{low}, {high}]."


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


def _labels(labels: float, curve: BudgetCurve) -> str:
    if np.isinf(labels):
        return f"more than {curve.labels[-1]:,}"
    return f"{labels:,.0f}" if labels else f"fewer than {curve.labels[0]:,}"
