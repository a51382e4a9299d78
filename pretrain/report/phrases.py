"""Phrases on one comparison: its interval, rows, seeds and length of training."""

from collections.abc import Sequence

from pretrain.config.counts import counted
from pretrain.config.metrics import split_of
from pretrain.report.names import difference, listed, metric_name, percent, value_name
from pretrain.study.comparisons import Comparison
from pretrain.study.power import SeedRange
from pretrain.study.statistics import LEVEL

_MOST_LENGTHS = 4  # numbers of updates that are named one by one


def is_of_these_rows(comparison: Comparison) -> bool:
    """Returns whether a verdict holds for the test rows at hand, and is open for new ones."""
    return comparison.holds_for_new_rows is False and comparison.failures.verdict != "inconclusive"


def settled(comparison: Comparison) -> str:
    """Returns how many seeds, and with how many test rows, would settle a comparison; nothing where that is unknown."""
    if not comparison.seeds_to_settle:
        return ""
    return f"; {settling(comparison.seeds_to_settle, comparison)}"


def settling(seeds: SeedRange, comparison: Comparison | None = None) -> str:
    """Returns how many seeds in all would settle a comparison, and with how many rows where seeds alone would not."""
    rows = ""
    if comparison and comparison.rows and comparison.rows_to_settle:
        rows = f"{comparison.rows_to_settle:,} test {unit_of_rows(comparison)}s"
    if seeds.high is None:
        return f"settling it takes more than {seeds.low:,}{f' seeds and {rows}' if rows else ''}"
    start = f"{seeds.low:,} to" if seeds.low < seeds.high else "about"
    return f"{start} {seeds.high:,} would settle it{f', with {rows}' if rows else ''}"


def unit_of_rows(comparison: Comparison) -> str:
    """Returns the unit of the rows: a row, or a group of them."""
    return "group" if comparison.rows and comparison.rows.is_grouped else "row"


def these_rows(comparison: Comparison) -> str:
    """Returns the test rows at hand."""
    return f"these {comparison.rows.rows:,} {unit_of_rows(comparison)}s" if comparison.rows else "these rows"


def on_new_rows(comparison: Comparison) -> str:
    """Returns the rows that an interval is for, where it is for new ones."""
    if not comparison.new_rows or not comparison.rows:
        return ""
    return f" on new {unit_of_rows(comparison)}s like these {comparison.rows.rows:,}"


def ends_for_new_rows(comparison: Comparison) -> str:
    """Returns the interval for new rows."""
    if not comparison.new_rows:
        return ""
    shown = difference(comparison.new_rows, comparison.metric)
    return shown[shown.index("[") :] if "[" in shown else "without an end"


def earlier_look(comparison: Comparison) -> str:
    """Returns the earlier look at which a comparison was settled; nothing of one that the last look judged."""
    return f", settled at look {comparison.look}" if comparison.look else ""


def lost(comparison: Comparison) -> str:
    """Returns how many trials of a comparison diverged or collapsed."""
    kinds = (("diverged", comparison.n_diverged), ("collapsed", comparison.n_collapsed))
    return "".join(f", {counted(n, 'trial')} {kind}" for kind, n in kinds if n)


def unfinished(comparison: Comparison) -> str:
    """Returns after how many updates arms were compared, and which still improved; nothing once all are level."""
    updates = after([comparison])
    sides = zip(comparison.lengths, (comparison.treatment, comparison.baseline), strict=True)
    still = [value_name(comparison.field, value) for length, value in sides if length and length.trend == "improves"]
    improving = f", {'both' if len(still) == 2 else still[0]} still improving" if still else ""
    return f" after {updates}{improving}" if updates else ""


def after(compared: Sequence[Comparison]) -> str:
    """Returns how many updates arms made, in words; nothing where none was trained, or all have levelled off."""
    lengths = [length for comparison in compared for length in comparison.lengths if length]
    if all(length.trend == "level" for length in lengths):
        return ""
    updates = sorted({length.updates for length in lengths})
    if len(updates) > _MOST_LENGTHS:
        return f"{updates[0]:,} to {updates[-1]:,} updates"
    return f"{listed([f'{n:,}' for n in updates])} update{'s' * (updates != [1])}"


def interval(comparison: Comparison, on_these: bool = False) -> str:
    """Returns a comparison's difference with its interval, and the interval's level where it is not 95 %.

    The interval is for new rows where it is known, unless that ``on_these`` rows is asked for.
    """
    name = unit(comparison.metric)
    shown = difference(comparison.difference if on_these else comparison.shown, comparison.metric)
    return f"{name[1:]} {shown}".lstrip() + at_level(1 - (1 - comparison.level) / comparison.n_at_once)


def unit(metric: str) -> str:
    """Returns the name of a metric after its value, but of accuracy, which goes without saying."""
    return "" if split_of(metric)[1] == "accuracy" else f" {metric_name(split_of(metric)[1])}"


def at_level(level: float) -> str:
    """Returns the level of an interval just given, where it is not the usual one."""
    return "" if level == LEVEL else f" at {percent(level)}"
