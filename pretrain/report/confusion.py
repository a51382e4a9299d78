"""How classes are confused: a matrix an arm, or the pairs that are confused most often."""

from collections.abc import Sequence

import numpy as np

from pretrain.config.counts import counted
from pretrain.report.drawing import COLOURS, INK, WIDTH, Drawing, canvas, title, written
from pretrain.report.listings import Listing
from pretrain.runs.looks_file import Confused

_BESIDE = 6  # classes, up to which arms stand beside each other
_NUMBERED = 12  # classes, up to which cells have room for numbers
_DARK = 0.55  # of the scale, from which on letters are white
_LETTERS = "#111111"  # on cells, which stay light on a dark page
_LETTER = 0.085  # inches
_SIDE = 0.32  # inches of a cell, at most
_LEAST = 0.005  # share with a number
_GAMMA = 0.5  # so that a few per cent are seen beside the diagonal


def drawing(confused: Sequence[Confused], names: Sequence[str]) -> Drawing:
    """Draws the share of each class's test rows that is predicted as each class, a matrix an arm."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    n = len(confused[0].names)
    classes = [written(name if len(name) <= 14 else f"{name[:13]}…", 40) for name in confused[0].names]
    across, longest = len(confused) if n <= _BESIDE else 1, _LETTER * max(map(len, classes))
    side = min(_SIDE, (WIDTH - 0.5 - longest - (0.0 if n <= _NUMBERED else 0.9)) / n)
    has_room = longest < (3.0 / n if across > 1 else side)
    down = len(confused) // across
    height = n * side + (0.75 if has_room else 0.7 + longest)
    figure, all_axes = canvas(0.5 + down * height, across, down, sharey=False)
    colours = LinearSegmentedColormap.from_list("shares", ("#ffffff", COLOURS[0]))
    for axes, each, name in zip(np.ravel(all_axes), confused, names, strict=True):
        shares = rates(each.counts)
        shown = np.ma.masked_invalid(shares)
        drawn = axes.imshow(shown, cmap=colours, norm=PowerNorm(_GAMMA, 0, 1), interpolation="none")
        axes.set(aspect="auto" if across > 1 else "equal")
        axes.set_xticks(range(n), classes, rotation=0 if has_room else 90, fontsize=9)
        axes.set_yticks(range(n), classes, fontsize=9)
        axes.grid(False)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(written(name, 24 if across > 1 else 60), fontsize=9, color=INK)
        if n <= _NUMBERED:
            for (row, column), share in np.ndenumerate(shares):
                if share >= _LEAST:  # no room, and time, for those of nearly none
                    colour = "#ffffff" if share**_GAMMA > _DARK + 0.15 else _LETTERS
                    text = {"ha": "center", "va": "center", "fontsize": 9, "color": colour}
                    axes.text(column, row, _percent(share), **text).set_in_layout(False)  # which takes a second
        else:
            bar = figure.colorbar(drawn, ax=axes, ticks=[0, 0.05, 0.25, 0.5, 1], aspect=30, pad=0.03)
            bar.ax.set_yticklabels(["0 %", "5 %", "25 %", "50 %", "100 %"], color=INK, fontsize=9)
            bar.outline.set_edgecolor(INK)
    title(figure, "Test rows of each class, by the class predicted (%)")
    return Drawing("confusion", figure, _caption(confused), _alt(confused, names))


def rates(counts: np.ndarray) -> np.ndarray:
    """Returns counts [C, C] as shares of their rows; NaN of classes without a row."""
    rows = counts.sum(axis=1, keepdims=True)
    return np.where(rows > 0, counts / np.maximum(rows, 1), np.nan)


def _caption(confused: Sequence[Confused]) -> str:
    trials = " and ".join(dict.fromkeys(counted(len(each.trial_ids), "trial") for each in confused))
    empty = (
        " Classes without a test row are blank." if any(not each.counts.sum(axis=1).all() for each in confused) else ""
    )
    return (
        f"Of the test rows of each true class (a row), the share that is predicted as each class, summed over {trials} "
        f"of an arm; darker is more, on a scale of square roots; shares below half a per cent have no number.{empty}"
    )


def _alt(confused: Sequence[Confused], names: Sequence[str]) -> str:
    parts = []
    for each, name in zip(confused, names, strict=True):
        shares = np.nan_to_num(rates(each.counts))
        right = ", ".join(f"{of} {_percent(share)} %" for of, share in zip(each.names, np.diag(shares), strict=True))
        np.fill_diagonal(shares, 0)
        true, predicted = np.unravel_index(np.argmax(shares), shares.shape)
        most = f"; most often {each.names[true]} as {each.names[predicted]}, {_percent(shares.max())} %"
        parts.append(f"{name}: right are {right}{most if shares.max() > 0 else ''}")
    return f"Confusion matrices. {'. '.join(parts)}"


def pairs(confused: Sequence[Confused], names: Sequence[str]) -> Listing:
    """Returns the pairs of classes that are confused most often, by arm."""
    rows = [
        (name, each.names[true], each.names[predicted], f"{n:,} of {of:,}", f"{n / of:.1%}".replace("%", " %"))
        for each, name in zip(confused, names, strict=True)
        for true, predicted, n, of in each.pairs
    ]
    caption = (
        f"Of {len(confused[0].names):,} classes, the pairs that are confused most often on test rows, summed over the "
        "trials of an arm: rows of the true class, and their share."
    )
    headings = ("arm", "true class", "predicted", "rows", "share")
    return Listing("confusion", caption, headings, rows, "lllrr", most_open=2 * len(rows))


def _percent(share: float) -> str:
    return "<1" if 0 < share < 0.005 else f"{100 * share:.0f}"
