"""One pack: start from restored parents, run as one program over the trial axis, hand the results back.

The trial axis ``T`` is added here and nowhere else. It is sharded over the local devices; within a device trials run
one after another on a CPU, where ``vmap`` gains nothing, and side by side on an accelerator, where it pays.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pretrain.data import Dataset
from pretrain.learn import train
from pretrain.learn.model import Params
from pretrain.learn.objectives import Batch
from pretrain.learn.stage import Images, Stage, Start
from pretrain.sweep import hosts
from pretrain.sweep.plan import Pack

CHUNK_SECONDS = 2.0  # between two returns to the host, for progress, saves and interruptions
_FIRST_CHUNK = 20  # updates


class Outcome(NamedTuple):
    """What a pack's jobs came to; every array has the jobs as its leading axis."""

    params: Params
    curves: dict[str, np.ndarray]  # [T, total steps], NaN where not measured
    results: dict[str, np.ndarray]  # [T]
    seconds: float  # wall clock of the pack, per job

    def diverged(self) -> np.ndarray:
        """Returns whether each job met a NaN or an infinity: [T] bool."""
        watched = [*jax.tree.leaves(self.params), *self.results.values()]
        rows = [np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in watched]
        return ~np.logical_and.reduce(rows)


class Progress(NamedTuple):
    """How far a pack has come: all that is needed to go on as if it had never stopped."""

    step: int  # updates made
    seconds: float  # wall clock so far
    arrays: dict[str, Any]  # states and curves by path, nested; the jobs are the leading axis


class _Trials(NamedTuple):
    """What the trials of a pack are given, stacked."""

    start: Start
    numbers: dict[str, np.ndarray]  # [T]
    seeds: np.ndarray  # [T] uint32


def run(
    pack: Pack,
    dataset: Dataset,
    parents: Sequence[Params | None],
    after_chunk: Callable[[int, Callable[[], Progress]], None],
    begun: Progress | None = None,
) -> Outcome:
    """Runs a pack.

    Args:
      pack: the jobs.
      dataset: the images that all jobs read.
      parents: for each job its parent's parameters, or None.
      after_chunk: called after each chunk with the number of updates made so far, and with a function that returns the
        progress; what it raises ends the run.
      begun: where to go on from; ignored if it does not fit the stage.
    """
    began = time.perf_counter()
    stage, n_jobs = pack.stage, len(pack.jobs)
    mesh, labels = _mesh(n_jobs), jnp.asarray(dataset.train.labels)
    images = _images(dataset, mesh)
    pairs = zip(pack.jobs, parents, strict=True)
    trials = _trials(pack, mesh, [stage.start(job.seed, parent, labels, job.choices) for job, parent in pairs])
    share = len(trials.seeds) // mesh.size
    states, own, curves = _begin(stage, mesh, share, trials, images)
    first, carry = 0, (states, curves)
    if begun and _fits(begun.arrays, carry, n_jobs):
        first, began, carry = begun.step, began - begun.seconds, _resumed(begun.arrays, carry, mesh)
    for start, stop in _chunks(first, stage.total_steps):
        carry = _advance(stage, mesh, share, *carry, own, trials, images, start, stop)
        jax.block_until_ready(carry)
        after_chunk(stop, partial(_progress, stop, began, carry, n_jobs))
    states, curves = carry
    results = _results(dataclasses.replace(stage, config=None), mesh, share, states.params, images)

    params, curves, results = _on_host((states.params, curves, results), n_jobs)
    # The last update is always followed by a validation.
    finals = {name: curve[:, -1] for name, curve in curves.items() if name.startswith("validation_")}
    return Outcome(params, curves, finals | results, seconds=(time.perf_counter() - began) / n_jobs)


def _progress(step: int, began: float, carry: Any, n_jobs: int) -> Progress:
    arrays = traverse_util.unflatten_dict(_named(_on_host(carry, n_jobs)), sep="/")
    return Progress(step, time.perf_counter() - began, arrays)


def _fits(arrays: dict[str, Any], carry: Any, n_jobs: int) -> bool:
    """Returns whether stored arrays are those of a carry, by path, shape and dtype."""
    given = traverse_util.flatten_dict(arrays, sep="/")
    shapes = {path: (leaf.shape, leaf.dtype) for path, leaf in given.items()}
    return shapes == {path: ((n_jobs, *leaf.shape[1:]), leaf.dtype) for path, leaf in _named(carry).items()}


def _resumed(arrays: dict[str, Any], carry: Any, mesh: Mesh) -> Any:
    """Returns stored arrays as a carry: each lane on its device, the last repeated as ``_trials`` does."""
    given = traverse_util.flatten_dict(arrays, sep="/")
    lanes = NamedSharding(mesh, PartitionSpec("T"))

    def placed(path, leaf):
        rows = given[path]
        padding = np.repeat(rows[-1:], len(leaf) - len(rows), axis=0)
        return hosts.placed(np.concatenate([rows, padding]), lanes)

    leaves = [placed(path, leaf) for path, leaf in _named(carry).items()]
    return jax.tree.unflatten(jax.tree.structure(carry), leaves)


