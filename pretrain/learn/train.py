"""One training step, one evaluation, and a run of steps: for one trial, of any stage."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pretrain.config.settings import OptimizerConfig
from pretrain.learn.model import Params
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.transfer import merged, partition

Objective = Callable[[Params, Batch], tuple[jax.Array, Metrics]]
_EVALUATION_BLOCK = 1000
_WIDEST_SCALE, _HALVINGS = 12, 30  # powers of two; thirty leave what float32 resolves


class TrainState(NamedTuple):
    """What a step updates: arrays only. Frozen parameters have no gradient and no optimizer state."""

    trainable: Params
    frozen: Params
    opt_state: optax.OptState
    chains: jax.Array | None = None  # [B, units], of persistent contrastive divergence

    @property
    def params(self) -> Params:
        """All parameters, trainable and frozen."""
        return merged(self.trainable, self.frozen)


def make_optimizer(config: OptimizerConfig, l2: jax.Array | float, total_steps: int) -> optax.GradientTransformation:
    """Builds the optimizer of a stage from its numbers, which may be tracers.

    Args:
      config: the optimizer's settings.
      l2: times half the squared norm of every trainable kernel joins the loss; its gradient, ``l2 * kernel``, is added
        before the update rule. Biases are not penalised.
      total_steps: updates in the stage, over which the cosine schedule runs.

    Returns:
      The gradient transformation; build it anew inside every traced function, never keep it in a state.
    """
    match config.name:
        case "sgd":
            rule = optax.trace(decay=config.momentum)
        case "adam" | "adamw":
            rule = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
    decoupled = [optax.add_decayed_weights(config.weight_decay, _kernels)] if config.name == "adamw" else []
    return optax.chain(
        optax.add_decayed_weights(l2, _kernels),
        rule,
        *decoupled,
        optax.scale_by_learning_rate(_schedule(config, total_steps)),
    )


def init_state(
    params: Params, trainable: frozenset[str], optimizer: optax.GradientTransformation, step_count: int = 0
) -> TrainState:
    """Returns the state before the first step.

    Args:
      params: all parameters.
      trainable: paths, such as ``encoder/layers_1``, under which parameters are trained; all others are frozen.
      optimizer: the optimizer of the stage.
      step_count: updates that Adam's bias correction counts as made already; the moments start at zero regardless.
    """
    trained, frozen = partition(params, trainable)

    def counted(state):
        return state._replace(count=jnp.asarray(step_count, jnp.int32)) if _is_adam(state) else state

    return TrainState(trained, frozen, jax.tree.map(counted, optimizer.init(trained), is_leaf=_is_adam))


def scaled_by_layer(
    optimizer: optax.GradientTransformation, factors: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Returns the optimizer with its updates to encoder layers times a factor each, by name; 0 holds a layer.

    The optimizer's moments follow the gradients of a layer that is held, so that it sets out at its pace.
    """

    def update(gradients, state, params=None):
        updates, state = optimizer.update(gradients, state, params)
        layers = {
            name: jax.tree.map(lambda leaf, factor=factors[name]: leaf * factor, layer)
            for name, layer in updates.get("encoder", {}).items()
        }
        return {**updates, **({"encoder": layers} if layers else {})}, state

    return optax.GradientTransformation(optimizer.init, update)


def train_step(
    state: TrainState, batch: Batch, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Metrics]:
    """Makes one update.

    Returns:
      The state after it, and the objective's metrics on the batch before it, mean over the batch.
    """

    def loss(trainable: Params) -> tuple[jax.Array, Metrics]:
        return objective(merged(trainable, state.frozen), batch)

    gradients, metrics = jax.grad(loss, has_aux=True)(state.trainable)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
    state = state._replace(trainable=optax.apply_updates(state.trainable, updates), opt_state=opt_state)
    return state, jax.tree.map(jnp.mean, metrics)


def change(function: Callable, inputs: jax.Array, before: Params, after: Params) -> jax.Array:
    """Returns by how much outputs ``function(params, inputs)`` differ between parameters: root mean square."""
    return jnp.sqrt(jnp.mean(jnp.square(function(after, inputs) - function(before, inputs))))


