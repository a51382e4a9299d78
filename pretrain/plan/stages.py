"""The stages of one point of a sweep: what each is, and all that decides its outcome."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flax import traverse_util

from pretrain.config import DataConfig, FinetuneConfig, PretrainConfig, Settings
from pretrain.config.counts import counted
from pretrain.config.effects import canonical, decisive
from pretrain.config.fields import ConfigError
from pretrain.config.method import Inputs, Method
from pretrain.config.methods import deep
from pretrain.config.own_methods import blamed_on
from pretrain.config.own_views import own_views
from pretrain.config.views import Views
from pretrain.data import Dataset
from pretrain.data.findings import Finding
from pretrain.learn.attention import Mean
from pretrain.learn.layers import LayerError, Layers, MaxPooling, Params
from pretrain.learn.stack import Companions, Stack, is_dense, layer_shapes, stack_shapes
from pretrain.learn.stage import Choices, Layout, Stage, StageConfig, Subset
from pretrain.learn.tasks import NO_TASK, Task
from pretrain.plan import builders, described, modules, reference
from pretrain.plan.imported import Imported, imported
from pretrain.plan.modules import Built

MOST_UPDATES = 50_000_000  # of a stage
_POOLING = (MaxPooling, Mean)  # which methods of hidden parts skip


class Spec(NamedTuple):
    """A stage of one point, as all seeds share it."""

    stage: Stage
    config: StageConfig
    data: DataConfig
    content: dict[str, Any]  # by which its settings and data name it
    weights: Params | None = None  # of a checkpoint, of its layers in training, beside a parent's parameters

    def parent(self, before: Stage | None) -> Stage | None:
        """Returns a stage whose parameters are of the shapes that it starts from, given the stage before it."""
        if not self.weights:
            return before
        stack = self.stage.stack
        beside = tuple(each if number < stack.start else () for number, each in enumerate(stack.companions))
        static = self.stage.static._replace(stack=dataclasses.replace(stack, companions=beside))
        return dataclasses.replace(self.stage, static=static)


def specs(settings: Settings, datasets: Mapping[DataConfig, Dataset]) -> list[Spec]:
    """Returns the stages of one point's trials: those of pretraining first, and last the fine-tuning or read-out.

    Raises:
      ConfigError: layers do not fit each other, the images, or the fields that count them.
    """
    return [*pretraining(settings, datasets), last(settings, datasets)]


def pretraining(settings: Settings, datasets: Mapping[DataConfig, Dataset]) -> list[Spec]:
    """Returns the stages of pretraining at one point, none where its encoder starts from none; see ``specs``."""
    if not settings.finetune.is_pretrained:
        return []
    built, source = modules.build(settings), datasets[settings.pretraining_data]
    found = None
    if settings.reads_checkpoint:
        found = _checkpoint(settings, built, datasets[settings.finetuning_data])
    if settings.finetune.encoder_init == "weights" and found:
        return [_imported(settings, built, datasets[settings.finetuning_data], found)]
    is_greedy_alone = settings.finetune.encoder_init == "pca" or settings.pretrain.training == "greedy"
    if not is_greedy_alone and settings.pretrain.training == "end_to_end":
        return [_end_to_end(settings, built, source, (), found)]
    before = _greedy(settings, built, source, found)
    return before if is_greedy_alone else [*before, _end_to_end(settings, built, source, before)]


def frozen_layers(settings: Settings, depth: int) -> int:
    """Returns how many layers fine-tuning leaves as they are."""
    frozen = settings.finetune.frozen_layers
    return depth if frozen == "all" else min(frozen, depth)  # of none where there is no encoder


def n_labels(settings: Settings, dataset: Dataset) -> int:
    """Returns the size of the labelled subset."""
    return settings.finetune.n_labels(dataset.n_labelled)


def sets_of(points: Iterable[Settings]) -> dict[tuple[str, str, str], DataConfig]:
    """Returns the data of points, of each set the first."""
    sets: dict[tuple[str, str, str], DataConfig] = {}
    for settings in points:
        sets.setdefault((settings.data.name, settings.data.dir, settings.data.target), settings.data)
    return sets


def task_of(dataset: Dataset) -> Task:
    """Returns the task of a dataset."""
    return Task(dataset.task, len(dataset.output_names), dataset.has_unknown)


def example_shape(layers: Layers, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of an image as the lowest layer reads it: flattened for a dense one, or for none."""
    flattens = not layers or is_dense(layers[0])
    return (math.prod(shape),) if flattens else shape


