"""One update, and a run of updates: for one trial, whatever is trained."""

import zlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Shaped

from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, Metrics, divided
from pretrain.learn.modes import in_training, statistics_after
from pretrain.learn.optimizers import Rule, counted_from, make_optimizer
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.transfer import merged, partition, without_statistics

Objective = Callable[[Params, Batch], tuple[jax.Array, Metrics]]  # a loss to differentiate, and metrics
Values = dict[str, jax.Array]  # metrics, divided


class TrainState(NamedTuple):
    """State that an update changes: arrays only. Frozen parameters have no gradient and no optimizer state.

    Running statistics of layers in training are apart from both.
    """

    trainable: Params
    frozen: Params
    opt_state: optax.OptState
    carry: Any = None  # of the method's own, as the chains of persistent contrastive divergence
    stopping: Any = None  # Stopping, of training that may end early
    statistics: Params | None = None  # running ones, of layers in training
    draws: Any = None  # keys of modules in training at the next update, by side and layer; None between updates

    @property
    def params(self) -> Params:
        """All parameters, trainable and frozen."""
        return self.at(self.trainable)

    @property
    def moving(self) -> Params:
        """The parameters that updates change, running statistics among them."""
        return merged(self.trainable, self.statistics or {})

    def at(self, trainable: Params) -> Params:
        """Returns all parameters, with others in training."""
        return merged(merged(trainable, self.statistics or {}), self.frozen)

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
    moving, frozen = partition(params, trainable)
    trained, statistics = without_statistics(moving)
    opt_state = counted_from(optimizer.init(trained), step_count)
    return TrainState(trained, frozen, opt_state, carry, statistics=statistics or None)


def with_draws(static: Static, state: TrainState, seed: jax.Array, number: jax.Array | int) -> TrainState:
    """Returns a state whose next ``train_step``, by its number, has its layers in training, by draws of its own."""
    if not static.stack.in_modes:
        return state
    is_last = static.rows.purpose == Purpose.FINETUNE_BATCHES
    key = update_key(seed, Purpose.FINETUNE_DRAWS if is_last else Purpose.PRETRAIN_DRAWS, static.place, number)
    draws: dict[str, Any] = {}
    for side, layer in static.stack.in_modes:
        own = jax.random.fold_in(key, layer)
        if side != "encoder":
            own = jax.random.fold_in(own, zlib.crc32(side.encode()))
        draws.setdefault(side, {})[f"layers_{layer}"] = own
    return state._replace(draws=draws)


def train_step(
    state: TrainState, batch: Batch, objective: Objective, optimizer: optax.GradientTransformation
) -> tuple[TrainState, Values]:
    """Makes one update, by parameters whose layers are in training.

    Returns:
      The state after it, and the objective's metrics on the batch before it, mean over the batch.
    """
    gradients, (metrics, statistics) = slope(state, batch, objective)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.trainable)
    state = state._replace(trainable=optax.apply_updates(state.trainable, updates), opt_state=opt_state)
    return state._replace(statistics=statistics, draws=None), divided(metrics)


def slope(state: TrainState, batch: Batch, objective: Objective) -> tuple[Params, tuple[Metrics, Params | None]]:
    """Returns the gradients of an objective, beside its metrics and the running statistics after the batch."""

    def loss(trainable: Params) -> tuple[jax.Array, tuple[Metrics, Params | None]]:
        keys = state.draws or {}
        params = in_training(state.at(trainable), keys)
        value, metrics = objective(params, batch)
        return value, (metrics, statistics_after(params, keys) if keys else state.statistics)

    return jax.grad(loss, has_aux=True)(state.trainable)


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
