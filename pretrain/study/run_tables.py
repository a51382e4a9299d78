"""Tables of a run as they are read back: their columns, types and keys, as the run's tables are written."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config import metrics
from pretrain.study import summary
from pretrain.study.arms import combined

STATUSES = {"ok", "diverged", "collapsed"}
_TEXT, _WHOLE, _NUMBER = "texts", "whole numbers", "numbers"
COLUMNS = {
    "trials": {"trial_id": _TEXT, "seed": _WHOLE, "repeat": _WHOLE, "status": _TEXT},
    "curves": {"trial_id": _TEXT, "stage": _TEXT, "step": _WHOLE, "metric": _TEXT, "value": _NUMBER},
    "stages": {"trial_id": _TEXT, "stage": _TEXT, "stage_id": _TEXT},
    "timings": {"stage_id": _TEXT, "stage": _TEXT, "seed": _WHOLE, "run_seconds": _NUMBER},
    "classes": {"trial_id": _TEXT, "class": _TEXT, "support": _WHOLE, "recall": _NUMBER, "precision": _NUMBER},
    "rows": {
        **dict.fromkeys(("treatment", "baseline", "metric", "unit", "part"), _TEXT),
        **dict.fromkeys(("seeds", "n", "rows", "cells"), _WHOLE),
        **dict.fromkeys(("seed_variance", "row_variance", "residual_variance", "row_weight", "cell_weight"), _NUMBER),
    },
    "variation": {"trial_id": _TEXT, "redrawn": _TEXT, "seed": _WHOLE, "repeat": _WHOLE, "status": _TEXT},
}
OPTIONAL = ("classes", "rows", "variation")
_RESULTS = ("test_", "validation_", "pretrain_")  # beginnings of the names of results
_UNKNOWN = ("value", "run_seconds", "recall", "precision", *metrics.BEFORE, *metrics.RANKS)  # may be missing or NaN
_KEYS = {  # of a row
    "trials": ["trial_id"],
    "curves": ["trial_id", "stage", "step", "metric"],
    "stages": ["trial_id", "stage"],
    "timings": ["stage_id"],
    "classes": ["trial_id", "class"],
    "rows": ["treatment", "baseline", "metric", "part", "seeds", "n"],
    "variation": ["trial_id"],
}


def faults(tables: Mapping[str, pa.Table], swept: Mapping[str, Collection[object]]) -> Mapping[str, str]:
    """Returns the first fault of each table that has one, by the table's name.

    A manifest's checksums say that files are as they were sealed, not that a run wrote them.

    Args:
      tables: trials, curves, stages and timings, and those of ``OPTIONAL`` that there are.
      swept: values of fields of which trials have several, each a column of theirs.
    """
    found = {name: _of_columns(tables[name], COLUMNS[name]) for name in tables}
    measured = set(tables["stages"].column_names) & {*metrics.BEFORE, *metrics.RANKS}  # older runs lack them
    found["stages"] = found["stages"] or _of_columns(tables["stages"], dict.fromkeys(measured, _NUMBER))
    found["trials"] = fault_of_trials(tables["trials"])
    redrawn = tables.get("variation")
    if redrawn is not None:
        found["variation"] = found["variation"] or fault_of_trials(redrawn)
    if not found["trials"]:
        found["trials"] = _of_swept(tables["trials"], swept)
    if any(found.values()):
        return {name: fault for name, fault in found.items() if fault}
    trials = set(tables["trials"]["trial_id"].to_pylist())
    of_stages = trials | set(redrawn["trial_id"].to_pylist() if redrawn is not None else ())
    for name in {"curves", "stages", "classes"} & set(tables):
        if not (of_stages if name == "stages" else trials).issuperset(pc.unique(tables[name]["trial_id"]).to_pylist()):
            found[name] = "has rows of no trial"
    for name, keys in ((name, _KEYS[name]) for name in tables):
        if _has_repeats(tables[name].select(keys)):
            found[name] = f"has several rows of one {', '.join(keys)}"
    if "rows" in tables and (fault := _of_components(tables["rows"])):
        found["rows"] = fault
    if set(tables["stages"]["trial_id"].to_pylist()) != of_stages:
        found["stages"] = "lacks trials"
    if set(tables["timings"]["stage_id"].to_pylist()) != set(tables["stages"]["stage_id"].to_pylist()):
        found["timings"] = "is of other stages"
    return {name: fault for name, fault in found.items() if fault}


def _has_repeats(keys: pa.Table) -> bool:
    """Returns whether rows are alike; of curves they are millions, which pyarrow's groups take half a minute for."""
    rows = np.sort(combined(keys.columns))
    return bool((rows[1:] == rows[:-1]).any())


