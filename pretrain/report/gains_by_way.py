"""The gain of every way to pretrain over the same encoder from scratch, with each encoder, by label budget."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.report.drawing import COLOURS, INK, Drawing, legend, panels, title, written
from pretrain.report.names import intervals, labels, listed, metric_name, percent, scale_of, setting
from pretrain.report.phrases import interval
from pretrain.report.ways import name as way_name
from pretrain.study.answer import Answer
from pretrain.study.arms import key, without_idle
from pretrain.study.budgets import LABELS
from pretrain.study.comparisons import ENCODER, Comparison
from pretrain.study.ways import OF_PRETRAINING

_MOST_WAYS, _MOST_PANELS, _MOST_BUDGETS = 24, 6, 5  # legible in a figure
_LAYERS = "encoder.layers"
_MARKERS = "osD^v"
Parts = Mapping[str, Any]


def drawing(answer: Answer) -> Drawing | None:
    """Returns gains over encoders from scratch, a row for each way and a panel for each encoder; None of a single one.

    A panel is also of every other setting that arms share, as frozen layers, and of each dataset.
    """
    compared = [each for each in answer.comparisons if _is_of_pretraining(each)]
    ways, places, encoders = (_distinct([part(each.shared) for each in compared]) for part in (_way, _place, _encoder))
    budgets = sorted({each.shared.get(LABELS, 0) for each in compared}, key=lambda size: size or np.inf)
    if max(len(ways), len(encoders)) < 2:
        return None
    all_sizes = len(ways), len(places), len(budgets)
    ways, places = ways[:_MOST_WAYS], places[:_MOST_PANELS]
    kept = np.unique(np.linspace(0, len(budgets) - 1, min(len(budgets), _MOST_BUDGETS)).round().astype(int))
    budgets = [budgets[place] for place in kept]
    scale, unit = scale_of(answer.metric)
    names = [written(name, 20) for name in map(way_name, ways)]
    lines = [max(len(budgets), 1 + name.count("\n"), 2) for name in names]  # of each row, in letters or in marks
    rows = np.cumsum(lines) - np.array(lines) / 2
    figure, all_axes = panels(len(places), 0.5 + 0.17 * sum(lines), 0.5, sharey=True)
    for axes, place in zip(all_axes, places, strict=True):
        for each in compared:
            if key(_place(each.shared)) != key(place) or each.shared.get(LABELS, 0) not in budgets:
                continue
            row = next((row for row, way in zip(rows, ways, strict=True) if key(way) == key(_way(each.shared))), None)
            if row is not None:
                number = budgets.index(each.shared.get(LABELS, 0))
                _draw(axes, each, row + 0.8 * (number - (len(budgets) - 1) / 2), number, scale)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_title(written(_place_name(place), 60 // min(2, len(places))), fontsize=9)
        axes.set_yticks(rows, names)
        axes.tick_params(axis="y", length=0, labelsize=9)
        for edge in np.cumsum(lines)[:-1]:
            axes.axhline(edge, color=INK, linewidth=0.4, alpha=0.3)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(sum(lines), 0)
    for axes in all_axes[-2:]:
        axes.set_xlabel(f"gain ({unit})")
    ends = np.array([axes.get_xlim() for axes in all_axes])
    for axes in all_axes:
        axes.set_xlim(ends[:, 0].min(), ends[:, 1].max())
    if len(budgets) > 1:
        for number, size in enumerate(budgets):
            all_axes[0].plot([], [], color=COLOURS[number], marker=_MARKERS[number], linewidth=2.2, label=labels(size))
    title(figure, f"Gain of pretraining over the same encoder from scratch: {percent(answer.level)} intervals")
    legend(figure, all_axes[0])
    caption = _caption(compared, all_sizes, (len(ways), len(places), len(budgets)))
    return Drawing("ways", figure, caption, _alt(answer, compared))


def _draw(axes, comparison: Comparison, row: float, number: int, scale: float) -> None:
    """Draws one gain with its interval, hollow and dotted where an arm failed or nothing was learned."""
    gain = comparison.shown if metric_of(comparison.metric).higher_is_better else comparison.shown.turned()
    is_open = comparison.verdict == "unstable" or comparison.both_at_chance
    low, high = (scale * end if np.isfinite(end) else np.nan for end in gain[1:])
    colour = COLOURS[number]
    axes.plot([low, high], [row, row], color=colour, linewidth=2.2, linestyle=":" if is_open else "-")
    fill = "none" if is_open else "full"
    axes.plot([scale * gain.mean], [row], _MARKERS[number], color=colour, markersize=5, fillstyle=fill)


def _is_of_pretraining(comparison: Comparison) -> bool:
    return (comparison.field, comparison.treatment, comparison.baseline) == (ENCODER, "pretrained", "he")


def _way(shared: Parts) -> dict[str, Any]:
    """Returns the swept fields of pretraining that a comparison has."""
    return {name: value for name, value in without_idle(shared).items() if name.startswith(OF_PRETRAINING)}


def _encoder(shared: Parts) -> dict[str, Any]:
    return {name: value for name, value in shared.items() if name.startswith("encoder.")}


def _place(shared: Parts) -> dict[str, Any]:
    """Returns all swept fields besides those of pretraining and labels."""
    way = _way(shared)
    return {name: value for name, value in without_idle(shared).items() if name not in way and name != LABELS}


def _distinct(parts: Sequence[Parts]) -> list[Parts]:
    found: dict[Hashable, Parts] = {}
    for each in parts:
        found.setdefault(key(each), each)
    return list(found.values())


def _place_name(place: Parts) -> str:
    """Returns an encoder's layers as a command line has them, and the rest in words."""
    rest = {name: value for name, value in place.items() if name != _LAYERS}
    layers = place.get(_LAYERS, ())  # a text where some swept layers are numbers and some are words
    return " ".join(filter(None, [layers if isinstance(layers, str) else " ".join(map(str, layers)), setting(rest)]))


def _caption(compared: Sequence[Comparison], there: tuple[int, ...], shown: tuple[int, ...]) -> str:
    over = "for new rows like these" if any(each.new_rows for each in compared) else "over seeds, on these test rows"
    text = (
        f"What each way to pretrain gains in {metric_name(split_of(compared[0].metric)[1])} over the same encoder from "
        f"scratch, with {intervals(compared)} {over}: it helps, or hurts, where the bar leaves zero out and p, "
        "adjusted for all comparisons, is small, too. Hollow, dotted: an arm fails, or neither learns. Where nothing "
        "is drawn, nothing was run."
    )
    nouns = ("ways", "panels", "label budgets")
    more = [f"{few} of {many:,} {noun}" for few, many, noun in zip(shown, there, nouns, strict=True) if few < many]
    return text + (f" Shown are {listed(more)}." if more else "")


def _alt(answer: Answer, compared: Sequence[Comparison]) -> str:
    said = "; ".join(
        " ".join(filter(None, [way_name(each.shared), _place_name(_place(each.shared))]))
        + (f" at {labels(each.shared[LABELS])}" if LABELS in each.shared else "")
        + f" {interval(each)}"
        for each in compared
    )
    return f"Gains of pretraining in {metric_name(split_of(answer.metric)[1])}: {said}"
