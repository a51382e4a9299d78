"""Supervised fine-tuning of a linear head, and of the encoder layers that are not frozen."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pretrain.config.methods import FinetuningConfig
from pretrain.learn import diagnostics
from pretrain.learn.codes import standardised
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras, Method, Step
from pretrain.learn.metrics import Batch, Metrics, measured_if
from pretrain.learn.optimizers import scaled_by_layer
from pretrain.learn.stack import Stack
from pretrain.learn.train import TrainState, Values, change, eval_step, merged, train_step

_PROBES = 1000  # held-out images on which codes are diagnosed
_WIDEST_SCALE, _HALVINGS = 12, 30  # powers of two; thirty leave what float32 resolves


class Own(NamedTuple):
    """Inputs of a trial's updates besides batches."""

    first_scale: jax.Array  # factor on the first update
    initial_codes: jax.Array | None  # [probes, units], if anything is diagnosed


def logits(params: Params, inputs: jax.Array, *, stack: Stack) -> jax.Array:
    """Returns the outputs of a network for a batch [B, outputs]: logits of classes or labels, or numbers.

    Args:
      params: ``encoder`` parameters from layer ``stack.encoded`` up, ``head`` parameters, and under ``codes`` the
        statistics by which the encoder's codes are standardised before the head reads them.
      inputs: images or codes of encoder layer ``stack.encoded - 1`` [B, ...].
      stack: the layers.
    """
    return stack.head.apply({"params": params["head"]}, standardised(stack.codes(params, inputs), params["codes"]))


def objective(params: Params, batch: Batch, *, stack: Stack, config: FinetuningConfig) -> tuple[jax.Array, Metrics]:
    """Returns the loss to minimise, mean over a batch, and metrics, as the functions of ``learn/tasks.py``."""
    return stack.task.objective(logits(params, batch.inputs, stack=stack), batch)


def update(
    stack: Stack, config: FinetuningConfig, optimizer: Callable, state: TrainState, batch: Batch, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update, and measures the batch before and after it.

    Its values are ``loss`` and ``pre_update_accuracy`` before it and ``post_update_accuracy`` (fractions), or
    ``post_update_loss`` of numbers; and after the updates ``config.diagnose_at`` the diagnostics.
    """
    own, minimised = step.own, partial(objective, stack=stack, config=config)
    factor = jnp.where(step.index == 0, own.first_scale, 1)
    rule = _optimizer_at(stack, config, optimizer(factor), step.index)
    diagnosed = {}
    if config.diagnose_at:
        asked = (partial(logits, stack=stack), minimised, rule, partial(_probe_codes, stack, step.held_out))
        is_due = jnp.any(jnp.array(config.diagnose_at) == step.index + 1)
        diagnosed = measured_if(is_due, lambda: diagnostics.diagnose(state, batch, *asked, own.initial_codes))
    state, before = train_step(state, batch, minimised, rule)
    after = eval_step(state.params, batch, minimised)
    values = diagnosed | {"loss": before["loss"]}
    if not stack.task.has_accuracy:
        return state, values | {"post_update_loss": after["loss"]}
    return state, values | {"pre_update_accuracy": before["accuracy"], "post_update_accuracy": after["accuracy"]}


def prepare(
    stack: Stack,
    config: FinetuningConfig,
    optimizer: Callable,
    state: TrainState,
    batch: Batch,
    held_out: Batch,
    extras: Extras,
) -> tuple[TrainState, Own]:
    """Returns the state, the factor that matches the first update, and the codes that diagnostics compare with."""
    first_scale, initial_codes = jnp.ones(()), None
    if config.diagnose_at:
        initial_codes = _probe_codes(stack, held_out, state.params)
    if extras.matches_first:
        target = config.first_logit_change
        rule = _optimizer_at(stack, config, optimizer(), jnp.int32(0))
        asked = (
            target,
            state,
            batch,
            partial(logits, stack=stack),
            partial(objective, stack=stack, config=config),
            rule,
        )
        first_scale = jax.lax.cond(target > 0, lambda: scale_to(*asked), lambda: jnp.ones(()))
    return state, Own(first_scale, initial_codes)


def measure(stack: Stack, config: FinetuningConfig, params: Params, batch: Batch) -> Metrics:
    """Returns ``loss``, and ``accuracy`` (fraction) but of numbers, as the functions of ``learn/tasks.py``."""
    return stack.task.objective(logits(params, batch.inputs, stack=stack), batch)[1]


def scale_to(
    target: jax.Array, state: TrainState, batch: Batch, function: Callable, objective: Callable, optimizer
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
        return change(function, batch.inputs, state.params, merged(moved, state.frozen))

    def halve(_, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        falls_short = reached(jnp.exp2(middle)) < target
        return jnp.where(falls_short, middle, low), jnp.where(falls_short, high, middle)

    ends = jnp.float32(-_WIDEST_SCALE), jnp.float32(_WIDEST_SCALE)
    return jnp.exp2(sum(jax.lax.fori_loop(0, _HALVINGS, halve, ends)) / 2)


def _optimizer_at(
    stack: Stack, config: FinetuningConfig, optimizer: optax.GradientTransformation, index: jax.Array
) -> optax.GradientTransformation:
    """Returns the optimizer of an update: encoder layers join in when they are due, each at its own rate."""
    if not stack.layers:
        return optimizer
    joined, factors = (jnp.stack(values) for values in (config.unfreeze_at, config.rate_factor))
    scales = jnp.where(index >= joined, factors, 0)
    return scaled_by_layer(optimizer, {f"layers_{layer}": scales[layer] for layer in range(len(stack.layers))})


def _probe_codes(stack: Stack, held_out: Batch, params: Params) -> jax.Array:
    """Returns the codes by which the encoder is diagnosed, of the first held-out images: [N, units]."""
    return stack.codes(params, held_out.inputs[:_PROBES])


METHOD = Method(measure=measure, update=update, prepare=prepare)
