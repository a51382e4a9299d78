"""Figures of series: the filters of a pretraining's first layer, and reconstructions, as lines by channel."""

import numpy as np

from pretrain.report.drawing import COLOURS, INK, WIDTH, canvas, title, written
from pretrain.runs.sample_file import Samples

MOST_CHANNELS = 4  # that are drawn
_FILTERS_IN_A_ROW, _SERIES_IN_A_ROW = 6, 2
_FILTER, _SERIES = (1.0, 0.7), (1.0, 0.28)  # width and height of a tile
_GAP, _EDGE = 0.08, 0.005
_SHOWN = 0.995  # of the values lie on the scale


def filters(samples: Samples, unit: str):
    """Draws first-layer weights over the steps that each reads, a line a channel, on one scale around zero."""
    n = len(samples.filters)
    figure, axes, places = tiles(n, _FILTERS_IN_A_ROW, _FILTER, 0.0)
    for weights, (left, top) in zip(samples.filters, places, strict=True):
        frame(axes, left, top, _FILTER)
        draw(axes, weights, left, top, _FILTER, most(samples.filters), "-")
    title(figure, f"First layer: {n} of {samples.n_units} {unit}s, a line for each of {_channels(samples)}")
    return figure


def reconstructions(samples: Samples):
    """Draws series and their reconstructions, each with its class and the reconstruction's error."""
    line = 0.08  # room for letters
    figure, axes, places = tiles(len(samples.images), _SERIES_IN_A_ROW, _SERIES, line)
    end = most(samples.images)
    text = {"va": "center", "fontsize": 9, "color": INK}
    for index, (left, top) in enumerate(places):
        label = samples.labels[index]
        label = written(label if len(label) <= 30 else f"{label[:29]}…")
        axes.text(left, top + line / 2, label, ha="left", **text)
        axes.text(left + _SERIES[0], top + line / 2, f"{samples.errors[index]:.3g}", ha="right", **text)
        frame(axes, left, top + line, _SERIES)
        draw(axes, samples.images[index], left, top + line, _SERIES, end, "-", alpha=0.45)
        draw(axes, samples.reconstructions[index], left, top + line, _SERIES, end, (0, (2.5, 1.2)))
    title(figure, "Validation series (pale), reconstructions (dashed), squared errors")
    return figure


def tiles(n: int, columns: int, size: tuple[float, float], line: float):
    """Returns a figure, its axes, and left and top of each of n tiles in rows."""
    columns = min(columns, n)
    across, down = size[0] + _GAP, size[1] + line + _GAP
    places = [(column * across, row * down) for row, column in (divmod(index, columns) for index in range(n))]
    whole = columns * across - _GAP, -(-n // columns) * down - _GAP
    figure, axes = canvas(0.4 + (WIDTH - 0.2) * whole[1] / whole[0])
    axes.set(xlim=(-_EDGE, whole[0] + _EDGE), ylim=(whole[1] + _EDGE, -_EDGE))
    axes.set_axis_off()
    return figure, axes, places


def frame(axes, left: float, top: float, size: tuple[float, float]) -> None:
    """Draws the frame of a tile, and its line of zero."""
    from matplotlib.patches import Rectangle

    frame = {"facecolor": "none", "edgecolor": INK, "linewidth": 0.4, "alpha": 0.5}
    axes.add_patch(Rectangle((left, top), *size, **frame))
    middle = top + size[1] / 2
    axes.plot([left, left + size[0]], [middle, middle], color=INK, linewidth=0.4, alpha=0.3)


def draw(axes, values: np.ndarray, left: float, top: float, size: tuple[float, float], most: float, dash, alpha=1.0):
    """Draws a series [T, 1, C], clipped to its tile; values that are not finite stay blank."""
    steps = np.linspace(0.02, 0.98, len(values)) if len(values) > 1 else np.array([0.4, 0.6])
    for channel in range(min(values.shape[-1], MOST_CHANNELS)):
        heights = np.clip(values[:, 0, channel].astype(float), -most, most)
        heights = np.where(np.isfinite(heights), heights, np.nan)
        heights = np.repeat(heights, 2) if len(heights) == 1 else heights
        y = top + size[1] * (0.5 - 0.48 * heights / most)
        style = {"color": COLOURS[channel], "linewidth": 1.1, "linestyle": dash, "alpha": alpha}
        axes.plot(left + steps * size[0], y, **style)


def most(values: np.ndarray) -> float:
    """Returns the end of a scale around zero that nearly all values lie on."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.quantile(finite, _SHOWN) or finite.max() or 1.0) if len(finite) else 1.0


def _channels(samples: Samples) -> str:
    n = samples.images.shape[-1]
    return f"{n} channel{'s' * (n > 1)}" if n <= MOST_CHANNELS else f"the first {MOST_CHANNELS} of {n} channels"
