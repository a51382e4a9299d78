"""One run of an experiment, from its plan to its answer."""

import gc
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from rich.console import Console

from pretrain.commands import options
from pretrain.config import DataConfig, Experiment, to_json
from pretrain.config.fields import ConfigError, with_values
from pretrain.data import Dataset, inputs_file
from pretrain.data.files import written_whole
from pretrain.report import report, tensorboard, terminal, words
from pretrain.study import sequential
from pretrain.study.answer import Answer, answer
from pretrain.study.sequential import Look
from pretrain.sweep import engines, fitting, hosts, lock, preview, programs, reuse, samples, tables
from pretrain.sweep import plan as planning
from pretrain.sweep.engines import Engine
from pretrain.sweep.identity import Fingerprints
from pretrain.sweep.interrupts import Interrupted, Interrupts
from pretrain.sweep.plan import Plan
from pretrain.sweep.remeasure import remeasured
from pretrain.sweep.store import Store, StoreError
from pretrain.sweep.task import Task

RESUME = 75  # exit code: interrupted, and the same command goes on; EX_TEMPFAIL of sysexits.h


class _Run(NamedTuple):
    """What all looks of a run work with."""

    experiment: Experiment  # with absolute paths
    datasets: Mapping[DataConfig, Dataset]
    looks: list[Look]
    plan: Plan  # of the last look, should it be taken
    tell: Callable[[str], None]  # a line for people, on progress

    def at(self, look: Look) -> tuple[Experiment, Plan]:
        """Returns the experiment with as many seeds as a look has, and its plan."""
        trials = tuple(trial for trial in self.plan.trials if trial.seed < look.seeds)
        used = {job for trial in trials for job in trial.jobs}
        jobs = {name: job for name, job in self.plan.jobs.items() if name in used}
        return with_values(self.experiment, {"seeds": look.seeds}), Plan(trials, jobs)


class _Done(NamedTuple):
    """What the last look of a run came to."""

    plan: Plan
    n_run: int  # stages, over all looks
    tables: dict[str, pa.Table]
    answer: Answer


