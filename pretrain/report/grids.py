"""Tuning of arms: a table of the values chosen, and figures of the result at every value."""

import numpy as np

from pretrain.report.drawing import COLOURS, Drawing, canvas, legend, style, title, written
from pretrain.report.listings import Listing
from pretrain.report.names import arm_name, brief, capital, metric_name, percent, short
from pretrain.study import statistics
from pretrain.study.answer import Answer

_MOST_ARMS = 8  # of a figure


def listing(answer: Answer) -> Listing:
    """Returns which values each arm chose, and how often."""
    rows = []
    for arm in answer.tuned:
        for field in arm.fields:
            chosen = [f"{short(value)}: {n}" for value, n in zip(field.values, field.times, strict=True) if n]
            edge = f"{field.edge} value" if field.edge else ""
            rows.append((arm_name(arm.point), brief(field.field), "; ".join(chosen), edge))
    caption = (
        "Values that validation chose, with the number of seeds that chose each, and whether the one chosen most lies "
        "on the edge of the grid."
    )
    return Listing("tuned", caption, ("arm", "field", "chosen", "edge"), rows, "llll")


def drawing(answer: Answer, place: int) -> Drawing:
    """Draws each arm's result against the values of a tuned field, with a band over all of them."""
    figure, axes = canvas(3.2)
    chosen = []
    numeric = all(_is_number(value) for value in answer.tuned[0].fields[place].values)
    for index, arm in enumerate(answer.tuned[:_MOST_ARMS]):
        field = arm.fields[place]
        chosen.append(f"{arm_name(arm.point)} chose {short(field.values[int(np.argmax(field.times))])} most")
        x = np.array(field.values, float) if numeric else np.arange(len(field.values))
        values = field.results.T[np.isfinite(field.results).all(axis=0)]
        if not len(values):
            continue
        mean, low, high = statistics.band(values)
        axes.plot(x, mean, label=written(arm_name(arm.point)), **style(index, marker="o", markersize=4))
        if np.isfinite(low).all():
            axes.fill_between(x, low, high, color=COLOURS[index], alpha=0.12, linewidth=0)
    field, metric = answer.tuned[0].fields[place], capital(metric_name(answer.metric))
    if numeric and min(field.values) > 0 and max(field.values) >= 10 * min(field.values):
        axes.set(xscale="log")
    elif not numeric:
        axes.set_xticks(range(len(field.values)), [written(short(value), 14) for value in field.values])
    axes.set(xlabel=written(field.field), ylabel=metric_name(answer.metric))
    title(figure, f"{metric} by {brief(field.field)}: mean over seeds")
    legend(figure, axes)
    caption = (
        f"What each arm comes to at every value of {field.field}, other tuned fields as it chose them; each band "
        f"covers its curve with {percent(statistics.LEVEL)} confidence. A curve whose best value is at an end asks for "
        "a wider grid."
    )
    return Drawing(f"tuning_{place + 1}", figure, caption, f"{metric} against {field.field}: {'; '.join(chosen)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
