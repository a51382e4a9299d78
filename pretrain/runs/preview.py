"""The preview of a run: its packs, their costs and times."""

import dataclasses
import resource
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from pretrain.config.counts import counted
from pretrain.data import room
from pretrain.engines import here, pace
from pretrain.execute import hosts
from pretrain.plan import cost, memory
from pretrain.plan.memory import Noted
from pretrain.plan.plan import Pack, Plan, packs

_COMPILE_SECONDS = 2.0  # a program, on a CPU, where none was compiled yet; from the cache almost nothing


def show(
    plan: Plan,
    console: Console,
    noted: Noted = MappingProxyType({}),
    compile_seconds: float | None = None,
    of_workers: Sequence[Pack] = (),
) -> None:
    """Prints a plan: the stages that trials share, and the packs with their memory, arithmetic and time.

    Packs of stages that are named alike, with as many examples, updates and parameters, share a row: these are of each
    trial, memory is that of the whole run while its largest pack trains.

    Args:
      plan: of the run.
      console: to print on.
      noted: figures of programs.
      compile_seconds: of a program, as measured before.
      of_workers: packs as the workers of a cluster are given them; without, they are cut for this process.
    """
    taken, needed = room.taken(), []
    n_stages = sum(len(trial.jobs) for trial in plan.trials)
    trials = f"{counted(len(plan.trials), 'trial')} of {counted(n_stages, 'stage')} together"
    console.print(f"{trials}, {len(plan.jobs):,} of them distinct, on {hosts.in_words()}", soft_wrap=True)
    headings = ("stage", "packs", "trials", "examples", "updates", "parameters", "memory", "TFLOP", "about")
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    rate, total = cost.flop_rate(), 0.0
    rows: dict[tuple, tuple] = {}  # of all stages that are named alike
    n_bytes, seconds = here.pack_memory(), pace.Pace(noted, here.SECONDS)
    todo = of_workers or packs(plan.jobs.values(), (), n_bytes, jax.device_count(), seconds, noted=noted)
    for alike in _grouped(todo):
        first = alike[0]
        n_jobs, updates = sum(len(pack.jobs) for pack in alike), first.stage.n_updates
        work = n_jobs * cost.flops(first.jobs[0].traced)
        seconds = _seconds(alike, rate)
        total += seconds
        kind = _name(first), first.stage.rows.n, updates, cost.n_parameters(first.jobs[0].traced)
        most = max(len(pack.jobs) for pack in alike)
        needs = memory.needs_of(first.jobs[0], noted, min(most, jax.local_device_count()))
        parts = memory.parts_of(needs, most, taken)
        needed.append((sum(parts), f"{counted(most, 'trial')} of {_name(first)}", parts, needs.is_noted))
        before = rows.get(kind, (0, 0, 0, 0.0, 0.0))
        added = len(alike), n_jobs, max(0, sum(parts) - before[2]), work, seconds
        rows[kind] = tuple(map(sum, zip(before, added, strict=True)))
    for (name, *counts), (n_packs, n_jobs, size, work, seconds) in rows.items():
        numbers = (f"{count:,}" for count in (n_packs, n_jobs, *counts))
        table.add_row(name, *numbers, _megabytes(size), f"{work / 1e12:,.2f}", _duration(seconds))
    console.print(table)
    if needed:
        console.print(_memory(*max(needed)[1:3], all(each[-1] for each in needed)), soft_wrap=True)
    compiling = (compile_seconds or _COMPILE_SECONDS) * len({(pack.stage, len(pack.jobs)) for pack in todo})
    console.print(
        f"about {_duration(total)} here at {rate / 1e9:,.0f} GFLOP/s, and at most {_duration(compiling)} to compile",
    )


def on_workers(engine: str, todo: Sequence[Pack], pace: pace.Pace) -> str:
    """Returns the work of a cluster in one line: packs, workers' hours, and whence these are known."""
    hours = sum(len(pack.jobs) * pace.job_seconds(pack.jobs[0]) for pack in todo) / 3600
    first = {pack.jobs[0].program: pack.jobs[0] for pack in todo}.values()
    noted = sum(map(pace.is_noted, first))
    whence = "as measured before" if noted == len(first) else "by the speed of this machine"
    if 0 < noted < len(first):
        whence = f"{noted} of {counted(len(first), 'program')} as measured before, others by the speed of this machine"
    largest = max((len(pack.jobs) for pack in todo), default=0)
    packs_of = f"{counted(len(todo), 'pack')} of at most {counted(largest, 'trial')}"
    return f"{engine}: {packs_of}, {hours:,.2g} h of workers, compilation and starts aside ({whence})"


def states(plan: Plan, ids: Collection[str]) -> str:
    """Returns the size of the states that some stages of a plan leave; empty where none is kept."""
    jobs = [plan.jobs[each] for each in ids if plan.jobs[each].course]
    size = sum(cost.bytes_of(cost.outputs(traced.init)[0]) * n for traced, n in Counter(j.traced for j in jobs).items())
    return f"states to keep: {_megabytes(size)}" if jobs else ""


def duration(plan: Plan, ids: Collection[str]) -> tuple[float, str]:
    """Returns how long some stages of a plan take here, all updates made, in seconds and in words."""
    todo = packs([job for job in plan.jobs.values() if job.id in ids], (), here.pack_memory(), jax.device_count())
    rate = cost.flop_rate()
    seconds = sum(_seconds(alike, rate) for alike in _grouped(todo))
    return seconds, _duration(seconds)


def _seconds(alike: Sequence[Pack], rate: float) -> float:
    """Returns how long packs of one stage take at a rate (FLOP/s)."""
    return sum(len(pack.jobs) for pack in alike) * cost.job_seconds(alike[0].jobs[0].traced, rate)


def _grouped(todo: Iterable[Pack]) -> list[list[Pack]]:
    """Returns packs of one stage, on the same data in any fresh cut, that pass the same stages, in their order."""
    groups: dict[Any, list[Pack]] = {}
    for pack in todo:
        images = dataclasses.replace(pack.data, cut=0) if pack.data.splits == "fresh" else pack.data
        groups.setdefault((pack.stage, images, tuple(part.stage for part in pack.passed)), []).append(pack)
    return list(groups.values())


def _name(pack: Pack) -> str:
    stage = pack.stage
    if pack.passed:
        shorter = ", ".join(f"{part.stage.n_updates:,}" for part in pack.passed)
        return f"{stage.name}, passing {shorter} updates"
    if stage.stack.head is None:
        return stage.name
    if not stage.n_updates:
        return f"{stage.name}, {stage.config.method.kind}"
    return f"{stage.name}, {counted(stage.stack.start, 'layer')} frozen"


def _memory(trials: str, parts: memory.Parts, is_noted: bool) -> str:
    """Returns the memory of a run in words, by its parts; least where temporaries of a program are not noted."""
    names = ("the process", "data", "temporaries", trials)
    listed = ", ".join(f"{_megabytes(part)} {name}" for part, name in zip(parts, names, strict=True) if part)
    if not is_noted:
        return f"at least {_megabytes(sum(parts))}: {listed}; temporaries are known of programs that have run"
    read = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if parts.process and read > sum(parts):
        return f"at most {_megabytes(read)}, which reading the data took; then {listed}"
    return f"at most {_megabytes(sum(parts))}: {listed}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
