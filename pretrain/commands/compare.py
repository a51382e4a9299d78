"""``python launch.py compare RUN RUN …``: what differs between runs, and whether it makes a difference."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import tyro
from rich.table import Table

from pretrain.commands import judge as judge_command
from pretrain.commands import options, streams
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, fields, get
from pretrain.config.metrics import AUTO, column, metric_of
from pretrain.config.paths import path_of
from pretrain.data.findings import MISSING
from pretrain.judging import judge
from pretrain.report import judgement
from pretrain.study import from_store, results, summary
from pretrain.study.choice import choose
from pretrain.study.results import Run

_ELSEWHERE = ("run_dir", "store", "sweep", "save_every", "engine", "study", "seeds", "defaults")  # decide no number
_RUN, _SEED = "run", "seed"


@dataclasses.dataclass(frozen=True)
class CompareCommand:
    """Lists the fields in which runs differ, and judges each against the first, arm by arm."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Directories of two runs or more; the first is the baseline."""
    metric: str = ""
    """Result to compare, as of study.metric; by default the first run's."""
    out: str = ""
    """Directory to write report.html and answer.json to."""


class _Rows(NamedTuple):
    """Results of runs as a table of judge's."""

    table: pa.Table
    by: tuple[str, ...]  # swept fields, whose combinations all runs have
    pair: tuple[str, ...]  # none where rows are not the same
    value: str
    n_same: int  # arms that are the same trials in all runs, and are left out


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: a run is not there, there are fewer than two, or they have no arm or no metric in common.
      DamageError: a file of a run is missing or not as it was written.
    """
    command = options.parse(CompareCommand, argv, "compare")
    if len(set(command.runs)) < max(2, len(command.runs)):
        raise ConfigError("runs", " ".join(command.runs), "are not several different ones; name two or more")
    out = path_of("out", command.out) if command.out else None
    runs = {name: results.load_run(name) for name in command.runs}
    differing = _differing(list(runs.values()))
    rows = _rows(runs, command.metric, differing)
    console = options.console(sys.stdout)
    console.print(_listing(differing, list(runs)))
    console.print()
    for name, run in runs.items():
        for finding in run.findings:
            if finding.kind == MISSING:
                console.print(f"{name}: {finding}\n", soft_wrap=True)
    if rows.n_same:
        n = counted(rows.n_same, "arm")
        console.print(f"{n} {'is' if rows.n_same == 1 else 'are'} the same trials in all runs.\n", soft_wrap=True)
    if not len(rows.table):
        return 0
    first, *others = runs
    kind = metric_of(rows.value)
    judged = judge(
        rows.table,
        treatment=[f"{_RUN}={name}" for name in others],
        baseline=f"{_RUN}={first}",
        pair=rows.pair,
        value=rows.value,
        by=rows.by,
        direction="higher" if kind.higher_is_better else "lower",
        bounds=(kind.low, kind.high) if kind.is_fraction else None,
    )
    judge_command.show(judged)
    try:
        if out:
            console.print(str(judgement.write(judged, out)), style="dim", soft_wrap=True)
    except OSError as error:
        streams.complain(error)
        return 1
    return 0


def _differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Returns the values of each run by field, of those in which runs differ; swept ones are listed."""
    names = dict.fromkeys(name for run in runs for name in (*fields(run.experiment), *_swept(run)))
    found: dict[str, list[str]] = {}
    for name in names:
        if name.partition(".")[0] in _ELSEWHERE:
            continue
        values = [_value(run, name) for run in runs]
        if len(set(values)) > 1:
            found[name] = values
    return found


def _value(run: Run, name: str) -> str:
    if name in _swept(run):
        return ", ".join(sorted({_text(value) for value in run.trials[name].to_pylist() if value is not None}))
    try:
        return _text(get(run.experiment, name))
    except AttributeError:  # of another kind of method
        return "–"


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _swept(run: Run) -> list[str]:
    return summary.swept_fields(run.trials)


def _listing(differing: Mapping[str, Sequence[str]], names: Sequence[str]) -> Table | str:
    if not differing:
        return "The experiments differ in no field."
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("differs in", *names):
        table.add_column(heading, overflow="fold")
    for name, values in differing.items():
        table.add_row(name, *values)
    return table


def _unit(row: Mapping[str, Any], by: Sequence[str]) -> tuple:
    return tuple(row[field] for field in (*by, _SEED, "repeat"))


def _rows(runs: Mapping[str, Run], metric: str, differing: Mapping[str, Sequence[str]]) -> _Rows:
    """Returns the results of arms that all runs have; those of tuned runs at the chosen settings."""
    asked = metric or next(iter(runs.values())).experiment.study.metric
    # A metric of one's own is that of its file as it is now: runs may have stored values of other versions of it.
    anew = bool(metric) or ".py:" in asked
    measured = {name: from_store.measured(run, asked, "metric", anew=anew) for name, run in runs.items()}
    first = next(iter(measured.values()))
    value = column(asked) if asked != AUTO else summary.metrics(first.trials)[0]
    if lacking := [name for name, run in measured.items() if value not in run.trials.column_names]:
        raise ConfigError("metric", value, f"is no result of {', '.join(lacking)}; name another by --metric")
    chosen = {
        name: choose(run.trials, run.experiment.study).trials if run.experiment.study.tune else run.trials
        for name, run in measured.items()
    }
    by = tuple(dict.fromkeys(field for table in chosen.values() for field in summary.swept_fields(table)))
    rows: list[dict[str, Any]] = []
    trials: dict[tuple[tuple[str, str], ...], dict[str, set[str]]] = {}  # of each arm in each run
    for name, run in runs.items():
        for row in chosen[name].to_pylist():
            point = {field: _text(row[field]) if field in row else _value(run, field) for field in by}
            lost = row["status"] == "diverged" or row.get(value) is None
            result = float("nan") if lost else row[value]
            rows.append({_RUN: name, _SEED: row["seed"], "repeat": row["repeat"], **point, value: result})
            trials.setdefault(tuple(point.items()), {}).setdefault(name, set()).add(row["trial_id"])
    of_run = {name: [row for row in rows if row[_RUN] == name] for name in runs}
    by = tuple(field for field in by if any(len({row[field] for row in some}) > 1 for some in of_run.values()))
    combinations = [{tuple(row[field] for field in by) for row in some} for some in of_run.values()]
    same = {
        tuple(dict(point)[field] for field in by)
        for point, ids in trials.items()
        if len(ids) == len(runs) and len(set(map(frozenset, ids.values()))) == 1
    }
    common = set.intersection(*combinations)
    kept = [row for row in rows if tuple(row[field] for field in by) in common - same]
    if not common:
        raise ConfigError("runs", " ".join(runs), "have no arm in common; sweep the same values")
    is_paired = not any(name.startswith("data.") for name in differing)
    if is_paired:  # else what a run lacks since it could not be trained would count as failed
        for name, run in runs.items():
            if any(finding.kind == MISSING for finding in run.findings):
                there = {_unit(row, by) for row in of_run[name]}
                kept = [row for row in kept if _unit(row, by) in there]
    for field in by:
        if all(row[field].isdecimal() for row in kept):
            kept = [{**row, field: int(row[field])} for row in kept]
    return _Rows(pa.Table.from_pylist(kept), by, (_SEED, "repeat") if is_paired else (), value, len(common & same))
