"""``python launch.py table RUN``: a run's results, grouped by any field, to the terminal, CSV or Parquet."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import tyro
from rich.table import Table

from pretrain.commands import options, streams
from pretrain.config import metrics
from pretrain.config.paths import path_of, written_whole
from pretrain.report import verdicts
from pretrain.runs import holds, run_files
from pretrain.study import from_store, networks, results, summary


@dataclasses.dataclass(frozen=True)
class TableCommand:
    """Prints a run's results: mean ± standard deviation over the trials of each group that did not diverge."""

    run: tyro.conf.Positional[str]
    """Directory of the run."""
    by: tuple[str, ...] = ()
    """Columns to group by first, such as seed; swept fields of several values follow, so that no arms are mixed."""
    metrics: tuple[str, ...] = ()
    """Results to show, those that are measured from stored predictions among them, such as balanced_accuracy; by
    default the first, test loss and reconstruction error. Files hold all of them."""
    store: str = ""
    """Directory of trained stages, where it is no longer the run's."""
    mcnemar: int | None = None
    """Seed whose two networks of each comparison are set beside each other, too, row by row: McNemar's exact test,
    which is about these two networks and not about how they were trained."""
    trials: bool = False
    """Write every trial to the files, ungrouped."""
    csv: str = ""
    """File to write as CSV, too."""
    parquet: str = ""
    """File to write as Parquet, too."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: an option cannot be read, the run is not there, or it has no such column.
      DamageError: a file of the run is missing or not as it was written.
    """
    command = options.parse(TableCommand, argv, "table")
    try:
        run = results.load_run(command.run)
    except results.OtherVersionError as other:
        streams.complain(other)
        trials = run_files.read(Path(command.run).expanduser(), results.trials_of)
        return _shown(command, trials)
    if line := run_files.read(run.directory, results.other_versions):
        streams.complain(line)
    if command.store:
        run = from_store.at_store(run, command.store)
    holds.note_place(Path(run.experiment.store), Path(command.run).expanduser())
    for name in command.metrics:
        if metrics.split_of(name)[1] in metrics.METRICS or ".py:" in name:
            run = from_store.measured(run, name, "metrics", anew=True)
    pairs = [] if command.mcnemar is None else networks.of_seed(run, command.mcnemar)
    code = _shown(command, run.trials)
    for pair in pairs:
        options.console(sys.stdout).print(f"\n{verdicts.of_networks(pair, command.mcnemar)}", soft_wrap=True)
    return code


def _shown(command: TableCommand, trials: pa.Table) -> int:
    """Prints and writes a table of trials; returns the exit code."""
    swept = summary.swept_fields(trials)
    varied = [name for name in swept if len(set(map(str, trials[name].to_pylist()))) > 1]
    by = list(dict.fromkeys([*command.by, *varied])) if command.by else swept
    known = summary.metrics(trials)
    asked = [name if name in known else metrics.column(name) for name in command.metrics]
    grouped = summary.summarise(trials, by, asked)
    first = metrics.split_of(known[0])[1]
    usual = [f"test_{first}", f"validation_{first}", "test_loss", metrics.RECONSTRUCTION]
    shown = [name for name in asked or usual if grouped[f"{name}_mean"].null_count < len(grouped)]
    console = options.console(sys.stdout)
    console.print(_table(grouped, by, shown))
    try:
        for name, write in (("csv", _write_csv), ("parquet", pq.write_table)):
            if target := getattr(command, name):
                with written_whole(path_of(name, target)) as draft:
                    write(trials if command.trials else grouped, draft)
    except (OSError, pa.ArrowException) as error:
        streams.complain(f"{target}: cannot be written ({error})")
        return 1
    return 0


def _table(grouped: pa.Table, by: Sequence[str], shown: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in by:
        table.add_column(_heading(name))
    for name in (*shown, "n"):
        table.add_column(_heading(name), justify="right")
    for row in grouped.to_pylist():
        fields = [_cell(row[name]) for name in by]
        values = [_mean_and_deviation(row[f"{name}_mean"], row[f"{name}_std"]) for name in shown]
        n = f"{row['n']} ({row['n_diverged']} diverged)" if row["n_diverged"] else str(row["n"])
        table.add_row(*fields, *values, n)
    return table


def _heading(name: str) -> str:
    """Returns a column's name in lines, broken where its parts end."""
    return name.replace(".", ".\n").replace("_", "_\n") if len(name) > 12 else name


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "–" if value is None else str(value)


def _mean_and_deviation(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.4f}" + ("" if deviation is None else f" ±{deviation:.4f}")


def _write_csv(table: pa.Table, path: Path) -> None:
    lists = [name for name in table.column_names if pa.types.is_nested(table.schema.field(name).type)]
    for name in lists:  # CSV has no lists
        values = [None if value is None else " ".join(map(str, value)) for value in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    pc.write_csv(table, path)
