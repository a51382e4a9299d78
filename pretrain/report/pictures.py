"""Figures of images and of volumes' slices: filters of a first layer, and reconstructions by the whole stack."""

import numpy as np

from pretrain.report import series_pictures
from pretrain.report.drawing import COLOURS, INK, WIDTH, canvas, title, written
from pretrain.runs.sample_file import Samples, reduced

_UNITS_IN_A_ROW = 9
_IMAGES_IN_A_ROW = 5
_CHANNELS = ("red", "green", "blue")
GAP = 0.08  # between tiles, of their width
SHOWN = 0.995  # of the weights lie on the scale; the few beyond would leave all others pale
HIGHEST = 9.0  # inches, of tiles; narrow images get smaller instead


def filters(samples: Samples):
    """Draws first-layer weights as images, unit by unit, on one symmetric scale around zero.

    A colour image's channels stand side by side, since a scale with two ends has no room for three.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    if samples.form == "series":
        return series_pictures.filters(samples, unit(samples))
    filters = reduced(samples.filters)
    units, height, width, channels = filters.shape
    # [units, H, channels * W]
    tiles = filters.transpose(0, 1, 3, 2).reshape(units, height, channels * width)
    columns = _UNITS_IN_A_ROW // channels
    places, (across, down) = places_of(units, columns, channels * width, height)
    finite = np.abs(tiles[np.isfinite(tiles)])
    most = float(np.quantile(finite, SHOWN) or finite.max()) if finite.any() else 1.0
    figure, axes = canvas(0.95 + min(HIGHEST, (WIDTH - 0.2) * down / across))
    # Blue and orange: the two that every kind of colour vision distinguishes best.
    colours = LinearSegmentedColormap.from_list("weights", (COLOURS[1], "#ffffff", COLOURS[0]))
    for tile, (left, top) in zip(tiles, places, strict=True):
        extent = (left, left + channels * width, top + height, top)
        scale = {"cmap": colours, "vmin": -most, "vmax": most}
        drawn = axes.imshow(np.ma.masked_invalid(tile), extent=extent, interpolation="none", **scale)
        frame = {"facecolor": "none", "edgecolor": INK, "linewidth": 0.4, "alpha": 0.5}
        axes.add_patch(Rectangle((left, top), channels * width, height, **frame))
    axes.set(xlim=(0, across), ylim=(down, 0))
    axes.set_axis_off()
    weight_bar(figure, axes, drawn, most)
    of = f" ({', '.join(_CHANNELS)} side by side)" if channels == 3 else ""
    title(figure, f"First layer: {units} of {samples.n_units} {unit(samples)}s{of}")
    return figure


def unit(samples: Samples) -> str:
    """Returns the word for a filter: a unit, or a convolution's feature, which weighs a window of the example."""
    return "unit" if samples.filters.shape[1:] == samples.images.shape[1:] else "feature"


def reconstructions(samples: Samples):
    """Draws images, each over its reconstruction, with its class and the reconstruction's error."""
    if samples.form == "series":
        return series_pictures.reconstructions(samples)
    images, reconstructed = reduced(samples.images), reduced(samples.reconstructions)
    n, height, width, _ = images.shape
    line = 0.2 * width  # room for a line of letters
    places, (across, down) = places_of(n, _IMAGES_IN_A_ROW, width, 2 * (height + line))
    figure, axes = canvas(0.4 + min(HIGHEST, (WIDTH - 0.2) * down / across))
    text = {"ha": "center", "va": "center", "fontsize": 9, "color": INK}
    for index, (left, top) in enumerate(places):
        said = (short(samples.labels[index]), f"{samples.errors[index]:.3g}")
        shown = (images[index], reconstructed[index])
        for words, image in zip(said, shown, strict=True):
            axes.text(left + width / 2, top + line / 2, words, **text)
            show(axes, image, left, top + line)
            top += line + height
    axes.set(xlim=(0, across), ylim=(down, 0))
    axes.set_axis_off()
    shown = "Validation images" if samples.form == "images" else "Volumes' middle slices"
    title(figure, f"{shown} over their reconstructions, with squared errors")
    return figure


def places_of(
    n: int, columns: int, width: float, height: float
) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Returns left and top of each of n tiles in rows, and the width and height of all, gaps included."""
    across, down = width * (1 + GAP), height + width * GAP
    places = [(column * across, row * down) for row, column in (divmod(index, columns) for index in range(n))]
    return places, (columns * across - width * GAP, -(-n // columns) * down - width * GAP)


def show(axes, image: np.ndarray, left: float, top: float) -> None:
    """Draws an image [H, W, C], clipped to [0, 1]; pixels that are not finite stay blank."""
    height, width, _ = image.shape
    sound = np.isfinite(image).all(axis=-1, keepdims=True)
    colours = np.broadcast_to(np.where(sound, np.clip(image, 0, 1), 0), (height, width, 3))
    extent = (left, left + width, top + height, top)
    axes.imshow(np.concatenate([colours, sound], axis=-1), extent=extent, interpolation="none")


def short(label: str) -> str:
    """Returns the beginning of a long label."""
    return written(label if len(label) <= 12 else f"{label[:11]}…")


def weight_bar(figure, axes, drawn, most: float) -> None:
    """Adds the colours of weights from ``-most`` to ``most`` below a picture of them."""
    bar = figure.colorbar(drawn, ax=axes, location="bottom", aspect=40, shrink=0.6, pad=0.03, extend="both")
    bar.set_ticks([-most, 0, most], labels=[f"{-most:.2g}".replace("-", "−"), "0", f"{most:.2g}"])
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_edgecolor(INK)
    bar.set_label("weight", color=INK, fontsize=9)
