"""Packs on other machines: what a launcher sends there, and what a worker does with it.

Only text travels: the experiment as JSON and the ids of a pack's stages. A worker plans the same plan from it, since
planning is deterministic, and reads and writes the same store, on a file system that all share.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pretrain import data
from pretrain.config import DataConfig, EngineConfig, Experiment, from_json, to_json
from pretrain.config.counts import counted
from pretrain.data import Dataset
from pretrain.engines import work
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.request import Request
from pretrain.learn.stage import Stage
from pretrain.plan import environment, memory
from pretrain.plan import plan as planning
from pretrain.plan.identity import Fingerprints
from pretrain.plan.plan import Pack, Plan
from pretrain.store import programs, reuse
from pretrain.store.store import Store, StoreError

DONE, STOPPED = "done", "stopped"
_STOP = ".stop"
_SHARE_OF_MEMORY = 0.5  # of what a pack asks for besides the process; the rest is for data on the host


class Ended(NamedTuple):
    """What packs that were submitted together came to."""

    is_stopped: bool  # whether a worker was to stop, and did
    fault: str = ""  # of one that failed; empty where none did
    killed: Sequence[Pack] = ()  # whose workers were killed, as a kernel does for memory


# Submits packs, parents first, and waits for them; is given a function that asks their workers to stop.
Submit = Callable[[list[Pack], Callable[[], None]], Ended]


def run(request: Request, submit: Submit, n_workers: int, retries: int = 0) -> None:
    """Has workers store what is not stored yet: submits packs, waits, halves those that were killed, and again.

    Args:
      request: as of an engine, see ``here.Engine``.
      submit: how packs are submitted; packs that it leaves out come again.
      n_workers: packs that can run at once.
      retries: times that packs are submitted again after a fault, one after another.
    """
    experiment, plan, _, store, console, stop, note = request
    most: dict[Stage, int] = {}
    n_faults = 0
    with _stoppable(experiment) as ask_to_stop:
        while todo := cut(experiment, plan, store, n_workers, most):
            if stop():
                raise Interrupted
            note(f"{counted(len(todo), 'pack')} on {experiment.engine.name}")
            ended = submit(todo, ask_to_stop)
            if ended.is_stopped:
                raise Interrupted
            store.refresh()
            if halve(ended.killed, most, store, functools.partial(console.print, soft_wrap=True)):
                continue
            n_faults = n_faults + 1 if ended.fault else 0
            if n_faults > retries:
                raise StoreError(ended.fault)


@contextlib.contextmanager
def _stoppable(experiment: Experiment) -> Iterator[Callable[[], None]]:
    """Gives a function that asks the workers of a run to stop after their chunk, by a file that all of them see.

    Workers that are left behind, as this process is asked to stop at once, are asked, too.
    """
    file = _stop_file(experiment)
    file.unlink(missing_ok=True)
    try:
        yield file.touch
    except KeyboardInterrupt:
        file.touch()
        raise
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    file.unlink(missing_ok=True)


def _stop_file(experiment: Experiment) -> Path:
    return Path(experiment.run_dir) / _STOP


def cut(
    experiment: Experiment, plan: Plan, store: Store, n_workers: int, most: Mapping[Stage, int] | None = None
) -> list[Pack]:
    """Cuts what is not stored yet into packs for workers of the size that the engine asks for.

    Args:
      experiment: of the plan.
      plan: what is to be stored.
      store: what is.
      n_workers: packs that can run at once.
      most: jobs that a pack of a stage may have, where its packs were too large.
    """
    engine = experiment.engine
    n_bytes = int(_SHARE_OF_MEMORY * max(0, engine.memory * 1e9 - memory.PROCESS))
    done = store.verified(plan.jobs)
    starts = store.states.starts(plan.jobs.values())
    options = {"begun": store.in_training(), "noted": store.temporaries, "starts": starts}
    packs = planning.packs(plan.jobs.values(), done, n_bytes, engine.cpus, n_workers, **options)
    return [part for pack in packs for part in planning.cut(pack, (most or {}).get(pack.stage, len(pack.jobs)))]


def halve(killed: Iterable[Pack], most: dict[Stage, int], store: Store, notify: Callable[[str], None]) -> bool:
    """Halves the packs whose workers were killed, as a kernel does for memory; once a stage.

    Args:
      killed: the packs.
      most: jobs that a pack of a stage may have from now on; changed.
      store: keeps what is done of them.
      notify: called with a line for each.

    Returns:
      Whether there was one to halve.
    """
    halved = [pack for pack in killed if len(pack.jobs) > 1 and pack.stage not in most]
    for pack in halved:
        size = -(-len(pack.jobs) // 2)
        most[pack.stage] = max(size, most.get(pack.stage, 0))
        store.cut_progress(pack, planning.cut(pack, size))
        lost = f"{pack.stage.name}: the worker of a pack of {counted(len(pack.jobs), 'trial')} was killed"
        notify(f"{lost}, maybe for its memory; the pack is cut in half and run again")
    return bool(halved)


def message(experiment: Experiment, pack: Pack) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Returns the message to a worker: the experiment as JSON, the ids of a pack's jobs, and of those it passes."""
    return to_json(experiment), tuple(tuple(job.id for job in part.jobs) for part in (pack, *pack.passed))


