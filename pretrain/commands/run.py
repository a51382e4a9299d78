"""One run of an experiment, from its plan to its answer."""

import contextlib
import gc
import logging
import sys
import time
from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from pretrain.commands import options, outcome, places, prospects, streams
from pretrain.commands.looks import RESUME, Done, Run, follow, until_settled
from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.engines import here
from pretrain.engines.here import Engine
from pretrain.engines.interrupts import Interrupted, Interrupts
from pretrain.engines.work import MemoryFault
from pretrain.execute import hosts
from pretrain.plan import environment, fitting
from pretrain.plan import plan as planning
from pretrain.plan.identity import Fingerprints
from pretrain.report import prospects as outlooks
from pretrain.report import tensorboard, terminal
from pretrain.runs import holds, preview, run_files, samples
from pretrain.store import programs, reuse
from pretrain.store.store import Store, StoreError
from pretrain.study import sequential


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
        places.check(field, getattr(experiment, field))
    engine = here.of(experiment.engine)
    if with_tensorboard:
        tensorboard.require()
    out, progress = map(options.console, (sys.stdout, sys.stderr))
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
    aside = environment.fix()
    programs.prepare_devices()
    if experiment.engine.distributed:
        hosts.join()
    environment.check_devices()

    def notify(line: str) -> None:
        progress.print(line, style="yellow", soft_wrap=True)

    if aside and hosts.leads():
        notify(f"set aside, for no result may depend on it: {', '.join(aside)}")
    looks = sequential.looks(experiment)
    loaded = fitting.load(experiment, chosen)
    located, datasets = loaded.experiment, loaded.datasets
    if hosts.leads():
        for note in loaded.notes:
            notify(note)
    if progress.is_terminal and hosts.leads() and not dry_run:  # a sign of life, before seconds of tracing
        n_trials = len(located.points) * looks[0].seeds * located.repeats
        progress.print(f"{counted(n_trials, 'trial')}, into {experiment.run_dir}", style="dim")
    fingerprints = Fingerprints(Path(located.store))
    plan = planning.plan(located.whole, datasets, fingerprints)
    prospects.check(located, plan)
    this = Run(located, datasets, looks, plan, notify)
    if dry_run or not hosts.leads():
        this = this._replace(plan=reuse.chosen(located, plan, Store(located.store, notify, read_only=True)))
    if dry_run:
        _preview(this, out)
        return 0
    if not hosts.leads():
        return follow(this)
    if not places.is_open(Path(located.store)):
        places.check_complete(located, this.at(looks[0])[1], notify)
    try:
        done = _lead(this, engine, progress, with_tensorboard, fingerprints)
    except Interrupted:
        return RESUME
    except (StoreError, MemoryFault, OSError) as error:
        streams.complain(error)
        return 1
    terminal.show(done.answer, done.tables["trials"], done.tables["curves"], out, experiment, experiment.run_dir)
    seconds = time.monotonic() - began
    stages = f"{done.n_run} of {counted(len(done.plan.jobs), 'stage')} run"
    page = Path(located.run_dir, "report.html")
    summary = f"{counted(len(done.plan.trials), 'trial')}, {stages}, {seconds:.1f} s; {page}"
    out.print(summary, style="dim", soft_wrap=True)
    gc.freeze()  # the process is about to end, and need not search a million objects for cycles as it does
    return 0


def _preview(this: Run, out: Console) -> None:
    """Prints what can be concluded and what would run: the first look, and how many may follow."""
    plan, store = this.at(this.looks[0])[1], Store(this.experiment.store, warn=this.notify, read_only=True)
    missing = reuse.reasons(plan, store)
    is_open = missing or len(this.looks) > 1
    if is_open and (found := prospects.of_plan(this.experiment, this.plan, store)):
        out.print(outlooks.warning(found) or outlooks.outlook(found), soft_wrap=True)
    preview.show(plan, this.datasets, out)
    out.print(reuse.summary(plan, missing), soft_wrap=True)
    if len(this.looks) > 1:
        line = f"the first of at most {counted(len(this.looks), 'look')}, at {sequential.seeds_of(this.looks)} seeds"
        out.print(line, soft_wrap=True)


def _lead(this: Run, engine: Engine, progress: Console, with_tensorboard: bool, fingerprints: Fingerprints) -> Done:
    """Runs all looks that it takes and writes the run's files; returns what came of them."""
    root, run_dir = Path(this.experiment.store), Path(this.experiment.run_dir)
    is_open = places.is_open(root)
    programs.prepare(root / "programs", keep=is_open)
    with run_files.occupied(run_dir), Interrupts(this.notify) as interrupts:
        store = Store(root, this.notify, read_only=not is_open)
        fingerprints.save()
        this = this._replace(plan=reuse.chosen(this.experiment, this.plan, store))
        missing = reuse.reasons(this.plan, store)
        if line := reuse.again(this.plan, missing):
            this.notify(line)
        if missing and (found := prospects.of_plan(this.experiment, this.plan, store)):
            if line := outlooks.warning(found):
                this.notify(line)
            else:
                progress.print(outlooks.outlook(found), style="dim", soft_wrap=True)
        if not is_open:
            this.notify(f"{root} cannot be written, and so does not note that this run uses its stages")
        # With all that its last look may need, so that nobody prunes what the first looks of a repeated run leave out.
        with holds.held(root, run_dir, this.plan.jobs) if is_open else contextlib.nullcontext():
            try:
                done = until_settled(this, engine, store, progress, interrupts.requested)
            finally:
                programs.seal(root / "programs")
            # Only now, so that the tables of a run that is repeated, or interrupted as it is, never hold less.
            shown = samples.of_run(done.plan, store, this.datasets, outcome.samples_there(run_dir))
            try:
                outcome.leave(
                    this.experiment,
                    this.datasets,
                    done.tables,
                    done.answer,
                    shown,
                    this.notify,
                    anew=done.n_run > 0,
                    with_tensorboard=with_tensorboard,
                )
            except OSError:
                raise
            except Exception:  # a fault in drawing costs no table, either
                outcome.leave_tables(this.experiment, this.datasets, done.tables, this.notify)
                raise
    return done
