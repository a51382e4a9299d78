"""Tables for people, written by the page and by LaTeX each in its way."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of, split_of
from pretrain.report import names, verdicts
from pretrain.study.answer import Answer
from pretrain.study.speed import SHARE


class Listing(NamedTuple):
    """A table of plain text."""

    name: str  # of its file
    caption: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    align: str  # l or r for each column


def arms(answer: Answer) -> Listing:
    """Returns the results of every arm."""
    rows, measure = [], split_of(answer.metric)[1]
    shown = [f"{split}_{measure}" for split in ("test", "validation")]
    for arm in answer.arms:
        columns = []
        for metric in shown:
            values = arm.results[metric]
            deviation = f" ± {names.value(np.std(values, ddof=1), metric)}" if len(values) > 1 else ""
            measured = len(values) and np.isfinite(values).all()
            columns.append(f"{names.value(np.mean(values), metric)}{deviation}" if measured else "–")
        rows.append((names.arm_name(arm.point), *columns, str(len(set(arm.seeds))), str(arm.n_diverged)))
    headings = ("arm", *map(names.metric_name, shown), "seeds", "diverged")
    caption = "Results at the end of training, mean ± standard deviation over trials that did not diverge."
    return Listing("arms", caption, headings, rows, "l" + "r" * (len(headings) - 1))


def comparisons(answer: Answer) -> Listing:
    """Returns the difference, test and verdict of every comparison."""
    rows = []
    for one in answer.comparisons:
        compared = f"{names.treatment(one.field, one.treatment, one.baseline)} {names.setting(one.shared)}".strip()
        verdict = f"{'exploratory: ' if one.is_exploratory else ''}{verdicts.outcome(one)}"
        if one.seeds_to_settle:
            verdict += f" ({verdicts.settling(one.seeds_to_settle)})"
        chance = f"{one.improvement.mean:.0%}"
        difference = names.difference(one.difference, one.metric).replace(" points", "")
        rows.append((compared, difference, f"{one.p_value:.3f}", chance, verdict, str(one.n)))
    family = "question, or for all that explore" if any(one.is_exploratory for one in answer.comparisons) else "run"
    unit = "points" if metric_of(answer.metric).is_fraction else names.metric_name(answer.metric)
    headings = ("comparison", f"difference ({unit})", "p", "seeds better", "verdict", "seeds")
    caption = (
        "Differences within a seed, mean over seeds, with their intervals; p is adjusted for all comparisons of the "
        f"{family} (Holm)."
    )
    return Listing("comparisons", caption, headings, rows, "lrrrlr")


def speeds(answer: Answer) -> Listing:
    """Returns how fast the arms of each comparison learn, beside how they end."""
    rows, measure = [], ""
    for one in answer.comparisons:
        if not (found := one.speed):
            continue
        measure = found.of
        compared = f"{names.treatment(one.field, one.treatment, one.baseline)} {names.setting(one.shared)}".strip()
        updates = [_updates(np.median(side)) for side in (found.treated, found.untreated)]
        row = (
            compared,
            f"{found.target:.3f}",
            *updates,
            verdicts.updates_ratio(found),
            found.learns(one.level),
            verdicts.outcome(one),
        )
        rows.append(row)
    headings = ("comparison", measure, "updates", "updates of the baseline", "ratio", "learns", "ends")
    caption = (
        f"Learning faster apart from ending better: updates, median over seeds, until {measure} on validation rows is "
        f"at {names.percent(SHARE)} of the better arm's in the end, linear between measurements; their ratio within a "
        "seed, geometric mean over seeds with its interval; and the verdict on the end."
    )
    return Listing("speeds", caption, headings, rows, "lrrrrll")


def _updates(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else "not reached"


def facts(name: str, caption: str, stated: Mapping[str, Any]) -> Listing:
    """Returns settings or versions as a table of names and values."""
    rows = [(key.replace("_", " "), _value(value)) for key, value in stated.items()]
    return Listing(name, caption, ("", ""), rows, "ll")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
