"""Figures from tables and answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.report.drawing import COLOURS, INK, canvas, legend, panels, style, thin_lines, title, written
from pretrain.report.names import arm_name, cell, comparison_name, metric_name, percent, scale_of, setting
from pretrain.study import statistics
from pretrain.study.arms import Arm, by_seed
from pretrain.study.budgets import BudgetCurve
from pretrain.study.comparisons import Comparison
from pretrain.study.curves import Curve, Curves
from pretrain.study.epochs import EpochCurve
from pretrain.study.factorial import FIRST_BATCHES
from pretrain.study.levels import LEVELS
from pretrain.study.phases import CHANCE, Pretraining, reconstruct

# The most that is legible in a figure; its caption reports if there is more.
MOST_ARMS = 8
MOST_COMPARISONS = 24
MOST_PANELS = 4
MOST_PRETRAININGS = 4
MOST_METRICS = 6
_BESIDE = {  # names of metrics of pretraining beside its error
    "accuracy": "accuracy (fraction)",
    "alike": "correlation of views",
    "invariance": "squared difference of views",
    "variance": "lack of deviation",
    "covariance": "squared covariances",
    "output_deviation": "deviation of outputs",
    "neighbour_accuracy": "accuracy of the nearest neighbour",
    "effective_rank": "effective rank of codes",
}
_WIDE = 10  # times the lowest value, from which on the highest takes a logarithmic scale
_MOST_POINTS = 300  # of a curve; more are no more to see


def first_batches(curves: Curves, arms: Sequence[Arm]):
    """Draws accuracy, or loss, on each mini-batch just trained on, arm by arm: mean over seeds, and its band.

    Args:
      arms: at most the first eight are drawn.
    """
    figure, axes = canvas(3.4)
    steps, metric = np.arange(1, FIRST_BATCHES + 1), trained_metric(curves)
    measure = metric.removeprefix("post_update_")
    for index, arm in enumerate(arms[:MOST_ARMS]):
        if not arm.trial_ids:
            continue
        values = by_seed(curves.values(arm.trial_ids, metric, steps), arm)
        measured = ~np.isnan(values).all(axis=0)
        if not measured.any():
            continue
        x, (mean, low, high) = steps[measured], statistics.band(values[:, measured])
        if measure == "loss":  # which is above zero, on a logarithmic scale
            low = np.maximum(low, mean / 100)
        axes.plot(x, mean, label=written(arm_name(arm.point)), linewidth=1.8, **style(index))
        if not np.isinf(high).any():
            axes.fill_between(x, low, high, color=COLOURS[index], alpha=0.1, linewidth=0)
            for edge in (low, high):
                axes.plot(x, edge, linewidth=0.5, alpha=0.5, **style(index))
    limits = {"ylim": (0, 1)} if measure == "accuracy" else {}
    axes.set(xlabel="mini-batch", ylabel=f"{measure} on the batch just trained on", xlim=(1, FIRST_BATCHES), **limits)
    if measure == "loss":
        axes.set_yscale("log", nonpositive="clip")
    n = max((len(set(arm.seeds)) for arm in arms), default=0)
    over = f"mean over {n} seeds" if n > 1 else "one seed"
    band = f", {percent(statistics.LEVEL)} band over all batches" if n > 2 else ""
    title(figure, f"The first {FIRST_BATCHES} mini-batches: {over}{band}")
    legend(figure, axes)
    return figure


def differences(compared: Sequence[Comparison]):
    """Draws the difference of each comparison with its interval, and every seed's as a dot, in the metric's unit."""
    shown = compared[:MOST_COMPARISONS]
    scale, unit = scale_of(compared[0].metric)
    names = [written(comparison_name(comparison), 26) for comparison in shown]
    figure, axes = canvas(1.3 + 0.24 * len(shown) + 0.17 * sum(1 + name.count("\n") for name in names))
    for row, comparison in enumerate(shown):
        seeds = scale * (comparison.treated - comparison.untreated)
        axes.plot(seeds, np.full(comparison.n, row), ".", color=COLOURS[0], alpha=0.35)
        both = (comparison.shown, COLOURS[1], 2.4), (comparison.difference, INK, 0.8)
        for whole, colour, width in both[: 1 + bool(comparison.new_rows)]:
            low, high = (scale * end if np.isfinite(end) else np.nan for end in whole[1:])
            axes.plot([low, high], [row, row], color=colour, linewidth=width)
        axes.plot([scale * comparison.difference.mean], [row], "o", color=COLOURS[1])
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=f"difference ({unit})")
    title(figure, f"Differences: seeds (dots), mean and {percent(shown[0].level)} interval")
    return figure


def gains(curves: Sequence[BudgetCurve]):
    """Draws the gain of each comparison against labels, with its band over all budgets, in the metric's unit."""
    scale, unit = scale_of(curves[0].metric)
    figure, axes = canvas(3.2)
    for index, curve in enumerate(curves[:MOST_ARMS]):
        gain, low, high = (scale * values for values in (curve.gain, curve.low, curve.high))
        label = written(comparison_name(curve))
        axes.plot(curve.labels, gain, label=label, **style(index, marker="o", markersize=4))
        axes.fill_between(curve.labels, low, high, color=COLOURS[index], alpha=0.15, linewidth=0)
        if np.isfinite(curve.new_low).any():
            axes.fill_between(curve.labels, *(scale * end for end in curve.ends), color=COLOURS[index], alpha=0.1)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xscale="log", xlabel="labels", ylabel=f"gain ({unit})")
    title(figure, f"Gain against labels, with a {percent(curves[0].level)} band over all budgets")
    legend(figure, axes)
    return figure


