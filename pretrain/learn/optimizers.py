"""Optimizers from their configs; one line of ``RULES`` each."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from pretrain.config import AdamConfig, AdamWConfig, SgdConfig
from pretrain.config.optimizers import OptimizerConfig
from pretrain.learn.layers import Params

Rule: TypeAlias = optax.GradientTransformation


def make_optimizer(
    config: OptimizerConfig, l2: jax.Array | float, total_steps: int, factor: jax.Array | float = 1.0
) -> Rule:
    """Builds the optimizer of a stage from its hyperparameters, which may be tracers.

    Args:
      config: the optimizer's config.
      l2: times half the squared norm of every trainable kernel joins the loss; its gradient, ``l2 * kernel``, is added
        before the update rule. Biases are not penalised.
      total_steps: updates in the stage, over which the cosine schedule runs.
      factor: on the learning rate.

    Returns:
      The gradient transformation; build it anew inside every traced function, never keep it in a state.
    """
    rate = config.learning_rate if isinstance(factor, float) and factor == 1 else config.learning_rate * factor
    has_none = isinstance(config.clip_norm, float | tuple) and not config.clip_norm  # absent, or a plain 0
    return optax.chain(
        optax.add_decayed_weights(l2, kernels_of),
        *([] if has_none else [optax.clip_by_global_norm(jnp.where(config.clip_norm > 0, config.clip_norm, jnp.inf))]),
        RULES[type(config)](config),
        optax.scale_by_learning_rate(_schedule(config, rate, total_steps)),
    )


def _adam(config: AdamConfig) -> Rule:
    if config.epsilon_inside:
        return scale_by_tf1_adam(config.beta1, config.beta2, config.epsilon)
    return optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)


def _adamw(config: AdamWConfig) -> Rule:
    return optax.chain(_adam(config), optax.add_decayed_weights(config.weight_decay, kernels_of))


RULES: Mapping[type, Callable[..., Rule]] = {
    AdamConfig: _adam,
    AdamWConfig: _adamw,
    SgdConfig: lambda config: optax.trace(decay=config.momentum),
}


def scale_by_tf1_adam(beta1: jax.Array | float, beta2: jax.Array | float, epsilon: jax.Array | float) -> Rule:
    """Returns Adam as TensorFlow 1 has it: epsilon is added to the root of the second moment before its correction.

    That is the formula before section 2.1 of Kingma and Ba (2015), whose "epsilon hat" this is.
    """
    plain = optax.scale_by_adam(beta1, beta2, 0.0)

    def update(gradients: Params, state: optax.ScaleByAdamState, params: Params | None = None) -> tuple[Params, Any]:
        _, state = plain.update(gradients, state, params)
        count = state.count.astype(jnp.float32)
        correction = jnp.sqrt(1 - beta2**count) / (1 - beta1**count)
        scaled = jax.tree.map(lambda mean, square: correction * mean / (jnp.sqrt(square) + epsilon), state.mu, state.nu)
        return scaled, state

    return optax.GradientTransformation(plain.init, update)


def counted_from(state: optax.OptState, step_count: int) -> optax.OptState:
    """Returns an optimizer's state whose bias corrections count so many updates as made."""

    def counted(part: Any) -> Any:
        return part._replace(count=jnp.asarray(step_count, jnp.int32)) if _is_adam(part) else part

    return jax.tree.map(counted, state, is_leaf=_is_adam)


def scaled_by_layer(optimizer: Rule, factors: Mapping[str, jax.Array]) -> Rule:
    """Returns the optimizer with its updates to encoder layers times a factor each, by name; 0 holds a layer.

    The optimizer's moments follow the gradients of a layer that is held, so that it sets out at its pace.
    """

    def update(gradients: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        updates, state = optimizer.update(gradients, state, params)
        layers = {
            name: jax.tree.map(lambda leaf, factor=factors[name]: leaf * factor, layer)
            for name, layer in updates.get("encoder", {}).items()
        }
        return {**updates, **({"encoder": layers} if layers else {})}, state

    return optax.GradientTransformation(optimizer.init, update)


def kernels_of(params: Params) -> Params:
    """Returns which parameters are kernels, and so are penalised: a tree of bools."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _is_adam(node: Any) -> bool:
    return isinstance(node, optax.ScaleByAdamState)


def _schedule(config: OptimizerConfig, rate: jax.Array | float, total_steps: int) -> Any:
    if config.schedule == "constant" and not config.warmup_steps:
        return rate
    after = optax.constant_schedule(1.0)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(1.0, max(1, total_steps - config.warmup_steps))
    # Update n of the warm-up takes n / warmup_steps of the peak: the first update moves, the last is at the peak.
    rise = optax.linear_schedule(1 / max(1, config.warmup_steps), 1.0, max(1, config.warmup_steps - 1))
    shape = optax.join_schedules([rise, after], [config.warmup_steps])
    return lambda count: rate * shape(count)