def completed(name: str, table: pa.Table) -> pa.Table:
    """Returns a table with columns that older runs lack, which had components of one part of an answer, at one look."""
    if name == "rows" and "n" in table.column_names and "part" not in table.column_names:
        table = table.append_column("part", pa.array(["comparisons"] * len(table)))
        return table.append_column("seeds", table["n"])
    return table


def fault_of_trials(trials: pa.Table) -> str:
    """Returns the first fault of a table of trials, whatever fields they sweep; nothing of a sound one."""
    of_results = {name: _NUMBER for name in trials.column_names if name.startswith(_RESULTS)}
    fault = _of_columns(trials, {**COLUMNS["trials"], **of_results})
    lacking = [name for name in _of_task(trials) if name not in trials.column_names]
    return fault or (f"has no column {lacking[0]}" if lacking else _of_values(trials))


def _of_task(trials: pa.Table) -> tuple[str, ...]:
    """Returns the results that every trial of a task has: that of which one is there, or else classification."""
    firsts = [usual[0] for usual in metrics.USUAL.values()]
    named = [(f"test_{first}", f"validation_{first}") for first in firsts]
    return next((pair for pair in reversed(named) if set(pair) & set(trials.column_names)), named[0])


def _of_columns(table: pa.Table, wanted: Mapping[str, str]) -> str:
    for name, kind in wanted.items():
        if table.column_names.count(name) != 1:
            return f"has no column {name}" if name not in table.column_names else f"has several columns {name}"
        if not _IS[kind](table.schema.field(name).type):
            return f"has {table.schema.field(name).type} in column {name}, not {kind}"
        if table[name].null_count and not name.startswith(_RESULTS) and name not in _UNKNOWN:
            return f"lacks values in column {name}"
    return "" if len(table) else "has no rows"


def _of_values(trials: pa.Table) -> str:
    if odd := set(trials["status"].to_pylist()) - STATUSES:
        return f"has the status {sorted(odd)[0]!r}"
    if min(pc.min(trials["seed"]).as_py(), pc.min(trials["repeat"]).as_py()) < 0:
        return "has a seed or a repeat below 0"
    return ""


def _of_swept(trials: pa.Table, swept: Mapping[str, Collection[object]]) -> str:
    if set(summary.swept_fields(trials)) != set(swept):
        return f"has other swept fields than {', '.join(sorted(swept)) or 'none'}"
    for name, values in swept.items():
        texts = {" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values}
        if _is_text(trials.schema.field(name).type) and texts.isdisjoint(pc.unique(trials[name]).to_pylist()):
            return f"has none of the values that are swept in column {name}"
    return ""


def _of_components(rows: pa.Table) -> str:
    if odd := set(rows["unit"].to_pylist()) - {"row", "group"}:
        return f"has the unit {sorted(odd)[0]!r}"
    numbers = [name for name, kind in COLUMNS["rows"].items() if kind == _NUMBER]
    if not all(pc.all(pc.is_finite(rows[name])).as_py() for name in numbers):
        return "has a variance or a weight that is no number"
    least = min(pc.min(rows[name]).as_py() for name in ("n", "rows"))
    return "has fewer than two seeds or rows" if least < 2 else ""


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)


_IS: Mapping[str, Callable[[pa.DataType], bool]] = {_TEXT: _is_text, _WHOLE: pa.types.is_integer, _NUMBER: _is_number}
