"""One run of an experiment, from its plan to its answer."""

import gc
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from pretrain import data, tensorboard
from pretrain.config import DataConfig, Experiment, to_json
from pretrain.data import Dataset
from pretrain.fields import ConfigError, join_traced
from pretrain.files import written_whole
from pretrain.study import report, terminal
from pretrain.study.answer import answer
from pretrain.sweep import engines, hosts, lock, preview, programs, tables
from pretrain.sweep import plan as planning
from pretrain.sweep.interrupts import Interrupted, Interrupts
from pretrain.sweep.plan import Plan
from pretrain.sweep.store import Store, StoreError

RESUME = 75  # exit code: interrupted, and the same command goes on; EX_TEMPFAIL of sysexits.h
_WIDTH_OF_FILES = 120  # columns, where the output is no terminal


def run(experiment: Experiment, dry_run: bool = False, with_tensorboard: bool = False) -> int:
    """Runs an experiment: trains what is not stored yet, writes the run's files and prints the result.

    Args:
      experiment: what to run.
      dry_run: whether to print the plan and stop, with nothing written.
      with_tensorboard: whether to write TensorBoard event files, too.

    Returns:
      The exit code: 0 done, 1 a file could not be read or written, 75 interrupted and to be resumed.

    Raises:
      ConfigError: the dataset is not there or does not fit, or a directory or an engine cannot be used.
    """
    began = time.monotonic()
    for field in ("run_dir", "store"):
        _check_directory(field, getattr(experiment, field))
    engine = engines.of(experiment.engine)
    if with_tensorboard:
        tensorboard.require()
    out, progress = (
        Console(file=file, width=None if file.isatty() else _WIDTH_OF_FILES) for file in (sys.stdout, sys.stderr)
    )
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
    run_dir, root = (Path(path).expanduser().resolve() for path in (experiment.run_dir, experiment.store))
    programs.prepare_devices()
    if experiment.engine.distributed:
        hosts.join()
    datasets = data.load_all(experiment)
    plan = planning.plan(experiment, datasets)
    if dry_run:
        preview.show(plan, datasets, out)
        return 0

    def tell(line: str) -> None:
        progress.print(line, style="yellow", soft_wrap=True, highlight=False)

    located = join_traced(experiment, {"run_dir": str(run_dir), "store": str(root)})
    if not hosts.leads():
        return _follow(located, plan, datasets)
    programs.prepare(root / "programs")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with lock.held(run_dir), Interrupts(tell) as interrupts:
            # Written with absolute paths, so that it can be read from anywhere.
            with written_whole(run_dir / "experiment.json") as draft:
                draft.write_text(to_json(located))
            store = Store(root, tell)
            store.register(run_dir, plan.jobs)
            n_before = len(store.verified(plan.jobs))
            try:
                engine(located, plan, datasets, store, progress, interrupts.requested)
            except Interrupted:
                store.refresh()
                n_stored = len(store.verified(plan.jobs))
                tell(f"stopped with {n_stored} of {len(plan.jobs)} stages stored; the same command goes on from here")
                return RESUME
            finally:
                programs.seal(root / "programs")
            written = _write_tables(plan, store, run_dir)
            trials, curves = written["trials"], written["curves"]
            found = answer(trials, curves, experiment.study)
            page = report.write(
                found, trials, curves, located, hosts.devices(), run_dir, anew=n_before < len(plan.jobs)
            )
            if with_tensorboard:
                tensorboard.write(trials, curves, written["stages"], run_dir / "tensorboard")
    except (StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    terminal.show(found, trials, curves, out)
    n_run, seconds = len(plan.jobs) - n_before, time.monotonic() - began
    summary = f"{len(plan.trials)} trials, {n_run} of {len(plan.jobs)} stages run, {seconds:.1f} s; {page}"
    out.print(summary, style="dim", highlight=False, soft_wrap=True)
    gc.freeze()  # the process is about to end, and need not search a million objects for cycles as it does
    return 0


def _follow(experiment: Experiment, plan: Plan, datasets: Mapping[DataConfig, Dataset]) -> int:
    """Does the share of a process that does not lead: computes, and leaves the writing to the one that does."""
    store = Store(experiment.store, warn=lambda line: None, read_only=True)
    try:
        with Interrupts(lambda line: None):
            engines.run_here(experiment, plan, datasets, store, Console(quiet=True), lambda: False)
    except Interrupted:
        return RESUME
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _write_tables(plan: Plan, store: Store, run_dir: Path) -> dict[str, pa.Table]:
    """Writes a run's tables, and returns them by name."""
    written = {
        "trials": tables.trials(plan, store),
        "curves": tables.curves(plan, store),
        "stages": tables.stages(plan),
        "timings": tables.timings(plan, store),
    }
    for name, table in written.items():
        tables.write(table, run_dir / f"{name}.parquet")
    return written


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
