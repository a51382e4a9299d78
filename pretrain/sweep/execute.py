"""One pack: start from restored parents, run as one program over the trial axis, hand the results back."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pretrain.data import Dataset, Split
from pretrain.learn import train
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras
from pretrain.learn.metrics import Batch, Images
from pretrain.learn.results import predictions, results
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Stage, StageConfig
from pretrain.learn.start import Start, start
from pretrain.learn.stopping import Stopping
from pretrain.learn.train import Values
from pretrain.sweep import hosts
from pretrain.sweep.checkpoint import Progress, fits, on_host, progress_of, resumed
from pretrain.sweep.compiled import Program
from pretrain.sweep.lanes import mesh_of, over_trials
from pretrain.sweep.one_trial import begin_one, extras_of, parent_shapes, step_one
from pretrain.sweep.plan import Pack

CHUNK_SECONDS = 2.0  # between two returns to the host, for progress, saves and interruptions
_FIRST_CHUNK = 20  # updates
ENDS = ("finetune_updates", "finetune_best_update", "finetune_stopped")  # of training that may end early


class Outcome(NamedTuple):
    """What a pack's jobs came to; every array has the jobs as its leading axis."""

    params: Params
    curves: dict[str, np.ndarray]  # [T, total steps], NaN where not measured
    results: dict[str, np.ndarray]  # [T]
    seconds: float  # wall clock of the pack, per job
    test: str = ""  # fingerprint of the test images and labels that results are of
    # Of jobs that end a trial, by held-out split as in ``test_scores``: what ``Prediction`` holds, [T, N, ...], and
    # ``test_targets``, [N, ...], which all share; None of other jobs.
    predictions: dict[str, np.ndarray] | None = None

    def diverged(self) -> np.ndarray:
        """Returns whether each job met a NaN or an infinity: [T] bool."""
        watched = [*jax.tree.leaves(self.params), *self.results.values()]
        rows = [np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in watched]
        return ~np.logical_and.reduce(rows)


class _Trials(NamedTuple):
    """What the trials of a pack are given, stacked."""

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
        found = _outcome(stage, mesh, share, images, carry, n_jobs)
        kept = _kept(found.predictions, dataset) if found.predictions else None
        seconds = (time.perf_counter() - began) / n_jobs
        return found._replace(seconds=seconds, test=dataset.fingerprints.test, predictions=kept)

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


def _outcome(stage: Stage, mesh: Mesh, share: np.int32, images: Images, carry: Any, n_jobs: int) -> Outcome:
    """Returns what a pack's jobs, or those of fewer updates, have come to so far."""
    states, curves = carry
    measured, predicted = {}, {}
    for split in stage.measured_splits:
        found, own = RESULTS(*stage.as_left(), mesh, share, states.kept, images.train, getattr(images, split))
        if split == "validation" and "constant_units" in found:
            measured["constant_units"] = found["constant_units"]
        found = {name: values for name, values in found.items() if name != "constant_units"}
        prefix = stage.result_names.get(split)
        measured |= {prefix + name: values for name, values in found.items()} if prefix else {}
        predicted |= {f"{split}_{part}": values for part, values in own.items()}
    # As copies, for the next chunk is given the arrays themselves, to write in.
    on_device = states.kept, curves, measured, predicted, states.stopping
    params, curves, measured, predicted, stopping = jax.tree.map(np.array, on_host(on_device, n_jobs))
    curves = {name: curve[:, : stage.total_steps] for name, curve in curves.items()}
    # The last update is always followed by a validation, and so is the best.
    last = np.full(n_jobs, stage.total_steps) if stopping is None else stopping.best_update
    finals = {name: _at(last, curve) for name, curve in curves.items() if name.startswith("validation_")}
    if stopping is not None:
        finals |= _ends(stage, stopping)
    return Outcome(params, curves, finals | measured, 0.0, predictions=predicted)


