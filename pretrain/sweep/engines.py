"""Where packs run: this process."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import psutil
from rich.console import Console

from pretrain.data import Dataset
from pretrain.sweep import execute
from pretrain.sweep.plan import Pack, Plan, packs
from pretrain.sweep.progress import Reporter
from pretrain.sweep.store import Store

_SHARE_OF_MEMORY = 0.25  # for a pack; while it runs, two more may be compiled ahead
_COMPILERS = 2  # threads


def run_here(plan: Plan, dataset: Dataset, store: Store, console: Console) -> int:
    """Runs every job of a plan that is not stored yet, pack by pack, and stores each pack.

    Returns:
      The number of jobs that ran.
    """
    done = store.verified(plan.jobs)
    todo = packs(plan.jobs.values(), done, pack_memory(), jax.local_device_count())
    reporter = Reporter(console, todo)
    compilers = ThreadPoolExecutor(_COMPILERS)
    try:
        compiled = _compile_ahead(todo, dataset, compilers)
        for number, pack in enumerate(todo):
            parents = [job.parent and store.params(job.parent, pack.stage.parent_shapes) for job in pack.jobs]
            with reporter.pack(number) as advanced:
                if number in compiled:
                    compiled[number].result()
                outcome = execute.run(pack, dataset, parents, advanced)
            store.save(pack, outcome)
    finally:
        compilers.shutdown(cancel_futures=True)
    return sum(len(pack.jobs) for pack in todo)


def _compile_ahead(todo: list[Pack], dataset: Dataset, compilers: ThreadPoolExecutor) -> dict[int, Future]:
    """Starts to compile the programs of packs, the first of each shape, and returns what to wait for by pack."""
    if jax.local_devices()[0].platform != "cpu":
        return {}
    first = {}
    for number, pack in enumerate(todo):
        first.setdefault((pack.stage, len(pack.jobs)), number)
    return {number: compilers.submit(execute.compile_ahead, todo[number], dataset) for number in first.values()}


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
