"""Jobs that a longer one passes: the same stage with fewer updates, whose outcome is the longer one's on its way.

Batches and noise are functions of seed and update alone, so a stage of fewer epochs is the beginning of one of more,
bit for bit, unless an update reads how many there are, as under a schedule of the learning rate that ends at zero.
Whether it does is seen from its program, not from names of fields: the updates of both must be traced alike, and read
no fraction of the updates made. A job keeps its id, whether it is trained alone or passed.
"""

import dataclasses
import functools
from collections.abc import Collection

import jax
import numpy as np

from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.program import Piece, program_of
from pretrain.learn.pytrees import Frozen, frozen
from pretrain.learn.stage import ALWAYS, Stage, StageConfig
from pretrain.plan import arrays
from pretrain.plan.job import Job
from pretrain.plan.program_lines import lines_of

_HELD_OUT = 1000  # examples that an update is traced with; how many there are decides nothing here


def passed(jobs: Collection[Job]) -> dict[str, tuple[Job, ...]]:
    """Returns the jobs that the longest of their kind passes on its way, by its id, the shortest first."""
    kinds: dict[Stage, set[Stage]] = {}
    # By identity first, since the jobs of a point share their stages, and to hash one takes long.
    for stage in set({id(job.stage): job.stage for job in jobs}.values()):
        if stage.n_updates:
            kinds.setdefault(_without_length(stage), set()).add(stage)
    kind_of = {stage: kind for kind, stages in kinds.items() if len(stages) > 1 for stage in stages}
    if not kind_of:
        return {}
    families: dict[tuple, list[Job]] = {}
    for job in jobs:
        if job.stage in kind_of:
            starts = job.seed, job.parent, job.weights_digest, job.data
            alike = (kind_of[job.stage], *jax.tree.leaves(job.config), *starts)
            families.setdefault(alike, []).append(job)
    by_longest = {}
    for family in families.values():
        *others, longest = sorted(family, key=lambda job: job.stage.n_updates)
        shorter = tuple(job for job in others if _passes(longest, job))
        if shorter:
            by_longest[longest.id] = shorter
    return by_longest


def _without_length(stage: Stage) -> Stage:
    """Returns a stage but for the number of its updates, and where it is measured."""
    return dataclasses.replace(stage, static=stage.static._replace(n_updates=0), validation=ALWAYS)


def _passes(longer: Job, shorter: Job) -> bool:
    """Returns whether a job comes to what another does, after as many updates, and measures the same until then."""
    n_updates = shorter.stage.n_updates
    if n_updates == longer.stage.n_updates:
        return False
    masks = [job.stage.validation.mask(job.stage.n_updates) for job in (longer, shorter)]
    if not np.array_equal(masks[0][:n_updates], masks[1]):
        return False
    lines = [update_lines(job.stage, frozen(_numbers(job)), job.parent_stage) for job in (longer, shorter)]
    return lines[0] is not None and lines[0] == lines[1]


def _numbers(job: Job) -> StageConfig:
    return jax.tree.map(lambda _: jax.ShapeDtypeStruct((), np.float32), job.config)


@functools.lru_cache(maxsize=256)
def update_lines(stage: Stage, numbers: Frozen, parent: Stage | None) -> tuple[str, ...] | None:
    """Returns the program of an update; None where it reads what fraction of the updates is made."""
    piece = _update(stage, numbers.tree, parent)
    traced = jax.make_jaxpr(functools.partial(piece.function, piece.static))(piece.trial, piece.shared)
    variable = traced.jaxpr.invars[-1]
    read = [*(given for equation in traced.jaxpr.eqns for given in equation.invars), *traced.jaxpr.outvars]
    return None if any(each is variable for each in read) else tuple(lines_of(traced))


def _update(stage: Stage, numbers: StageConfig, parent: Stage | None) -> Piece:
    stack = stage.stack

    def split(size: int) -> Batch:
        labels = None
        if "labels" in stage.reads:
            shape = stack.task.target_shape
            labels = jax.ShapeDtypeStruct((size, *shape), np.float32 if shape else np.int32)
        return Batch(jax.ShapeDtypeStruct((size, *stack.example), np.uint8), labels)

    examples = Splits(split(stage.rows.n), split(_HELD_OUT), split(_HELD_OUT))
    inherited = arrays.inherited(stage, parent.shapes if parent else None)
    return program_of(stage, numbers, inherited, examples).update
