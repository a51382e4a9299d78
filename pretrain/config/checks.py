"""Checks across fields of an experiment: its stages, and its layers, must fit together."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, fields, get, unknown
from pretrain.config.method import LayerFacts
from pretrain.config.methods import MethodConfig, deep
from pretrain.config.settings import FinetuneConfig, PretrainConfig, Settings
from pretrain.config.suggestions import suggestion

_OF_ALL_LAYERS = ("training", "encoder_init", "end_to_end_epochs", "carry_step_count", "wrong_data")


def _per_layer() -> list[str]:
    """Returns the names of fields that may differ from layer to layer."""
    of_stages = [f"pretrain.{name}" for name in fields(PretrainConfig) if name not in _OF_ALL_LAYERS]
    return ["encoder.activation", *of_stages, "finetune.unfreeze_at", "finetune.rate_factor"]


def check_trial(settings: Settings) -> None:
    """Checks the settings of a trial as far as possible without building its layers.

    Raises:
      ConfigError: two fields do not fit; the message names the first, and the remedy the second.
    """
    finetune, words = settings.finetune, settings.words
    has_known_depth = all(word.kind != "own" for word in words)  # a user's function may return any number of layers
    if has_known_depth:
        check_depth(settings, len(words))
    if isinstance(finetune.labels, int) and 0 < finetune.labels < finetune.batch_size and finetune.readout == "none":
        remedy = f"is larger than finetune.labels {finetune.labels}; lower it"
        raise ConfigError("finetune.batch_size", finetune.batch_size, remedy)
    if finetune.encoder_init == "wrong_data" and settings.pretraining_data == settings.data:
        remedy = "is the data of fine-tuning; name another dataset"
        raise ConfigError("pretrain.wrong_data", settings.pretrain.wrong_data, remedy)
    if settings.reads_checkpoint and not finetune.weights:
        remedy = "names no checkpoint, which encoder_init weights reads; set it to a path"
        raise ConfigError("finetune.weights", finetune.weights, remedy)
    if has_known_depth:
        check_methods(settings, _facts(settings))


def check_texts(config: Any) -> None:
    """Checks that all texts of a config can be written as UTF-8, unlike file names in another encoding.

    Raises:
      ConfigError: a text cannot.
    """
    for name in fields(config):
        value = get(config, name)
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            remedy = "is no text, as names in another encoding than UTF-8 are; rename it"
            raise ConfigError(name, value, remedy) from None


def check_family(family: Sequence[str], swept: Collection[str]) -> None:
    """Checks that each condition of ``study.family`` is on a swept field.

    Raises:
      ConfigError: a condition is not.
    """
    for condition in family:
        name, equals, value = condition.partition("=")
        if not equals or not value:
            raise ConfigError("study.family", condition, "names no value; write field=value, as finetune.labels=100")
        if name not in swept:
            near = suggestion(name, swept, "sweep it, or leave it out")
            raise ConfigError("study.family", name, f"is no swept field; {near}")


def check_methods(settings: Settings, facts: Sequence[LayerFacts]) -> None:
    """Checks that each layer can be trained by its method.

    Raises:
      ConfigError: a layer cannot.
    """
    layers = [settings.at_layer(layer) for layer in range(len(facts))]
    methods = [layer.pretrain.method for layer in layers]
    if settings.finetune.encoder_init == "pca":
        for at_layer, layer in zip(layers, facts, strict=True):
            at_layer.greedy_method.check_layer(layer)
    if settings.goes_on and not all(method.makes_updates for method in methods):
        remedy = "is trained on, where a method in closed form trains nothing; name another pretrain.method.kind"
        raise ConfigError("pretrain.encoder_init", "weights", remedy)
    if settings.pretrain.training != "greedy":
        _check_end_to_end(settings.pretrain, methods, facts)
    if settings.pretrain.training == "end_to_end":
        for name in settings.per_layer:
            if name.startswith("pretrain."):
                remedy = "differs from layer to layer, but all are trained at once; set pretrain.training to greedy"
                raise ConfigError("per_layer", name, remedy)
        return
    for method, layer in zip(methods, facts, strict=True):
        method.check_layer(layer)


def _facts(settings: Settings) -> list[LayerFacts]:
    """Returns the facts of each layer, from its word alone."""
    words = settings.words
    activations = [settings.at_layer(layer).encoder.activation for layer in range(len(words))]
    layers = zip(settings.encoder.layers, words, activations, [None, *activations], strict=False)
    asked = settings.encoder.norm
    return [
        LayerFacts(str(text), word.kind == "dense", activation, below, word.norm(asked))
        for text, word, activation, below in layers
    ]


def check_depth(settings: Settings, depth: int) -> None:
    """Checks the fields that count layers, or have a value for each, against an encoder's depth.

    Raises:
      ConfigError: a count exceeds the depth, or the number of values differs from it.
    """
    for name in ("frozen_layers", "fresh_layers"):
        value = getattr(settings.finetune, name)
        if value != "all" and value > depth:
            remedy = f"is more layers than the encoder has; at most {depth}, or give encoder.layers more"
            raise ConfigError(f"finetune.{name}", value, f"{remedy} than {settings.encoder.layers}")
    for name, values in settings.per_layer.items():
        if len(values) != depth:
            sizes = f"{counted(len(values), 'value')} for an encoder of {counted(depth, 'layer')}"
            raise ConfigError(f"per_layer {name}", values, f"has {sizes}; give one a layer")


def check_per_layer(settings: Settings, swept: Collection[str]) -> None:
    """Checks which fields differ from layer to layer.

    Raises:
      ConfigError: a field cannot differ, or is swept too.
    """
    for name in settings.per_layer:
        if name not in (known := _per_layer()):
            near = suggestion(name, known, "encoder.activation is, and most fields of pretrain are")
            raise ConfigError("per_layer", name, f"is not a layer's; {near}")
        if name not in fields(settings) and "pretrain.method.kind" not in settings.per_layer:
            raise ConfigError("per_layer", name, unknown(settings, name))
        if name in swept:
            raise ConfigError("sweep", name, "is given per layer; leave one of the two out")


def check_sweep(sweep: Sequence[Mapping[str, Collection[Any]]], finetune: FinetuneConfig) -> None:
    """Checks that no grid sweeps a field without an effect beside a read-out: its arms would be the same.

    Raises:
      ConfigError: frozen layers are swept beside a read-out.
    """
    for grid in sweep:
        readouts = [each for each in grid.get("finetune.readout", (finetune.readout,)) if each != "none"]
        frozen = grid.get("finetune.frozen_layers", ())
        if readouts and len(set(frozen)) > 1:
            remedy = f"are swept, but readout {readouts[0]} trains no layer; set finetune.frozen_layers to one value"
            raise ConfigError("finetune.frozen_layers", tuple(frozen), remedy)


def check_tuned(sweep: Sequence[Mapping[str, Collection[Any]]], tuned: Sequence[str], compared: str) -> None:
    """Checks that each tuned field is swept, with values to choose from where it is, and is not compared.

    Raises:
      ConfigError: a field is not swept, or is compared.
    """
    for name in tuned:
        if name == compared:
            raise ConfigError("study.tune", name, "is what is compared; compare another field, or sweep this one")
        if name == "finetune.labels":
            raise ConfigError("study.tune", name, "is a budget, and more of it is better; sweep it")
        values = [set(map(repr, grid[name])) for grid in sweep if name in grid]
        if not values or min(map(len, values)) < 2:
            raise ConfigError("study.tune", name, f"has no values to choose from; give some by --tune {name}=a,b")


def _check_end_to_end(pretrain: PretrainConfig, methods: Sequence[MethodConfig], layers: Sequence[LayerFacts]) -> None:
    """Checks that all layers can be trained at once, after greedy stages if there are any."""
    is_second = pretrain.training == "greedy_then_end_to_end"
    for method in methods:
        remedy = "trains one layer at a time; set pretrain.training to greedy"
        if is_second:
            remedy = "leaves no decoder, which training all at once after it needs; set pretrain.training to greedy"
            remedy += " or end_to_end" if method.trains_deep else ""
        if not (method.decodes if is_second else method.trains_deep):
            raise ConfigError("pretrain.method.kind", method.kind, remedy)
    if is_second and len(methods) == 1:
        remedy = "would train one layer twice; set it to greedy or end_to_end, or give encoder.layers more layers"
        raise ConfigError("pretrain.training", pretrain.training, remedy)
    deep(pretrain.method).check_deep(layers, methods if is_second else ())
