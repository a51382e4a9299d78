"""Runs by workers on other machines: the launcher fills a queue, has a crew of workers empty it, and reports.

Only text travels, over a file system that all share: an experiment, and for each pack its jobs' places in it. Workers
read and write the same store. A launcher may leave, and the same command takes its place.
"""

import contextlib
import functools
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pretrain.config import Experiment, to_json
from pretrain.config.counts import counted
from pretrain.engines import message
from pretrain.engines.interrupts import Detached, Interrupted
from pretrain.engines.pace import Pace
from pretrain.engines.queue import FOLDER, Entry, Queue
from pretrain.engines.request import Request
from pretrain.engines.signs import SILENT, Signs
from pretrain.engines.standing import Standing
from pretrain.plan import memory
from pretrain.plan import plan as planning
from pretrain.plan.plan import Pack, Plan
from pretrain.store.store import Store, StoreError

LOG = "engine.log"  # in the run's directory: traces of packs that raised, and what schedulers print
SECONDS = 20.0  # of a pack: a worker's start takes half of it, and what is lost with a worker is at most that
_SHARE_OF_MEMORY = 0.5  # of what a pack asks for besides the process; the rest is for data on the host
_SECONDS_BETWEEN_POLLS = 0.25
_MOST_VAIN = 3  # crews in a row whose workers all ended, and did nothing


class Left(NamedTuple):
    """A worker that has ended."""

    name: str
    fault: str = ""  # in words; empty where it ended by itself


class Crew(Protocol):
    """The workers of an engine, and how it starts them."""

    most: int  # workers at once

    def hire(self, n: int) -> None:
        """Starts workers, or asks a scheduler to."""

    def left(self) -> Sequence[Left]:
        """Returns the workers that have ended since it was last asked."""

    def dismiss(self) -> None:
        """Takes back the request for workers that have not started."""

    def size(self) -> int:
        """Returns how many work, or wait for a machine."""


def run(request: Request, crew: Crew) -> Mapping[str, str]:
    """Has workers store what is not stored yet; an engine, see ``here.Engine``.

    Raises:
      Detached: it was to leave as soon as workers are asked for.
      Interrupted: it was to stop, and what was done is stored.
      StoreError: workers end one after another, and nothing is done.
    """
    experiment, plan, _, store, *_ = request
    queue = Queue(Path(experiment.run_dir) / FOLDER)
    queue.make()
    queue.retry()
    watch, before = _Watch(queue, request, crew), set[str]()
    try:
        while todo := _missing(plan, store, queue):
            if todo == before:
                raise StoreError(f"{counted(len(todo), 'stage')} were done, and are not in {store.root}")
            _fill(queue, experiment, plan.of_jobs(todo), store)
            watch.until_over()
            store.refresh()
            before = todo
    except KeyboardInterrupt:
        queue.stop()  # workers that are left behind save, too
        raise
    why = _reasons(plan, store, queue)
    queue.remove()
    return why


def cut(experiment: Experiment, plan: Plan, store: Store, done: Collection[str]) -> list[Pack]:
    """Cuts what is not done into packs for workers of the size that the engine asks for."""
    engine = experiment.engine
    n_bytes = int(_SHARE_OF_MEMORY * max(0, engine.memory * 1e9 - memory.PROCESS))
    starts = store.states.starts(plan.jobs.values())
    options = {"begun": store.in_training(), "noted": store.temporaries, "starts": starts, "fewest": 1}
    return planning.packs(plan.jobs.values(), done, n_bytes, engine.cpus, pace(experiment, store), **options)


def pace(experiment: Experiment, store: Store) -> Pace:
    """Returns how long jobs take on workers."""
    return Pace(store.temporaries, SECONDS, "gpu" if experiment.engine.gpus else "")


def _fill(queue: Queue, experiment: Experiment, plan: Plan, store: Store) -> None:
    """Brings a queue in line with a plan of what is missing: adds packs of jobs that are in none, takes out others."""
    waiting, index = {name: message.ids_of(content) for name, content in queue.messages().items()}, queue.index()
    others = {name for name, ids in waiting.items() if not plan.jobs.keys() >= set(ids)}
    for name in waiting:  # parents first
        if name not in index or not others.isdisjoint(index[name].after):
            others.add(name)
    queue.withdraw(others)
    made_by = {job: name for name, ids in waiting.items() if name not in others for job in ids}
    packs = cut(experiment, plan.of_jobs(plan.jobs.keys() - made_by.keys()), store, ())
    named = queue.add_experiment(to_json(experiment))
    first, added = queue.next_number(), {}
    for number, pack in enumerate(packs, first):
        name = f"{number:07}"
        after = tuple(dict.fromkeys(made_by[job.parent] for job in pack.jobs if job.parent in made_by))
        made_by |= {job.id: name for job in pack.left}
        added[name] = Entry(pack.stage.name, len(pack.jobs), after), message.message(pack, store, named)
    queue.add(added)


