"""The parts of `python -m tests.bench.accelerator`: each yields a row a measurement."""

import contextlib
import dataclasses
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FROZEN = "finetune.frozen_layers"
HE = ({"finetune.encoder_init": ("he",), FROZEN: (0,)},)
GOAL = 100  # seeds in the time of one in PyTorch
SEED_JOB = ("pretrain/0", "pretrain/1", "finetune pretrained frozen", "finetune he trainable")  # as PyTorch does it

Row = dict[str, Any]


class Sizes(NamedTuple):
    """How large the parts are."""

    packs: tuple[int, ...]  # trials of a pack, of ``geron``
    convolution: int
    mapped: int
    stated: int
    bits: tuple[int, ...]
    epochs: int
    layers: tuple[int, ...] = (300, 150)
    convolved: tuple[int | str, ...] = ("32c5s2", "64c5s2", 128)
    arms: tuple[dict[str, tuple], ...] = ({"finetune.encoder_init": ("pretrained", "he"), FROZEN: ("all", 0)},)
    is_small: bool = False  # whether data are images of 8 x 8


FULL = Sizes((512, 64, 1), 64, 16, 256, (1, 2, 7, 64), 4)
SMALL = Sizes((2,), 2, 2, 2, (1, 3), 1, (16, 8), ("4c3s2", 8), HE, True)


class Work(NamedTuple):
    """Packs of an experiment's stages, of as many trials as there are seeds, by title and in order."""

    packs: dict[str, Any]
    dataset: Any


def work_of(sizes: Sizes, scratch: Path, seeds: int, values: dict[str, Any], sweep: tuple) -> Work:
    """Plans an experiment that differs from the defaults in some values."""
    from pretrain import data
    from pretrain.config import Experiment
    from pretrain.config.fields import replace_all
    from pretrain.plan import plan as planning
    from pretrain.plan.identity import Fingerprints
    from tests.bench import small_trials

    base = {"encoder.layers": sizes.layers, "pretrain.epochs": sizes.epochs, "finetune.epochs": sizes.epochs}
    rows = {}
    if sizes.is_small:
        small_trials.write_rows(scratch / "rows.npz")
        rows = {"data.name": str(scratch / "rows.npz"), "data.validation": 200, "finetune.labels": 200}
    made = replace_all(Experiment(sweep=sweep, seeds=seeds), {**base, **rows, **values})
    datasets = data.load_all(made)
    plan = planning.plan(made, datasets, Fingerprints(scratch))
    by_stage: dict = {}
    for job in plan.jobs.values():
        by_stage.setdefault(job.stage, []).append(job)
    arms = {trial.jobs[-1]: trial.point for trial in plan.trials}
    packs = {}
    for stage, jobs in by_stage.items():
        title = stage.name
        if point := arms.get(jobs[0].id):
            title += f" {point['finetune.encoder_init']} {'frozen' if point[FROZEN] else 'trainable'}"
        packs[title] = planning.Pack(stage, tuple(jobs))
    (dataset,) = datasets.values()
    return Work(packs, dataset)


def first(pack: Any, n: int) -> Any:
    """Returns the pack of the first n jobs of one."""
    return dataclasses.replace(pack, jobs=pack.jobs[:n])


class Runner:
    """Runs packs in memory, children after their parents."""

    def __init__(self, dataset: Any):
        self._dataset = dataset
        self._left: dict = {None: (None, None)}  # parameters and digests by job

    def __call__(self, pack: Any) -> tuple[Any, float]:
        """Returns a pack's outcome, and the seconds that it took."""
        from pretrain.execute import execute
        from pretrain.plan import arrays, environment

        parents, digests = zip(*(self._left[job.parent] for job in pack.jobs), strict=True)
        began = time.perf_counter()
        with environment.one_thread():
            ran = execute.run(pack, self._dataset, parents, lambda step, progress: None, digests=digests)
        seconds = time.perf_counter() - began
        for lane, job in enumerate(pack.jobs):
            own = {side: int(values[lane]) for side, values in ran.digests.items()}
            self._left[job.id] = arrays.lane_of(ran.params, lane), own
        return ran, seconds


