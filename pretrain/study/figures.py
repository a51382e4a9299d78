"""Figures from tables and answers, each as PNG and SVG."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pretrain.files import written_whole
from pretrain.study.answer import FACTORS, Cause
from pretrain.study.arms import Arm, curve_values
from pretrain.study.budgets import BudgetCurve
from pretrain.study.comparisons import Comparison
from pretrain.study.words import arm_name, setting, treatment

BATCHES = 40
_MOST_ARMS = 8
_MOST_PANELS = 4
# Okabe and Ito's palette: told apart with any kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_INK = "#1b1b1b"
_DASHES = ("-", "--", "-.", ":")


def first_batches(curves: pa.Table, arms: Sequence[Arm]):
    """Draws accuracy on each mini-batch just trained on, arm by arm: mean over seeds, band one standard deviation.

    Args:
      curves: a run's curves.
      arms: at most the first eight are drawn.
    """
    figure, axes = _axes(4.4)
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
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK, loc="lower right")
    return figure


def differences(compared: Sequence[Comparison]):
    """Draws the difference of each comparison with its interval, and every seed's as a dot, in percentage points."""
    figure, axes = _axes(1.2 + 0.42 * len(compared))
    for row, one in enumerate(compared):
        axes.plot(100 * (one.treated - one.untreated), np.full(one.n, row), ".", color=_COLOURS[0], alpha=0.35)
        low, high = (100 * end if np.isfinite(end) else np.nan for end in one.difference[1:])
        axes.plot([low, high], [row, row], color=_COLOURS[1], linewidth=2.4)
        axes.plot([100 * one.difference.mean], [row], "o", color=_COLOURS[1])
    names = [f"{treatment(one.field, one.treatment, one.baseline)} {setting(one.shared)}".strip() for one in compared]
    axes.set_yticks(range(len(compared)), names)
    axes.set_ylim(len(compared) - 0.5, -0.5)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set(xlabel="difference (percentage points)")
    axes.set_title("Differences: seeds (dots), mean and 95 % interval", fontsize=10)
    return figure


def gains(curves: Sequence[BudgetCurve]):
    """Draws the gain of each comparison against labels, with its band over all budgets, in percentage points."""
    figure, axes = _axes(4.0)
    for index, one in enumerate(curves[:_MOST_ARMS]):
        name = f"{treatment(one.field, one.treatment, one.baseline)} {setting(one.shared)}".strip()
        style = {"color": _COLOURS[index], "linestyle": _DASHES[index % len(_DASHES)]}
        axes.plot(one.labels, 100 * one.gain, marker="o", markersize=4, label=name, **style)
        axes.fill_between(one.labels, 100 * one.low, 100 * one.high, color=_COLOURS[index], alpha=0.15, linewidth=0)
    axes.axhline(0, color=_INK, linewidth=0.8)
    axes.set(xscale="log", xlabel="labels", ylabel="gain (percentage points)")
    axes.set_title("Gain against labels, with a 95 % band over all budgets", fontsize=10)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return figure


def shares(causes: Mapping[str, Cause]):
    """Draws, metric by metric, the shares that make up the gap from He, trainable to pretrained, frozen."""
    figure, axes = _axes(1.2 + 0.62 * len(causes))
    for row, cause in enumerate(causes.values()):
        for index, factor in enumerate(FACTORS):
            share, place = cause.parts.shares[factor], row + 0.18 * (2 * index - 1)
            label = factor if not row else None
            axes.barh(place, share.mean, height=0.32, color=_COLOURS[index], alpha=0.8, label=label)
            if np.isfinite(share.low):
                axes.plot([share.low, share.high], [place, place], color=_INK, linewidth=1.2)
    axes.set_yticks(range(len(causes)), [name.replace("_", " ") for name in causes])
    axes.invert_yaxis()
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set(xlabel="share of the gap (accuracy)")
    axes.set_title("What makes the gap, with 95 % intervals", fontsize=10)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
    return figure


def slopes(compared: Sequence[Comparison]):
    """Draws every seed's accuracy at baseline and treatment, joined by a line, for the first four comparisons."""
    shown = compared[:_MOST_PANELS]
    figure, all_axes = _axes(2.6, columns=len(shown))
    for axes, one in zip(np.atleast_1d(all_axes), shown, strict=True):
        for pair in zip(one.untreated, one.treated, strict=True):
            axes.plot([0, 1], pair, marker=".", color=_COLOURS[0] if pair[1] >= pair[0] else _COLOURS[1], alpha=0.6)
        axes.set_xticks([0, 1], [str(one.baseline), str(one.treatment)])
        axes.set_xlim(-0.4, 1.4)
        axes.set_title(setting(one.shared), fontsize=8)
    return figure


def save(figure, directory: Path, name: str) -> str:
    """Writes a figure as PNG and SVG, and returns the SVG, in which ink takes the colour of the text around it."""
    import matplotlib

    directory.mkdir(parents=True, exist_ok=True)
    with written_whole(directory / f"{name}.png") as draft:
        figure.savefig(draft, format="png")
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    with written_whole(directory / f"{name}.svg") as draft:
        draft.write_text(text.getvalue())
    body = text.getvalue()
    return body[body.index("<svg") :].replace(_INK, "currentColor").replace("#000000", "currentColor")


def _axes(height: float, columns: int = 1):
    """Returns a figure and its axes, plain and with ink of one colour."""
    import matplotlib
    from matplotlib.figure import Figure  # half a second to import, and only needed when there is a run to draw

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with matplotlib.rc_context(dict.fromkeys(ink, _INK)):
        figure = Figure(figsize=(7.2, height), dpi=160, layout="constrained")
        found = figure.subplots(1, columns, sharey=True)
    for axes in np.atleast_1d(found):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, found
