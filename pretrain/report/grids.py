"""How arms were tuned, as a table of the values chosen and figures of what every value comes to."""

from collections.abc import Sequence

import numpy as np

from pretrain.report.drawing import COLOURS, DASHES, canvas, legend, title, written
from pretrain.report.listings import Listing
from pretrain.report.names import arm_name, brief, capital, metric_name, percent, short
from pretrain.study import statistics
from pretrain.study.answer import Answer
from pretrain.study.choice import TunedArm, TunedField

_MOST_ARMS = 8  # of a figure


def listing(answer: Answer) -> Listing:
    """Returns which values each arm chose, and how often."""
    rows = []
    for arm in answer.tuned:
        for one in arm.fields:
            chosen = [f"{short(value)}: {n}" for value, n in zip(one.values, one.times, strict=True) if n]
            edge = f"{one.edge} value" if one.edge else ""
            rows.append((arm_name(arm.point), brief(one.field), "; ".join(chosen), edge))
    caption = (
        "Values that validation chose, with the number of seeds that chose each, and whether the one chosen most lies "
        "on the edge of the grid."
    )
    return Listing("tuned", caption, ("arm", "field", "chosen", "edge"), rows, "llll")


def figure(answer: Answer, place: int):
    """Draws each arm's result against the values of a tuned field, with a band over all of them.

    Args:
      answer: of tuned arms.
      place: of the field among those tuned.
    """
    drawn, axes = canvas(3.2)
    numeric = all(_is_number(value) for value in answer.tuned[0].fields[place].values)
    for index, arm in enumerate(answer.tuned[:_MOST_ARMS]):
        one = arm.fields[place]
        x = np.array(one.values, float) if numeric else np.arange(len(one.values))
        values = one.results.T[np.isfinite(one.results).all(axis=0)]
        if not len(values):
            continue
        mean, low, high = statistics.band(values)
        style = {"color": COLOURS[index], "linestyle": DASHES[index % len(DASHES)]}
        axes.plot(x, mean, marker="o", markersize=4, label=written(arm_name(arm.point)), **style)
        if np.isfinite(low).all():
            axes.fill_between(x, low, high, color=COLOURS[index], alpha=0.12, linewidth=0)
    one = answer.tuned[0].fields[place]
    if numeric and min(one.values) > 0 and max(one.values) >= 10 * min(one.values):
        axes.set(xscale="log")
    elif not numeric:
        axes.set_xticks(range(len(one.values)), [written(short(value), 14) for value in one.values])
    axes.set(xlabel=written(one.field), ylabel=metric_name(answer.metric))
    title(drawn, f"{capital(metric_name(answer.metric))} by {brief(one.field)}: mean over seeds")
    legend(drawn, axes)
    return drawn


def caption(answer: Answer, field: TunedField) -> tuple[str, str]:
    """Returns the caption and the alternative text of the figure of a field."""
    arms: Sequence[TunedArm] = answer.tuned[:_MOST_ARMS]
    tops = []
    for arm in arms:
        own = next(one for one in arm.fields if one.field == field.field)
        most = own.values[int(np.argmax(own.times))]
        tops.append(f"{arm_name(arm.point)} chose {short(most)} most")
    text = (
        f"What each arm comes to at every value of {field.field}, other tuned fields as it chose them; each band "
        f"covers its curve with {percent(statistics.LEVEL)} confidence. A curve whose best value is at an end asks for "
        "a wider grid."
    )
    return text, f"{capital(metric_name(answer.metric))} against {field.field}: {'; '.join(tops)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
