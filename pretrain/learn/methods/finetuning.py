"""Supervised fine-tuning of a linear head, and of the encoder layers that are not frozen."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pretrain.config import FinetuneConfig
from pretrain.learn import diagnostics, probes, results, start
from pretrain.learn.layers import Params, scaled
from pretrain.learn.method import Method, Results
from pretrain.learn.metrics import Batch, Metrics, Splits, measured_if, taken
from pretrain.learn.optimizers import Rule, scaled_by_layer
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stack import Stack
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.train import (
    Objective,
    Step,
    TrainState,
    Values,
    change,
    eval_step,
    optimizer_of,
    state_of,
    train_step,
    with_draws,
)
from pretrain.learn.views import changed

_PROBES = 1000  # held-out images on which codes are diagnosed
_WIDEST_SCALE, _HALVINGS = 12, 30  # powers of two; thirty leave what float32 resolves


class Reference(NamedTuple):
    """Values of the start that updates read and leave as they are."""

    first_scale: jax.Array  # factor on the first update
    probes: jax.Array | None = None  # validation examples by which codes are diagnosed, if any are
    initial_codes: jax.Array | None = None  # of these [probes, units]
    class_weights: jax.Array | None = None  # of the labelled rows, if classes have any


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the state, with its head, the factor that matches the first update, and codes to compare with."""
    stack, method = static.stack, config.method
    params = start.network(static, seed, parent, examples)
    params["head"] = _head(static, method, seed, params, examples)
    carry = Reference(jnp.ones(()))
    if method.diagnose_at:
        first = start.as_drawn(static, params, Batch(examples.validation.inputs[:_PROBES])).inputs
        carry = Reference(carry.first_scale, first, stack.codes(params, first))
    if method.class_weights == "balanced":
        carry = carry._replace(class_weights=start.class_weights(stack.task, examples))
    state = state_of(static, config, params, carry)
    if static.choices.first_update == "matched":
        labelled = taken(examples.train, examples.labelled)
        batch = start.as_drawn(static, params, taken(labelled, static.rows.of_update(seed, 0)))
        batch = _augmented(static, method, batch, seed, jnp.int32(0))
        batch = batch._replace(labels=stack.task.weighed(batch.labels, carry.class_weights))
        minimised = partial(objective, stack=stack, config=method)
        rule = _optimizer_at(static, method, optimizer_of(static, config), jnp.int32(0))
        drawn = with_draws(static, state, seed, 0)
        scale = scale_to(method.first_logit_change, drawn, batch, stack.logits, minimised, rule)
        state = state._replace(carry=carry._replace(first_scale=scale))
    return state


def _head(static: Static, method: FinetuneConfig, seed: jax.Array, params: Params, examples: Splits) -> Params:
    """Returns a fresh head, one of zeros, or the ridge regression of the labelled subset's targets on its codes."""
    if static.choices.head_init == "ridge":
        labelled = start.labelled_codes(static, params, examples)
        return probes.ridge(labelled.inputs, labelled.labels, static.stack.task, method.ridge_penalty)
    head = start.fresh_head(static.stack, seed)
    return jax.tree.map(jnp.zeros_like, head) if static.choices.head_init == "zero" else head


def _augmented(static: Static, method: FinetuneConfig, batch: Batch, seed: jax.Array, number: jax.Array) -> Batch:
    """Returns a batch as its update reads it: of views, if fine-tuning has any."""
    if not method.views:
        return batch
    key = update_key(seed, Purpose.AUGMENTATION, 0, number)
    assert static.layout
    return batch._replace(inputs=changed(scaled(batch.inputs), key, method.views, method, static.layout))


