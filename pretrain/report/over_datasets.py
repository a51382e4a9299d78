"""What holds on several datasets, and on most like them: sentences, a cell, a table and a forest plot."""

import math
from collections.abc import Sequence

import numpy as np

from pretrain.config.counts import some
from pretrain.config.metrics import metric_of
from pretrain.report import names, phrases
from pretrain.report.drawing import COLOURS, INK, Drawing, canvas, title, written
from pretrain.report.listings import Listing
from pretrain.report.names import capital, p_value, percent
from pretrain.report.short_names import short_names
from pretrain.study.datasets import FEWEST_DATASETS, Group
from pretrain.study.statistics import Estimate

_MOST_NAMED = 6  # datasets
_MOST_DRAWN = 40  # of a figure
_LONGEST = 26  # characters of a name in a figure
_KINDS = ("helps", "hurts", "no difference")
_FALL = {1: ("up", "down"), -1: ("better", "worse")}  # a gain and a loss, by whether more is better


def statement(group: Group, metric: str, with_subject: bool = False) -> str:
    """Returns what holds on these datasets, and on most like them."""
    n, most = len(group.effects), group.most
    subject = ""
    if with_subject:
        named = names.treatment(group.field, group.treatment, group.baseline)
        subject = f"{capital(' '.join(filter(None, [named, names.setting(group.setting)])))}: "
    on = f"{subject}on these" if subject else "On these"
    rows = " on new rows like theirs" if group.is_for_new_rows else ""
    mean = f"{_difference(group.fixed, group, metric)} on average{rows}" if group.fixed else "no mean is taken"
    fewest = f"; fewer than {FEWEST_DATASETS} datasets show nothing" if n < FEWEST_DATASETS and not most.claim else ""
    up, down = _FALL[1 if metric_of(metric).higher_is_better else -1]
    tested = f"p {p_value(most.p_value)}, {most.up:,} {up} and {most.down:,} {down} of {n:,} medians{fewest}"
    differ = f"; spread {_spread(group.spread, group, metric)}" if group.spread else ""
    return (
        f"{on} {n:,} datasets {mean} ({_counts(group, metric)}). Most datasets like these: "
        f"{most.claim or 'not claimed'} ({tested}){differ}."
    )


def statements(groups: Sequence[Group], metric: str) -> list[str]:
    """Returns the statements on each treatment and setting."""
    return [statement(group, metric, len(groups) > 1) for group in groups]


def cell(groups: Sequence[Group], metric: str) -> str:
    """Returns the datasets and, in short, what holds on them; nothing without groups."""
    if not groups:
        return ""
    known = list(_named(groups[0]).values())
    parts = [f"{len(known):,} ({some(known, _MOST_NAMED)})"]
    if len(groups) == 1 and groups[0].fixed:
        (group,) = groups
        parts.append(f"on these {_difference(group.fixed, group, metric)} on average")
        parts.append(f"most like these: {group.most.claim or 'not claimed'}")
        if group.failed:
            parts.append(f"failed: {_failed(group)}")
    return "; ".join(parts)


def listings(groups: Sequence[Group], metric: str) -> list[Listing]:
    """Returns the effects on datasets, of each treatment and setting."""
    tables = []
    for number, group in enumerate(groups, 1):
        rows = []
        for each, name in zip(group.effects, _named(group).values(), strict=True):
            shown = _difference(each.difference, group, metric) if each.difference else "–"
            median = _number(_signed(each.median, metric), group, metric) if math.isfinite(each.median) else "–"
            rows.append((name, shown, median, "failed" if each.has_failed else each.verdict))
        caption = f"Differences dataset by dataset. {statement(group, metric, len(groups) > 1)}"
        headings = ("dataset", "difference", "median over seeds", "verdict")
        tables.append(Listing(f"datasets_{number}", caption, headings, rows, "lrrl", most_open=_MOST_DRAWN))
    return tables


