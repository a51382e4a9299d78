"""Figures from tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pretrain.study.arms import Arm, curve_values
from pretrain.study.words import arm_name

BATCHES = 40
_MOST_ARMS = 8
# Okabe and Ito's palette: told apart with any kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_DASHES = ("-", "--", "-.", ":")


def first_batches(curves: pa.Table, arms: Sequence[Arm], path: Path) -> None:
    """Draws accuracy on each mini-batch just trained on, arm by arm: mean over seeds, band one standard deviation.

    Args:
      curves: a run's curves.
      arms: at most the first eight are drawn.
      path: where the PNG goes.
    """
    from matplotlib.figure import Figure  # half a second to import, and only needed when there is a run to draw

    figure = Figure(figsize=(7.2, 4.4), dpi=160, layout="constrained")
    axes = figure.subplots()
    steps = np.arange(1, BATCHES + 1)
    for index, arm in enumerate(arms[:_MOST_ARMS]):
        values = curve_values(curves, arm, "post_update_accuracy", steps.tolist())
        measured = ~np.isnan(values).all(axis=0)
        if not len(values) or not measured.any():
            continue
        x, values = steps[measured], values[:, measured]
        mean, deviation = np.mean(values, axis=0), np.std(values, axis=0, ddof=min(1, len(values) - 1))
        style = {"color": _COLOURS[index], "linestyle": _DASHES[index % len(_DASHES)]}
        axes.plot(x, mean, label=arm_name(arm.point), linewidth=1.8, **style)
        axes.fill_between(x, mean - deviation, mean + deviation, color=_COLOURS[index], alpha=0.12, linewidth=0)
    axes.set(xlabel="mini-batch", ylabel="accuracy on the batch just trained on", xlim=(1, BATCHES), ylim=(0, 1))
    n = max((len(arm.seeds) for arm in arms), default=0)
    axes.set_title(f"The first {BATCHES} mini-batches: mean over {n} seeds, band one standard deviation", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
