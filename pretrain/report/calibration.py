"""Calibration: what arms give a probability, against how often it is so."""

from collections.abc import Sequence

import numpy as np

from pretrain.config.counts import counted
from pretrain.report.drawing import COLOURS, INK, Drawing, canvas, legend, style, thin_lines, title, written
from pretrain.runs.looks_file import Calibrated


def drawing(calibrated: Sequence[Calibrated], names: Sequence[str]) -> Drawing:
    """Draws the share of rows that are as predicted against the mean probability, bin by bin: each trial, and means."""
    figure, axes = canvas(3.6)
    are_labels = calibrated[0].task == "multilabel"
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    for index, (each, name) in enumerate(zip(calibrated, names, strict=True)):
        if len(each.bins) > 1:
            thin_lines(axes, each.bins[..., :2], COLOURS[index], linewidth=0.5, alpha=0.25)
        mean = each.bins.mean(axis=0)
        label = written(f"{name}: error {error(each)}")
        axes.plot(mean[:, 0], mean[:, 1], label=label, **style(index, marker="os"[index % 2], markersize=4))
    low = min(min(each.bins[..., :2].min() for each in calibrated), 0.98)
    low = 0.0 if low < 0.2 else np.floor(10 * low) / 10
    pad = 0.01 * (1 - low)
    what = "are there" if are_labels else "are right"
    axes.set(xlabel="mean probability of a bin", ylabel=f"share that {what}", aspect="equal")
    axes.set(xlim=(low - pad, 1 + pad), ylim=(low - pad, 1 + pad))
    title(figure, f"Calibration: probabilities of {'labels' if are_labels else 'predicted classes'}")
    legend(figure, axes)
    listed = "; ".join(f"{name} {error(each)}" for each, name in zip(calibrated, names, strict=True))
    n = calibrated[0].bins.shape[1]
    of = "of all labels" if are_labels else "of the predicted class"
    trials = " and ".join(dict.fromkeys(counted(len(each.trial_ids), "trial") for each in calibrated))
    caption = (
        f"Probabilities {of} of test rows in {n} bins of as many rows each, against the share that is so: thin lines "
        f"are trials ({trials} an arm), thick ones their means. Below the dotted line an arm is too sure. The expected "
        f"calibration error, a bin's distance from that line, mean over rows and then over trials: {listed}; "
        "of few rows luck alone makes it some per cents. "
        "Probabilities are of scores stored in float16, to about three digits."
    )
    return Drawing("calibration", figure, caption, f"Share of test rows that {what} by probability. Errors: {listed}")


def error(calibrated: Calibrated) -> str:
    """Returns the expected calibration error, mean over trials, and its standard deviation."""
    errors = calibrated.errors
    return f"{errors.mean():.3f}" + (f" ± {errors.std(ddof=1):.3f}" if len(errors) > 1 else "")
