"""One pack: start from restored parents, run as one program over the trial axis, hand the results back."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pretrain.data import Dataset
from pretrain.execute import hosts
from pretrain.execute.lanes import FINISH, FIT, INIT, LOOP, lanes_on, mesh_of, mesh_of_one, whole_on
from pretrain.learn.annotations import Seeds
from pretrain.learn.before import before
from pretrain.learn.encodings import Encoder, trained_and_untrained
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Splits
from pretrain.learn.program import Carry, Echo, Program, finish, finishing, fitted, program_of
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Stage
from pretrain.plan import arrays
from pretrain.plan.cost import bytes_of, outputs
from pretrain.plan.plan import Job, Pack
from pretrain.store.records import Outcome, Progress, outcome_of

CHUNK_SECONDS = 2.0  # between two returns to the host, for progress, saves and interruptions
_FIRST_CHUNK = 20  # updates


class LaneError(Exception):
    """A lane that holds another job than it should, by a fault of this program; the message names it."""


def run(
    pack: Pack,
    dataset: Dataset,
    parents: Sequence[Params | None],
    after_chunk: Callable[[int, Callable[[], Progress]], None],
    stored: Progress | None = None,
    keep: Callable[[Pack, Outcome], None] | None = None,
    digests: Sequence[Mapping[str, int] | None] | None = None,
    keep_state: Callable[[Pack, Progress], None] | None = None,
) -> Outcome:
    """Runs a pack, and returns its outcome.

    Args:
      dataset: the images that all jobs read.
      parents: for each job its parent's parameters, or None.
      after_chunk: called after each chunk with the number of updates made so far, and with a function that returns the
        progress; what it raises ends the run.
      stored: where to go on from; ignored if it does not fit the stage.
      keep: given the outcomes of the packs that it passes from there on.
      digests: of the parents' parameters, by side, as they were computed.
      keep_state: given the state that each of these packs, and the pack itself, comes to; None keeps none.

    Raises:
      LaneError: an outcome is not of the job in its place.
    """
    began = time.perf_counter()
    stage, n_jobs = pack.stage, len(pack.jobs)
    mesh = mesh_of(n_jobs)
    n_lanes = n_jobs + -n_jobs % mesh.size
    share = np.int32(n_lanes // mesh.size)
    examples = hosts.placed(arrays.examples_of(stage, dataset), whole_on(mesh))
    parents = [arrays.inherited(stage, parent) for parent in parents]
    seeds, configs = [job.seed for job in pack.jobs], [job.config for job in pack.jobs]
    trials = hosts.placed(arrays.stacked(seeds, configs, parents, n_lanes), lanes_on(mesh))
    program = _program(pack, examples)
    start = INIT if stage.n_updates else FIT
    carry, source = start(program.init.function, program.init.static, mesh, share, trials, examples)
    if stage.method.fit:
        carry = _fitted(stage, mesh, (carry, source, trials), n_jobs, n_lanes)
    rest = source, trials._replace(parent=None)
    del trials  # with the parents
    first = 0
    if stored and arrays.are_alike(stored.arrays, carry, n_jobs):
        first, began = stored.step, began - stored.seconds
        resumed = jax.tree.map(lambda rows: arrays.padded(rows, n_lanes), arrays.unnested(stored.arrays, carry))
        carry = hosts.placed(resumed, lanes_on(mesh))

    def outcome(part: Pack) -> Outcome:
        results = FINISH(finish, program.finish.static, mesh, share, carry.state.kept, examples)
        # As copies, for the next chunk is given the arrays themselves, to write in.
        left = carry.state.kept, carry.curves, results, carry.state.stopping
        kept, echo = jax.tree.map(np.array, _on_host((left, carry.echo), n_jobs))
        _check_lanes(part, echo, digests)
        return outcome_of(part.stage, kept, dataset, (time.perf_counter() - began) / n_jobs)

    for part in (*pack.passed, pack):
        for at, stop in _chunks(first, part.stage.n_updates):
            if stage.patience and np.all(_on_host(carry.state.stopping.n_since, n_jobs) >= stage.patience):
                break  # as no trial will make another update
            carry = LOOP(program.loop.static, mesh, share, carry, rest, (examples, np.int32(at), np.int32(stop)))
            jax.block_until_ready(carry)
            after_chunk(stop, partial(_progress, stop, began, carry, n_jobs))
        if part is not pack and part.stage.n_updates >= first:
            keep(part, outcome(part))
        if keep_state and part.stage.n_updates >= first:
            keep_state(part, _progress(part.stage.n_updates, began, carry, n_jobs))
        first = max(first, part.stage.n_updates)
    return outcome(pack)


def _fitted(stage: Stage, mesh: Mesh, trials: Any, n_jobs: int, n_lanes: int) -> Carry:
    """Returns the carries of lanes that the host fits, one after another."""
    lanes = hosts.gathered(trials)
    fit = stage.method.fit
    assert fit  # or it would not be asked for
    made = [fitted(fit, stage.static, arrays.lane_of(lanes, lane)) for lane in range(n_jobs)]
    stacked = jax.tree.map(lambda *leaves: arrays.padded(np.stack(leaves), n_lanes), *made)
    return hosts.placed(stacked, lanes_on(mesh))


def compilations(pack: Pack, dataset: Dataset) -> list[Callable[[], Any]]:
    """Returns functions that compile a pack's programs, and run none, in the order of how much waits for them.

    Meant for other threads, before the pack runs: a compilation keeps one core busy.
    """
    n_jobs, share = len(pack.jobs), np.int32(0)
    mesh = mesh_of(n_jobs)
    n_lanes = n_jobs + -n_jobs % mesh.size
    lanes = partial(_placed, sharding=lanes_on(mesh), leading=(n_lanes,))
    program = _program(pack, arrays.examples_of(pack.stage, dataset))
    examples = _placed(program.init.shared, whole_on(mesh))

    @cache
    def loop() -> tuple[Carry, Any]:
        carry, source, trial = program.loop.trial
        return lanes(carry), (lanes(source), lanes(trial))

    def init() -> Any:
        piece, start = program.init, INIT if pack.stage.n_updates else FIT
        return start.compile(piece.function, piece.static, mesh, share, lanes(piece.trial), examples)

    def advance() -> Any:
        return LOOP.compile(program.loop.static, mesh, share, *loop(), (examples, np.int32(0), np.int32(0)))

    def conclude() -> Any:
        piece = program.finish
        return FINISH.compile(piece.function, piece.static, mesh, share, lanes(piece.trial), examples)

    return [*([advance] if pack.stage.n_updates else []), init, conclude]


def temporaries(pack: Pack, dataset: Dataset) -> int:
    """Returns the bytes that the programs of a pack that has run take besides those of ``job_memory``.

    On CPUs, where trials run one after another, they are each device's, however large the pack; XLA counts among them
    the carry that the loop returns. On accelerators they are each trial's.
    """
    carry, _ = outputs(_program(pack, arrays.examples_of(pack.stage, dataset)).init)
    n_lanes = -(-len(pack.jobs) // mesh_of(len(pack.jobs)).size)
    analyses = [compiled().memory_analysis() for compiled in compilations(pack, dataset)]
    most = max(analysis.temp_size_in_bytes if analysis else 0 for analysis in analyses)
    if jax.default_backend() == "cpu":
        return max(0, most - n_lanes * bytes_of(carry))
    return most // n_lanes


def measured_again(stage: Stage, dataset: Dataset, params: Iterable[Params]) -> Iterator[dict[str, float]]:
    """Yields the results of finished jobs of a stage on a dataset, by this process alone, as packs compute them."""
    mesh = mesh_of_one()
    examples = jax.device_put(arrays.examples_of(stage, dataset), whole_on(mesh))
    for each in params:
        lane = jax.device_put(jax.tree.map(lambda leaf: leaf[None], each), lanes_on(mesh))
        results = FINISH(finish, finishing(stage), mesh, np.int32(1), lane, examples)
        yield {name: float(np.asarray(values)[0]) for name, values in results.values.items()}


def measured_before(
    stage: Stage, dataset: Dataset, jobs: Iterable[Job], parents: Iterable[Params | None]
) -> Iterator[tuple[float, ...]]:
    """Yields the errors of a stage's jobs before their first update, as ``before.Before``, by this process alone."""
    mesh = mesh_of_one()
    examples = jax.device_put(arrays.examples_of(stage, dataset), whole_on(mesh))
    for job, parent in zip(jobs, parents, strict=True):
        trial = arrays.stacked([job.seed], [job.config], [arrays.inherited(stage, parent)], 1)
        errors = INIT(before, stage, mesh, np.int32(1), jax.device_put(trial, lanes_on(mesh)), examples)
        yield tuple(float(np.asarray(values)[0]) for values in errors)


