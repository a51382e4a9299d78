"""Where packs run: this process."""

from pathlib import Path

import jax
import psutil
from rich.console import Console

from pretrain.data import Dataset
from pretrain.learn.finetune import Finetune
from pretrain.learn.transfer import stack_shapes
from pretrain.sweep import execute
from pretrain.sweep.plan import Job, Plan, packs
from pretrain.sweep.progress import Reporter
from pretrain.sweep.store import Store

_SHARE_OF_MEMORY = 0.5  # left to a pack; the rest is for images, programs and what else the machine does


def run_here(plan: Plan, dataset: Dataset, store: Store, console: Console) -> int:
    """Runs every job of a plan that is not stored yet, pack by pack, and stores each pack.

    Returns:
      The number of jobs that ran.
    """
    done = store.verified(plan.jobs)
    todo = packs(plan.jobs.values(), done, pack_memory(), jax.local_device_count())
    reporter = Reporter(console, todo)
    for number, pack in enumerate(todo):
        parents = [_parent_params(plan.jobs.get(job.parent), store) for job in pack.jobs]
        with reporter.pack(number) as advanced:
            outcome = execute.run(pack, dataset, parents, advanced)
        store.save(pack, outcome)
    return sum(len(pack.jobs) for pack in todo)


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


def _parent_params(parent: Job | None, store: Store):
    if parent is None:
        return None
    assert not isinstance(parent.stage, Finetune)
    return store.params(parent.id, stack_shapes((parent.stage.image_size, *parent.stage.widths)))
