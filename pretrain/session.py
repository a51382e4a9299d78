"""One run of an experiment, from its plan to its answer."""

import gc
import logging
import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pretrain import data
from pretrain.config import Experiment, to_json
from pretrain.fields import ConfigError
from pretrain.learn.finetune import Finetune
from pretrain.study import figures, report, statistics
from pretrain.sweep import engines, execute, tables
from pretrain.sweep import plan as planning
from pretrain.sweep.plan import Plan
from pretrain.sweep.store import Store, StoreError

_WIDTH_OF_FILES = 120  # columns, where the output is no terminal


def run(experiment: Experiment, dry_run: bool = False) -> int:
    """Runs an experiment: trains what is not stored yet, writes the run's files and prints the result.

    Args:
      experiment: what to run.
      dry_run: whether to print the plan and stop, with nothing written.

    Returns:
      The exit code: 0 done, 1 a file could not be read or written.

    Raises:
      ConfigError: the dataset is not there or does not fit, or a directory cannot be used.
    """
    for field in ("run_dir", "store"):
        _check_directory(field, getattr(experiment, field))
    began = time.monotonic()
    out, progress = (
        Console(file=file, width=None if file.isatty() else _WIDTH_OF_FILES) for file in (sys.stdout, sys.stderr)
    )
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
    execute.prepare_devices(Path(experiment.store).expanduser() / "programs")
    dataset = data.load(experiment.data)
    plan = planning.plan(experiment, dataset)
    if dry_run:
        show_plan(plan, dataset, out)
        return 0
    try:
        run_dir = Path(experiment.run_dir).expanduser()
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "experiment.json").write_text(to_json(experiment))
        store = Store(experiment.store, warn=lambda line: progress.print(line, style="yellow", soft_wrap=True))
        n_run = engines.run_here(plan, dataset, store, progress)
        trials, curves = tables.trials(plan, store), tables.curves(plan, store)
        tables.write(trials, run_dir / "trials.parquet")
        tables.write(curves, run_dir / "curves.parquet")
        tables.write(tables.timings(plan, store), run_dir / "timings.parquet")
        picture = run_dir / "figures" / "first_batches.png"
        figures.first_batches(curves, statistics.arms(trials), picture)
    except (StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    report.show(trials, curves, out)
    seconds = time.monotonic() - began
    summary = f"{len(plan.trials)} trials, {n_run} of {len(plan.jobs)} stages run, {seconds:.1f} s; {picture}"
    out.print(summary, style="dim", highlight=False, soft_wrap=True)
    gc.freeze()  # the process is about to end, and need not search a million objects for cycles as it does
    return 0


def show_plan(plan: Plan, dataset: data.Dataset, console: Console) -> None:
    """Prints what a run would do: its stages, the packs they run in, and what those take."""
    import jax

    n_stages = sum(len(trial.jobs) for trial in plan.trials)
    console.print(
        f"{len(plan.trials)} trials of {n_stages} stages together, {len(plan.jobs)} of them distinct", highlight=False
    )
    table = Table("pack", "stage", "trials", "updates each", "parameters each", "memory", box=None, pad_edge=False)
    images = sum(split.images.nbytes for split in (dataset.train, dataset.validation, dataset.test))
    for number, pack in enumerate(
        planning.packs(plan.jobs.values(), (), engines.pack_memory(), jax.local_device_count())
    ):
        stage = pack.stage
        frozen = f", {stage.frozen_layers} layers frozen" if isinstance(stage, Finetune) else ""
        memory = len(pack.jobs) * planning.job_memory(stage) + images * jax.local_device_count()
        row = (number + 1, stage.name + frozen, len(pack.jobs), stage.total_steps)
        table.add_row(*map(str, row), f"{planning.n_parameters(stage):,}", f"{memory / 1e6:,.0f} MB")
    console.print(table)


def _check_directory(field: str, name: str) -> None:
    """Checks, with nothing written, that a directory is there or can be made."""
    try:
        path = Path(name).expanduser()
        there = next(place for place in (path, *path.absolute().parents) if place.exists())
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(field, name, f"is no path ({error}); choose another directory") from None
    if not there.is_dir():
        raise ConfigError(field, name, f"cannot be made, for {there} is no directory; choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(field, name, f"cannot be written, for {there} may not be; choose another")