def encoded(
    stack: Stack, inputs: np.ndarray, seeds: Iterable[Seeds], params: Iterable[Params]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields codes [N, units] of inputs [N, D] by encoders of a stack, trained and untrained, by this process alone."""
    mesh = mesh_of_one()
    images = jax.device_put(inputs.reshape(len(inputs), *stack.example), whole_on(mesh))
    for seed, each in zip(seeds, params, strict=True):
        trial = jax.tree.map(lambda leaf: leaf[None], Encoder(np.asarray(seed, np.uint32), each))
        codes = INIT(trained_and_untrained, stack, mesh, np.int32(1), jax.device_put(trial, lanes_on(mesh)), images)
        yield tuple(np.asarray(rows)[0] for rows in codes)


def _program(pack: Pack, examples: Splits) -> Program:
    """Returns the program of a pack's jobs."""
    parent = pack.jobs[0].parent_stage
    shapes = arrays.inherited(pack.stage, parent and parent.shapes)
    return program_of(pack.stage, pack.jobs[0].config, shapes, examples)


def _placed(tree: Any, sharding: Any, leading: tuple[int, ...] = ()) -> Any:
    """Returns the shapes of arrays that lie somewhere, with another leading axis."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype, sharding=sharding), tree)


def _check_lanes(pack: Pack, echo: Echo, digests: Sequence[Mapping[str, int] | None] | None) -> None:
    """Checks that each lane was computed from the seed, numbers and parent of the job in its place."""
    for lane, job in enumerate(pack.jobs):
        numbers = np.array(jax.tree.leaves(job.config), np.float32)
        is_same = np.array_equal(echo.seed[lane], job.seed) and np.array_equal(echo.numbers[lane], numbers)
        if digests:
            known = digests[lane] or {}
            is_same &= echo.parent[lane] == sum(known.get(side, 0) for side in pack.stage.inherits) % 2**32
        if not is_same:
            raise LaneError(f"{pack.stage.name}: lane {lane} was computed from inputs of another job; nothing is kept")


def _on_host(tree: Any, n_jobs: int) -> Any:
    """Returns arrays without the lanes that only fill up devices, as NumPy arrays."""
    return arrays.lanes_of(hosts.gathered(tree), 0, n_jobs)


def _progress(step: int, began: float, carry: Carry, n_jobs: int) -> Progress:
    """Returns how far a pack has come."""
    return Progress(step, time.perf_counter() - began, arrays.nested(_on_host(carry, n_jobs)))


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