def _missing(plan: Plan, store: Store, queue: Queue) -> set[str]:
    """Returns the jobs that are neither stored nor out of reach since a pack is set aside."""
    return set(plan.jobs) - store.verified(plan.jobs) - _reasons(plan, store, queue).keys()


def _reasons(plan: Plan, store: Store, queue: Queue) -> dict[str, str]:
    """Returns why jobs cannot be stored: their packs are set aside, or a parent's is."""
    missing = set(plan.jobs) - store.verified(plan.jobs)
    why = {job: reason for reason, content in queue.set_aside().values() for job in message.ids_of(content)}
    why = {job: reason for job, reason in why.items() if job in missing}
    for job in plan.jobs.values():  # parents first
        if job.parent in why and job.id in missing:
            why.setdefault(job.id, why[job.parent])
    return why


class _Watch:
    """Watches over a queue: hires workers, notes those that are lost, and reports what comes of packs."""

    def __init__(self, queue: Queue, request: Request, crew: Crew):
        self._queue, self._crew, self._stop, self._note = queue, crew, request.stop, request.note
        self._signs, self._standing = Signs(queue), Standing(queue)
        self._engine, self._log = request.experiment.engine, Path(request.experiment.run_dir) / LOG
        self._print = functools.partial(request.console.print, soft_wrap=True)
        self._known: set[str] = set()  # packs that are done
        self._n_faults: dict[str, int] = {}  # that are reported, by pack
        self._n_vain, self._fault = 0, ""

    def until_over(self) -> None:
        """Returns when no pack waits or runs."""
        engine, crew, is_asked = self._engine, self._crew, False
        workers = f"at most {counted(crew.most, 'worker')} of {counted(engine.cpus, 'core')}"
        line = f"{engine.name}: {counted(len(self._queue.index()), 'pack')} for {workers}"
        while not self._queue.is_over():
            if not is_asked:
                self._hire()
                if line:
                    self._print(line, style="dim")
                    line = ""
                if engine.detach:
                    raise Detached(f"{engine.name}: {self._standing.counts()}")
            time.sleep(_SECONDS_BETWEEN_POLLS)
            self._see()
            if self._stop() and not is_asked:
                is_asked = True
                self._queue.stop()
                crew.dismiss()
            if is_asked and crew.size() == 0:
                raise Interrupted
        self._see()

    def _hire(self) -> None:
        """Hires as many workers as there are packs for, up to the most."""
        states, size = self._queue.states(), self._crew.size()
        wanted = min(self._crew.most, len(states["waiting"]) + len(states["running"]))
        if not states["waiting"] or wanted <= size:
            return
        if size == 0:
            self._n_vain += 1
            if self._n_vain > _MOST_VAIN:
                raise StoreError(self._fault or f"{self._engine.name}: workers end, and do nothing")
        self._crew.hire(wanted - size)

    def _see(self) -> None:
        """Takes note of workers that ended, of packs that are done, and of their faults."""
        for worker in self._crew.left():
            self._queue.lose(worker.name, self._engine.retries)
            if worker.fault:
                self._fault = f"{self._engine.name}: {worker.fault}"
                self._write(f"{worker.name}: {worker.fault}")
        self._signs.lose_silent(self._engine.retries, SILENT / 3)
        index, states = self._queue.index(), self._queue.states()
        for name in sorted(set(states["done"]) - self._known):
            self._known.add(name)
            self._n_vain = 0
            if entry := index.get(name):
                place = f"{len(self._known)}/{len(index)}"
                self._print(f"{entry.title}  pack {place}, {counted(entry.n_jobs, 'trial')}: done")
        for name, faults in self._queue.faults().items():
            for fault in faults[self._n_faults.get(name, 0) :]:
                self._report(index[name], fault, name in states["aside"])
            self._n_faults[name] = len(faults)
        self._note(f"{self._engine.name}: {self._standing.counts()}")

    def _report(self, entry: Entry, fault: Mapping[str, str], is_aside: bool) -> None:
        self._n_vain = 0
        named = f"a pack of {counted(entry.n_jobs, 'trial')}"
        if fault["is_lost"]:
            again = "the pack is cut in half and run again" if entry.n_jobs > 1 else "the pack is run again"
            line = f"{entry.title}: the worker of {named} was killed, maybe for its memory"
        else:
            again = "it is run again once"
            line = f"{entry.title}: {named} failed ({fault['reason']}; trace in {self._log})"
        self._print(f"{line}; {'it is set aside' if is_aside else again}")
        self._write(f"{entry.title}: {named}: {fault['reason']}\n{fault['trace']}")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError), self._log.open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.strip()}\n")
