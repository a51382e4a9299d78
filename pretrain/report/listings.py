"""Tables for people, written by the page and by LaTeX each in its way."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.data.columns import Record
from pretrain.data.findings import Finding
from pretrain.data.inputs_file import Inputs
from pretrain.report import names, phrases, verdicts
from pretrain.study.answer import Answer
from pretrain.study.arms import Arm, distinct, key
from pretrain.study.comparisons import Comparison, by_family
from pretrain.study.phases import decisive
from pretrain.study.speed import SHARE

Item = TypeVar("Item")


_MOST_ROWS = 1000  # of a table; more are for programs to read
_MOST_OPEN = 30  # columns of data that stand open
_MOST_CATEGORIES = 8


class Listing(NamedTuple):
    """A table of plain text."""

    name: str  # of its file
    caption: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    align: str  # l or r for each column
    most_open: int = 12  # rows; a table of more is folded


def arms(answer: Answer) -> Listing:
    """Returns the results of every arm; of more than a thousand, of those that are best on validation rows."""
    measure = split_of(answer.metric)[1]
    shown = [f"{split}_{measure}" for split in ("test", "validation")]
    sign = -1 if metric_of(measure).higher_is_better else 1

    def rank(arm: Arm) -> float:
        mean = sign * np.mean(arm.results[shown[1]]) if arm.trial_ids else np.nan
        return mean if np.isfinite(mean) else np.inf

    kept, note = _foremost(distinct(answer.arms), rank, "arms are best on validation rows")
    rows = []
    for arm in kept:
        columns = []
        for metric in shown:
            values = arm.results[metric]
            deviation = f" ± {names.value(np.std(values, ddof=1), metric)}" if len(values) > 1 else ""
            measured = len(values) and np.isfinite(values).all()
            columns.append(f"{names.value(np.mean(values), metric)}{deviation}" if measured else "–")
        rows.append((names.arm_name(arm.point), *columns, str(len(set(arm.seeds))), str(arm.n_diverged)))
    headings = ("arm", *map(names.metric_name, shown), "seeds", "diverged")
    caption = f"Results at the end of training, mean ± standard deviation over trials that did not diverge.{note}"
    return Listing("arms", caption, headings, rows, "l" + "r" * (len(headings) - 1))


def comparisons(answer: Answer) -> Listing:
    """Returns the difference, test and verdict of every comparison; of more than a thousand, of the most certain."""
    kept, note = _foremost(answer.comparisons, _certainty, "comparisons are the most certain")
    has_new = any(comparison.new_rows for comparison in kept)
    rows = []
    for comparison in kept:
        verdict = f"{'exploratory: ' if comparison.is_exploratory else ''}{verdicts.outcome(comparison)}"
        if comparison.verdict == "unstable":
            verdict += (
                f": {comparison.failures.treated} and {comparison.failures.untreated} of {comparison.failures.of} fail"
            )
        if comparison.look:
            verdict += f" (look {comparison.look})"
        if comparison.seeds_to_settle:
            verdict += f" ({phrases.settling(comparison.seeds_to_settle, comparison)})"
        on_new = comparison.new_rows if comparison.verdict != "unstable" else None
        intervals = [on_new, comparison.difference] if has_new else [comparison.difference]
        shown = [
            names.difference(each, comparison.metric).replace(" points", "") if each else "–" for each in intervals
        ]
        p_value, share = names.p_value(comparison.p_value).removeprefix("= "), f"{comparison.improvement.mean:.0%}"
        rows.append((names.comparison_name(comparison), *shown, p_value, share, verdict, str(comparison.n)))
    family = "question, or for all that explore" if by_family(answer.comparisons)[1] else "run"
    unit = "points" if metric_of(answer.metric).is_fraction else names.metric_name(answer.metric)
    differences = [f"difference ({unit})"]
    if has_new:
        differences = [f"difference on new rows ({unit})", "on these rows"]
    headings = ("comparison", *differences, "p", "seeds better", "verdict", "seeds")
    over = "over seeds and test rows, and over seeds alone, as p is" if has_new else "over seeds"
    caption = (
        f"Differences within a seed, mean over seeds, with {names.intervals(answer.comparisons)} {over}; p is adjusted "
        f"for all claims on comparisons of the {family} (Shaffer).{note}"
    )
    return Listing("comparisons", caption, headings, rows, f"l{'r' * len(differences)}rrlr")


def speeds(answer: Answer) -> Listing:
    """Returns how fast the arms of each comparison learn, beside how they end."""
    timed = [comparison for comparison in answer.comparisons if comparison.speed]
    kept, note = _foremost(timed, _certainty, "comparisons are the most certain")
    rows = []
    for comparison in kept:
        speed = comparison.speed
        rows.append(
            (
                names.comparison_name(comparison),
                f"{speed.target:.3f}",
                *(_updates(np.median(side)) for side in (speed.treated, speed.untreated)),
                verdicts.updates_ratio(speed),
                speed.learns(comparison.level),
                verdicts.outcome(comparison),
            )
        )
    measure = timed[0].speed.of
    headings = ("comparison", measure, "updates", "updates of the baseline", "ratio", "learns", "ends")
    caption = (
        f"Learning faster apart from ending better: updates, median over seeds, until {measure} on validation rows is "
        f"at {names.percent(SHARE)} of the better arm's in the end, linear between measurements; their ratio within a "
        f"seed, geometric mean over seeds with its interval; and the verdict on the end.{note}"
    )
    return Listing("speeds", caption, headings, rows, "lrrrrll")


def _foremost(items: Sequence[Item], rank: Callable[[Item], Any], reason: str) -> tuple[Sequence[Item], str]:
    """Returns the items of a table, of too many those that rank lowest, and a sentence that says so."""
    if len(items) <= _MOST_ROWS:
        return items, ""
    note = f" Of {len(items):,}, these {_MOST_ROWS:,} {reason}; answer.json has all."
    return sorted(items, key=rank)[:_MOST_ROWS], note


def _certainty(comparison: Comparison) -> tuple[float, float]:
    return comparison.p_value, -abs(comparison.difference.mean)


def _updates(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "not reached"


def pretraining(answer: Answer) -> Listing:
    """Returns the errors of each stage of each pretraining, once for all arms that share it."""
    distinct = {(key(decisive(each.arm.point)), each.stage): each for each in reversed(answer.pretraining)}
    rows = []
    for each in reversed(distinct.values()):
        name, states = names.arm_name(decisive(each.arm.point)), Counter(each.states).most_common()
        errors = (each.before_training, each.trained, each.before_held_out, each.last, each.best)
        updates = sorted({int(n) for n in each.best_update})
        at = f"{updates[0]:,}" if len(updates) == 1 else f"{updates[0]:,} to {updates[-1]:,}"
        outcome = ", ".join(f"{state} ({n} of {len(each.states)})" if len(states) > 1 else state for state, n in states)
        ranks = " of ".join(map(_loss, (each.rank, each.untrained_rank)))
        rows.append((name, each.stage, each.metric, *map(_loss, errors), at, ranks, outcome))
    caption = (
        "Losses of each stage of pretraining, means over seeds: of training rows as batches have it, and held out, of "
        "validation rows. The first were measured before any update, the lowest is the best of the measurements. "
        "Effective ranks are of the codes of validation rows, beside that of the same encoder untrained."
    )
    if not all(each.is_measured.all() for each in answer.pretraining):
        caption += " Where none was measured before any update (–), the outcome compares the first batch's."
    headings = ("pretraining", "stage", "loss", "training, first", "training, end", "held out, first")
    headings = (*headings, "held out, end", "held out, lowest", "at update", "effective rank", "outcome")
    if len({row[0] for row in rows}) == 1:  # a column that says nothing
        headings, rows = headings[1:], [row[1:] for row in rows]
    return Listing("pretraining", caption, headings, rows, "lllrrrrrrrl"[-len(headings) :])


def _loss(values: np.ndarray) -> str:
    return f"{np.nanmean(values):.3g}" if np.isfinite(values).any() else "–"


def findings(answer: Answer) -> Listing:
    """Returns the findings in the data as a table."""
    rows = [(finding.data or "–", finding.kind, _sentence(finding)) for finding in answer.findings]
    return Listing("findings", "How the data were read, and doubts about them.", ("Data", "Finding", ""), rows, "lll")


def columns(inputs: Sequence[Inputs]) -> list[Listing]:
    """Returns the columns of each table that was read: kind, outcome, missing values, categories, why not."""
    listed: dict[str, Listing] = {}
    for each in inputs:
        if each.columns and each.data.name not in listed:
            rows = [
                (record.name, record.kind, record.became, f"{record.missing:,}", _categories(record), record.left_out)
                for record in each.columns
            ]
            kept = sum(not record.left_out for record in each.columns)
            caption = f"Columns of {each.data.name}, of which {kept:,} of {len(rows):,} are read."
            headings = ("column", "kind", "became", "missing", "categories", "left out")
            if not any(row[-1] for row in rows):
                headings, rows = headings[:-1], [row[:-1] for row in rows]
            name = f"columns_{len(listed) + 1}" if listed else "columns"
            table = (headings, rows[:_MOST_ROWS], "lllrll"[: len(headings)])
            listed[each.data.name] = Listing(name, caption, *table, most_open=_MOST_OPEN)
    return list(listed.values())


def _categories(record: Record) -> str:
    """Returns a column's categories, the first ones of many."""
    named = [category or "(none)" for category in record.categories[:_MOST_CATEGORIES]]
    more = len(record.categories) - len(named)
    return ", ".join([*named, *([f"and {more:,} more"] if more else [])])


def _sentence(finding: Finding) -> str:
    return str(finding._replace(data=""))


def facts(name: str, caption: str, stated: Mapping[str, Any]) -> Listing:
    """Returns settings or versions as a table of names and values."""
    rows = [(key.replace("_", " "), _value(value)) for key, value in stated.items()]
    return Listing(name, caption, ("", ""), rows, "ll")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value(each)}" for name, each in value.items()) or "none"
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
