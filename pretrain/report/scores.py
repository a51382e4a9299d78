"""The figure that answers a question: the score of every arm, and below it the gain, by label budget."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.report.drawing import COLOURS, INK, Drawing, canvas, legend, style, title, written
from pretrain.report.names import arm_name, capital, comparison_name, metric_name, percent, scale_of
from pretrain.report.phrases import interval
from pretrain.study import statistics
from pretrain.study.answer import Answer
from pretrain.study.arms import Arm, by_seed, key, without_idle
from pretrain.study.budgets import LABELS
from pretrain.study.comparisons import points_of

_MOST_ARMS = 6  # legible in a figure


def drawing(answer: Answer) -> Drawing | None:
    """Returns scores and gains by label budget; None of a single budget untuned, or of too much for a figure."""
    groups = _by_arm(answer)
    budgets = sorted({arm.point.get(LABELS, 0) for group in groups for arm in group})
    is_asked = answer.comparisons and (answer.tuned or len(budgets) > 1)
    if not is_asked or len(groups) > _MOST_ARMS:
        return None
    measure, (scale, unit) = metric_name(split_of(answer.metric)[1]), scale_of(answer.metric)
    figure, (upper, lower) = canvas(4.6, rows=2, sharey=False)
    judged = {key(point) for point in _judged(answer)}
    are_judged = [any(key(without_idle(arm.point)) in judged for arm in group) for group in groups]
    for index, (group, is_judged) in enumerate(zip(groups, are_judged, strict=True)):
        line = style(index) if is_judged else {"color": INK, "linestyle": ":"}  # a line to look at, judged by nothing
        x = [_place(arm.point.get(LABELS, 0), budgets, index, len(groups)) for arm in group]
        means = [_mean(arm, answer) for arm in group]
        upper.plot(x, [each.mean for each in means], marker="o", markersize=5, label=_name(group[0]), **line)
        for place, each in zip(x, means, strict=True):
            upper.plot([place] * 2, _ends(each), color=line["color"], linewidth=1.4)
    for index, compared in enumerate(_curves(answer)):
        x = [_place(each.shared.get(LABELS, 0), budgets, index, 1) for each in compared]
        colour = COLOURS[index % len(COLOURS)]
        lower.plot(x, [scale * each.difference.mean for each in compared], marker="o", markersize=5, color=colour)
        for place, each in zip(x, compared, strict=True):
            lower.plot([place] * 2, scale * np.array(_ends(each.shown)), color=colour, linewidth=2.2)
    lower.axhline(0, color=INK, linewidth=0.8)
    upper.set_ylabel(measure)
    lower.set(ylabel=f"difference ({unit})", xlabel="labels" if any(budgets) else "")
    for axes in (upper, lower):
        axes.set_xlim(-0.5, len(budgets) - 0.5)
        axes.set_xticks(range(len(budgets)), [f"{labels:,}" if labels else "" for labels in budgets])
    title(figure, f"{capital(measure)} of every arm, and the difference below: {percent(answer.level)} intervals")
    legend(figure, upper)
    for_new = ", for new rows" if any(each.new_rows for each in answer.comparisons) else ""
    caption = (
        f"{capital(measure)} on test rows, mean over seeds with its interval, and below the difference of the two arms "
        f"seed by seed{for_new}: certain where its interval leaves zero out. "
        f"{'' if all(are_judged) else 'A dotted line is judged by nothing.'}"
    )
    said = "; ".join(f"{comparison_name(each)} {interval(each)}" for each in answer.comparisons)
    return Drawing("answer", figure, caption.strip(), f"{capital(measure)} by arm and number of labels. {said}")


def _mean(arm: Arm, answer: Answer) -> statistics.Estimate:
    bounds = metric_of(answer.metric)
    found = statistics.estimate(by_seed(arm.results[answer.metric], arm), answer.level)
    return found.within(bounds.low, bounds.high)


def _by_arm(answer: Answer) -> list[list[Arm]]:
    """Returns arms that differ in labels only together, by rising labels."""
    groups: dict[Hashable, list[Arm]] = {}
    for arm in answer.arms:
        if arm.trial_ids:
            groups.setdefault(key(_unlabelled(arm.point)), []).append(arm)
    return [sorted(group, key=lambda arm: arm.point.get(LABELS, 0)) for group in groups.values()]


def _curves(answer: Answer) -> list[list[Any]]:
    """Returns comparisons that differ in labels only together, by rising labels."""
    groups: dict[Hashable, list[Any]] = {}
    for each in answer.comparisons:
        groups.setdefault(key({**_unlabelled(each.shared), "": (each.treatment, each.baseline)}), []).append(each)
    return [sorted(group, key=lambda each: each.shared.get(LABELS, 0)) for group in groups.values()]


def _judged(answer: Answer) -> Iterator[Mapping[str, Any]]:
    """Yields the points of arms that are compared."""
    for each in answer.comparisons:
        yield from map(without_idle, points_of(each))


def _unlabelled(point: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in without_idle(point).items() if name != LABELS}


def _place(labels: int, budgets: list[int], index: int, n: int) -> float:
    """Returns where a budget is drawn; arms lie side by side, so that no interval covers another."""
    return budgets.index(labels) + 0.12 * (index - (n - 1) / 2)


def _name(arm: Arm) -> str:
    return written(arm_name(_unlabelled(arm.point)))


def _ends(estimate: statistics.Estimate) -> list[float]:
    ends = (estimate.low, estimate.high)
    return list(ends) if np.isfinite(ends).all() else [np.nan] * 2
