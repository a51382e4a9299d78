"""Courses of training: what a stage shares with the same stage of another length, whose kept state it can go on from.

A stage of more updates goes on from where one of fewer has ended, bit for bit, if nothing on the way reads how many
there are. This is seen from programs: those of a standard length must be equal, and so must the start, the update and
the measurement at the stage's own. A change of code, settings or packages so leads to another course.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax

from pretrain.config.digests import sha256, sha256_of_json
from pretrain.data import Dataset
from pretrain.learn import start
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.program import Inputs, Program
from pretrain.learn.stage import ALWAYS, Stage
from pretrain.learn.train import TrainState
from pretrain.plan.identity import traced_program
from pretrain.plan.program_lines import digest_of
from pretrain.plan.snapshots import update_lines
from pretrain.plan.stages import Spec

_LENGTH = 2  # updates, in the place of any number of them
_OF_LENGTH = ("updates", "validation")  # parts of a stage's content


def course(
    spec: Spec, parent: Stage | None, dataset: Dataset, fingerprint: Callable[[Spec, Stage | None, Dataset], str]
) -> str:
    """Returns the digest of a stage but for its length; empty of a closed form, and where updates read the length."""
    stage, program = spec.stage, traced_program(spec, parent, dataset)
    lines = update_lines(stage, program.config, parent) if stage.n_updates else None
    if lines is None:
        return ""
    static = stage.static._replace(n_updates=_LENGTH)
    standard = spec._replace(stage=dataclasses.replace(stage, static=static, validation=ALWAYS))
    content = {name: part for name, part in spec.content.items() if name not in _OF_LENGTH}
    own = sha256("\n".join(lines)), *_digests(program)
    return sha256_of_json([content, fingerprint(standard, parent, dataset), *own])


def _digests(program: Program) -> Iterator[str]:
    """Yields the digests of a stage's start and measurement at its own length."""
    stage, method = program.stage, program.stage.method

    def init(trial: Inputs, examples: Splits) -> TrainState:
        if subset := stage.rows.subset:
            examples = examples._replace(labelled=start.labelled_rows(trial.seed, examples, subset))
        return method.init(stage.static, trial.config, trial.seed, trial.parent, examples)

    def measure(config: Any, state: TrainState, batch: Batch, seed: jax.Array) -> Any:
        return method.measure(stage.updating.static, config, state, batch, seed)

    yield digest_of(init, (program.trial, program.examples.tree))
    (carry, source, trial), (examples, *_) = program.loop.trial, program.loop.shared
    yield digest_of(measure, (trial.config, carry.state, source.validation or examples.validation, trial.seed))
