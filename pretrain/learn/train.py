"""One update, and a run of updates: for one trial, whatever is trained."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Shaped

from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, Metrics, divided
from pretrain.learn.optimizers import Rule, counted_from, make_optimizer
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.transfer import merged, partition

Objective = Callable[[Params, Batch], tuple[jax.Array, Metrics]]  # a loss to differentiate, and metrics
Values = dict[str, jax.Array]  # metrics, divided


class TrainState(NamedTuple):
    """State that an update changes: arrays only. Frozen parameters have no gradient and no optimizer state."""

    trainable: Params
    frozen: Params
    opt_state: optax.OptState
    carry: Any = None  # of the method's own, as the chains of persistent contrastive divergence
    stopping: Any = None  # Stopping, of training that may end early

    @property
    def params(self) -> Params:
        """All parameters, trainable and frozen."""
        return merged(self.trainable, self.frozen)

    @property
    def kept(self) -> Params:
        """The parameters that training comes to: all as they are, or at the best measurement where it may end early."""
        return merged(self.stopping.params, self.frozen) if self.stopping else self.params


class Step(NamedTuple):
    """The place of an update in training."""

    number: jax.Array  # updates made before
    fraction: jax.Array  # of the stage's updates, made before


def optimizer_of(static: Static, config: StageConfig, factor: jax.Array | float = 1.0) -> Rule:
    """Returns a stage's optimizer, with a factor on its rate."""
    return make_optimizer(config.optimizer, config.l2, static.n_updates, factor)


def state_of(static: Static, config: StageConfig, params: Params, carry: Any = None) -> TrainState:
    """Returns a stage's state before its first update; of a closed form, all parameters as they are."""
    if config.optimizer is None:
        return TrainState(params, {}, (), carry)
    return init_state(params, static.trained, optimizer_of(static, config), static.steps_before, carry)


def init_state(
    params: Params,
    trainable: Collection[str],
    optimizer: optax.GradientTransformation,
    step_count: int = 0,
    carry: Any = None,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      params: all parameters.
      trainable: paths, such as ``encoder/layers_1``, under which parameters are trained; all others are frozen.
      optimizer: the optimizer of the stage.
      step_count: updates that Adam's bias correction counts as made already; the moments start at zero regardless.
      carry: of the method's own.
    """
    trained, frozen = partition(params, trainable)
    return TrainState(trained, frozen, counted_from(optimizer.init(trained), step_count), carry)


def train_step(
    state: TrainState, batch: Batch, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Values]:
    """Makes one update.

    Returns:
      The state after it, and the objective's metrics on the batch before it, mean over the batch.
    """

    def loss(trainable: Params) -> tuple[jax.Array, Metrics]:
        return objective(merged(trainable, state.frozen), batch)

    gradients, metrics = jax.grad(loss, has_aux=True)(state.trainable)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
    state = state._replace(trainable=optax.apply_updates(state.trainable, updates), opt_state=opt_state)
    return state, divided(metrics)


def eval_step(params: Params, batch: Batch, objective: Objective) -> Values:
    """Returns the objective's metrics on a batch, mean over the batch."""
    return divided(objective(params, batch)[1])


def run_steps(
    state: TrainState,
    curves: Values,
    first: jax.Array | int,
    stop: jax.Array | int,
    step: Callable[[TrainState, jax.Array], tuple[TrainState, Values]],
) -> tuple[TrainState, Values]:
    """Makes updates ``first`` up to, not including, ``stop``.

    The bounds may be tracers, so one compiled program runs chunks of any length, and a chunk may end anywhere: state
    and curves are all there is to carry on from.

    Args:
      state: the state before update ``first``.
      curves: values [total steps] by metric name, filled in as updates are made.
      first: the first update.
      stop: the end of the updates.
      step: turns a state and the number of an update into the state after it and the values to record.
    """

    def body(index: jax.Array, carry: tuple[TrainState, Values]) -> tuple[TrainState, Values]:
        state, curves = carry
        state, values = step(state, index)
        return state, {name: _put(curve, values[name], index) for name, curve in curves.items()}

    return jax.lax.fori_loop(first, stop, body, (state, curves))


def _put(curve: jax.Array, value: jax.Array, index: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(curve, value, index, 0, allow_negative_indices=False)


def change(function: Callable, inputs: Shaped[Array, "rows ..."], before: Params, after: Params) -> Scalar:
    """Returns by how much outputs ``function(params, inputs)`` differ between parameters: root mean square."""
    return jnp.sqrt(jnp.mean(jnp.square(function(after, inputs) - function(before, inputs))))
