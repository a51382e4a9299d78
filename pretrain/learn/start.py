"""The beginning of stages: parameters inherited, fresh, or controls made of those inherited; statistics of codes."""

import dataclasses

import jax
from jaxtyping import Float, Int

from pretrain.learn import codes, controls
from pretrain.learn.annotations import Array, Seeds
from pretrain.learn.layers import Params, fresh
from pretrain.learn.metrics import Batch, Splits, taken
from pretrain.learn.probes import as_read
from pretrain.learn.randomness import Purpose, key_for, label_subset
from pretrain.learn.stack import Stack, fresh_layer, layer_shapes, stack_shapes
from pretrain.learn.stage import Choices, StageConfig, Static, Subset
from pretrain.learn.tasks import Task
from pretrain.learn.train import TrainState, state_of
from pretrain.learn.transfer import copied


def labelled_rows(seed: Seeds, examples: Splits, subset: Subset) -> Int[Array, " size"]:
    """Returns the training rows of a trial's labelled subset: [size] int32."""
    labels = examples.train.labels if examples.labelled is None else examples.train.labels[examples.labelled]
    rows = label_subset(key_for(seed, Purpose.LABEL_SUBSET), labels, subset.size, subset.method, subset.n_classes)
    return rows if examples.labelled is None else examples.labelled[rows]


def class_weights(task: Task, examples: Splits) -> Float[Array, "..."]:
    """Returns the weights that balance the classes of the labelled subset: see ``Task.balancing``."""
    return task.balancing(taken(Batch(None, examples.train.labels), examples.labelled).labels)


def as_drawn(static: Static, params: Params, batch: Batch) -> Batch:
    """Returns examples as updates are given them: images, or codes of frozen layers that are computed once."""
    stack = static.stack
    if not stack.encoded:
        return batch
    return batch._replace(inputs=codes.in_blocks(stack.encoding(params, stack.encoded), batch.inputs))


def pretraining(
    static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits
) -> TrainState:
    """Returns the state that a stage of pretraining starts from: an ``init`` of methods that need no more.

    Raises:
      TransferError: the parent's parameters are not those of the stack's lower layers.
    """
    return state_of(static, config, inherited(static, seed, parent))


def inherited(static: Static, seed: jax.Array | int, parent: Params | None) -> Params:
    """Returns the parent's parameters, and fresh ones of the layers that it has not, or beside those given with it."""
    stack, is_given = static.stack, static.choices is not None
    params: Params = {side: dict(layers) for side, layers in (parent or {}).items()}
    # All layers at once are those of the greedy stages before, if there are any.
    starts = parent is None or is_given or stack.start == stack.top
    lowest = stack.start if starts else len(stack.layers)
    for layer in range(lowest, len(stack.layers)):
        for side, own in fresh_layer(stack, layer, seed).items():
            if side != "encoder" or not is_given:
                params.setdefault(side, {})[f"layers_{layer}"] = own
    return copied(stack_shapes(stack), params)


def network(static: Static, seed: jax.Array, parent: Params | None, examples: Splits) -> Params:
    """Returns what a trial's last stage starts from, but for its head: the encoder, and statistics of its codes.

    Raises:
      TransferError: the parent's parameters are not those of the stack's layers.
    """
    params, inputs = {"encoder": encoder(static.stack, static.choices, seed, parent)}, examples.train.inputs
    encode = static.stack.encoding(params)
    match static.choices.codes:
        case "whitened":
            statistics = codes.whitening(encode, inputs)
        case "standardised":
            statistics = codes.code_statistics(encode, inputs)
        case _:
            statistics = codes.identity_statistics(static.stack.n_codes)
    return {**params, "codes": statistics}


def fresh_head(stack: Stack, seed: jax.Array) -> Params:
    """Returns a linear head's initial parameters."""
    return fresh(stack.head, (stack.n_codes,), key_for(seed, Purpose.HEAD_INIT))


def labelled_codes(static: Static, params: Params, examples: Splits) -> Batch:
    """Returns the labelled subset as a head reads it: codes [labels, units]."""
    return _codes(static, params, taken(examples.train, examples.labelled))


def validation_codes(static: Static, params: Params, examples: Splits) -> Batch:
    """Returns the validation examples as a head reads them: codes [N, units]."""
    return _codes(static, params, examples.validation)


def _codes(static: Static, params: Params, split: Batch) -> Batch:
    encode = static.stack.encoding(params)
    return as_read(params, split._replace(inputs=codes.in_blocks(encode, split.inputs)))


def encoder(stack: Stack, choices: Choices, seed: jax.Array | int, parent: Params | None) -> Params:
    """Returns the encoder's layers: the parent's, controls made of them, or fresh ones."""
    alone = dataclasses.replace(stack, companions=())
    shapes = {f"layers_{number}": layer_shapes(alone, number)["encoder"] for number in range(len(stack.layers))}
    given = copied(shapes, parent["encoder"]) if parent else {}
    kept = len(stack.layers) - choices.fresh_layers if parent else 0
    made = {}
    for number, name in enumerate(shapes):
        if number >= kept:
            made[name] = fresh_layer(alone, number, seed)["encoder"]
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
