"""``python launch.py runs [FOLDER]``: the runs below a folder, and how far those are that go on."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich import filesize
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pretrain.commands import options, streams
from pretrain.config.counts import counted
from pretrain.config.paths import path_of
from pretrain.runs.listing import Listed, list_runs

_BETWEEN = 2.0  # seconds between two looks
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (0, "s"))


@dataclasses.dataclass(frozen=True)
class RunsCommand:
    """Lists runs, those that changed last first: question, verdict, age, size, and who is at work there."""

    folder: tyro.conf.Positional[str] = "runs"
    """Directory in which they lie, up to six folders deep."""
    tag: str = ""
    """List the runs with this tag alone, of those that an experiment's `--tags` names."""
    watch: bool = False
    """List them again every two seconds, until Ctrl-C."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code 0.

    Raises:
      ConfigError: an option cannot be read, or the folder is no directory.
    """
    command = options.parse(RunsCommand, argv, "runs")
    console, folder = options.console(sys.stdout), path_of("folder", command.folder)
    if not command.watch:
        runs = list_runs(folder, command.tag)
        console.print(_title(runs, folder), soft_wrap=True)
        console.print(_table(runs, folder))
        return 0
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            runs = list_runs(folder, command.tag)
            live.update(Group(Text(_title(runs, folder)), _table(runs, folder)), refresh=True)
            time.sleep(_BETWEEN)
    return 0


def _title(runs: Sequence[Listed], folder: Path) -> str:
    n_running = sum(run.state == "running" for run in runs)
    return streams.shown(f"{counted(len(runs), 'run')} in {folder}" + f", {n_running} at work" * bool(n_running))


def _table(runs: Sequence[Listed], folder: Path) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    has_tags = any(run.tags for run in runs)
    for heading in ("run", "state", "age", "size"):
        table.add_column(heading, justify="right" if heading in ("age", "size") else "left", no_wrap=heading != "run")
    if has_tags:
        table.add_column("tags")
    table.add_column("verdict, or work")
    for run in runs:
        name = run.path.relative_to(folder).as_posix() if run.path != folder else run.path.name
        said = f"{run.work or 'at work'} ({run.holder})" if run.state == "running" else run.verdict
        tags = [" ".join(run.tags)] if has_tags else []
        cells = (
            name,
            run.state,
            _age(time.time() - run.changed),
            filesize.decimal(run.n_bytes) if run.n_bytes else "–",
            *tags,
            said,
        )
        table.add_row(*(Text(streams.shown(cell)) for cell in cells))
    return table


def _age(seconds: float) -> str:
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size or not size)
    return f"{max(0, seconds) / (size or 1):.0f} {unit}"
