"""The looks of a run: training and judging with more seeds each time, until its question is settled."""

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pyarrow as pa
from rich.console import Console

from pretrain.commands import outcome, streams
from pretrain.config import DataConfig, Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import with_values
from pretrain.data import Dataset
from pretrain.engines import here
from pretrain.engines.here import Engine
from pretrain.engines.interrupts import Interrupted, Interrupts
from pretrain.engines.request import Request
from pretrain.engines.work import MemoryFault
from pretrain.execute import hosts
from pretrain.plan.plan import Plan
from pretrain.report import verdicts
from pretrain.runs import baselines, tables
from pretrain.runs.remeasure import remeasured
from pretrain.store.store import Store, StoreError
from pretrain.study import sequential
from pretrain.study.answer import Answer, answer
from pretrain.study.choice import usual_values
from pretrain.study.sequential import Look

RESUME = 75  # exit code: interrupted, and the same command goes on; EX_TEMPFAIL of sysexits.h


class Run(NamedTuple):
    """The parts of a run that all looks share."""

    experiment: Experiment  # with absolute paths
    datasets: Mapping[DataConfig, Dataset]
    looks: list[Look]
    plan: Plan  # of the last look, should it be taken
    notify: Callable[[str], None]  # a line for people, on progress

    def at(self, look: Look) -> tuple[Experiment, Plan]:
        """Returns the experiment with as many seeds as a look has, and its plan."""
        trials = tuple(trial for trial in self.plan.trials if trial.seed < look.seeds)
        used = {job for trial in trials for job in trial.jobs}
        jobs = {name: job for name, job in self.plan.jobs.items() if name in used}
        return with_values(self.experiment, {"seeds": look.seeds}), Plan(trials, jobs)


class Done(NamedTuple):
    """The outcome of a run's last look."""

    plan: Plan
    n_run: int  # stages, over all looks
    tables: dict[str, pa.Table]
    answer: Answer


def until_settled(this: Run, engine: Engine, store: Store, progress: Console, stop: Callable[[], bool]) -> Done:
    """Trains and judges look after look, until no comparison is inconclusive or there are no more looks."""
    n_run = 0
    for look in this.looks:
        experiment, plan = this.at(look)
        missing = len(plan.jobs) - len(store.verified(plan.jobs))
        if missing:
            threading.Thread(target=_load_for_report, daemon=True).start()
        try:
            engine(Request(experiment, plan, this.datasets, store, progress, stop))
        except Interrupted:
            store.refresh()
            stored = f"{len(store.verified(plan.jobs))} of {counted(len(plan.jobs), 'stage')} stored"
            this.notify(f"stopped with {stored}; the same command goes on from here")
            raise
        n_run += missing
        made = _tables(experiment, plan, store, this.datasets)
        try:
            level = sequential.level(this.experiment, made["trials"])
            found = answer(made["trials"], made["curves"], experiment.study, level, usual_values(experiment))
            if len(this.looks) > 1:
                this.notify(verdicts.progress(look, this.looks, found.comparisons))
        except Exception:  # a fault in judging costs no table of what is trained
            outcome.leave_tables(this.experiment, this.datasets, made, this.notify)
            raise
        settled = not sequential.unsettled(found.comparisons)
        if look is this.looks[-1] or hosts.agreed(settled):
            break
    return Done(plan, n_run, made, found)


def _load_for_report() -> None:
    """Imports what judging and drawing will need, a second's work, beside training."""
    for name in (
        "scipy.stats",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
    ):
        importlib.import_module(name)


def follow(this: Run) -> int:
    """Does the share of a process that does not lead: computes, and leaves judging and writing to the one that does."""
    store = Store(this.experiment.store, warn=lambda line: None, read_only=True)
    try:
        with Interrupts(lambda line: None):
            for look in this.looks:
                experiment, plan = this.at(look)
                here.run_here(Request(experiment, plan, this.datasets, store, Console(quiet=True), lambda: False))
                if look is this.looks[-1] or hosts.agreed(False):  # the leader's word counts
                    break
    except Interrupted:
        return RESUME
    except (StoreError, MemoryFault) as error:
        streams.complain(error)
        return 1
    return 0


def _tables(
    experiment: Experiment, plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset]
) -> dict[str, pa.Table]:
    """Returns a run's tables by name."""
    return {
        "trials": tables.trials(
            plan,
            store,
            remeasured(plan, store, datasets),
            experiment.study,
            baselines.of_trials(plan, datasets),
        ),
        "curves": tables.curves(plan, store),
        "stages": tables.stages(plan),
        "timings": tables.timings(plan, store),
    }
