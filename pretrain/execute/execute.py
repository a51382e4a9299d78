"""One pack: start from restored parents, run as one program over the trial axis, hand the results back."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pretrain.data import Dataset
from pretrain.execute import hosts, outcomes
from pretrain.execute.checkpoint import fits, on_host, progress_of, resumed
from pretrain.execute.compiled import Program
from pretrain.execute.lanes import mesh_of, over_trials
from pretrain.execute.outcomes import RESULTS
from pretrain.learn import train
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras
from pretrain.learn.metrics import Images
from pretrain.learn.stage import Stage, StageConfig
from pretrain.learn.start import Start, start
from pretrain.plan.one_trial import begin_one, extras_of, images_of, parent_shapes, step_one
from pretrain.plan.plan import Pack
from pretrain.store.records import Outcome, Progress

CHUNK_SECONDS = 2.0  # between two returns to the host, for progress, saves and interruptions
_FIRST_CHUNK = 20  # updates


class _Trials(NamedTuple):
    """Inputs of a pack's trials, stacked."""

    start: Start
    config: StageConfig  # numbers [T]
    seeds: np.ndarray  # [T] uint32


def run(
    pack: Pack,
    dataset: Dataset,
    parents: Sequence[Params | None],
    after_chunk: Callable[[int, Callable[[], Progress]], None],
    begun: Progress | None = None,
    keep: Callable[[Pack, Outcome], None] | None = None,
) -> Outcome:
    """Runs a pack, and returns its outcome.

    Args:
      pack: the jobs.
      dataset: the images that all jobs read.
      parents: for each job its parent's parameters, or None.
      after_chunk: called after each chunk with the number of updates made so far, and with a function that returns the
        progress; what it raises ends the run.
      begun: where to go on from; ignored if it does not fit the stage.
      keep: given the outcomes of the packs that it passes from there on.
    """
    began = time.perf_counter()
    stage, n_jobs = pack.stage, len(pack.jobs)
    mesh, extras = mesh_of(n_jobs), _extras(pack)
    images = _images(stage, dataset, mesh)
    trials = _trials(pack, mesh, _starts(pack, parents, dataset))
    share = np.int32(len(trials.seeds) // mesh.size)
    states, own, curves = BEGIN(stage, extras, mesh, share, trials, images)
    first, carry = 0, (states, curves)
    if begun and fits(begun.arrays, carry, n_jobs):
        first, began, carry = begun.step, began - begun.seconds, resumed(begun.arrays, carry, mesh)

    def outcome(stage: Stage) -> Outcome:
        found = outcomes.of(stage, mesh, share, images, carry, n_jobs, dataset)
        return found._replace(seconds=(time.perf_counter() - began) / n_jobs)

    for part in (*pack.passed, pack):
        for at, stop in _chunks(first, part.stage.total_steps):
            if stage.stops_early and np.all(on_host(stage.has_stopped(carry[0]), n_jobs)):
                break  # as no trial will make another update
            carry = ADVANCE(stage, mesh, *carry, share, own, trials, images, np.int32(at), np.int32(stop))
            jax.block_until_ready(carry)
            after_chunk(stop, partial(progress_of, stop, began, carry, n_jobs))
        if part is not pack and part.stage.total_steps >= first:
            keep(part, outcome(part.stage))
        first = max(first, part.stage.total_steps)
    return outcome(stage)


def compilations(pack: Pack, dataset: Dataset) -> list[Callable[[], object]]:
    """Returns functions that compile a pack's programs, and run none, in the order of how much waits for them.

    Meant for other threads, before the pack runs: a compilation keeps one core busy.
    """
    stage, n_jobs = pack.stage, len(pack.jobs)
    mesh, extras = mesh_of(n_jobs), _extras(pack)
    n_lanes = n_jobs + -n_jobs % mesh.size
    whole, lanes = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("T",)))
    images = jax.tree.map(partial(_shaped, sharding=whole), images_of(stage, dataset))
    known, share = jax.tree.map(_shaped, (dataset.known_labels, dataset.labelled)), np.int32(0)
    starts = [
        (*stage.as_started(), job.choices, np.uint32(0), parent_shapes(job.parent_stage), *known)
        for job in _distinct(pack)
    ]

    @cache
    def trials() -> _Trials:
        stacked = jax.tree.map(lambda leaf: _lanes(leaf, n_lanes, lanes), START.outputs(*starts[0]))
        number, seed = (jax.ShapeDtypeStruct((n_lanes,), kind, sharding=lanes) for kind in (np.float32, np.uint32))
        return _Trials(stacked, jax.tree.map(lambda _: number, pack.jobs[0].config), seed)

    @cache
    def begun() -> Any:
        found = BEGIN.outputs(stage, extras, mesh, share, trials(), images)
        return jax.tree.map(partial(_shaped, sharding=lanes), found)

    def advance() -> None:
        states, own, curves = begun()
        ADVANCE.compile(stage, mesh, states, curves, share, own, trials(), images, np.int32(0), np.int32(0))

    def measure(split: str) -> None:
        params = begun()[0].kept
        RESULTS.compile(*stage.as_left(), mesh, share, params, images.train, getattr(images, split))

    return [
        advance,
        *(partial(START.compile, *start) for start in starts),
        lambda: BEGIN.compile(stage, extras, mesh, share, trials(), images),
        *(partial(measure, split) for split in stage.measured_splits),
    ]