def _greedy(settings: Settings, built: Built, dataset: Dataset, found: Imported | None) -> list[Spec]:
    """Returns the stages that train one layer each, from the images up, and from a checkpoint if there is one."""
    layers, example = built.layers, example_shape(built.layers, dataset.example_shape)
    stages: list[Spec] = []
    beside: tuple[Companions, ...] = ()
    for number in range(len(layers)):
        section, method = settings.at_layer(number).pretrain, settings.at_layer(number).greedy_method
        method = _at_inputs(method, dataset)
        if method.skips_pooling and isinstance(layers[number], _POOLING):
            beside += ((),)
            continue
        task, n_examples, subset = NO_TASK, len(dataset.train.inputs), None
        if method.reads_labels:
            task, n_examples = task_of(dataset), n_labels(settings, dataset)
            subset = Subset(n_examples, settings.finetune.label_subset, task.n_classes)
        beside += (_companions(method, layers[: number + 1], example, task_of(dataset)),)
        encoded = number if section.cache_codes and not method.reads_rows else 0
        stack = Stack(
            layers[: number + 1],
            example,
            beside,
            start=number,
            encoded=encoded,
            task=task,
            padded=dataset.scaling.padded,
            precision=settings.encoder.precision,
        )
        if not any(layer_shapes(stack, number).values()):
            continue  # pooling or a mean, which its codes repeat, has nothing to learn
        before = _updates(stages) if section.carry_step_count else 0
        layout, is_given = _layout_of(method, dataset), bool(found)
        made = builders.pretraining(
            section, method, stack, section.epochs, n_examples, subset, before, layout, is_given
        )
        _check_length("epochs", section, made[0])
        stages.append(_given(_spec(built, made, section, settings.pretraining_data, dataset), found))
    return stages


def _end_to_end(
    settings: Settings, built: Built, dataset: Dataset, before: Sequence[Spec], found: Imported | None = None
) -> Spec:
    """Returns the stage that trains all layers at once, after others or from the start; it always reconstructs.

    The start is a checkpoint if there is one.
    """
    section = settings.pretrain
    method = _at_inputs(deep(section.method), dataset)
    layers = _unpooled(settings, built.layers) if method.skips_pooling else built.layers
    example = example_shape(layers, dataset.example_shape)
    beside = before[-1].stage.stack.companions if before else ()  # which decided how layers are decoded
    beside += tuple(
        _companions(method.of_deep_layer(number, len(layers)), layers[: number + 1], example, task_of(dataset))
        for number in range(len(beside), len(layers))
    )
    method = method.after_greedy() if before else method
    steps, epochs = _updates(before) if section.carry_step_count else 0, section.end_to_end_epochs
    padded, precision, n_images = dataset.scaling.padded, settings.encoder.precision, len(dataset.train.inputs)
    stack = Stack(layers, example, beside, padded=padded, precision=precision)
    layout, method = _layout_of(method, dataset), canonical(method)
    made = builders.pretraining(
        section, method, stack, epochs, n_images, steps_before=steps, layout=layout, is_given=bool(found)
    )
    _check_length("end_to_end_epochs", section, made[0])
    return _given(_spec(built, made, section, settings.pretraining_data, dataset), found)


def _unpooled(settings: Settings, layers: Layers) -> Layers:
    """Returns layers without the pooling after the last of them.

    Raises:
      ConfigError: there is pooling below another layer, which would read other values than in fine-tuning.
    """
    depth = max(number for number, layer in enumerate(layers, 1) if not isinstance(layer, _POOLING))
    if any(isinstance(layer, _POOLING) for layer in layers[:depth]):
        remedy = "pools below another layer, where all are trained at once and pooling is skipped"
        remedy += "; set pretrain.training to greedy, or give convolutions a stride"
        raise ConfigError("encoder.layers", " ".join(map(str, settings.encoder.layers)), remedy)
    return layers[:depth]


def _at_inputs(method: Method, dataset: Dataset) -> Method:
    """Returns a method with its defaults for a dataset's inputs, without fields that then have no effect."""
    return canonical(method.at_inputs(_inputs(dataset)))


