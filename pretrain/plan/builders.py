"""Stages from plain values: layers, a config's section, and the rows that it reads."""

import dataclasses
from collections.abc import Sequence

from pretrain.config import FinetuneConfig, PretrainConfig
from pretrain.config.effects import canonical, trimmed
from pretrain.config.method import Method
from pretrain.config.methods import WeightsConfig
from pretrain.learn import diagnostics
from pretrain.learn.layers import Dense, LayerError, Layers, shapes_of
from pretrain.learn.methods import METHODS, method_of
from pretrain.learn.pytrees import skeleton
from pretrain.learn.randomness import Purpose
from pretrain.learn.stack import Companions, Stack, layer_shapes, stack_shapes
from pretrain.learn.stage import Choices, Layout, Rows, Schedule, Stage, StageConfig, Static, Subset
from pretrain.learn.tasks import Task

Made = tuple[Stage, StageConfig]  # a stage, and its config with numbers


def companions(method: Method, layers: Layers, example: tuple[int, ...], task: Task) -> Companions:
    """Returns the modules trained beside the topmost of some layers, which read examples of a shape.

    Raises:
      LayerError: its decoder does not return what the layer reads.
    """
    shapes = Stack(layers, example).shapes[-1]
    beside = method_of(method).companions(method, layers, shapes.inputs, task)
    for side, companion in beside:
        outputs = shapes_of((companion.module,), shapes.outputs if companion.reads == "codes" else shapes.inputs)
        if side == "decoder" and outputs[0].outputs != shapes.inputs:
            was = list(outputs[0].outputs)
            raise LayerError(f"its decoder returns {was} values an example, not {list(shapes.inputs)}")
    return beside


def pretraining(
    section: PretrainConfig,
    method: Method,
    stack: Stack,
    epochs: int,
    n_examples: int,
    subset: Subset | None = None,
    steps_before: int = 0,
    layout: Layout | None = None,
    is_given: bool = False,
) -> Made:
    """Returns the stage that trains the layers of a stack from its start up, by a method, which may be in closed form.

    Args:
      section: how it is trained.
      method: what for.
      stack: layers and all that is trained beside them.
      epochs: passes over the examples.
      n_examples: how many there are.
      subset: the labelled subset, which these are; None where the method reads no labels.
      steps_before: updates of stages before that Adam counts, where it counts any.
      layout: of the examples, where the method reads rows in their own shape.
      is_given: whether layers in training start from a checkpoint.
    """
    is_alone = stack.start == stack.top
    # All layers at once come after the topmost, and draw anew.
    place = stack.top if is_alone else len(stack.layers)
    rows = Rows(n_examples, section.batch_size, section.sampling, Purpose.PRETRAIN_BATCHES, place, subset)
    if not method.makes_updates:
        static = Static(stack, Rows(n_examples, subset=subset), place=place)
        config, validation = StageConfig(method), Schedule()
    else:
        per_epoch, optimizer = n_examples // section.batch_size, canonical(section.optimizer)
        counted = steps_before if optimizer.corrects_bias else 0
        choices = Choices("weights") if is_given else None
        n_updates = section.updates or epochs * per_epoch
        static = Static(stack, rows, _trained(stack), n_updates, counted, place, choices, layout)
        config = StageConfig(trimmed(method), section.l2, trimmed(optimizer))
        validation = Schedule(every=section.validate_every or per_epoch)
    watch = tuple(sorted({*section.watch})) if static.n_updates else ()
    reads = ("images", "labels") if subset or "neighbours" in watch else ("images",)
    name = f"pretrain/{stack.top}" if is_alone else "pretrain/all"
    lower = range(stack.start if is_alone or is_given else len(stack.layers))
    # Modules without parameters leave nothing to inherit.
    sides = {side for layer in lower for side, params in layer_shapes(stack, layer).items() if params}
    inherits = tuple(sorted(sides | ({"encoder"} if is_given else set()))) if lower else ("encoder",)
    patience = section.patience if section.stop == "validation" and static.n_updates else 0
    found, structure = method_of(method), skeleton(config)
    made = Stage(name, found, static, structure, inherits, reads, validation, patience=patience, watch=watch)
    return made, config