def _shaped(array: Any, sharding: NamedSharding | None = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _lanes(leaf: Any, n_lanes: int, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((n_lanes, *leaf.shape), leaf.dtype, sharding=sharding)


def _distinct(pack: Pack) -> list[Any]:
    """Returns a job for each way in which a pack's jobs start."""
    return list({(job.choices, job.parent_stage): job for job in pack.jobs}.values())


def _extras(pack: Pack) -> Extras:
    """Returns the optional parts of a program that some job of a pack has a use for."""
    wanted = {extras_of(job.choices, job.config) for job in pack.jobs}
    return Extras(*map(any, zip(*wanted, strict=True)))


def _starts(pack: Pack, parents: Iterable[Params | None], dataset: Dataset) -> list[Start]:
    """Returns where each of a pack's jobs starts, each way to start by one program."""
    key, known = pack.stage.as_started(), (dataset.known_labels, dataset.labelled)
    return [
        START(*key, job.choices, np.uint32(job.seed), parent, *known)
        for job, parent in zip(pack.jobs, parents, strict=True)
    ]


def _trials(pack: Pack, mesh: Mesh, starts: Sequence[Start]) -> _Trials:
    """Stacks what a pack's trials are given; the last is repeated until every device has as many."""
    n_copies = -len(pack.jobs) % mesh.size
    jobs = (*pack.jobs, *[pack.jobs[-1]] * n_copies)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *starts, *[starts[-1]] * n_copies)
    config = jax.tree.map(lambda *numbers: np.array(numbers, np.float32), *(job.config for job in jobs))
    trials = _Trials(stacked, config, np.array([job.seed for job in jobs], np.uint32))
    return hosts.placed(trials, NamedSharding(mesh, PartitionSpec("T")))


def _images(stage: Stage, dataset: Dataset, mesh: Mesh) -> Images:
    """Puts the images on every device of the mesh."""
    return hosts.placed(images_of(stage, dataset), NamedSharding(mesh, PartitionSpec()))


def _chunks(first: int, total_steps: int) -> Iterator[tuple[int, int]]:
    """Yields the first update and the end of each chunk, sized by the pace so far to take ``CHUNK_SECONDS``.

    The first chunk, which may wait for a compilation, says nothing about the pace.
    """
    size, timed, seconds = _FIRST_CHUNK, 0, 0.0
    warm = False
    while first < total_steps:
        stop, began = min(first + size, total_steps), time.perf_counter()
        yield first, stop
        if warm:
            timed, seconds = timed + stop - first, seconds + time.perf_counter() - began
            size = hosts.broadcast(max(1, round(CHUNK_SECONDS * timed / seconds)))
        first, warm = stop, True


def _begin(stage: Stage, extras: Extras, mesh: Mesh, n_trials: jax.Array, trials: _Trials, images: Images) -> Any:
    def begin(trial: _Trials, images: Images) -> Any:
        return begin_one(stage, extras, trial.config, trial.start, trial.seeds, images)

    return over_trials(begin, mesh, n_trials, trials, images)


def _advance(stage: Stage, mesh: Mesh, states, curves, n_trials, own, trials: _Trials, images, first, stop) -> Any:
    def advance(trial: Any, shared: Any) -> Any:
        state, curves, own, config, seed = trial
        images, first, stop = shared
        step = partial(step_one, stage, config, seed, own, images)
        return train.run_steps(state, curves, first, stop, step)

    mapped = (states, curves, own, trials.config, trials.seeds)
    return over_trials(advance, mesh, n_trials, mapped, (images, first, stop))


# A start runs once a job, on little: at this level it is compiled in half the time, and computes the same bits.
START = Program(start, n_static=3, cpu_options={"xla_backend_optimization_level": 1})
BEGIN = Program(_begin, n_static=3)
ADVANCE = Program(_advance, n_static=2, donated=(2, 3))
