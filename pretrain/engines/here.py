"""Where packs run: this process, a Ray cluster, or Slurm."""

import importlib.util
import itertools
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax

from pretrain.config import DataConfig, EngineConfig
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset
from pretrain.engines import work
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.pace import Pace
from pretrain.engines.progress import Reporter
from pretrain.engines.remote import LOG
from pretrain.engines.request import Request
from pretrain.engines.set_aside import SetAside
from pretrain.execute import execute, hosts
from pretrain.plan import memory
from pretrain.plan.plan import Pack, packs
from pretrain.store.records import Outcome
from pretrain.store.store import Store

SECONDS = 2.0  # that a pack may take at least: what lasts less is more work to start and to store than to train
_FAR = 1.25  # times the memory that is free, as estimates may be that much too high
_SHARE_OF_MEMORY = 0.5  # for a pack; temporaries of programs that never ran are guesses
COMPILERS = 2  # threads
_AHEAD = 16  # shapes of packs whose programs are compiled before their turn; fewer than ``compiled.MOST_KEPT`` holds


# Runs and stores every job of a plan that is not stored yet, and returns why some are missing then, by their ids: a
# pack failed twice, or that of a stage before did. Raises ``Interrupted`` when it was to stop, with all that was done
# stored, and ``StoreError``.
Engine = Callable[[Request], Mapping[str, str]]


def of(config: EngineConfig) -> Engine:
    """Returns the engine that a config names.

    Raises:
      ConfigError: the packages it needs are not installed, or it cannot be reached from here.
    """
    if config.name == "local":
        if config.detach:
            raise ConfigError("engine.detach", True, "is for slurm; leave it out, or start the launch with nohup")
        return run_here
    package = {"ray": "ray", "slurm": "submitit"}[config.name]
    if importlib.util.find_spec(package) is None:
        raise ConfigError("engine.name", config.name, f"needs {package}; pip install -e '.[{config.name}]'")
    module = importlib.import_module(f"pretrain.engines.{config.name}_engine")
    module.check(config)
    return module.run


def run_here(request: Request) -> Mapping[str, str]:
    """Runs packs in this process, one after another, while the programs of the next are compiled.

    A pack that fails twice, or does not fit in memory, is set aside. Where several processes, which must agree, run one
    program, a pack that fails ends all.
    """
    experiment, plan, datasets, store, console, stop, note = request
    hosts.barrier()  # so that all see the same store
    store.refresh()
    done, n_bytes = store.verified(plan.jobs), hosts.broadcast(pack_memory() >> 20) << 20
    starts = store.states.starts(plan.jobs.values())
    options = {"begun": store.in_training(), "noted": store.temporaries, "starts": starts}
    todo = packs(plan.jobs.values(), done, n_bytes, jax.device_count(), Pace(store.temporaries, SECONDS), **options)
    for pack in {pack.stage: pack for pack in todo}.values():
        _check_fits(pack)
    reporter = Reporter(console, todo, note)
    if todo:
        console.print(f"{counted(len(todo), 'pack')} on {hosts.in_words()}", style="dim", soft_wrap=True)
    compilers, saver = ThreadPoolExecutor(COMPILERS), _Saver(store)
    compile_ahead = compiler_ahead(todo, datasets, compilers)

    def stored(ids: Collection[str]) -> Collection[str]:
        saver.wait()
        return store.verified(ids)

    set_aside = SetAside(console, Path(experiment.run_dir) / LOG, stored)

    def do(number: int, pack: Pack) -> None:
        with reporter.pack(number, pack) as advanced:
            how = (experiment.save_every, advanced, stop, saver.save, partial(console.print, soft_wrap=True))
            work.do(pack, datasets[pack.data], store, *how)

    try:
        for number, pack in set_aside.turns(todo):
            compile_ahead(todo[number])
            if hosts.broadcast(stop()):
                raise Interrupted
            ids = {job.id for job in pack.left}
            if hosts.broadcast(store.verified(ids) == ids):
                continue  # another run, which shares the store, has been faster
            if any(job.parent in saver.ids for job in pack.jobs):
                saver.wait()
            set_aside.unless_done(number, pack, partial(do, number, pack))
    finally:
        compilers.shutdown(cancel_futures=True)
        saver.wait()
    done = store.verified(set_aside.why)  # by another run meanwhile
    return {job: reason for job, reason in set_aside.why.items() if job not in done}


class _Saver:
    """Stores a pack while the next one runs."""

    def __init__(self, store: Store):
        self._store, self._thread = store, ThreadPoolExecutor(1)
        self._saving: Future | None = None
        self.ids: frozenset[str] = frozenset()  # of the jobs that are being stored

    def save(self, pack: Pack, outcome: Outcome) -> None:
        """Begins to store a pack, once the one before is stored."""
        self.wait()
        if hosts.is_leader():
            self._saving = self._thread.submit(self._store.write, pack, outcome)
        self.ids = frozenset(job.id for job in pack.jobs)

    def wait(self) -> None:
        """Returns when all is stored, and known to the store.

        Raises:
          StoreError: it could not be written.
        """
        saving, self._saving, self.ids = self._saving, None, frozenset()
        if saving:
            saving.result()
        hosts.barrier()
        self._store.refresh()


def compiler_ahead(
    todo: list[Pack], datasets: Mapping[DataConfig, Dataset], compilers: ThreadPoolExecutor
) -> Callable[[Pack], None]:
    """Returns a function that starts to compile, in order, the programs of a pack and of the next shapes of packs.

    A pack waits for those it needs.
    """
    if jax.local_devices()[0].platform != "cpu" or jax.process_count() > 1:
        return lambda pack: None
    first: dict[Any, Pack] = {}
    for pack in todo:
        first.setdefault((pack.stage, len(pack.jobs)), pack)
    place = {shape: number for number, shape in enumerate(first)}
    waiting = iter(first.values())
    n_submitted = 0

    def compile_ahead(pack: Pack) -> None:
        nonlocal n_submitted
        n_due = place[pack.stage, len(pack.jobs)] + _AHEAD - n_submitted
        for shape in itertools.islice(waiting, max(0, n_due)):
            n_submitted += 1
            for compilation in execute.compilations(shape, datasets[shape.data]):
                compilers.submit(compilation)

    return compile_ahead


def _check_fits(pack: Pack) -> None:
    """Checks that a single trial of a pack fits in the host's memory, beyond which the system kills the process."""
    if jax.local_devices()[0].platform != "cpu":
        return  # of which XLA says so itself
    needed, left = memory.needs_of(pack.jobs[0], {}, 1).trial, memory.free()
    if needed > _FAR * left:
        sizes = f"takes about {needed / 1e9:,.1f} GB, and {left / 1e9:,.1f} GB are free"
        raise work.MemoryFault(f"{pack.stage.name}: a trial {sizes}; make layers smaller, or give them a decoder")


def pack_memory() -> int:
    """Returns the bytes that a pack may take: of all local accelerators together, or of the host.

    On several hosts a pack may take as much of each, which this leaves unused.
    """
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return int(_SHARE_OF_MEMORY * memory.free())
    return int(_SHARE_OF_MEMORY * sum(device.memory_stats()["bytes_limit"] for device in devices))