def imported(layers: Layers, example: tuple[int, ...]) -> Made:
    """Returns the stage that takes an encoder's parameters as they are given."""
    config = StageConfig(WeightsConfig())
    static = Static(Stack(layers, example), Rows(0))
    return Stage("pretrain/weights", METHODS["weights"], static, skeleton(config), ("encoder",), (), Schedule()), config


def network(layers: Layers, example: tuple[int, ...], task: Task, precision: str = "float32") -> Stack:
    """Returns an encoder with a linear head, as a trial ends with it."""
    return Stack(layers, example, head=Dense(task.n_outputs), task=task, precision=precision)


def last(
    section: FinetuneConfig,
    of_layers: Sequence[FinetuneConfig],
    layers: Layers,
    example: tuple[int, ...],
    task: Task,
    frozen: int,
    n_labels: int,
    layout: Layout | None = None,
    precision: str = "float32",
) -> Made:
    """Returns the fine-tuning or read-out that ends a trial.

    Args:
      section: how it is trained, without fields that have no effect.
      of_layers: the same for each layer.
      layers: the encoder, from the images up.
      example: the shape of what the lowest reads.
      task: what targets mean.
      frozen: layers that stay as they are.
      n_labels: size of the labelled subset.
      layout: of the examples, where updates make views of them.
      precision: of products.
    """
    encoded = frozen if section.cache_codes else 0
    stack = dataclasses.replace(network(layers, example, task, precision), start=frozen, encoded=encoded)
    subset = Subset(n_labels, section.label_subset, task.n_classes)
    # The stages before decide these, and their encoder is taken as it is.
    encoder_init = "pretrained" if section.encoder_init in ("pca", "wrong_data", "weights") else section.encoder_init
    first = "matched" if section.first_logit_change > 0 else "free"
    choices = Choices(encoder_init, section.fresh_layers, section.head_init, section.codes, first)
    is_own, reads = section.readout == "own", ("images", "labels", "test")
    method = method_of(section.ending) if is_own else METHODS[section.kind]
    if not section.makes_updates:
        static = Static(stack, Rows(n_labels, subset=subset), choices=choices)
        config = StageConfig(trimmed(section.ending)) if is_own else StageConfig(section.of_method({}), section.l2)
        return Stage("finetune", method, static, skeleton(config), ("encoder",), reads, Schedule()), config
    per_layer = {name: tuple(float(getattr(each, name)) for each in of_layers) for name in PER_LAYER}
    config = StageConfig(section.of_method(per_layer), section.l2, trimmed(canonical(section.optimizer)))
    per_epoch = n_labels // section.batch_size
    n_updates = section.updates or section.epochs * per_epoch
    rows = Rows(n_labels, section.batch_size, section.sampling, Purpose.FINETUNE_BATCHES, 0, subset)
    with_params = (layer for layer in range(frozen, len(layers)) if stack.shapes[layer].params)
    trained = (*(f"encoder/layers_{layer}" for layer in with_params), "head")
    static = Static(stack, rows, trained, n_updates, place=len(layers) + 1, choices=choices, layout=layout)
    every = section.validate_every or section.updates or per_epoch
    diagnosed = Schedule(at=section.diagnose_at)
    measured = tuple((name, diagnosed) for name in diagnostics.names(trained)) if section.diagnose_at else ()
    validation, patience = Schedule(every, section.validate_at), section.patience if section.stop == "validation" else 0
    shared = "finetune", method, static, skeleton(config), ("encoder",), reads
    return Stage(*shared, validation, measured, patience), config


PER_LAYER = ("unfreeze_at", "rate_factor")  # fields of fine-tuning that differ from layer to layer in one stage


def _trained(stack: Stack) -> tuple[str, ...]:
    """Returns the paths of the parameters that pretraining trains."""
    shapes, trained = stack_shapes(stack), set()
    for number in range(stack.start, len(stack.layers)):
        name = f"layers_{number}"
        trained |= {f"encoder/{name}/{leaf}" for leaf in shapes["encoder"][name]}
        for side, companion in stack.companions[number]:
            if stack.joins(number, companion):
                leaves = shapes[side][name].keys() - ({"variance"} if companion.kernel == "scaled" else set())
                trained |= {f"{side}/{name}/{leaf}" for leaf in leaves}
    return tuple(sorted(trained))
