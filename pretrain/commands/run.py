"""One run of an experiment, from its plan to its answer."""

import gc
import os
import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from pretrain import running
from pretrain.commands import options, process
from pretrain.config import Experiment, invocation
from pretrain.config.counts import counted
from pretrain.config.paths import is_writable
from pretrain.engines import remote
from pretrain.engines.interrupts import Detached, Interrupts
from pretrain.execute import hosts
from pretrain.plan.plan import Pack
from pretrain.report import prospects as in_words
from pretrain.report import tensorboard, terminal
from pretrain.running import QUIET, Prepared, Trained, warning
from pretrain.runs import places, preview
from pretrain.store import programs, reuse
from pretrain.study import outlook, sequential


class Ended(NamedTuple):
    """What a run came to."""

    run_dir: str
    is_whole: bool  # all of its trials were trained


def run(
    experiment: Experiment,
    dry_run: bool = False,
    with_tensorboard: bool = False,
    chosen: Collection[str] | None = None,
    again: Sequence[str] = (),
) -> Ended:
    """Runs an experiment: trains what is not stored yet, writes the run's files and prints the result.

    Args:
      experiment: what to run.
      dry_run: whether to print its plan alone.
      with_tensorboard: whether to write TensorBoard event files, too.
      chosen: fields that somebody chose, and that are not fitted to the data; by default all.
      again: the command that looks after the run again, where it is left to the jobs of Slurm.

    Raises:
      ConfigError, Interrupted, MemoryFault, OSError, StoreError: as of ``running.prepare`` and what follows it.
      DamageError: its data were altered meanwhile; the run's files are there.
    """
    began = time.monotonic()
    if with_tensorboard:
        tensorboard.require()
    out, progress = map(options.console, (sys.stdout, sys.stderr))
    aside = process.set_up_jax(experiment.engine.distributed)
    notify = partial(warning, progress if hosts.is_leader() else QUIET)
    if aside:
        notify(f"set aside, for no result may depend on it: {', '.join(aside)}")
    if progress.is_terminal and hosts.is_leader() and not dry_run:  # a sign of life, before seconds of tracing
        n_trials = len(experiment.points) * experiment.seeds * experiment.repeats
        into = places.newest(experiment.run_dir) or experiment.run_dir
        progress.print(f"{counted(n_trials, 'trial')} on {hosts.in_words()}, into {into}", style="dim")
    prepared = running.prepare(experiment, chosen, notify, read_only=dry_run)
    run_dir, is_whole = prepared.experiment.run_dir, True
    if dry_run:
        for finding in prepared.findings:
            notify(str(finding))
        _preview(prepared, out)
    elif hosts.is_leader():
        running.report(prepared, progress)
        try:
            trained = _trained(prepared, progress, with_tensorboard)
        except Detached as left:
            _leave(prepared, str(left), again, out)
            return Ended(run_dir, True)
        # As it was fitted to its data.
        terminal.show(
            trained.answer,
            trained.tables["trials"],
            trained.tables["curves"],
            out,
            prepared.experiment,
            os.path.relpath(run_dir) if places.ID in experiment.run_dir else experiment.run_dir,
        )
        stages = f"{trained.n_run} of {counted(trained.n_stages, 'stage')} run"
        page = Path(run_dir, "report.html")
        seconds = time.monotonic() - began
        summary = f"{counted(len(trained.plan.trials), 'trial')}, {stages}, {seconds:.1f} s; {page}"
        out.print(summary, style="dim", soft_wrap=True)
        running.check_data(prepared)
        is_whole = not trained.missing
    else:
        with Interrupts(lambda line: None):
            running.train(prepared)
    gc.freeze()  # the process is about to end, and need not search a million objects for cycles as it does
    return Ended(run_dir, is_whole)


def _trained(prepared: Prepared, progress: Console, with_tensorboard: bool) -> Trained:
    """Trains and concludes; what is compiled is kept in the store, and what a signal stops is saved."""
    root = prepared.store.root
    programs.prepare(root / "programs", keep=is_writable(root))
    with running.occupied(prepared) as note, Interrupts(partial(warning, progress)) as interrupts:
        trained = running.train(prepared, progress, interrupts.requested, note)
        running.conclude(trained, with_tensorboard, progress)
    return trained


def _leave(prepared: Prepared, state: str, again: Sequence[str], out: Console) -> None:
    """Leaves a run to the jobs that were submitted, and a last one that runs the command again after them."""
    from pretrain.engines import slurm_engine

    folder = os.path.relpath(Path(prepared.experiment.run_dir).parent)
    job = f"; job {slurm_engine.follow(prepared.experiment, again)} writes the report" if again else ""
    out.print(f"{state}{job}", soft_wrap=True)
    line = f"{invocation.command(f'runs {folder} --watch')} shows how far it is; the same command looks after it again"
    out.print(line, style="dim", soft_wrap=True)


def _preview(prepared: Prepared, out: Console) -> None:
    """Prints what can be concluded and what would run: the first judgement, and how many may follow."""
    schedule, store = prepared.schedule, prepared.store
    plan = prepared.plan_at(schedule[0])
    missing = {job: reason for job, reason in prepared.missing.items() if job in plan.jobs}
    prospect = outlook.of_plan(prepared.experiment, prepared.plan, store, prepared.datasets)
    line = in_words.warning(prospect) if prospect else None
    if prospect and not line and (missing or len(schedule) > 1):
        line = in_words.outlook(prospect)
    if line:
        out.print(line, soft_wrap=True)
    engine, of_workers = prepared.experiment.engine, list[Pack]()
    if engine.name != "local":
        of_workers = remote.cut(prepared.experiment, plan, store, plan.jobs.keys() - missing.keys())
    preview.show(plan, out, store.temporaries, programs.compile_seconds(store.root / "programs"), of_workers)
    if of_workers:
        line = preview.on_workers(engine.name, of_workers, remote.pace(prepared.experiment, store))
        out.print(line, soft_wrap=True)
    for line in (reuse.summary(plan, missing), reuse.continued(plan, missing, store), preview.states(plan, missing)):
        if line:
            out.print(line, soft_wrap=True)
    if len(schedule) > 1:
        line = f"the first of at most {counted(len(schedule), 'look')}, at {sequential.seeds_of(schedule)} seeds"
        out.print(line, soft_wrap=True)