def drawing(group: Group, metric: str, level: float, number: int = 1) -> Drawing:
    """Returns a forest plot: the difference on each dataset with its interval, and their mean below."""
    shown, known = group.effects[:_MOST_DRAWN], _named(group)
    scale = _scale(group, metric)
    unit = "% of the baseline" if group.is_relative else names.scale_of(metric)[1]
    labels = [_cut(known[each.name]) for each in shown]
    mean = group.fixed
    below = f"mean of {len(group.sound):,}"
    figure, axes = canvas(1.2 + 0.24 * (len(shown) + 2))
    for row, each in enumerate(shown):
        colour = INK if each.has_failed else COLOURS[0]
        if each.difference is None:
            continue
        low, high = (scale * end if np.isfinite(end) else np.nan for end in each.difference[1:])
        dashed = ":" if each.has_failed else "-"
        axes.plot([low, high], [row, row], color=colour, linewidth=2.2, linestyle=dashed, alpha=0.9)
        fill = "none" if each.has_failed else "full"
        axes.plot([scale * each.difference.mean], [row], "s", color=colour, markersize=5, fillstyle=fill)
    if mean:
        place, height = len(shown) + 0.5, 0.28
        ends = [scale * end for end in mean] if np.isfinite(mean.low) else [scale * mean.mean] * 3
        x = [ends[1], ends[0], ends[2], ends[0]]
        axes.fill(
            x, [place, place - height, place, place + height], color=COLOURS[1], linewidth=1, edgecolor=COLOURS[1]
        )
        labels = [*labels, below]
    axes.axhline(len(shown) - 0.25, color=INK, linewidth=0.5, alpha=0.5)
    ticks = [*range(len(shown)), *([len(shown) + 0.5] if mean else [])]
    failed = {row for row, each in enumerate(shown) if each.has_failed}
    axes.set_yticks(ticks, [f"{label} (failed)" if row in failed else label for row, label in enumerate(labels)])
    axes.set_ylim(len(shown) + 1.1, -0.6)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=f"difference ({unit})")
    subject = names.treatment(group.field, group.treatment, group.baseline)
    subject = capital(" ".join(filter(None, [subject, names.setting(group.setting)])))
    title(figure, written(f"{subject}: datasets, and their mean below", 70))
    rows = ", for new rows like theirs" if group.is_for_new_rows else ", over seeds"
    more = f" Shown are the first {_MOST_DRAWN} of {len(group.effects):,}." if len(group.effects) > _MOST_DRAWN else ""
    hollow = " Hollow, dotted: an arm fails there, which the mean leaves out." if failed else ""
    caption = (
        f"Difference on each dataset with its {percent(level)} interval{rows}; below, the mean of these datasets, each "
        f"counted alike. It says nothing of others: most datasets like these are judged by the sign test.{hollow}{more}"
    )
    listed = "; ".join(
        f"{known[each.name]} {_difference(each.difference, group, metric)}" for each in shown if each.difference
    )
    return Drawing(f"datasets_{number}", figure, caption, f"{statement(group, metric, True)} {listed}")


def _named(group: Group) -> dict[str, str]:
    """Returns the short name of each dataset."""
    short = short_names([each.name for each in group.effects])
    return {each.name: short[each.name] or each.name for each in group.effects}


def _cut(name: str) -> str:
    """Returns a name as a figure has room for it."""
    return written(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def _failed(group: Group) -> str:
    known = _named(group)
    return some([known[name] for name in group.failed], _MOST_NAMED)


def _counts(group: Group, metric: str) -> str:
    """Returns on how many datasets an effect is certain, open, or an arm fails."""
    falls = _FALL[1 if metric_of(metric).higher_is_better else -1]
    words = dict(zip(_KINDS, (*falls, "without a difference"), strict=True))
    counts = {kind: sum(each.verdict == kind for each in group.sound) for kind in _KINDS}
    parts = [f"{n:,} {words[kind]}" for kind, n in counts.items() if n]
    if n_open := len(group.sound) - sum(counts.values()):
        parts.append(f"{n_open:,} open")
    if group.failed:
        parts.append(f"{len(group.failed):,} failed and left out: {_failed(group)}")
    return ", ".join(parts)


def _scale(group: Group, metric: str) -> float:
    return 100 if group.is_relative else names.scale_of(metric)[0]


def _signed(gain: float, metric: str) -> float:
    return gain if metric_of(metric).higher_is_better else -gain


def _difference(estimate: Estimate, group: Group, metric: str) -> str:
    """Returns a difference with its interval, of errors in unlike units as a part of the baseline."""
    if not group.is_relative:
        return f"{phrases.unit(metric)[1:]} {names.difference(estimate, metric)}".lstrip()
    text = f"{phrases.unit(metric)[1:]} {100 * estimate.mean:+.1f} %".lstrip()
    return f"{text} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]" if np.isfinite(estimate.low) else text


def _number(value: float, group: Group, metric: str) -> str:
    return f"{_scale(group, metric) * value:+.3g}"


def _spread(spread: Estimate, group: Group, metric: str) -> str:
    """Returns a standard deviation over datasets with its interval."""
    scale = _scale(group, metric)
    low, middle, high = (f"{scale * end:.2g}" for end in (spread.low, spread.mean, spread.high))
    unit = " %" if group.is_relative else " points" * (scale == 100)
    return f"{middle}{unit} [{low}, {high if math.isfinite(spread.high) else 'no end'}]"