def _named(tree: Any) -> dict[str, Any]:
    """Returns a tree's leaves by path, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _on_host(tree: Any, n_jobs: int) -> Any:
    """Returns arrays without the lanes that only fill up devices, as NumPy arrays."""
    return jax.tree.map(lambda leaf: leaf[:n_jobs], hosts.gathered(tree))


def compile_ahead(pack: Pack, dataset: Dataset) -> None:
    """Compiles a pack's programs by running them on none of its trials; for CPUs, whose loops over trials may be empty.

    Meant for another thread, while an earlier pack runs: a compilation keeps one core busy.
    """
    stage, job = pack.stage, pack.jobs[0]
    mesh, labels = _mesh(len(pack.jobs)), jnp.asarray(dataset.train.labels)
    images = _images(dataset, mesh)
    shapes = job.parent_stage.shapes if job.parent_stage else None
    parent = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    start = stage.start(job.seed, parent, labels, job.choices)
    trials = _trials(pack, mesh, [start] * len(pack.jobs))
    states, own, curves = _begin(stage, mesh, 0, trials, images)
    states, _ = _advance(stage, mesh, 0, states, curves, own, trials, images, 0, 0)
    _results(dataclasses.replace(stage, config=None), mesh, 0, states.params, images)


def _trials(pack: Pack, mesh: Mesh, starts: Sequence[Start]) -> _Trials:
    """Stacks what a pack's trials are given; the last is repeated until every device has as many."""
    n_copies = -len(pack.jobs) % mesh.size
    jobs = (*pack.jobs, *[pack.jobs[-1]] * n_copies)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *starts, *[starts[-1]] * n_copies)
    numbers = {name: np.array([job.numbers[name] for job in jobs], np.float32) for name in jobs[0].numbers}
    trials = _Trials(stacked, numbers, np.array([job.seed for job in jobs], np.uint32))
    return hosts.placed(trials, NamedSharding(mesh, PartitionSpec("T")))


def _mesh(n_jobs: int) -> Mesh:
    """Returns the devices that a pack runs on: as many as it has jobs, but of several hosts all."""
    devices = jax.devices() if jax.process_count() > 1 else jax.local_devices()[:n_jobs]
    return Mesh(np.array(devices), ("T",), axis_types=(AxisType.Auto,))


def _images(dataset: Dataset, mesh: Mesh) -> Images:
    """Puts the images on every device of the mesh."""
    splits = Images(*(Batch(*split) for split in (dataset.train, dataset.validation, dataset.test)))
    return hosts.placed(splits, NamedSharding(mesh, PartitionSpec()))


def _chunks(first: int, total_steps: int) -> Iterator[tuple[int, int]]:
    """Yields the first update and the end of each chunk, sized by the pace so far to take ``CHUNK_SECONDS``.

    The first chunk, which may wait for a compilation, tells nothing about the pace.
    """
    size, timed, seconds = _FIRST_CHUNK, 0, 0.0
    warm = False
    while first < total_steps:
        stop, began = min(first + size, total_steps), time.perf_counter()
        yield first, stop
        if warm:
            timed, seconds = timed + stop - first, seconds + time.perf_counter() - began
            size = hosts.agreed(max(1, round(CHUNK_SECONDS * timed / seconds)))
        first, warm = stop, True


def _over_trials(function: Callable, mesh: Mesh, n_trials: jax.Array, trials: Any, shared: Any) -> Any:
    """Maps ``function(trial, shared)`` over the leading axis of ``trials``, of which each device has ``n_trials``."""

    def on_device(n_trials, trials, shared):
        if mesh.devices.flat[0].platform == "cpu":
            return _one_by_one(lambda trial: function(trial, shared), n_trials, trials)
        return jax.vmap(lambda trial: function(trial, shared))(trials)

    axis, whole = PartitionSpec("T"), PartitionSpec()
    specs = {"in_specs": (whole, axis, whole), "out_specs": axis}
    return jax.shard_map(on_device, mesh=mesh, **specs, check_vma=False)(n_trials, trials, shared)


def _one_by_one(function: Callable, n_trials: jax.Array, trials: Any) -> Any:
    """Maps a function over the leading axis, so that a trial is rounded alike in packs of any length.

    The compiler unrolls a loop of known length 1 and fuses across its ends, so the length is an argument; and it moves
    work on an axis of length 1 out of the loop, so the trial is tied to the index by a barrier.
    """

    def one(index):
        _, trial = jax.lax.optimization_barrier((index, jax.tree.map(lambda leaf: leaf[index], trials)))
        return function(trial)

    def body(index, results):
        return jax.tree.map(lambda result, value: result.at[index].set(value), results, one(index))

    length = len(jax.tree.leaves(trials)[0])
    blank = jax.tree.map(lambda one: jnp.zeros((length, *one.shape), one.dtype), jax.eval_shape(one, 0))
    return jax.lax.fori_loop(0, n_trials, body, blank)


@partial(jax.jit, static_argnums=(0, 1))
def _begin(stage: Stage, mesh: Mesh, n_trials, trials, images):
    def begin(trial, images):
        return *stage.begin(trial.start, trial.numbers, trial.seeds, images), stage.blank_curves()

    return _over_trials(begin, mesh, n_trials, trials, images)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3, 4))
def _advance(stage: Stage, mesh: Mesh, n_trials, states, curves, own, trials, images, first, stop):
    def advance(trial, shared):
        state, curves, own, numbers, seed = trial
        images, first, stop = shared
        return train.run_steps(state, curves, first, stop, stage.step(numbers, seed, images, own))

    mapped = (states, curves, own, trials.numbers, trials.seeds)
    return _over_trials(advance, mesh, n_trials, mapped, (images, first, stop))


@partial(jax.jit, static_argnums=(0, 1))
def _results(stage: Stage, mesh: Mesh, n_trials, params, images):
    return _over_trials(stage.results, mesh, n_trials, params, images)