def run(
    experiment: Experiment,
    dry_run: bool = False,
    with_tensorboard: bool = False,
    chosen: Collection[str] | None = None,
) -> int:
    """Runs an experiment: trains what is not stored yet, writes the run's files and prints the result.

    Args:
      experiment: what to run.
      dry_run: whether to print the plan and stop, with nothing written.
      with_tensorboard: whether to write TensorBoard event files, too.
      chosen: fields that somebody chose, and that are not fitted to the data; by default all.

    Returns:
      The exit code: 0 done, 1 a file could not be read or written, 75 interrupted and to be resumed.

    Raises:
      ConfigError: the dataset is not there or does not fit, a directory or an engine cannot be used, or no number of
        seeds that the run may come to can be conclusive.
    """
    began = time.monotonic()
    sequential.check(experiment)
    for field in ("run_dir", "store"):
        _check_directory(field, getattr(experiment, field))
    engine = engines.of(experiment.engine)
    if with_tensorboard:
        tensorboard.require()
    out, progress = map(options.console, (sys.stdout, sys.stderr))
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
    programs.prepare_devices()
    if experiment.engine.distributed:
        hosts.join()
    paths = {field: str(Path(getattr(experiment, field)).expanduser().resolve()) for field in ("run_dir", "store")}

    def tell(line: str) -> None:
        progress.print(line, style="yellow", soft_wrap=True, highlight=False)

    looks = sequential.looks(experiment)
    loaded = fitting.load(with_values(experiment, {**paths, "seeds": looks[-1].seeds}), chosen)
    located, datasets = with_values(loaded.experiment, {"seeds": experiment.seeds}), loaded.datasets
    if hosts.leads():
        for note in loaded.notes:
            tell(note)
    if progress.is_terminal and hosts.leads() and not dry_run:  # a sign of life, before seconds of tracing
        n_trials = len(located.points) * looks[0].seeds * located.repeats
        progress.print(f"{n_trials:,} trials, into {experiment.run_dir}", style="dim", highlight=False, markup=False)
    fingerprints = Fingerprints(Path(located.store))
    plan = planning.plan(with_values(located, {"seeds": looks[-1].seeds}), datasets, fingerprints)
    this = _Run(located, datasets, looks, plan, tell)
    if dry_run or not hosts.leads():
        this = this._replace(plan=reuse.chosen(located, plan, Store(located.store, tell, read_only=True)))
    if dry_run:
        _preview(this, out)
        return 0
    if not hosts.leads():
        return _follow(this)
    try:
        done, page = _lead(this, engine, progress, with_tensorboard, fingerprints)
    except Interrupted:
        return RESUME
    except (StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    terminal.show(done.answer, done.tables["trials"], done.tables["curves"], out, experiment, experiment.run_dir)
    seconds = time.monotonic() - began
    stages = f"{done.n_run} of {len(done.plan.jobs)} stages run"
    summary = f"{len(done.plan.trials)} trials, {stages}, {seconds:.1f} s; {page}"
    out.print(summary, style="dim", highlight=False, soft_wrap=True)
    gc.freeze()  # the process is about to end, and need not search a million objects for cycles as it does
    return 0


def _preview(this: _Run, out: Console) -> None:
    """Prints what would run: the first look, and how many may follow."""
    plan = this.at(this.looks[0])[1]
    preview.show(plan, this.datasets, out)
    store = Store(this.experiment.store, warn=this.tell, read_only=True)
    out.print(reuse.summary(plan, reuse.reasons(plan, store)), highlight=False, soft_wrap=True)
    if len(this.looks) > 1:
        line = f"the first of at most {len(this.looks)} looks, at {sequential.seeds_of(this.looks)} seeds"
        out.print(line, highlight=False, soft_wrap=True)


def _lead(
    this: _Run, engine: Engine, progress: Console, with_tensorboard: bool, fingerprints: Fingerprints
) -> tuple[_Done, Path]:
    """Runs all looks that it takes and writes the run's files; returns what came of them, and the report's path."""
    root, run_dir = Path(this.experiment.store), Path(this.experiment.run_dir)
    programs.prepare(root / "programs")
    run_dir.mkdir(parents=True, exist_ok=True)
    with lock.held(run_dir), Interrupts(this.tell) as interrupts:
        # Written with absolute paths, so that it can be read from anywhere.
        with written_whole(run_dir / "experiment.json") as draft:
            draft.write_text(to_json(this.experiment))
        inputs_file.write(this.datasets, run_dir / inputs_file.FILE)
        store = Store(root, this.tell)
        fingerprints.save()
        this = this._replace(plan=reuse.chosen(this.experiment, this.plan, store))
        if line := reuse.again(this.plan, reuse.reasons(this.plan, store)):
            this.tell(line)
        # With all that its last look may need, so that nobody prunes what the first looks of a repeated run leave out.
        store.register(run_dir, this.plan.jobs)
        try:
            done = _look_until_settled(this, engine, store, progress, interrupts.requested)
        finally:
            programs.seal(root / "programs")
        # Only now, so that the tables of a run that is repeated, or interrupted as it is, never hold less than before.
        _write(done.tables, run_dir)
        trials, curves = done.tables["trials"], done.tables["curves"]
        shown = samples.leave(done.plan, store, this.datasets, run_dir, this.tell)
        about = (this.experiment, hosts.devices(), run_dir)
        page = report.write(done.answer, trials, curves, *about, samples=shown, anew=done.n_run > 0)
        if with_tensorboard:
            tensorboard.write(trials, curves, done.tables["stages"], run_dir / "tensorboard")
    return done, page


def _look_until_settled(this: _Run, engine: Engine, store: Store, progress: Console, stop: Callable[[], bool]) -> _Done:
    """Trains and judges look after look, until no comparison is inconclusive or there are no more looks."""
    n_run = 0
    for look in this.looks:
        experiment, plan = this.at(look)
        missing = len(plan.jobs) - len(store.verified(plan.jobs))
        if missing:
            threading.Thread(target=_load_for_report, daemon=True).start()
        try:
            engine(Task(experiment, plan, this.datasets, store, progress, stop))
        except Interrupted:
            store.refresh()
            n_stored = len(store.verified(plan.jobs))
            this.tell(f"stopped with {n_stored} of {len(plan.jobs)} stages stored; the same command goes on from here")
            raise
        n_run += missing
        made = _tables(plan, store, this.datasets)
        try:
            level = sequential.level(this.experiment, made["trials"])
            found = answer(made["trials"], made["curves"], experiment.study, level)
            if len(this.looks) > 1:
                this.tell(words.progress(look, this.looks, found.comparisons))
        except Exception:  # a fault in judging costs no table of what is trained
            if not tables.hold_more(Path(experiment.run_dir), made["trials"]):
                _write(made, Path(experiment.run_dir))
            raise
        settled = all(one.verdict != "inconclusive" for one in found.comparisons)
        if look is this.looks[-1] or hosts.agreed(settled):
            break
    return _Done(plan, n_run, made, found)


def _load_for_report() -> None:
    """Imports what judging and drawing will need, a second's work, beside training."""
    for name in (
        "scipy.stats",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
    ):
        importlib.import_module(name)


def _follow(this: _Run) -> int:
    """Does the share of a process that does not lead: computes, and leaves judging and writing to the one that does."""
    store = Store(this.experiment.store, warn=lambda line: None, read_only=True)
    try:
        with Interrupts(lambda line: None):
            for look in this.looks:
                experiment, plan = this.at(look)
                engines.run_here(Task(experiment, plan, this.datasets, store, Console(quiet=True), lambda: False))
                if look is this.looks[-1] or hosts.agreed(False):  # the leader's word counts
                    break
    except Interrupted:
        return RESUME
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _tables(plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset]) -> dict[str, pa.Table]:
    """Returns a run's tables by name."""
    return {
        "trials": tables.trials(plan, store, remeasured(plan, store, datasets)),
        "curves": tables.curves(plan, store),
        "stages": tables.stages(plan),
        "timings": tables.timings(plan, store),
    }


def _write(made: Mapping[str, pa.Table], run_dir: Path) -> None:
    for name, table in made.items():
        tables.write(table, run_dir / f"{name}.parquet")


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
