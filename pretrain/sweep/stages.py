"""The stages of one point of a sweep: what each is, and all that decides its outcome."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pretrain.config import DataConfig, Experiment, FinetuneConfig, ObjectiveConfig, PretrainConfig, fields
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset
from pretrain.learn.finetune import Finetune
from pretrain.learn.model import Counterpart
from pretrain.learn.phase import Phase
from pretrain.learn.readout import Readout
from pretrain.learn.stage import Stage
from pretrain.sweep import canonical

FORMAT = 1  # of stages; raised when the same spec trains to other parameters
Numbers = float | tuple[float, ...]  # of a stage, or of each layer
Choice = str | int


class Spec(NamedTuple):
    """What the jobs of a stage of one point have in common, whatever their seed."""

    stage: Stage
    numbers: Mapping[str, Numbers]
    choices: Mapping[str, Choice]
    data: DataConfig
    content: dict  # of the id


def specs(settings: Experiment, datasets: Mapping[DataConfig, Dataset]) -> list[Spec]:
    """Returns the stages of one point's trials: those of pretraining first, and last the fine-tuning or read-out."""
    encoder_init, source = settings.finetune.encoder_init, datasets[settings.pretraining_data]
    if encoder_init == "he":
        before = []
    elif encoder_init != "pca" and settings.pretrain.training == "end_to_end":
        objective = settings.pretrain.objective
        counterparts = canonical.counterparts_end_to_end(objective, _activations(settings))
        before = [_end_to_end(settings, source, counterparts)]
    else:
        before = _greedy(settings, source)
        if encoder_init != "pca" and settings.pretrain.training == "greedy_then_end_to_end":
            before.append(_end_to_end(settings, source, before[-1].stage.counterparts, _made(before)))
    return [*before, _last(settings, datasets[settings.data])]


def _greedy(settings: Experiment, dataset: Dataset) -> list[Spec]:
    """Returns the phases that train one layer each, from the images up."""
    found: list[Spec] = []
    counterparts: tuple[Counterpart, ...] = ()
    activations, data = _activations(settings), settings.pretraining_data
    for layer in range(len(activations)):
        chosen = settings.at_layer(layer).pretrain
        if settings.finetune.encoder_init == "pca":
            chosen = dataclasses.replace(chosen, objective=ObjectiveConfig(kind="pca"))
        config = canonical.phase(chosen, layer)
        counterparts += (canonical.counterpart(config.objective, layer, activations),)
        supervised = config.objective.kind == "supervised"
        stage = Phase(
            config,
            *_shape(settings, dataset, layer + 1),
            n_examples=settings.finetune.labels if supervised else len(dataset.train.images),
            counterparts=counterparts,
            frozen_layers=layer,
            n_classes=len(dataset.class_names) if any(each.decoder == "none" for each in counterparts) else 0,
            made_before=_made(found) if config.carry_step_count else 0,
        )
        labelled = {"label_subset": settings.finetune.label_subset} if supervised else {}
        found.append(_spec(stage, config, data, dataset, choices=labelled))
    return found


def _made(phases: Sequence[Spec]) -> int:
    """Returns the updates that phases make, of which components take none."""
    return sum(phase.stage.total_steps for phase in phases if phase.stage.kind != "pca")


def _end_to_end(settings: Experiment, dataset: Dataset, counterparts: tuple[Counterpart, ...], made: int = 0) -> Spec:
    """Returns the phase that trains all layers at once, after so many updates of those before."""
    config = canonical.end_to_end(settings.pretrain)
    made = made if config.carry_step_count else 0
    shape = (*_shape(settings, dataset), len(dataset.train.images), counterparts)
    stage = Phase(config, *shape, frozen_layers=0, made_before=made)
    return _spec(stage, config, settings.pretraining_data, dataset)


