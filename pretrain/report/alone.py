"""The verdict on the only comparison of a question, in a sentence that needs no other."""

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.metrics import metric_of, split_of
from pretrain.report import phrases
from pretrain.report.names import capital, difference, metric_name, p_value, percent, setting, sizes, treatment_of
from pretrain.study.comparisons import Comparison
from pretrain.study.power import POWER


def alone(comparison: Comparison, sound: str = "no trial failed") -> str:
    """Returns what is certain of a comparison of six seeds or more, or between which ends it is open.

    ``sound`` is what is known where no trial is known to have failed.
    """
    where = setting(comparison.shared)
    where = (f", {where}" if where else "") + phrases.unfinished(comparison).replace(" after", ", after", 1)
    known = comparison.verdict in ("helps", "hurts", "no difference")
    if not known:
        return _open(comparison, where)
    shown, p = phrases.interval(comparison) + phrases.on_new_rows(comparison), comparison.p_value
    still = ""
    if phrases.is_of_these_rows(comparison):
        shown = f"{phrases.interval(comparison, on_these=True)} on {phrases.these_rows(comparison)}"
        still = f"; open for new ones, {phrases.ends_for_new_rows(comparison)}{_settled(comparison)}"
    else:
        p = max(p, comparison.p_new_rows or 0)
    tested = f"; p {p_value(p)}" if comparison.verdict != "no difference" else ""
    fate = phrases.lost(comparison).removeprefix(", ") or sound
    seeds = f"({counted(comparison.n, 'seed')}{phrases.earlier_look(comparison)}{tested}; {fate})"
    verb = "makes no difference that matters" if comparison.verdict == "no difference" else comparison.verdict
    return f"{capital(treatment_of(comparison))} {verb}, {shown} {seeds}, on this data only{where}{still}."


def _settled(comparison: Comparison) -> str:
    return phrases.settled(comparison).replace(" would settle", " seeds would settle")


def _open(comparison: Comparison, where: str) -> str:
    """Returns the ends of a difference that is not settled, the smallest effect that would show, and the remedy."""
    low, high = comparison.shown.low, comparison.shown.high
    ends = difference(comparison.shown, comparison.metric)
    ends = ends[ends.index("[") + 1 : -1].replace(", ", " and ") if np.isfinite([low, high]).any() else "any two ends"
    points = " points" if metric_of(comparison.metric).is_fraction and np.isfinite([low, high]).any() else ""
    what = metric_name(split_of(comparison.metric)[1])
    excluded = f"; p {p_value(comparison.p_value)}" if low > 0 or high < 0 else ""
    seeds = f"({counted(comparison.n, 'seed')}{excluded}{phrases.lost(comparison)})"
    text = f"Not settled: {treatment_of(comparison)} changes {what} by between {ends}{points}"
    text += f"{phrases.on_new_rows(comparison)} {seeds}{where}"
    if np.isfinite(least := comparison.smallest_seen):
        text += f"; only effects beyond {sizes(least, least, comparison.metric)} would show ({percent(POWER)} power)"
    return f"{text}. {capital(remedy)}." if (remedy := _settled(comparison)[2:]) else f"{text}."
