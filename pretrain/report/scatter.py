"""Numbers against their predictions, and residuals, arm by arm."""

from collections.abc import Sequence

import numpy as np

from pretrain.config.counts import counted
from pretrain.report.drawing import COLOURS, INK, Drawing, canvas, title, written
from pretrain.runs.looks_file import Scattered


def drawing(scattered: Sequence[Scattered], names: Sequence[str]) -> Drawing:
    """Draws predicted against true numbers, and residuals against predictions, an arm and an output a row."""
    several = len(scattered[0].names) > 1
    rows = [
        (f"{name}, {of}" if several else name, points[np.isfinite(points).all(axis=1)], COLOURS[index])
        for index, (each, name) in enumerate(zip(scattered, names, strict=True))
        for of, points in zip(each.names, each.points, strict=True)
    ]
    figure, all_axes = canvas(0.4 + 2.3 * len(rows), 2, len(rows), sharey=False)
    for (left, right), (name, points, colour) in zip(np.reshape(all_axes, (-1, 2)), rows, strict=True):
        truth, predicted = points.T
        dots = {"s": 7, "color": colour, "alpha": 0.4, "linewidths": 0, "rasterized": True}
        ends = [np.min(points, initial=np.inf), np.max(points, initial=-np.inf)] if len(points) else [0, 1]
        left.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
        left.scatter(truth, predicted, **dots)
        left.set(xlabel="true", ylabel="predicted")
        right.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        right.scatter(predicted, predicted - truth, **dots)
        right.set(xlabel="predicted", ylabel="predicted − true")
        left.set_title(written(name, 34), fontsize=9, loc="left", color=INK)
    title(figure, "Test rows: predicted against true, and residuals")
    shown, n = scattered[0].points.shape[1], scattered[0].n_rows
    trials = " and ".join(dict.fromkeys(counted(len(each.trial_ids), "trial") for each in scattered))
    some = f" Shown are {shown:,} of {n:,} rows, drawn at random." if shown < n else ""
    caption = (
        f"Predictions of test rows in the target's units, mean over the trials of an arm that have the row ({trials}). "
        "Dots on the dotted line are exact; a slope below it is what shrinks predictions to the mean. A fan of "
        f"residuals says that errors grow with what is predicted.{some}"
    )
    parts = [f"{name}: correlation {_correlation(points)}" for name, points, _ in rows]
    return Drawing("scatter", figure, caption, f"Predicted against true numbers. {'; '.join(parts)}")


def _correlation(points: np.ndarray) -> str:
    return f"{np.corrcoef(points.T)[0, 1]:.2f}" if len(points) > 1 and np.ptp(points, axis=0).all() else "unknown"
