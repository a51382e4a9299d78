"""The test rows that an arm gets wrong most surely, or by most: a table, and pictures or lines where rows are such."""

import numpy as np

from pretrain.report import pictures, series_pictures
from pretrain.report.drawing import INK, WIDTH, Drawing, canvas, title, written
from pretrain.report.listings import Listing
from pretrain.runs.looks_file import Wrong
from pretrain.runs.sample_file import is_series

_IN_A_ROW = 5
_MOST_DRAWN = 10  # of pictures and lines
_SERIES_IN_A_ROW = 2


def listing(wrong: Wrong, name: str, other: str) -> Listing:
    """Returns the rows as a table.

    Args:
      wrong: the rows.
      name: of their arm.
      other: of the arm beside it; nothing without one.
    """
    is_number = wrong.measure == "error"
    beside = f"{'error' if is_number else 'wrong'} of the other arm"
    headings = ("row", "true", "predicted", wrong.measure, *([] if is_number else ["wrong in"]))
    headings = (*headings, *([beside] if other else []), *wrong.columns)
    rows = []
    for place, row in enumerate(wrong.rows):
        shares = [] if is_number else [_share(wrong.shares[place])]
        others = [_size(wrong, wrong.others[place]) if is_number else _share(wrong.others[place])] if other else []
        cells = (wrong.truths[place], wrong.predictions[place], _size(wrong, wrong.sizes[place]), *shares, *others)
        rows.append((f"{row}", *cells, *wrong.cells[place]))
    align = "rll" + "r" * (len(headings) - 3 - len(wrong.columns)) + "l" * len(wrong.columns)
    of_columns = " The row's first columns follow, as the table has them." if wrong.columns else ""
    return Listing("wrong_rows", f"{_caption(wrong, name, other)}{of_columns}", headings, rows, align)


def _caption(wrong: Wrong, name: str, other: str) -> str:
    beside = f" The other arm is {other}." if other else ""
    counted = f"Rows are counted from 0 among the {wrong.origin}."
    if wrong.measure == "error":
        return (
            f"Test rows with the largest errors of {name}: what was predicted less what is true, mean over trials, in "
            f"the target's units, by size in its deviations. {counted}{beside}"
        )
    how = "probability of the wrong class" if wrong.measure == "probability" else "score's lead over the true class"
    return (
        f"Test rows that {name} gets wrong most surely: the {how}, mean over the trials that are wrong, and the share "
        f"of trials that are. They are in the order of the product. {counted}{beside}"
    )


def drawing(wrong: Wrong, name: str) -> Drawing | None:
    """Draws the rows with their classes; None of tables, and where nothing is wrong."""
    if wrong.examples.ndim < 4 or not len(wrong.rows):
        return None
    wrong = _first(wrong, _MOST_DRAWN)
    texts = [
        (f"{_short(truth)} → {_short(predicted)}", f"{row}: {_size(wrong, size)}")
        for row, truth, predicted, size in zip(wrong.rows, wrong.truths, wrong.predictions, wrong.sizes, strict=True)
    ]
    draw = _series if is_series(wrong.examples.shape[1:]) else _images
    figure = draw(wrong, texts)
    what = "by most" if wrong.measure == "error" else "most surely"
    title(figure, f"Test rows that are wrong {what}: true → predicted")
    caption = (
        f"The first of the rows that {name} gets wrong: true → predicted, and below it the row's number and "
        f"{wrong.measure}. Some may be mislabelled."
    )
    listed = "; ".join(f"row {below}, {above}" for above, below in texts)
    return Drawing("wrong_rows", figure, caption, f"Test rows that are wrong {what}: {listed}")


def _first(wrong: Wrong, n: int) -> Wrong:
    fields = ("rows", "truths", "predictions", "sizes", "shares", "others", "examples", "cells")
    return wrong._replace(**{name: getattr(wrong, name)[:n] for name in fields})


def _images(wrong: Wrong, texts: list[tuple[str, str]]):
    images = wrong.examples.reshape(len(wrong.examples), *wrong.examples.shape[-3:])
    n, height, width, _ = images.shape
    line = 0.18 * width
    places, (across, down) = pictures.places_of(n, _IN_A_ROW, width, height + 2 * line)
    figure, axes = canvas(0.4 + min(pictures.HIGHEST, (WIDTH - 0.2) * down / across))
    text = {"ha": "center", "va": "center", "fontsize": 9, "color": INK}
    for image, words, (left, top) in zip(images, texts, places, strict=True):
        for place, word in enumerate(words):
            axes.text(left + width / 2, top + (place + 0.5) * line, word, **text)
        pictures.show(axes, image, left, top + 2 * line)
    axes.set(xlim=(0, across), ylim=(down, 0))
    axes.set_axis_off()
    return figure


def _series(wrong: Wrong, texts: list[tuple[str, str]]):
    size, line = (1.0, 0.28), 0.08
    figure, axes, places = series_pictures.tiles(len(texts), _SERIES_IN_A_ROW, size, line)
    end = series_pictures.most(wrong.examples)
    text = {"va": "center", "fontsize": 9, "color": INK}
    for values, (above, below), (left, top) in zip(wrong.examples, texts, places, strict=True):
        axes.text(left, top + line / 2, above, ha="left", **text)
        axes.text(left + size[0], top + line / 2, below, ha="right", **text)
        series_pictures.frame(axes, left, top + line, size)
        series_pictures.draw(axes, values, left, top + line, size, end, "-")
    return figure


def _size(wrong: Wrong, size: float) -> str:
    if not np.isfinite(size):
        return "–"
    if wrong.measure == "error":
        return f"{size:+.3g}".replace("-", "−")
    return f"{size:.3f}" if wrong.measure == "probability" else f"{size:.3g}"


def _share(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if np.isfinite(share) else "–"


def _short(name: str) -> str:
    return written(name if len(name) <= 9 else f"{name[:8]}…")
