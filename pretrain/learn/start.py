"""The parameters that a stage starts from: inherited, fresh, or controls made of those inherited."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pretrain.learn import controls
from pretrain.learn.codes import identity_statistics
from pretrain.learn.layers import Params, fresh
from pretrain.learn.methods import METHODS
from pretrain.learn.randomness import Purpose, key_for, label_subset
from pretrain.learn.stack import Stack, fresh_layer, layer_shapes, stack_shapes
from pretrain.learn.transfer import copied


@dataclasses.dataclass(frozen=True)
class Choices:
    """Choices that decide the start of a stage besides its stack and its seed; static."""

    n_labels: int = 0  # size of the labelled subset; 0 where none is read
    n_classes: int = 0
    label_subset: str = "first"
    encoder_init: str = "pretrained"
    fresh_layers: int = 0  # from the top down
    head_init: str = "random"
    codes: str = "raw"  # as the head reads them


class Start(NamedTuple):
    """Where a trial's stage starts."""

    params: Params
    labelled: jax.Array | None = None  # [labels] int32, rows of the labelled subset
    fits_head: jax.Array | None = None  # bool: whether the head is fitted to them
    standardises: jax.Array | None = None  # bool: whether the head reads standardised codes


def start(
    stack: Stack,
    method: type,
    choices: Choices,
    seed: jax.Array | int,
    parent: Params | None,
    labels: jax.Array,
    labelled: jax.Array | None = None,
) -> Start:
    """Returns where a trial's stage starts.

    Args:
      stack: the layers.
      method: config class of the stage's method.
      choices: of the stage.
      seed: the trial's seed, which may be a tracer.
      parent: parameters of the stage before; None without one.
      labels: of the training examples that have one [L].
      labelled: the rows of those [L] int32; None where all training examples have a label.

    Raises:
      TransferError: the parent's parameters are not those of the stack's lower layers.
    """
    rows = None
    if choices.n_labels:
        key = key_for(seed, Purpose.LABEL_SUBSET)
        rows = label_subset(key, labels, choices.n_labels, choices.label_subset, choices.n_classes)
        rows = rows if labelled is None else labelled[rows]
    if stack.head is None:
        return Start(_pretraining(stack, seed, parent), rows)
    head = fresh(stack.head, (stack.n_codes,), key_for(seed, Purpose.HEAD_INIT))
    if choices.head_init == "zero":
        head = jax.tree.map(jnp.zeros_like, head)
    params = {
        "encoder": _encoder(stack, choices, seed, parent),
        **METHODS[method].on_top(head, rows),
        "codes": identity_statistics(stack.n_codes, whitening=choices.codes == "whitened"),
    }
    return Start(params, rows, jnp.array(choices.head_init == "ridge"), jnp.array(choices.codes == "standardised"))


def _pretraining(stack: Stack, seed: jax.Array | int, parent: Params | None) -> Params:
    """Returns the parent's parameters, and fresh ones of the layers that it has not."""
    params: Params = {side: dict(layers) for side, layers in (parent or {}).items()}
    # All layers at once are those of the greedy stages before, if there are any.
    lowest = stack.start if parent is None or stack.start == stack.top else len(stack.layers)
    for layer in range(lowest, len(stack.layers)):
        for side, own in fresh_layer(stack, layer, seed).items():
            params.setdefault(side, {})[f"layers_{layer}"] = own
    return copied(stack_shapes(stack), params)


def _encoder(stack: Stack, choices: Choices, seed: jax.Array | int, parent: Params | None) -> Params:
    """Returns the encoder's layers: the parent's, controls made of them, or fresh ones."""
    encoder = dataclasses.replace(stack, companions=())
    shapes = {f"layers_{number}": layer_shapes(encoder, number)["encoder"] for number in range(len(stack.layers))}
    given = copied(shapes, parent["encoder"]) if parent else {}
    kept = len(stack.layers) - choices.fresh_layers if parent else 0
    made = {}
    for number, name in enumerate(shapes):
        if number >= kept:
            made[name] = fresh_layer(encoder, number, seed)["encoder"]
        elif name not in given:  # a layer without parameters
            made[name] = {}
        elif choices.encoder_init in controls.KINDS:
            made[name] = controls.control(given[name], key_for(seed, Purpose.CONTROL, number), choices.encoder_init)
        elif choices.encoder_init == "pretrained":
            made[name] = given[name]
        else:
            raise ValueError(
                f"no encoder starts as {choices.encoder_init!r}; the controls are {', '.join(controls.KINDS)}"
            )
    return made
