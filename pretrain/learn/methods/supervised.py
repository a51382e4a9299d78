"""Supervised greedy training: a layer is trained under a linear classifier on its codes (Bengio et al., 2007)."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax

from pretrain.config import SupervisedConfig
from pretrain.learn import results, start
from pretrain.learn.annotations import Scalar
from pretrain.learn.layers import Dense, Params, apply
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Metrics, Splits
from pretrain.learn.stack import Companion, Companions, Stack
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, optimizer_of, train_step


def companions(
    config: SupervisedConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task
) -> Companions:
    """Returns the linear head that predicts from the topmost layer's codes."""
    return (("classifier", Companion(Dense(task.n_outputs))),)


def objective(params: Params, batch: Batch, *, stack: Stack) -> tuple[Scalar, Metrics]:
    """Returns how badly a linear head on the topmost layer's codes predicts the targets.

    Args:
      params: ``encoder`` parameters from layer ``stack.encoded`` up, and the topmost layer's ``classifier``.
      batch: inputs [B, ...]: images, or codes of encoder layer ``stack.encoded - 1``; labels [B, ...].
      stack: the layers.

    Returns:
      As the functions of ``learn/tasks.py``.
    """
    classifier = stack.companion("classifier", stack.top).module
    outputs = apply(classifier, params["classifier"][f"layers_{stack.top}"], stack.codes(params, batch.inputs))
    return stack.task.objective(outputs, batch)


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the state, which carries the weights of classes where they have any."""
    state = start.pretraining(static, config, seed, parent, examples)
    if config.method.class_weights == "balanced":
        state = state._replace(carry=start.class_weights(static.stack.task, examples))
    return state


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update; its values are ``loss`` and, but of numbers, ``accuracy`` (fraction) before it."""
    batch = batch._replace(labels=static.stack.task.weighed(batch.labels, state.carry))
    return train_step(state, batch, partial(objective, stack=static.stack), optimizer_of(static, config))


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns ``loss``, ``accuracy`` (fraction) but of numbers, and where classes have weights ``weighted_loss``."""
    batch = batch._replace(labels=static.stack.task.weighed(batch.labels, state.carry))
    return objective(state.params, batch, stack=static.stack)[1]


METHOD = Method(init, results.of_pretraining, update, measure, companions)