def _inputs(dataset: Dataset) -> Inputs:
    return Inputs(dataset.raw.form, dataset.example_shape, dataset.scaling.padded, dataset.interval)


def _layout(field: str, views: Iterable[str], dataset: Dataset) -> Layout:
    return Layout(dataset.example_shape, dataset.column_groups, own_views(field, views))


def _layout_of(method: Method, dataset: Dataset) -> Layout | None:
    views = method.views if isinstance(method, Views) else ()
    return _layout("pretrain.method.views", views, dataset) if method.reads_layout else None


def _checkpoint(settings: Settings, built: Built, dataset: Dataset) -> Imported:
    """Returns the parameters of a checkpoint, whose codes are those of the reference if there is one.

    Raises:
      ConfigError: it does not fit, or was made for inputs of another scale.
    """
    example = example_shape(built.layers, dataset.example_shape)
    found = imported(settings.finetune, built.layers, example, dataset.example_shape)
    described.check_inputs(settings.finetune.weights, found.scaling, found.columns, dataset)
    if settings.finetune.reference:
        stack = Stack(built.layers, example)
        reference.check(settings.finetune, found, stack, settings.finetuning_data, dataset)
    return found


def _imported(settings: Settings, built: Built, dataset: Dataset, found: Imported) -> Spec:
    """Returns the stage that holds a checkpoint's parameters."""
    made = builders.imported(built.layers, example_shape(built.layers, dataset.example_shape))
    return _given(_spec(built, made, None, settings.finetuning_data, dataset), found)


def _given(spec: Spec, found: Imported | None) -> Spec:
    """Returns a stage whose layers in training start from a checkpoint, which names it: not its path, and no data."""
    if not found:
        return spec
    stack = spec.stage.stack
    names = [f"layers_{number}" for number in range(stack.start, len(stack.layers))]
    weights = {"encoder": {name: found.params["encoder"][name] for name in names}}
    return spec._replace(content={**spec.content, "weights": found.digest}, weights=weights)


def _companions(method: Method, layers: Layers, example: tuple[int, ...], task: Task) -> Companions:
    try:
        with blamed_on(method):
            return builders.companions(method, layers, example, task)
    except (LayerError, AttributeError, TypeError) as error:  # a decoder of the user's may fail in any way
        name = type(layers[-1]).__name__
        raise ConfigError("encoder.layers", name, f"cannot be decoded: {' '.join(str(error).split())[:300]}") from None


def last(settings: Settings, datasets: Mapping[DataConfig, Dataset]) -> Spec:
    """Returns the fine-tuning or read-out at one point; see ``specs``."""
    built, dataset = modules.finetuned(settings), datasets[settings.finetuning_data]
    section, layers = canonical(settings.finetune), built.layers
    depth = len(layers)
    frozen = frozen_layers(settings, depth) if section.makes_updates else depth
    # Frozen layers have no pace.
    of_layers = [settings.at_layer(layer).finetune if layer >= frozen else FinetuneConfig() for layer in range(depth)]
    example, labels = example_shape(layers, dataset.example_shape), n_labels(settings, dataset)
    layout = _augmentation(settings.finetune, frozen, dataset) if section.makes_updates else None
    task, precision = task_of(dataset), settings.encoder.precision
    if section.readout == "own" and section.ending.kind == "none":
        raise ConfigError("finetune.ending.kind", "none", "names no read-out of your own; write FILE.py:NAME")
    made = builders.last(section, of_layers, layers, example, task, frozen, labels, layout, precision)
    stage = made[0]
    length = "updates" if section.updates else "epochs"
    _check_updates(f"finetune.{length}", getattr(section, length), stage)
    latest = max((layer.unfreeze_at for layer in of_layers[frozen:]), default=0) if stage.n_updates else 0
    if latest and latest >= stage.n_updates:
        remedy = f"comes after the last of {stage.n_updates} updates; lower it, or set finetune.frozen_layers"
        raise ConfigError("finetune.unfreeze_at", int(latest), remedy)
    return _spec(built, made, section, settings.finetuning_data, dataset)


