"""Supervised greedy training: a layer is trained under a linear classifier on its codes (Bengio et al., 2007)."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from pretrain.config import SupervisedConfig
from pretrain.learn import tasks
from pretrain.learn.layers import Dense, Params
from pretrain.learn.method import Method, Step
from pretrain.learn.metrics import Batch, Metrics
from pretrain.learn.stack import Companion, Companions, Stack
from pretrain.learn.train import TrainState, Values, train_step


def companions(
    config: SupervisedConfig, layers: Sequence[nn.Module], example: tuple[int, ...], n_classes: int
) -> Companions:
    """Returns the classifier of the topmost layer's codes."""
    return (("classifier", Companion(Dense(n_classes))),)


def objective(params: Params, batch: Batch, *, stack: Stack) -> tuple[jax.Array, Metrics]:
    """Returns how badly a linear classifier on the topmost layer's codes distinguishes the classes.

    Args:
      params: ``encoder`` parameters from layer ``stack.encoded`` up, and the topmost layer's ``classifier``.
      batch: inputs [B, ...]: images, or codes of encoder layer ``stack.encoded - 1``; labels [B].
      stack: the layers.

    Returns:
      As ``tasks.classification``.
    """
    classifier = stack.companion("classifier", stack.top).module
    own = {"params": params["classifier"][f"layers_{stack.top}"]}
    return tasks.classification(classifier.apply(own, stack.codes(params, batch.inputs)), batch)


def update(
    stack: Stack, config: SupervisedConfig, optimizer: Callable, state: TrainState, batch: Batch, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update; its values are ``loss`` (nats) and ``accuracy`` (fraction) before it."""
    return train_step(state, batch, partial(objective, stack=stack), optimizer())


def measure(stack: Stack, config: SupervisedConfig, params: Params, batch: Batch) -> Metrics:
    """Returns ``loss`` (nats) and ``accuracy`` (fraction)."""
    return objective(params, batch, stack=stack)[1]


METHOD = Method(measure=measure, update=update, companions=companions)