def scale_to(
    target: jax.Array, state: TrainState, batch: Batch, function: Callable, objective: Objective, optimizer
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


def eval_step(params: Params, batch: Batch, objective: Objective) -> Metrics:
    """Returns the objective's metrics on a batch, mean over the batch."""
    return jax.tree.map(jnp.mean, objective(params, batch)[1])


def evaluate(params: Params, examples: Batch, objective: Objective) -> Metrics:
    """Returns the objective's metrics, mean over all examples."""
    return mean_over(lambda batch: objective(params, batch)[1], examples)


def mean_over(measure: Callable[[Batch], Metrics], examples: Batch) -> Metrics:
    """Returns values [B, ...] of batches, mean over all examples: by name [...]."""

    def weighted(batch: Batch, weights: jax.Array) -> Metrics:
        def add(values: jax.Array) -> jax.Array:
            each = weights.reshape(len(weights), *[1] * (values.ndim - 1))
            return jnp.sum(values * jnp.broadcast_to(each, values.shape), axis=0)

        return jax.tree.map(add, measure(batch))

    return jax.tree.map(lambda total: total / len(examples.inputs), sum_over(weighted, examples))


def sum_over(measure: Callable[[Batch, jax.Array], Metrics], examples: Batch) -> Metrics:
    """Returns the sum over all examples of what is measured block by block, which bounds memory.

    Args:
      measure: from a block of examples and their weights [B], false for those that are to count for nothing, to sums.
      examples: all of them.
    """
    size = len(examples.inputs)
    block = min(size, _EVALUATION_BLOCK)

    def add_block(sums: Metrics, index: jax.Array) -> tuple[Metrics, None]:
        # The last block may overlap the one before it; rows seen already weigh nothing.
        start = jnp.minimum(index * block, size - block)
        rows = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, block), examples)
        fresh = start + jnp.arange(block) >= index * block
        return jax.tree.map(jnp.add, sums, measure(rows, fresh)), None

    first = jax.tree.map(lambda leaf: leaf[:block], examples)
    shapes = jax.eval_shape(measure, first, jnp.ones(block, bool))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape), shapes)
    return jax.lax.scan(add_block, zeros, jnp.arange(-(-size // block)))[0]


def run_steps(
    state: TrainState,
    curves: Metrics,
    first: jax.Array | int,
    stop: jax.Array | int,
    step: Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]],
) -> tuple[TrainState, Metrics]:
    """Makes updates ``first`` up to, not including, ``stop``.

    The bounds may be tracers, so one compiled program runs chunks of any length, and a chunk may end anywhere: state
    and curves are all there is to carry on from.

    Args:
      state: the state before update ``first``.
      curves: values [total steps] by metric name, filled in as updates are made.
      first: the first update.
      stop: the end of the updates.
      step: turns a state and the number of an update into the state after it and the values to record, a subset of the
        curves.
    """

    def body(index, carry):
        state, curves = carry
        state, values = step(state, index)
        return state, {name: curve.at[index].set(values[name]) for name, curve in curves.items()}

    return jax.lax.fori_loop(first, stop, body, (state, curves))


def _is_adam(node) -> bool:
    return isinstance(node, optax.ScaleByAdamState)


def _kernels(params: Params) -> Params:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _schedule(config: OptimizerConfig, total_steps: int) -> Callable[[jax.Array], jax.Array] | jax.Array | float:
    if config.schedule == "constant" and not config.warmup_steps:
        return config.learning_rate
    after = optax.constant_schedule(1.0)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(1.0, max(1, total_steps - config.warmup_steps))
    # Update n of the warm-up takes n / warmup_steps of the peak: the first update moves, the last is at the peak.
    rise = optax.linear_schedule(1 / max(1, config.warmup_steps), 1.0, max(1, config.warmup_steps - 1))
    shape = optax.join_schedules([rise, after], [config.warmup_steps])
    return lambda count: config.learning_rate * shape(count)
