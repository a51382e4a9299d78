"""Jobs that a longer one passes: the same stage with fewer updates, whose outcome is the longer one's on its way.

Batches and noise are functions of seed and update alone, so a stage of fewer epochs is the beginning of one of more,
bit for bit, unless an update reads how many there are, as under a schedule of the learning rate that ends at zero.
Whether it does is seen from its program, not from names of fields: the updates of both must be traced alike, and read
no fraction of the updates made. A job keeps its id, whether it is trained alone or passed.
"""

import functools
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pretrain.learn.metrics import taken
from pretrain.learn.stage import Stage
from pretrain.learn.start import Choices
from pretrain.plan import identity, one_trial
from pretrain.plan.identity import Sizes
from pretrain.plan.job import Job
from pretrain.plan.program_lines import lines_of

_HELD_OUT = 1000  # examples that an update is traced with; how many there are decides nothing here


def passed(jobs: Collection[Job]) -> dict[str, tuple[Job, ...]]:
    """Returns the jobs that the longest of their kind passes on its way, by its id, the shortest first."""
    kinds: dict[Stage, set[Stage]] = {}
    # By identity first, since the jobs of a point share their stages, and to hash one takes long.
    for stage in set({id(job.stage): job.stage for job in jobs}.values()):
        if stage.config.training:
            kinds.setdefault(stage.without_length, set()).add(stage)
    kind_of = {stage: kind for kind, stages in kinds.items() if len(stages) > 1 for stage in stages}
    if not kind_of:
        return {}
    families: dict[tuple, list[Job]] = {}
    for job in jobs:
        if job.stage in kind_of:
            alike = (kind_of[job.stage], *jax.tree.leaves(job.config), job.seed, job.parent, job.data, job.choices)
            families.setdefault(alike, []).append(job)
    found = {}
    for family in families.values():
        *others, longest = sorted(family, key=lambda job: job.stage.total_steps)
        shorter = tuple(job for job in others if _passes(longest, job))
        if shorter:
            found[longest.id] = shorter
    return found


def _passes(longer: Job, shorter: Job) -> bool:
    """Returns whether a job comes to what another does, after as many updates, and measures the same until then."""
    n_updates = shorter.stage.total_steps
    if n_updates == longer.stage.total_steps:
        return False
    masks = [job.stage.measured(["validation_loss"])["validation_loss"] for job in (longer, shorter)]
    if not np.array_equal(masks[0][:n_updates], masks[1]):
        return False
    programs = [_update_program(job.stage, job.choices, _structure(job), job.parent_stage) for job in (longer, shorter)]
    return programs[0] is not None and programs[0] == programs[1]


def _structure(job: Job) -> tuple[Any, Any]:
    return jax.tree.structure(job.config), one_trial.extras_of(job.choices, job.config)


@functools.lru_cache(maxsize=256)
def _update_program(
    stage: Stage, choices: Choices, structure: tuple[Any, Any], parent: Stage | None
) -> tuple[str, ...] | None:
    """Returns the program of an update; None where it reads what fraction of the updates is made."""
    sizes = Sizes((stage.n_examples, _HELD_OUT, _HELD_OUT), stage.n_examples, "uint8")
    config, seed, own, images, state, index = identity.inputs_of_step(stage, choices, *structure, parent, sizes)

    def update(config, seed, own, images, state, index, progress):
        batch, held_out = taken(own.train or images.train, stage.rows(seed, index)), own.validation or images.validation
        return stage.update(config, seed, own.prepared, state, batch, held_out, index, lambda _: progress)

    progress = jax.ShapeDtypeStruct((), jnp.float32)
    traced = jax.make_jaxpr(update)(config, seed, own, images, state, index, progress)
    variable = traced.jaxpr.invars[-1]
    read = [*(given for equation in traced.jaxpr.eqns for given in equation.invars), *traced.jaxpr.outvars]
    return None if any(each is variable for each in read) else tuple(lines_of(traced))