def epochs(curves: Sequence[EpochCurve]):
    """Draws error and gain of pretraining against its epochs; or results, where nothing is compared."""
    shown = curves[:MOST_ARMS]
    scale, unit = scale_of(shown[0].metric)
    figure, (left, right) = canvas(2.9, 2, sharey=False)
    for index, curve in enumerate(shown):
        line = style(index, marker="o", markersize=4)
        left.plot(curve.epochs, curve.errors, label=written(arm_name(curve.setting)), **line)
        gained = np.array([gain.mean for gain in curve.gains]) if curve.gains else curve.results
        right.plot(curve.epochs, scale * gained, **line)
        if curve.gains and np.isfinite([gain.low for gain in curve.gains]).all():
            ends = [scale * np.array([getattr(gain, end) for gain in curve.gains]) for end in ("low", "high")]
            right.fill_between(curve.epochs, *ends, color=COLOURS[index], alpha=0.15, linewidth=0)
    gains = all(curve.gains for curve in shown)
    if gains:
        right.axhline(0, color=INK, linewidth=0.8)
    for axes in (left, right):
        axes.set(xscale="log", xlabel=f"{shown[0].field.rpartition('.')[2].replace('_', ' ')} of pretraining")
        axes.set_xticks(shown[0].epochs, [str(n) for n in shown[0].epochs])
        axes.minorticks_off()
    left.set_ylabel(shown[0].error)
    quantity = "gain" if gains else metric_name(split_of(shown[0].metric)[1])
    right.set_ylabel(quantity if quantity == unit else f"{quantity} ({unit})")
    title(figure, f"{shown[0].error.capitalize()}, and what pretraining gains, by its length")
    legend(figure, left)
    return figure