def do(experiment_json: str, ids: tuple[tuple[str, ...], ...], stop: Callable[[], bool] | None = None) -> str:
    """Does a pack on a worker.

    Args:
      experiment_json: of an experiment whose paths are absolute.
      ids: of the pack's jobs, in its order, and of the jobs of each pack that it passes.
      stop: asked after each chunk whether to stop, besides the run's stop file.

    Returns:
      ``done``, or ``stopped`` after what was done was saved.

    Raises:
      MemoryFault: the pack fits in memory neither whole nor in halves.
      StoreError: something could not be read or written.
    """
    experiment, plan, datasets = _planned(experiment_json)
    store = Store(experiment.store, _warn)
    plan = reuse.chosen(experiment, plan, store)
    all_ids = {job for part in ids for job in part}
    if store.verified(all_ids) == all_ids:
        return DONE  # by a worker that was believed lost
    if not all_ids <= plan.jobs.keys():
        paths = {state.path for dataset in datasets.values() for state in dataset.files}
        named = ", ".join(sorted(paths or {config.name for config in datasets}))
        raise StoreError(f"{named}: was altered since the launcher read it, or code was; run the same command again")
    asked = _stop_file(experiment)

    def stopping() -> bool:
        return asked.exists() or (stop is not None and stop())

    if stopping():
        return STOPPED
    parts = [tuple(plan.jobs[job] for job in part) for part in ids]
    whole, *passed = (Pack(jobs[0].stage, jobs) for jobs in parts)
    pack = dataclasses.replace(whole, passed=tuple(passed))
    store.verified({job.parent for job in pack.jobs if job.parent})
    try:
        how = (experiment.save_every, lambda updates: None, stopping, store.save, _warn)
        with environment.one_thread():
            work.do(pack, datasets[pack.data], store, *how)
    except Interrupted:
        return STOPPED
    return DONE


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


@functools.lru_cache(maxsize=1)
def _planned(experiment_json: str) -> tuple[Experiment, Plan, Mapping[DataConfig, Dataset]]:
    """Prepares a worker's process, and plans the experiment in it."""
    experiment = from_json(experiment_json)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
    _leave_room(experiment.engine)
    environment.fix()
    programs.prepare_devices(experiment.engine.cpus)
    programs.prepare(Path(experiment.store) / "programs")
    datasets = data.load_all(experiment.whole)
    return experiment, planning.plan(experiment.whole, datasets, Fingerprints(Path(experiment.store))), datasets


def _leave_room(engine: EngineConfig) -> None:
    """Keeps JAX from taking a whole GPU that other workers share."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if 0 < engine.gpus < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * engine.gpus:.3f}")