def _kept(predicted: dict[str, np.ndarray], dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns predictions with their targets, numbers in their units, and classes in as few bytes as they take."""
    kept = dict(predicted)
    for split in ("validation", "test"):
        kept[f"{split}_targets"] = getattr(dataset, split).labels
    if dataset.units:
        return {name: dataset.units.restored(values) for name, values in kept.items()}
    kind = np.min_scalar_type(max(len(dataset.output_names) - 1, 0))
    return {name: values.astype(kind) if values.dtype == np.int32 else values for name, values in kept.items()}


def measured_again(stage: Stage, dataset: Dataset, split: str, params: Iterable[Params]) -> Iterator[dict[str, float]]:
    """Yields what finished jobs of a stage come to on a split, computed by this process alone, as packs compute it.

    Args:
      stage: theirs.
      dataset: the images.
      split: its name.
      params: of each job.
    """
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("T",), axis_types=(AxisType.Auto,))
    images = jax.device_put(_splits(stage, dataset), NamedSharding(mesh, PartitionSpec()))
    for one in params:
        lane = jax.device_put(jax.tree.map(lambda leaf: leaf[None], one), NamedSharding(mesh, PartitionSpec("T")))
        found, _ = RESULTS(*stage.as_left(), mesh, np.int32(1), lane, images.train, getattr(images, split))
        yield {name: float(np.asarray(values)[0]) for name, values in found.items()}


def compilations(pack: Pack, dataset: Dataset) -> list[Callable[[], object]]:
    """Returns functions that compile a pack's programs, and run none, in the order of how much waits for them.

    Meant for other threads, before the pack runs: a compilation keeps one core busy.
    """
    stage, n_jobs = pack.stage, len(pack.jobs)
    mesh, extras = mesh_of(n_jobs), _extras(pack)
    n_lanes = n_jobs + -n_jobs % mesh.size
    whole, lanes = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("T",)))
    images = jax.tree.map(partial(_shaped, sharding=whole), _splits(stage, dataset))
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


def _splits(stage: Stage, dataset: Dataset) -> Images:
    """Returns the images in the shape in which the lowest layer reads them."""

    def shaped(split: Split) -> Batch:
        return Batch(split.inputs.reshape(len(split.inputs), *stage.stack.example), split.labels)

    return Images(*map(shaped, (dataset.train, dataset.validation, dataset.test)))


def _images(stage: Stage, dataset: Dataset, mesh: Mesh) -> Images:
    """Puts the images on every device of the mesh."""
    return hosts.placed(_splits(stage, dataset), NamedSharding(mesh, PartitionSpec()))


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
            size = hosts.agreed(max(1, round(CHUNK_SECONDS * timed / seconds)))
        first, warm = stop, True


def _at(updates: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Returns each job's value after its update of a number; NaN after none: [T]."""
    return np.where(updates > 0, curve[np.arange(len(curve)), np.maximum(updates, 1) - 1], np.nan)


def _ends(stage: Stage, stopping: Stopping) -> dict[str, np.ndarray]:
    """Returns how each job's training ended, where it may have ended early."""
    is_early = stopping.n_since >= stage.config.training.patience
    return dict(zip(ENDS, (stopping.updates, stopping.best_update, is_early), strict=True))


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


def _results(stack: Stack, method: type, mesh: Mesh, n_trials, params, train: Batch, split: Batch) -> Any:
    def measure(params: Params, shared: tuple[Batch, Batch]) -> tuple[Values, Values]:
        if stack.head is None:
            return results(stack, method, params, *shared), {}
        values, found = predictions(stack, method, params, *shared)
        return values, {name: leaf for name, leaf in found._asdict().items() if leaf is not None}

    return over_trials(measure, mesh, n_trials, params, (train, split))


# A start runs once a job, on little: at this level it is compiled in half the time, and computes the same bits.
START = Program(start, n_static=3, cpu_options={"xla_backend_optimization_level": 1})
BEGIN = Program(_begin, n_static=3)
ADVANCE = Program(_advance, n_static=2, donated=(2, 3))
RESULTS = Program(_results, n_static=3)