def slopes(compared: Sequence[Comparison]):
    """Draws every seed's result at baseline and treatment, joined by a line, for the first four comparisons."""
    shown = compared[:MOST_PANELS]
    figure, all_axes = panels(len(shown), 2.3, 0.4, sharey=True)
    for axes, comparison in zip(all_axes, shown, strict=True):
        pairs = np.stack([comparison.untreated, comparison.treated], axis=1)  # [seeds, 2]
        rises = np.array([_rises(comparison, pair) for pair in pairs])
        colours = [COLOURS[0] if each else COLOURS[1] for each in rises]
        lines = np.stack([np.broadcast_to([0.0, 1.0], pairs.shape), pairs], axis=-1)
        thin_lines(axes, lines, colours, linewidth=1.5, alpha=0.6)
        for colour, among in ((COLOURS[0], lines[rises]), (COLOURS[1], lines[~rises])):
            axes.plot(*among.reshape(-1, 2).T, ".", color=colour, alpha=0.6)
        ends = (comparison.baseline, comparison.treatment)
        axes.set_xticks([0, 1], [written(cell(comparison.field, value), 14) for value in ends])
        axes.set_xlim(-0.4, 1.4)
        axes.set_title(written(setting(comparison.shared), 56 // min(2, len(shown))), fontsize=9)
    figure.supylabel(metric_name(split_of(shown[0].metric)[1]), fontsize=10, color=INK)
    return figure


def trained_metric(curves: Curves) -> str:
    """Returns the metric of batches just trained on: accuracy where it is measured, and loss otherwise."""
    return "post_update_loss" if "post_update_loss" in curves.metrics else "post_update_accuracy"


def _rises(comparison: Comparison, pair: Sequence[float]) -> bool:
    """Returns whether a seed is as good or better at treatment."""
    return pair[1] >= pair[0] if metric_of(comparison.metric).higher_is_better else pair[1] <= pair[0]


def phase_losses(pretrainings: Sequence[Pretraining]):
    """Draws each phase's training error, a line, and validation error, a marker a measurement, by update.

    A loss at chance is a dotted line.

    Args:
      pretrainings: at most the first four are drawn.
    """
    shown = pretrainings[:MOST_PRETRAININGS]
    names = sorted({name for pretraining in shown for name in pretraining.phases}, key=_place)
    figure, all_axes = panels(len(names), 2.2, 0.8)
    for axes, name in zip(all_axes, names, strict=True):
        _lines(axes, [(each.point, each.phases.get(name, {})) for each in shown])
        axes.set_title(_phase(name), fontsize=9)
    all_axes[0].set_ylabel(error_name(shown))
    what = "Reconstruction" if reconstruct(shown) else "Loss"
    title(figure, f"{what} in pretraining: batches (lines), validation (dots)")
    if len(shown) > 1:
        legend(figure, *all_axes)
    return figure


def pretext_metrics(pretrainings: Sequence[Pretraining]):
    """Draws the metrics of each phase beside its error, as ``phase_losses`` does, a panel each, of at most six.

    The value where embeddings are all alike is a dotted line.
    """
    shown = pretrainings[:MOST_PRETRAININGS]
    names = metrics_beside(shown)[:MOST_METRICS]
    figure, all_axes = panels(len(names), 2.2, 0.8)
    for axes, (phase, name) in zip(all_axes, names, strict=True):
        own = [(each.point, each.others.get(phase, {})) for each in shown]
        _lines(
            axes,
            [(point, {key: each[key] for key in (name, f"validation_{name}") if key in each}) for point, each in own],
        )
        for level in LEVELS:
            if level.metric == name and not isinstance(level.at, str):
                axes.axhline(level.at, color=INK, linewidth=0.8, linestyle=":")
        title_of = f"{_phase(phase)}: " if len({phase for phase, _ in names}) > 1 else ""
        title_of += _BESIDE.get(name, metric_name(name))
        axes.set_title(written(title_of, 80 // min(2, len(names))), fontsize=9)
    title(figure, "Metrics of pretraining: batches (lines), validation (dots)")
    if len(shown) > 1:
        legend(figure, *all_axes)
    return figure


def metrics_beside(pretrainings: Sequence[Pretraining]) -> list[tuple[str, str]]:
    """Returns phases and the names of their metrics beside errors."""
    found = {
        (phase, name.removeprefix("validation_"))
        for each in pretrainings
        for phase, metrics in each.others.items()
        for name in metrics
    }
    return sorted(found, key=lambda each: (_place(each[0]), each[1]))


def error_name(pretrainings: Sequence[Pretraining]) -> str:
    """Returns the error of phases with its unit; a loss beside an accuracy is a cross-entropy."""
    if reconstruct(pretrainings):
        return "mean squared error"
    are_nats = all("accuracy" in metrics for each in pretrainings for metrics in each.others.values())
    return "cross-entropy (nats)" if are_nats and any(each.others for each in pretrainings) else "loss"


def _lines(axes, drawn: Sequence[tuple[dict[str, Any], dict[str, Curve]]]) -> None:
    """Draws one metric of each pretraining by update: a line on batches, dots on validation rows, dots at chance."""
    ends = []
    for index, (point, metrics) in enumerate(drawn):
        label = written(arm_name(point) if point else "mean over seeds")
        for metric, curve in metrics.items():
            if metric == f"validation_{CHANCE}":
                continue
            is_training = not metric.startswith("validation_")
            line = {"linewidth": 1.2} if is_training else {"linestyle": "none", "marker": "o"}
            line |= {"linestyle": ":"} if metric == CHANCE else {}
            steps, values = _thinned(*curve)
            ends += [values.min(), values.max()]
            line = {"color": COLOURS[index], "markersize": 5, **line}
            axes.plot(steps, values, label=label if metric == next(iter(metrics)) else None, **line)
    is_wide = len(ends) > 0 and 0 < _WIDE * min(ends) <= max(ends)
    axes.set(yscale="log" if is_wide else "linear", xlabel="update")


def _phase(name: str) -> str:
    place = _place(name)
    return "all layers at once" if np.isinf(place) else f"phase {int(place) + 1}"


def _place(phase: str) -> float:
    """Returns a phase's layer; infinity, since it comes last, of one that trains all."""
    layer = phase.rpartition("/")[2]
    return np.inf if layer == "all" else int(layer)


def _thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a curve's mean over seeds and, where it has many points, over blocks of updates."""
    mean = np.mean(values, axis=0)
    starts = np.arange(0, len(steps), -(-len(steps) // _MOST_POINTS))
    sizes = np.diff([*starts, len(steps)])
    return np.add.reduceat(steps.astype(float), starts) / sizes, np.add.reduceat(mean, starts) / sizes