def objective(params: Params, batch: Batch, *, stack: Stack, config: FinetuneConfig) -> tuple[jax.Array, Metrics]:
    """Returns the loss to minimise, mean over a batch, and metrics, as the functions of ``learn/tasks.py``."""
    return stack.task.objective(stack.logits(params, batch.inputs), batch)


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update, and measures the batch before and after it.

    Its values are ``loss`` and ``pre_update_accuracy`` before it and ``post_update_accuracy`` (fractions), or
    ``post_update_loss`` of numbers; and after the updates ``diagnose_at`` the diagnostics.
    """
    stack, method, carry = static.stack, config.method, state.carry
    batch = _augmented(static, method, batch, seed, step.number)
    batch = batch._replace(labels=stack.task.weighed(batch.labels, carry.class_weights))
    minimised = partial(objective, stack=stack, config=method)
    factor = jnp.where(step.number == 0, carry.first_scale, 1)
    rule = _optimizer_at(static, method, optimizer_of(static, config, factor), step.number)
    diagnosed = {}
    if method.diagnose_at:
        asked = (stack.logits, minimised, rule, lambda params: stack.codes(params, carry.probes), carry.initial_codes)
        is_due = jnp.any(jnp.array(method.diagnose_at) == step.number + 1)
        diagnosed = measured_if(is_due, lambda: diagnostics.diagnose(state, batch, *asked))
    state, before = train_step(state, batch, minimised, rule)
    after = eval_step(state.params, batch, minimised)
    values = diagnosed | {"loss": before["loss"]}
    if not stack.task.has_accuracy:
        return state, values | {"post_update_loss": after["loss"]}
    return state, values | {"pre_update_accuracy": before["accuracy"], "post_update_accuracy": after["accuracy"]}


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns the ``metrics`` of held-out examples, and where classes have weights ``weighted_loss`` (nats)."""
    labels = static.stack.task.weighed(batch.labels, state.carry.class_weights)
    return metrics(static.stack, state.params, batch._replace(labels=labels))


def finish(static: Static, params: Params, examples: Splits) -> Results:
    """Returns the ``metrics`` of the test split, and predictions; a curve ends with those of the validation split."""
    return results.of_network(static, params, examples, partial(metrics, static.stack, params))


def metrics(stack: Stack, params: Params, batch: Batch) -> Metrics:
    """Returns ``loss``, and ``accuracy`` (fraction) but of numbers, as the functions of ``learn/tasks.py``."""
    return stack.task.objective(stack.logits(params, batch.inputs), batch)[1]


def scale_to(
    target: jax.Array | float,
    state: TrainState,
    batch: Batch,
    function: Callable,
    objective: Objective,
    optimizer: Rule,
) -> jax.Array:
    """Returns the factor on an update's length with which it changes a function's outputs on its batch by a target.

    Args:
      target: root mean squared change of the outputs.
      state: the state before the update.
      batch: the batch of the update.
      function: of parameters and inputs.
      objective: what is trained.
      optimizer: what updates.

    Returns:
      The factor, found by bisection of its logarithm, for the outputs need not be linear in it; where no factor between
      2^-12 and 2^12 does, the nearer of the two.
    """
    after, _ = train_step(state, batch, objective, optimizer)

    def reached(scale: jax.Array) -> jax.Array:
        moved = jax.tree.map(lambda old, new: old + scale * (new - old), state.trainable, after.trainable)
        return change(function, batch.inputs, state.params, state.at(moved))

    def halve(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        falls_short = reached(jnp.exp2(middle)) < target
        return jnp.where(falls_short, middle, low), jnp.where(falls_short, high, middle)

    ends = jnp.float32(-_WIDEST_SCALE), jnp.float32(_WIDEST_SCALE)
    return jnp.exp2(sum(jax.lax.fori_loop(0, _HALVINGS, halve, ends)) / 2)


def _optimizer_at(static: Static, method: FinetuneConfig, optimizer: Rule, index: jax.Array) -> Rule:
    """Returns the optimizer of an update: encoder layers join in when they are due, each at its own rate."""
    if not static.stack.layers:
        return optimizer
    per_layer: Any = method  # numbers for each layer here
    joined, factors = jnp.stack(per_layer.unfreeze_at), jnp.stack(per_layer.rate_factor)
    scales = jnp.where(index >= joined, factors, 0)
    return scaled_by_layer(optimizer, {f"layers_{layer}": scales[layer] for layer in range(len(static.stack.layers))})


METHOD = Method(init, finish, update, measure)
