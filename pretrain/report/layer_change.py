"""Weights of a first layer at its initialisation, after pretraining and after fine-tuning."""

import numpy as np

from pretrain.report import pictures
from pretrain.report.drawing import COLOURS, INK, WIDTH, Drawing, canvas, title
from pretrain.runs.looks_file import Changed

_IN_A_ROW = 9
_WORDS = {"initialisation": "start", "pretraining": "pretrained", "fine-tuning": "fine-tuned"}


def drawing(changed: Changed, name: str) -> Drawing:
    """Draws the same units' weights in a row for each stage, on one symmetric scale around zero."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    n_stages, n, height, width, channels = changed.filters.shape
    tiles = changed.filters.transpose(0, 1, 2, 4, 3).reshape(n_stages, n, height, channels * width)
    columns, wide = max(1, _IN_A_ROW // channels), channels * width
    gap, margin, line = pictures.GAP * wide, 0.95 * width, 0.35 * height
    block = n_stages * (height + gap) + line
    n_blocks = -(-n // columns)
    across, down = margin + columns * (wide + gap), n_blocks * block
    finite = np.abs(tiles[np.isfinite(tiles)])
    most = float(np.quantile(finite, pictures.SHOWN) or finite.max() or 1.0) if finite.size else 1.0
    figure, axes = canvas(0.95 + min(pictures.HIGHEST, (WIDTH - 0.2) * down / across))
    colours = LinearSegmentedColormap.from_list("weights", (COLOURS[1], "#ffffff", COLOURS[0]))
    text = {"va": "center", "fontsize": 9, "color": INK}
    for unit in range(n):
        left = margin + (unit % columns) * (wide + gap)
        start = (unit // columns) * block
        axes.text(left + wide / 2, start + line / 2, str(changed.units[unit]), ha="center", **text)
        for stage in range(n_stages):
            top = start + line + stage * (height + gap)
            if unit % columns == 0:
                axes.text(margin - gap, top + height / 2, _WORDS[changed.stages[stage]], ha="right", **text)
            scale = {"cmap": colours, "vmin": -most, "vmax": most, "interpolation": "none"}
            shown = np.ma.masked_invalid(tiles[stage, unit])
            drawn = axes.imshow(shown, extent=(left, left + wide, top + height, top), **scale)
            frame = {"facecolor": "none", "edgecolor": INK, "linewidth": 0.4, "alpha": 0.5}
            axes.add_patch(Rectangle((left, top), wide, height, **frame))
    axes.set(xlim=(0, across), ylim=(down, 0))
    axes.set_axis_off()
    pictures.weight_bar(figure, axes, drawn, most)
    kind = "feature" if changed.is_window else "unit"
    title(figure, f"First layer, before and after: {n} of {changed.n_units} {kind}s")
    after = "" if "fine-tuning" in changed.stages else " Fine-tuning left this layer as it was: it is frozen."
    range_of = f"{changed.changes.min():.2g} to {changed.changes.max():.2g}" if n else "none"
    colours_of = " Red, green and blue weights stand side by side." if channels == 3 else ""
    caption = (
        f"Weights of the {n} {kind}s of the first layer that pretraining changed most, by the norm of the change, "
        f"which is {range_of} of that at the start ({name}, seed {changed.seed}). A column is a {kind}, by its number; "
        f"blue weighs a pixel up, orange down.{after}{colours_of}"
    )
    stages = ", ".join(changed.stages)
    return Drawing("first_layer", figure, caption, f"First-layer weights of {n} {kind}s at {stages}, an image each")
