"""Whether settings, layers and data fit each other: rows to take and to hold out, shapes, and intervals of values."""

import math
from collections.abc import Iterator, Mapping

from pretrain.config import DataConfig, Settings, checks
from pretrain.config.fields import ConfigError, get
from pretrain.config.method import Method
from pretrain.config.methods import deep
from pretrain.data import Dataset
from pretrain.learn.layers import LayerError
from pretrain.learn.stack import Stack, is_dense
from pretrain.plan import modules
from pretrain.plan.modules import Built
from pretrain.plan.stages import example_shape, n_labels

OF_SERIES = ", of rows that are series, --data.inputs series"  # a remedy, of which estimators have another


def check(settings: Settings, datasets: Mapping[DataConfig, Dataset]) -> None:
    """Checks a point's settings against its datasets.

    Raises:
      ConfigError: a dataset is too small for a field, or its examples and the encoder do not fit; a line for each
        fault.
    """
    built = modules.build(settings)
    checks.check_depth(settings, len(built.layers))
    checks.check_methods(settings, modules.facts_of(built))
    dataset, source = datasets[settings.finetuning_data], datasets[settings.pretraining_data]
    faults = [*_too_large(settings, len(built.layers), dataset, source), *_unlike(settings, built, dataset, source)]
    if faults:
        raise ConfigError.of_all(faults)


def _too_large(settings: Settings, depth: int, dataset: Dataset, source: Dataset) -> Iterator[ConfigError]:
    """Yields the fields that ask for more rows than there are."""
    labels = n_labels(settings, dataset)
    own = [settings.at_layer(layer).pretrain for layer in range(depth)]
    supervised = [layer for layer in own if layer.method.reads_labels]
    for images in (dataset, *([source] if supervised else [])):
        if labels > images.n_labelled:
            remedy = f"is more than the {images.n_labelled} training rows with a label; lower it, or take all by 0"
            yield ConfigError("finetune.labels", labels, remedy)
    finetune = settings.finetune
    if finetune.label_subset == "balanced" and dataset.task != "classification":
        remedy = f"balances classes, and the task is {dataset.task}; set it to random"
        yield ConfigError("finetune.label_subset", finetune.label_subset, remedy)
    weighed = [("finetune", finetune.class_weights)]
    weighed += [("pretrain.method", get(layer, "method.class_weights")) for layer in supervised]
    for section, weights in weighed:
        if dataset.task == "regression" and weights != "none":
            remedy = "weighs classes, and the task is regression; set it to none"
            yield ConfigError(f"{section}.class_weights", weights, remedy)
    if finetune.readout == "none" and finetune.batch_size > labels:
        remedy = f"is larger than finetune.labels {labels}; lower it"
        yield ConfigError("finetune.batch_size", finetune.batch_size, remedy)
    all_at_once = [] if settings.pretrain.training == "greedy" else [settings.pretrain]
    for config in (*own, *all_at_once):
        if "neighbours" in config.watch and source.task != "classification":
            remedy = f"compares classes of neighbours, and the task is {source.task}; leave neighbours out"
            yield ConfigError("pretrain.watch", " ".join(config.watch), remedy)
        if "neighbours" in config.watch and len(source.validation.inputs) < 2:
            remedy = "compares validation rows with one another, and there is one; leave neighbours out"
            yield ConfigError("pretrain.watch", " ".join(config.watch), remedy)
        if config.batch_size > len(source.train.inputs):
            remedy = f"is more than the {len(source.train.inputs)} training rows; lower it"
            yield ConfigError("pretrain.batch_size", config.batch_size, remedy)
    for layer in supervised:
        if layer.batch_size > labels:
            remedy = f"is more than the {labels} labels that supervised stages read; lower it"
            yield ConfigError("pretrain.batch_size", layer.batch_size, remedy)


def _unlike(settings: Settings, built: Built, dataset: Dataset, source: Dataset) -> Iterator[ConfigError]:
    """Yields the misfits of examples and layers."""
    layers = built.layers
    sizes = [data.train.inputs.shape[1] for data in (dataset, source)]
    if sizes[0] != sizes[1] or (dataset.example_shape != source.example_shape and not is_dense(layers[0])):
        remedy = f"has examples of {sizes[1]} values, not of {sizes[0]}; name a dataset with examples of the same size"
        yield ConfigError("pretrain.wrong_data", settings.pretrain.wrong_data, remedy)
    written = " ".join(map(str, settings.encoder.layers))
    if not dataset.has_axes and any(word.kind not in ("dense", "own") for word in settings.words):
        remedy = f"has convolutions, but a row of the data is {dataset.example_shape[0]:,} columns"
        other = "" if dataset.records else f", or{OF_SERIES}"
        yield ConfigError("encoder.layers", written, f"{remedy}; give numbers of units{other}")
        return
    try:
        shapes = Stack(layers, example_shape(layers, dataset.example_shape)).shapes
    except LayerError as error:
        yield ConfigError("encoder.layers", written, str(error))
        return
    if settings.finetune.is_pretrained and not any(shape.params for shape in shapes):
        remedy = "has no parameters, so that nothing can be pretrained; give it a layer that has some"
        yield ConfigError("encoder.layers", written, remedy)
        return
    for number, shape in enumerate(shapes):
        n_inputs, n_codes = math.prod(shape.inputs), math.prod(shape.outputs)
        try:
            settings.at_layer(number).greedy_method.check_size(n_inputs, n_codes, settings.encoder.layers)
        except ConfigError as error:
            yield error
    if settings.finetune.trains_encoder_before:
        try:
            _lowest_method(settings).check_interval(*source.interval)
        except ConfigError as error:
            yield error


def _lowest_method(settings: Settings) -> Method:
    """Returns the method that reads the data themselves."""
    if settings.pretrain.training == "end_to_end" and settings.finetune.encoder_init != "pca":
        return deep(settings.pretrain.method)
    return settings.at_layer(0).greedy_method
