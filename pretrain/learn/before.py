"""Errors of a stage before its first update, by a program of its own, so that no program that trains holds it."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pretrain.learn import start
from pretrain.learn.annotations import Scalar
from pretrain.learn.metrics import Batch, Mean, Splits, evaluate, taken
from pretrain.learn.products import in_precision
from pretrain.learn.program import Inputs
from pretrain.learn.stage import ALWAYS, Stage
from pretrain.learn.train import Step, with_draws

_BATCHES = 10  # of training rows
_BLOCK = 1000  # held-out rows that are measured at once


class Before(NamedTuple):
    """Errors of a stage's initial parameters, by the metric that its method is followed by on held-out rows."""

    training: Scalar  # as updates record it, noise on inputs included; mean over its first batches
    held_out: Scalar  # of all validation rows
    noise: Scalar  # standard error of that mean


def before(stage: Stage, trial: Inputs, examples: Splits) -> Before:
    """Returns the errors of a stage of pretraining that makes updates, before the first of them."""
    with in_precision(stage.stack.precision):
        return _before(stage, trial, examples)


def _before(stage: Stage, trial: Inputs, examples: Splits) -> Before:
    seed, config, parent = trial
    static, method = stage.static, stage.method
    if stage.rows.subset:
        examples = examples._replace(labelled=start.labelled_rows(seed, examples, stage.rows.subset))
    state = method.init(static, config, seed, parent, examples)
    train = taken(examples.train, examples.labelled) if stage.rows.subset else examples.train

    def on_batch(number: jax.Array) -> jax.Array:
        batch = start.as_drawn(static, state.params, taken(train, stage.rows.of_update(seed, number)))
        first = with_draws(static, state, seed, number)
        return method.update(static, config, first, batch, seed, Step(number, jnp.float32(0)))[1][method.held_out]

    training = jnp.mean(jax.lax.map(on_batch, jnp.arange(_BATCHES)))

    def error(rows: Batch) -> Mean:
        drawn = start.as_drawn(static, state.params, rows)
        return method.measure(static, config, state, drawn, seed)[method.held_out]

    held_out = evaluate(lambda rows: {"error": error(rows)}, examples.validation)["error"]
    totals, counts = _by_row(error, examples.validation)
    squares = jnp.square(totals - jnp.sum(totals) / jnp.sum(counts) * counts)  # of a ratio, as where rows lack labels
    return Before(training, held_out, jnp.sqrt(jnp.sum(squares)) / jnp.sum(counts))


def alike(stage: Stage) -> Stage:
    """Returns a stage without what does not matter before its first update, so that others share its program."""
    static = stage.static._replace(n_updates=1)
    return dataclasses.replace(stage, name="", static=static, validation=ALWAYS, measured=(), patience=0, watch=())


def _by_row(error: Callable[[Batch], Mean], held_out: Batch) -> Mean:
    """Returns numerators and denominators of an error, row by row: [N] each; no noise of one that compares rows."""

    def of_row(row: Batch) -> Mean:
        found = error(jax.tree.map(lambda leaf: leaf[None], row))
        return Mean(found.total, jnp.float32(found.count))

    return jax.lax.map(of_row, held_out, batch_size=min(_BLOCK, len(held_out.inputs)))
