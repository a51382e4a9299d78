"""Where packs run: this process, a Ray cluster, or Slurm."""

import importlib.util
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import psutil
from rich.console import Console

from pretrain.config import DataConfig, EngineConfig, Experiment
from pretrain.data import Dataset
from pretrain.fields import ConfigError
from pretrain.sweep import execute, programs, work
from pretrain.sweep.interrupts import Interrupted
from pretrain.sweep.plan import Pack, Plan, packs
from pretrain.sweep.progress import Reporter
from pretrain.sweep.store import Store

_SHARE_OF_MEMORY = 0.25  # for a pack; while it runs, two more may be compiled ahead
_COMPILERS = 2  # threads


Engine = Callable[[Experiment, Plan, Mapping[DataConfig, Dataset], Store, Console, Callable[[], bool]], None]


def of(config: EngineConfig) -> Engine:
    """Returns the engine that a config names: it runs every job of a plan that is not stored yet, and stores it.

    An engine takes the experiment, its plan and datasets, the store, a console for progress, and a function that says
    whether to stop. It raises ``Interrupted`` when it was to stop and what was done is stored, and ``StoreError``.

    Raises:
      ConfigError: the packages it needs are not installed.
    """
    if config.name == "local":
        return run_here
    package = {"ray": "ray", "slurm": "submitit"}[config.name]
    if importlib.util.find_spec(package) is None:
        raise ConfigError("engine.name", config.name, f"needs {package}; pip install 'pretrain[{config.name}]'")
    return importlib.import_module(f"pretrain.sweep.{config.name}_engine").run


def run_here(
    experiment: Experiment,
    plan: Plan,
    datasets: Mapping[DataConfig, Dataset],
    store: Store,
    console: Console,
    stop: Callable[[], bool],
) -> None:
    """Runs packs in this process, one after another, while the programs of the next are compiled."""
    done = store.verified(plan.jobs)
    todo = packs(plan.jobs.values(), done, pack_memory(), jax.local_device_count(), begun=store.begun())
    reporter = Reporter(console, todo)
    compilers = ThreadPoolExecutor(_COMPILERS)
    try:
        compiled = _compile_ahead(todo, datasets, compilers)
        for number, pack in enumerate(todo):
            if stop():
                raise Interrupted
            store.refresh()
            if store.verified([job.id for job in pack.jobs]) == {job.id for job in pack.jobs}:
                continue  # another run, which shares the store, has been faster
            with reporter.pack(number) as advanced:
                if number in compiled:
                    compiled[number].result()
                work.run_pack(pack, datasets[pack.data], store, experiment.save_every, advanced, stop)
            programs.seal(store.root / "programs")
    finally:
        compilers.shutdown(cancel_futures=True)


def _compile_ahead(
    todo: list[Pack], datasets: Mapping[DataConfig, Dataset], compilers: ThreadPoolExecutor
) -> dict[int, Future]:
    """Starts to compile the programs of packs, the first of each shape, and returns what to wait for by pack."""
    if jax.local_devices()[0].platform != "cpu":
        return {}
    first = {}
    for number, pack in enumerate(todo):
        first.setdefault((pack.stage, len(pack.jobs)), number)
    return {
        number: compilers.submit(execute.compile_ahead, todo[number], datasets[todo[number].data])
        for number in first.values()
    }


def pack_memory() -> int:
    """Returns the bytes that a pack may take: of all local accelerators together, or of the host."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return int(_SHARE_OF_MEMORY * min(psutil.virtual_memory().available, _container_limit()))
    return int(_SHARE_OF_MEMORY * sum(device.memory_stats()["bytes_limit"] for device in devices))


def _container_limit() -> float:
    """Returns the bytes that a control group (version 2) leaves to this process."""
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no control group, or "max"
        return float("inf")