def _last(settings: Experiment, dataset: Dataset) -> Spec:
    """Returns the fine-tuning or read-out."""
    config, shape = canonical.finetuning(settings.finetune), _shape(settings, dataset)
    n_classes, whitens = len(dataset.class_names), config.codes == "whitened"
    if config.readout != "none":
        stage = Readout(config, *shape, n_classes, config.readout, config.labels, whitens)
        return _spec(stage, config, settings.data, dataset)
    layers = [settings.at_layer(layer).finetune for layer in range(len(settings.encoder.widths))]
    numbers = canonical.of_layers(layers)
    stage = Finetune(config, *shape, n_classes, whitens)
    latest = max(numbers["unfreeze_at"][stage.frozen_layers :], default=0)
    if latest and latest >= stage.total_steps:
        remedy = f"comes after the last of {stage.total_steps} updates; lower it, or set finetune.frozen_layers"
        raise ConfigError("finetune.unfreeze_at", int(latest), remedy)
    return _spec(stage, config, settings.data, dataset, numbers)


def _shape(settings: Experiment, dataset: Dataset, depth: int | None = None) -> tuple:
    """Returns what all stages are told of the lowest layers: the images' size, widths and activations."""
    return dataset.train.images.shape[1], settings.encoder.widths[:depth], _activations(settings)[:depth]


def _spec(
    stage: Stage,
    config: PretrainConfig | FinetuneConfig,
    data: DataConfig,
    dataset: Dataset,
    numbers: Mapping[str, Numbers] | None = None,
    choices: Mapping[str, Choice] | None = None,
) -> Spec:
    """Returns what decides a stage's outcome besides its seed and parent, and the stage with its numbers left out."""
    static, own = fields.split_traced(config)
    own, choices = {**own, **(numbers or {})}, {**fields.start_values(config), **(choices or {})}
    # What the stage is besides its config, which has the numbers and choices that decide the outcome, too.
    shape = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage) if field.name != "config"}
    spec = {"stage": type(stage).__name__, **shape, "config": dataclasses.asdict(config), **(numbers or {}), **choices}
    images = {"fingerprint": dataset.fingerprint, "validation": len(dataset.validation.images)}
    content = {"format": FORMAT, "data": images, "spec": spec}
    return Spec(dataclasses.replace(stage, config=static), own, choices, data, content)


def _activations(settings: Experiment) -> tuple[str, ...]:
    return tuple(settings.at_layer(layer).encoder.activation for layer in range(len(settings.encoder.widths)))


def check_sizes(settings: Experiment, datasets: Mapping[DataConfig, Dataset]) -> None:
    """Checks a point's settings against its datasets.

    Raises:
      ConfigError: a dataset is too small for a field, or images and encoder do not fit.
    """
    dataset, source = datasets[settings.data], datasets[settings.pretraining_data]
    widths, labels = settings.encoder.widths, settings.finetune.labels
    layers = [settings.at_layer(layer).pretrain for layer in range(len(widths))]
    supervised = [layer for layer in layers if layer.objective.kind == "supervised"]
    all_at_once = [] if settings.pretrain.training == "greedy" else [settings.pretrain]
    asked = [("finetune.labels", labels, images) for images in (dataset, *([source] if supervised else []))]
    asked += [("pretrain.batch_size", config.batch_size, source) for config in (*layers, *all_at_once)]
    for name, size, images in asked:
        if size > len(images.train.images):
            raise ConfigError(name, size, f"is more than the {len(images.train.images)} training images; lower it")
    sizes = [images.train.images.shape[1] for images in (dataset, source)]
    if sizes[0] != sizes[1]:
        remedy = f"has images of {sizes[1]} values, not of {sizes[0]}; name a dataset with images of the same size"
        raise ConfigError("pretrain.wrong_data", settings.pretrain.wrong_data, remedy)
    all_components = settings.finetune.encoder_init == "pca"
    for layer, (below, above) in zip(layers, itertools.pairwise((sizes[0], *widths)), strict=True):
        if (all_components or layer.objective.kind == "pca") and above > below:
            remedy = f"has a layer of {above} units that reads {below} values, which have no more components; narrow it"
            raise ConfigError("encoder.widths", widths, remedy)
    for layer in supervised:
        if layer.batch_size > labels:
            remedy = f"is more than the {labels} labels that supervised phases read; lower it"
            raise ConfigError("pretrain.batch_size", layer.batch_size, remedy)