def _augmentation(section: FinetuneConfig, frozen: int, dataset: Dataset) -> Layout | None:
    """Returns the layout of the examples of which fine-tuning makes views; None where it makes none.

    Raises:
      ConfigError: it cannot.
    """
    views, shown = section.views_at(_inputs(dataset), "finetune"), " ".join(section.views)
    if views and dataset.scaling.padded:
        raise ConfigError("finetune.views", shown, "makes views of series of one length only; leave it out")
    if views and frozen and section.cache_codes:
        layers = counted(frozen, "frozen layer")
        remedy = f"needs rows in every update, where codes of {layers} are computed once; set finetune.cache_codes to"
        raise ConfigError("finetune.views", shown, f"{remedy} False, or finetune.frozen_layers to 0")
    return _layout("finetune.views", views, dataset) if views else None


def _updates(stages: Sequence[Spec]) -> int:
    """Returns the updates that stages make; a method in closed form makes none."""
    return sum(spec.stage.n_updates for spec in stages)


def _spec(built: Built, made: builders.Made, section: Any, data: DataConfig, dataset: Dataset) -> Spec:
    """Returns a stage with all that decides its outcome besides seed, parent and program."""
    stage, config = made
    stack, rows, choices = stage.stack, stage.rows, stage.static.choices or Choices()
    depth = len(stack.layers)
    content = {
        "data": {part: getattr(dataset.fingerprints, part) for part in stage.reads},
        "layers": built.names[:depth],
        "activations": built.activations[:depth],
        "example": stack.example,
        "depth": depth,
        "start": stack.start,
        "encoded": stack.encoded,
        "classes": stack.task.n_outputs,
        "method": _deciding(config.method, section),
        "l2": config.l2,
        "updates": stage.n_updates,
        "rows": [rows.n, rows.batch_size, rows.sampling, rows.subset and rows.subset.method],
        "validation": stage.validation,
        "patience": stage.patience,
        "steps_before": stage.static.steps_before,
        "choices": [choices.encoder_init, choices.fresh_layers, choices.head_init, choices.codes],
    }
    if config.optimizer:
        content["optimizer"] = decisive(config.optimizer)
    if stage.watch:
        content["watch"] = stage.watch
    if stack.precision != "float32":
        content["precision"] = stack.precision
    if stack.task.kind != "classification":
        content["task"] = stack.task.kind
    if any(".py:" in name for name in built.names[:depth]):  # whose words do not say how large they are
        flat = traverse_util.flatten_dict(stack_shapes(stack), sep="/")
        content["shapes"] = {path: leaf.shape for path, leaf in flat.items()}
    return Spec(stage, config, data, content)


def _deciding(method: Any, section: Any) -> dict[str, Any]:
    """Returns the fields by which a method names a stage; of fine-tuning, those that no other part of a stage reads."""
    if not isinstance(method, FinetuneConfig):
        views = {"views": _without_directories(method.views)} if isinstance(method, Views) else {}
        return {**decisive(method), **views, "kind": Path(method.kind).name}  # files of the user's without directories
    homes = section.homes()
    named = {name: value for name, value in decisive(section).items() if homes[name.partition(".")[0]] == "method"}
    views = {"views": _without_directories(section.views)} if section.views else {}
    return {"kind": section.kind, **{name: getattr(method, name) for name in named}, **views}


def _without_directories(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(Path(word).name for word in words)


def _check_length(epochs: str, section: PretrainConfig, stage: Stage) -> None:
    """Checks that a stage of pretraining is no longer than can be held."""
    length = "updates" if section.updates else epochs
    _check_updates(f"pretrain.{length}", getattr(section, length), stage)


def _check_updates(field: str, value: int, stage: Stage) -> None:
    """Checks that a stage's curves, which have room for a value of every update, can be held at all."""
    if stage.n_updates > MOST_UPDATES:
        remedy = f"makes {stage.n_updates:,} updates in {stage.name}, where {MOST_UPDATES:,} are the most; lower it"
        raise ConfigError(field, value, remedy)


def endless(stages: Iterable[Stage]) -> Iterator[Finding]:
    """Yields a finding for each stage that may end early, and is measured too seldom for it."""
    for stage in stages:
        if stage.patience and stage.n_validations < stage.patience + 2:
            measured = f"{counted(stage.n_validations, 'measurement')} in {stage.n_updates:,} updates"
            section = stage.name.partition("/")[0]
            line = f"{section}.patience: {stage.patience} ends nothing early, with {measured}; the best of them is kept"
            yield Finding("patience that ends nothing", line)
