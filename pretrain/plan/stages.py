"""The stages of one point of a sweep: what each is, and all that decides its outcome."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flax import traverse_util

from pretrain.config import DataConfig, FinetuneConfig, Settings, TrainingConfig
from pretrain.config.counts import counted
from pretrain.config.effects import canonical, decisive
from pretrain.config.fields import ConfigError
from pretrain.config.method import Method
from pretrain.config.methods import deep
from pretrain.data import Dataset
from pretrain.learn.layers import Dense, LayerError, shapes_of
from pretrain.learn.methods import METHODS
from pretrain.learn.pytrees import skeleton
from pretrain.learn.stack import Companions, Stack, is_dense, stack_shapes
from pretrain.learn.stage import Stage, StageConfig
from pretrain.learn.start import Choices
from pretrain.learn.tasks import NO_TASK, Task
from pretrain.plan import modules
from pretrain.plan.modules import Built, Layers

MOST_UPDATES = 50_000_000  # of a stage


class Spec(NamedTuple):
    """A stage of one point, as all seeds share it."""

    stage: Stage
    config: StageConfig
    choices: Choices
    data: DataConfig
    content: dict[str, Any]  # by which its settings and data name it


def specs(settings: Settings, datasets: Mapping[DataConfig, Dataset]) -> list[Spec]:
    """Returns the stages of one point's trials: those of pretraining first, and last the fine-tuning or read-out.

    Raises:
      ConfigError: layers do not fit each other, the images, or the fields that count them.
    """
    built = modules.build(settings)
    encoder_init, source = settings.finetune.encoder_init, datasets[settings.pretraining_data]
    training = settings.pretrain.training
    if not settings.finetune.is_pretrained:
        before = []
    elif encoder_init != "pca" and training == "end_to_end":
        before = [_end_to_end(settings, built, source, ())]
    else:
        before = _greedy(settings, built, source)
        if encoder_init != "pca" and training == "greedy_then_end_to_end":
            before.append(_end_to_end(settings, built, source, before))
    return [*before, _last(settings, built, datasets[settings.finetuning_data])]


def frozen_layers(settings: Settings, depth: int) -> int:
    """Returns how many layers fine-tuning leaves as they are."""
    frozen = settings.finetune.frozen_layers
    return depth if frozen == "all" else min(frozen, depth)  # of none where there is no encoder


def n_labels(settings: Settings, dataset: Dataset) -> int:
    """Returns the size of the labelled subset."""
    return settings.finetune.labels or dataset.n_labelled


def task_of(dataset: Dataset) -> Task:
    """Returns the task of a dataset."""
    return Task(dataset.task, len(dataset.output_names))


def example_shape(layers: Layers, dataset: Dataset) -> tuple[int, ...]:
    """Returns the shape of an image as the lowest layer reads it: flattened for a dense one, or for none."""
    flattens = not layers or is_dense(layers[0])
    return (math.prod(dataset.example_shape),) if flattens else dataset.example_shape


def _greedy(settings: Settings, built: Built, dataset: Dataset) -> list[Spec]:
    """Returns the stages that train one layer each, from the images up."""
    layers = built.layers
    found: list[Spec] = []
    companions: tuple[Companions, ...] = ()
    for number in range(len(layers)):
        own = settings.at_layer(number).pretrain
        method = settings.at_layer(number).greedy_method
        companions += (_companions(method, layers[: number + 1], dataset),)
        n_examples = n_labels(settings, dataset) if method.reads_labels else len(dataset.train.inputs)
        training = _training(own, own.epochs) if method.makes_updates else None
        counts = own.carry_step_count and training and _corrects_bias(training)
        stack = Stack(
            layers[: number + 1],
            example_shape(layers, dataset),
            companions,
            start=number,
            encoded=number if own.cache_codes else 0,
            task=task_of(dataset) if method.reads_labels else NO_TASK,
        )
        stage = Stage(
            f"pretrain/{number}", stack, StageConfig(method, training), n_examples, _updates(found) if counts else 0
        )
        _check_updates("pretrain.epochs", stage)
        choices = Choices()
        if method.reads_labels:
            choices = Choices(n_examples, task_of(dataset).n_classes, settings.finetune.label_subset)
        found.append(_spec(built, stage, choices, settings.pretraining_data, dataset))
    return found


def _end_to_end(settings: Settings, built: Built, dataset: Dataset, before: Sequence[Spec]) -> Spec:
    """Returns the stage that trains all layers at once, after others or from the start; it always reconstructs."""
    layers = built.layers
    own = settings.pretrain
    method = deep(own.method)
    if before:  # which decided how layers are decoded
        companions = before[-1].stage.stack.companions
        method = method.after_greedy()
    else:
        companions = tuple(
            _companions(method.of_deep_layer(number, len(layers)), layers[: number + 1], dataset)
            for number in range(len(layers))
        )
    training = _training(own, own.end_to_end_epochs)
    counts = own.carry_step_count and before and _corrects_bias(training)
    stack = Stack(layers, example_shape(layers, dataset), companions)
    config, n_images = StageConfig(canonical(method), training), len(dataset.train.inputs)
    name = "pretrain/all" if len(layers) > 1 else "pretrain/0"
    stage = Stage(name, stack, config, n_images, _updates(before) if counts else 0)
    _check_updates("pretrain.end_to_end_epochs", stage)
    return _spec(built, stage, Choices(), settings.pretraining_data, dataset)


def _companions(method: Method, layers: Layers, dataset: Dataset) -> Companions:
    shapes = Stack(layers, example_shape(layers, dataset)).shapes[-1]
    try:
        found = METHODS[type(method)].companions(method, layers, shapes.inputs, task_of(dataset))
        for side, companion in found:
            reads = shapes.outputs if companion.reads == "codes" else shapes.inputs
            outputs = shapes_of((companion.module,), reads)[0].outputs
            if side == "decoder" and outputs != shapes.inputs:
                raise LayerError(f"its decoder returns {list(outputs)} values an example, not {list(shapes.inputs)}")
    except (LayerError, AttributeError, TypeError) as error:  # a decoder of the user's may fail in any way
        name = type(layers[-1]).__name__
        raise ConfigError("encoder.layers", name, f"cannot be decoded: {' '.join(str(error).split())[:300]}") from None
    return found


def _last(settings: Settings, built: Built, dataset: Dataset) -> Spec:
    """Returns the fine-tuning or read-out."""
    own = canonical(settings.finetune)
    layers = () if own.encoder_init == "none" else built.layers
    depth = len(layers)
    frozen = frozen_layers(settings, depth) if own.readout == "none" else depth
    # Frozen layers have no pace.
    layers_own = [settings.at_layer(layer).finetune if layer >= frozen else FinetuneConfig() for layer in range(depth)]
    method, training = own.method(layers_own), None
    if method.makes_updates:
        early = {name: getattr(own, name) for name in ("validate_every", "stop", "patience")}
        training = dataclasses.replace(_training(own, own.epochs, own.updates), **early)
    encoded = frozen if own.cache_codes else 0
    task = task_of(dataset)
    head = Dense(task.n_outputs)
    stack = Stack(layers, example_shape(layers, dataset), start=frozen, encoded=encoded, head=head, task=task)
    labels = n_labels(settings, dataset)
    stage = Stage("finetune", stack, StageConfig(method, training), labels, whitens=own.codes == "whitened")
    _check_updates("finetune.updates" if own.updates else "finetune.epochs", stage)
    if training:
        latest = max(method.unfreeze_at[frozen:], default=0)
        if latest and latest >= stage.total_steps:
            remedy = f"comes after the last of {stage.total_steps} updates; lower it, or set finetune.frozen_layers"
            raise ConfigError("finetune.unfreeze_at", int(latest), remedy)
    if stage.stops_early and stage.n_validations < own.patience + 2:
        measured = f"{counted(stage.n_validations, 'measurement')} in {stage.total_steps} updates"
        lower = "lower it, or " if own.patience > 1 else ""
        remedy = f"can end nothing early, with {measured}; {lower}measure more often by finetune.validate_every"
        raise ConfigError("finetune.patience", own.patience, remedy)
    # The stages before decide these, and their encoder is taken as it is.
    encoder_init = "pretrained" if own.encoder_init in ("pca", "wrong_data") else own.encoder_init
    choices = Choices(
        labels,
        task.n_classes,
        own.label_subset,
        encoder_init,
        own.fresh_layers,
        own.head_init,
        own.codes,
    )
    return _spec(built, stage, choices, settings.finetuning_data, dataset)


def _training(own: Any, epochs: int, updates: int = 0) -> TrainingConfig:
    """Returns how long, on which batches and by which rule a stage is trained."""
    if updates:
        epochs = 0
    return TrainingConfig(epochs, updates, own.batch_size, own.sampling, own.l2, canonical(own.optimizer))


def _corrects_bias(training: TrainingConfig) -> bool:
    """Returns whether a rule corrects its bias by a count of updates."""
    return training.optimizer.corrects_bias


def _updates(stages: Sequence[Spec]) -> int:
    """Returns the updates that stages make; a method in closed form makes none."""
    return sum(spec.stage.total_steps for spec in stages if spec.stage.config.training)


def _spec(built: Built, stage: Stage, choices: Choices, data: DataConfig, dataset: Dataset) -> Spec:
    """Returns a stage, its numbers left out, with all that decides its outcome besides seed, parent and program."""
    config, stack = stage.config, stage.stack
    depth = len(stack.layers)
    parts = dataset.fingerprints
    named = {"images": parts.images}
    if config.method.reads_labels:
        named["labels"] = parts.labels
    if stage.is_last:
        named["test"] = parts.test
    content = {
        "data": named,
        "layers": built.names[:depth],
        "activations": built.activations[:depth],
        "example": stack.example,
        "depth": depth,
        "start": stack.start,
        "encoded": stack.encoded,
        "classes": stack.task.n_outputs,
        "method": decisive(config.method),
        "training": config.training and decisive(config.training),
        "examples": stage.n_examples,
        "steps_before": stage.steps_before,
        "choices": {
            name: value for name, value in dataclasses.asdict(choices).items() if value != getattr(Choices, name)
        },
    }
    if stack.task.kind != "classification":
        content["task"] = stack.task.kind
    if any(".py:" in name for name in built.names[:depth]):  # whose words do not say how large they are
        flat = traverse_util.flatten_dict(stack_shapes(stack), sep="/")
        content["shapes"] = {path: leaf.shape for path, leaf in flat.items()}
    return Spec(dataclasses.replace(stage, config=skeleton(config)), config, choices, data, content)


def _check_updates(field: str, stage: Stage) -> None:
    """Checks that a stage's curves, which have room for a value of every update, can be held at all."""
    training = stage.config.training
    if training and stage.total_steps > MOST_UPDATES:
        remedy = f"makes {stage.total_steps:,} updates in {stage.name}, where {MOST_UPDATES:,} are the most; lower it"
        raise ConfigError(field, training.updates or training.epochs, remedy)
