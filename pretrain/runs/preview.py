"""The preview of a run: its packs, their costs and times."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from pretrain.config import DataConfig
from pretrain.config.counts import counted
from pretrain.data import Dataset
from pretrain.engines import here
from pretrain.plan import cost
from pretrain.plan.plan import Pack, Plan, packs

_COMPILE_SECONDS = 2.0  # a program, on a CPU; from the cache almost nothing
_UPDATE_SECONDS = 30e-6  # of an update besides its matrix products


def show(plan: Plan, datasets: Mapping[DataConfig, Dataset], console: Console) -> None:
    """Prints a plan: the stages that trials share, and the packs with their memory, arithmetic and time.

    Packs of one stage on the same images share a row: examples, updates and parameters are those of each trial, memory
    is that of the largest pack.
    """
    n_stages = sum(len(trial.jobs) for trial in plan.trials)
    trials = f"{counted(len(plan.trials), 'trial')} of {counted(n_stages, 'stage')} together"
    console.print(f"{trials}, {len(plan.jobs):,} of them distinct")
    headings = ("stage", "packs", "trials", "examples", "updates", "parameters", "memory", "TFLOP", "about")
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    rate, total = cost.flop_rate(), 0.0
    todo = packs(plan.jobs.values(), (), here.pack_memory(), jax.device_count())
    for alike in _grouped(todo):
        first, dataset = alike[0], datasets[alike[0].data]
        n_jobs, updates = sum(len(pack.jobs) for pack in alike), first.stage.n_updates
        work = n_jobs * cost.flops(first.jobs[0].traced)
        seconds = work / rate + n_jobs * updates * _UPDATE_SECONDS
        total += seconds
        counts = (len(alike), n_jobs, first.stage.rows.n, updates, cost.n_parameters(first.jobs[0].traced))
        memory = max(_memory(pack, dataset) for pack in alike)
        costs = (f"{memory / 1e6:,.0f} MB", f"{work / 1e12:,.2f}", _duration(seconds))
        table.add_row(_name(first), *(f"{count:,}" for count in counts), *costs)
    console.print(table)
    compiling = _COMPILE_SECONDS * len({(pack.stage, len(pack.jobs)) for pack in todo})
    console.print(
        f"about {_duration(total)} here at {rate / 1e9:,.0f} GFLOP/s, and at most {_duration(compiling)} to compile",
    )


def _grouped(todo: Iterable[Pack]) -> list[list[Pack]]:
    """Returns packs of one stage, on the same images, that pass the same stages together, in the order of the first."""
    groups: dict[Any, list[Pack]] = {}
    for pack in todo:
        groups.setdefault((pack.stage, pack.data, tuple(part.stage for part in pack.passed)), []).append(pack)
    return list(groups.values())


def _name(pack: Pack) -> str:
    stage = pack.stage
    if pack.passed:
        shorter = ", ".join(f"{part.stage.n_updates:,}" for part in pack.passed)
        return f"{stage.name}, passing {shorter} updates"
    if stage.stack.head is None:
        return stage.name
    if not stage.n_updates:
        return f"{stage.name}, {stage.method}"
    return f"{stage.name}, {counted(stage.stack.start, 'layer')} frozen"


def _memory(pack: Pack, dataset: Dataset) -> int:
    """Returns the bytes that a pack takes, with the images on every device."""
    images = sum(split.inputs.nbytes for split in (dataset.train, dataset.validation, dataset.test))
    return len(pack.jobs) * cost.job_memory(pack.jobs[0].traced) + images * jax.local_device_count()


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
