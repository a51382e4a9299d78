"""Codes of test rows on their first two principal components, a panel a network."""

from collections.abc import Sequence

import numpy as np

from pretrain.report.drawing import COLOURS, INK, Drawing, panels, title, written
from pretrain.runs.looks_file import Plane

_MARKERS = "os^Dv"
_MOST_NAMED = 15  # classes; dots of others are grey
_LETTER = (0.032, 0.06)  # width and height of a letter in one of two panels, of the extent of all dots
_PUSHES = 100
_LETTERS = "#111111"  # on a white halo, which stays on a dark page
_GREY = "#868e96"
_KINDS = {"pretrained": "pretrained", "scratch": "from scratch", "random": "random encoder", "own": "the best arm"}


def drawing(planes: Sequence[Plane], names: Sequence[str]) -> Drawing:
    """Draws the codes of each network, coloured by class, or by the target's first number."""
    figure, all_axes = panels(len(planes), 2.75, 0.4)
    for axes, plane, name in zip(all_axes, planes, names, strict=True):
        if plane.is_classes:
            _classes(axes, plane, _LETTER[0] * min(2, len(planes)) / 2)
        else:
            _numbers(figure, axes, plane)
        axes.set_xlabel(f"first, {plane.shares[0]:.0%} of the variance".replace("%", " %"), fontsize=9)
        axes.set_ylabel(f"second, {plane.shares[1]:.0%}".replace("%", " %"), fontsize=9)
        axes.set(xticks=[], yticks=[])  # numbers of codes have no unit
        prefix = "random encoder: " if plane.kind == "random" else ""
        axes.set_title(written(f"{prefix}{name}", 36), fontsize=9, color=INK)
    title(figure, "Codes of test rows on two principal components")
    shown, n = len(planes[0].points), planes[0].n_rows
    of = f"{shown:,} of {n:,} test rows, drawn at random," if shown < n else f"All {n:,} test rows"
    seeds = "; ".join(
        f"{_KINDS[each.kind]}: {name}, seed {each.seed}, {each.n_codes:,} codes"
        for each, name in zip(planes, names, strict=True)
    )
    by = "its class, which stands at its mean" if planes[0].is_classes else f"{planes[0].names[0]}"
    caption = (
        f"{of} by the codes that each encoder has after fine-tuning, on the two directions in which these vary "
        f"most; a dot's colour is {by}. Networks are the best of each kind on validation rows ({seeds}). What "
        "overlaps here may be apart in other directions."
    )
    shares = "; ".join(f"{_KINDS[each.kind]} {each.shares.sum():.0%}".replace("%", " %") for each in planes)
    return Drawing("codes", figure, caption, f"Codes of test rows in two dimensions; share of variance: {shares}")


def _classes(axes, plane: Plane, letter: float) -> None:
    import matplotlib.patheffects as effects

    numbers, counts = np.unique(plane.targets[np.isfinite(plane.targets)].astype(int), return_counts=True)
    named = np.sort(numbers[np.argsort(-counts, kind="stable")][:_MOST_NAMED])
    # Faster than a scatter.
    dots = {"linestyle": "none", "markersize": 2.7, "markeredgewidth": 0, "alpha": 0.55, "rasterized": True}
    rest = ~np.isin(plane.targets, named)
    axes.plot(*plane.points[rest].T, color=_GREY, marker="o", **dots)
    for index, number in enumerate(named):
        of = plane.points[plane.targets == number]
        colour, marker = COLOURS[index % 6], _MARKERS[index // 6 % len(_MARKERS)]
        axes.plot(*of.T, color=colour, marker=marker, **dots)
    means = np.array([plane.points[plane.targets == number].mean(axis=0) for number in named])
    names = [plane.names[number] for number in named]
    names = [name if len(name) <= 12 else f"{name[:11]}…" for name in names]
    widths = letter * np.maximum(2, [len(name) for name in names])
    halo = [effects.withStroke(linewidth=2.2, foreground="#ffffff")]
    text = {"ha": "center", "va": "center", "fontsize": 9, "fontweight": "bold", "color": _LETTERS}
    for name, middle in zip(names, apart(means, np.ptp(plane.points, axis=0), widths), strict=True):
        axes.text(*middle, written(name), path_effects=halo, **text).set_in_layout(False)


def apart(places: np.ndarray, extent: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Returns places [K, 2] of names, those that would overlap moved up and down.

    Args:
      places: means of classes.
      extent: of all dots along each axis [2].
      widths: of names [K], of that extent.
    """
    moved = places / np.maximum(extent, np.finfo(float).tiny)
    order = np.subtract.outer(range(len(moved)), range(len(moved)))  # of those at the same height
    wide = np.add.outer(widths, widths) / 2
    for _ in range(_PUSHES):
        gaps = moved[:, None] - moved[None]
        near = (np.abs(gaps[..., 0]) < wide) & (np.abs(gaps[..., 1]) < _LETTER[1]) & (order != 0)
        if not near.any():
            break
        ways = np.sign(np.where(gaps[..., 1] == 0, order, gaps[..., 1]))
        moved[:, 1] += 0.2 * _LETTER[1] * np.sum(ways * near, axis=1)
    return moved * extent


def _numbers(figure, axes, plane: Plane) -> None:
    known = np.isfinite(plane.targets)
    dots = {"s": 9, "linewidths": 0, "alpha": 0.7, "rasterized": True}
    axes.scatter(*plane.points[~known].T, color=_GREY, **dots)
    drawn = axes.scatter(*plane.points[known].T, c=plane.targets[known], cmap="cividis", **dots)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", aspect=30, shrink=0.8)
    bar.ax.tick_params(colors=INK, labelsize=9)
    bar.outline.set_edgecolor(INK)
    bar.set_label(written(plane.names[0]), color=INK, fontsize=9)
    bar.solids.set_alpha(1)