def geron(sizes: Sizes, scratch: Path) -> Iterator[Row]:
    """Yields the times of ``geron``'s stages by the size of packs, and seeds in the time of one in PyTorch."""
    eager, said = torch_seconds(sizes)
    yield {"name": "PyTorch eager, a seed", "seconds": eager, "note": said}
    for size in sizes.packs:
        work = work_of(sizes, scratch, size, {"finetune.label_subset": "first"}, sizes.arms)
        warm: dict[str, float] = {}
        for row in of_stages(work, size):
            warm[row["name"]] = row["seconds"]
            yield row
        if eager and warm.keys() >= set(SEED_JOB):
            job = sum(warm[title] for title in SEED_JOB)
            ratio = {"ratio": size * eager / job, "goal": GOAL}
            yield {"name": "seeds in the time of one in PyTorch", "trials": size, "seconds": job, **ratio}


def of_stages(work: Work, size: int) -> Iterator[Row]:
    """Yields the seconds of packs of so many trials, cold and warm."""
    runner = Runner(work.dataset)
    for title, whole in work.packs.items():
        pack = first(whole, size)
        (_, cold), (_, warm) = runner(pack), runner(pack)
        made = pack.stage.n_updates * size
        each = {"update_us": 1e6 * warm / made} if made else {}
        yield {"name": title, "trials": size, "seconds": warm, "compile": cold - warm, **each}


def torch_seconds(sizes: Sizes) -> tuple[float | None, str]:
    """Returns the seconds of a warm seed job of eager PyTorch; and, where there is none, why."""
    command = [sys.executable, str(ROOT / "tests" / "bench" / "seed_job_torch.py"), "--serve"]
    asked = [{"seed": seed, "epochs": sizes.epochs} for seed in range(1 if sizes.is_small else 2)]
    text = "".join(json.dumps(each) + "\n" for each in asked)
    one_core = {"OMP_NUM_THREADS": "1"} if sizes.is_small else {}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env={**os.environ, **one_core})
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["failed"])[-1]
    return json.loads(done.stdout.splitlines()[-1])["seconds"], ""


def convolution(sizes: Sizes, scratch: Path) -> Iterator[Row]:
    """Yields the times of a convolution's stages, pretrained all at once and trained on labels."""
    yield from of_stages(convolved(sizes, scratch, sizes.convolution), sizes.convolution)


def convolved(sizes: Sizes, scratch: Path, seeds: int) -> Work:
    """Returns the stages of a convolution, each of an epoch."""
    short = {"encoder.layers": sizes.convolved, "pretrain.epochs": 1, "pretrain.training": "end_to_end"}
    sweep = ({"finetune.encoder_init": ("pretrained",), "finetune.frozen_layers": (0,)},)
    return work_of(sizes, scratch, seeds, short, sweep)


@contextlib.contextmanager
def mapped(how: str) -> Iterator[None]:
    """Has trials run side by side, or one after another, whatever the device."""
    from pretrain.execute import lanes

    original, platform = lanes.over_trials, {"vmap": "gpu", "lax.map": "cpu"}[how]
    lanes.over_trials = lambda function, n, trials, _: original(function, n, trials, platform)
    forget()
    try:
        yield
    finally:
        lanes.over_trials = original
        forget()


def forget() -> None:
    """Forgets compiled programs, and what memory of theirs can be freed."""
    from pretrain.execute import lanes

    for program in (lanes.INIT, lanes.LOOP, lanes.FINISH, lanes.FIT):
        program.clear()
    gc.collect()


