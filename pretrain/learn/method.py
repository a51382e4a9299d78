"""The parts of a method, which the rest of the program uses without knowing the method by name."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, Metrics
from pretrain.learn.stack import Companions, Stack
from pretrain.learn.tasks import Task
from pretrain.learn.train import TrainState, Values


class Extras(NamedTuple):
    """Optional parts of the program that begins a stage: those that some job of its pack has a use for, and no others.

    They leave the jobs that have no use for them as they are, to the bit. Updates have no optional parts: even a factor
    of one would round them otherwise.
    """

    fits_head: bool = False  # by ridge regression
    standardises: bool = False  # codes
    matches_first: bool = False  # the first update, in its effect on the logits


class Step(NamedTuple):
    """Inputs of an update besides its batch."""

    index: jax.Array  # updates made before
    progress: jax.Array  # fraction of the stage's updates made before
    noise: jax.Array  # key of the noise on inputs
    sampling: jax.Array  # key of samples
    held_out: Batch  # validation examples
    own: Any  # what ``prepare`` returned


def no_companions(config: Any, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns nothing to be trained beside a layer."""
    return ()


def nothing_to_prepare(
    stack: Stack, config: Any, optimizer: Callable, state: TrainState, batch: Batch, held_out: Batch, extras: Extras
) -> tuple[TrainState, Any]:
    """Returns the state as it is, and nothing of the method's own."""
    return state, None


def head_on_top(head: Params, rows: jax.Array) -> Params:
    """Returns a linear head as what a method of labels starts with above the encoder."""
    return {"head": head}


class Method(NamedTuple):
    """The objective of layers, or of a whole network, as free functions.

    ``companions(config, layers, example, task)`` returns the modules trained beside the topmost of some layers,
    which reads examples of a shape.

    ``measure(stack, config, params, batch)`` returns the metrics of held-out examples; its config is None where what
    a finished trial has come to is measured, which parameters alone decide.

    One of two: ``update(stack, config, optimizer, state, batch, step)`` makes one update from a batch and returns the
    state after it, and its values by name; ``optimizer()`` builds the stage's optimizer, ``optimizer(factor)`` one with
    a factor on its rate. Or ``fit(stack, config, params, examples, held_out)`` returns the parameters that it finds in
    closed form, and values by name.

    ``prepare(stack, config, optimizer, state, batch, held_out, extras)`` returns the state before the first update, of
    which it is given the batch, and what the trial's updates are given as ``step.own``.

    Of methods that end a trial, ``on_top(head, rows)`` returns the parameters above the encoder, given a linear head
    and the rows of the labelled subset; and ``predict(stack, params, train, split)``, where a batch alone cannot be
    measured, returns the outputs for a whole split [N, outputs], given the training images. ``has_logits`` says whether
    outputs of classes or labels are logits.
    """

    measure: Callable[[Stack, Any, Params, Batch], Metrics]
    update: Callable[..., tuple[TrainState, Values]] | None = None
    fit: Callable[..., tuple[Params, Values]] | None = None
    companions: Callable[..., Companions] = no_companions
    prepare: Callable[..., tuple[TrainState, Any]] = nothing_to_prepare
    on_top: Callable[[Params, jax.Array], Params] = head_on_top
    predict: Callable[[Stack, Params, Batch, Batch], jax.Array] | None = None
    has_logits: bool = True