def side_by_side(sizes: Sizes, scratch: Path) -> Iterator[Row]:
    """Yields the times of packs whose trials run side by side, and one after another."""
    size = sizes.mapped
    chosen = {
        "dense": work_of(sizes, scratch, size, {}, HE),
        "convolution": work_of(sizes, scratch, size, {"encoder.layers": sizes.convolved}, HE),
    }
    for name, work in chosen.items():
        taken = {}
        for how in ("vmap", "lax.map"):
            with mapped(how):
                for row in of_stages(work, size):
                    taken[how] = row["seconds"]
                    yield row | {"name": f"{name}, {how}: {row['name']}"}
        yield {"name": f"{name}: lax.map / vmap", "trials": size, "ratio": taken["lax.map"] / taken["vmap"]}


def memory(sizes: Sizes, scratch: Path) -> Iterator[Row]:
    """Yields memory stated and taken by packs, each in a process of its own, as a peak cannot be set back."""
    for what in ("dense", "convolution"):
        command = [sys.executable, "-m", "tests.bench.accelerator", "--stated", what, *(["--small"] * sizes.is_small)]
        command += ["--programs", str(scratch / "programs")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            yield {"name": what, "error": (done.stderr.strip().splitlines() or ["failed"])[-1][:300]}
            continue
        yield json.loads(done.stdout.splitlines()[-1])


def stated(what: str, sizes: Sizes, scratch: Path) -> Row:
    """Returns the memory that a pack of this process is stated to take on the device, and takes."""
    import jax

    from pretrain.execute import execute
    from pretrain.plan.memory import needs_of

    size = sizes.stated if what == "dense" else sizes.convolution
    work = work_of(sizes, scratch, size, {"encoder.layers": sizes.convolved} if what == "convolution" else {}, HE)
    ((title, pack),) = work.packs.items()
    device = jax.local_devices()[0]
    before = (device.memory_stats() or {}).get("bytes_in_use", 0)
    Runner(work.dataset)(pack)
    stats = device.memory_stats() or {}
    noted = {(pack.jobs[0].program, jax.default_backend()): execute.temporaries(pack, work.dataset)}
    needs = needs_of(pack.jobs[0], noted, 1)
    whole = needs.examples + needs.temporaries + size * needs.trial
    row = {"name": f"{what}: {title}", "trials": size, "stated_mb": whole / 1e6, "trial_mb": needs.trial / 1e6}
    if "peak_bytes_in_use" not in stats:
        return row | {"note": f"{device.platform} has no peak"}
    taken = stats["peak_bytes_in_use"] - before
    return row | {"taken_mb": taken / 1e6, "ratio": whole / taken}


def bits(sizes: Sizes, scratch: Path) -> Iterator[Row]:
    """Yields how many lanes of packs of several sizes have the bits that they have in the largest pack."""
    most = max(sizes.bits)
    work = work_of(sizes, scratch, most, {}, HE)
    ((title, whole),) = work.packs.items()
    largest = Runner(work.dataset)(whole)[0].params
    again = Runner(work.dataset)(whole)[0].params
    yield {"name": f"{title}, repeated", "trials": most, **compared(largest, again, most)}
    for size in sizes.bits:
        if size != most:
            ran = Runner(work.dataset)(first(whole, size))[0].params
            yield {"name": f"{title}, as in a pack of {most}", "trials": size, **compared(largest, ran, size)}


def compared(one: Any, other: Any, size: int) -> Row:
    """Returns how many of the first lanes of two trees are equal to the bit, and the largest relative difference."""
    import jax
    import numpy as np

    pairs = [
        (np.asarray(a)[:size].reshape(size, -1), np.asarray(b)[:size].reshape(size, -1))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    ]
    equal = np.all([[a[lane].tobytes() == b[lane].tobytes() for lane in range(size)] for a, b in pairs], axis=0)
    gaps = [np.linalg.norm(a.astype(float) - b) / max(np.linalg.norm(a), 1e-30) for a, b in pairs]
    return {"equal": f"{int(equal.sum())} of {size}", "gap": float(max(gaps))}
