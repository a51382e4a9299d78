"""Settings of a stage with all that decides nothing beside the others at one value, so that equal stages are one."""

import dataclasses
from collections.abc import Sequence

from pretrain.config.settings import FinetuneConfig, ObjectiveConfig, OptimizerConfig, PretrainConfig
from pretrain.learn.model import Counterpart

_OUTPUTS = {"linear": "identity", "sigmoid": "sigmoid"}
_OF_KINDS = {
    "rbm": ("visible", "visible_deviation", "gibbs_steps", "persistent"),
    "supervised": (),
    "pca": (),
}
_OF_RULES = {
    "sgd": ("momentum",),
    "adam": ("beta1", "beta2", "epsilon"),
    "adamw": ("beta1", "beta2", "epsilon", "weight_decay"),
}
_OF_LAYERS = ("unfreeze_at", "rate_factor")  # numbers of fine-tuning, one a layer
_OF_READOUTS = ("encoder_init", "fresh_layers", "codes", "readout", "labels", "label_subset")


def phase(config: PretrainConfig, layer: int) -> PretrainConfig:
    """Returns the settings of a greedy phase of a layer, the lowest is 0."""
    default = PretrainConfig()
    if config.objective.kind == "pca":
        cached = config.cache_codes if layer else default.cache_codes
        return dataclasses.replace(default, objective=_objective(config.objective), cache_codes=cached)
    inert = ["training", "end_to_end_epochs", "wrong_data"]
    # The lowest phase has nothing frozen below it and no phase before it: fields about those must not split it.
    inert += [] if layer else ["cache_codes"]
    inert += [] if layer and _counts(config.optimizer) else ["carry_step_count"]
    config = dataclasses.replace(config, **{name: getattr(default, name) for name in inert})
    return dataclasses.replace(config, objective=_objective(config.objective), optimizer=_optimizer(config.optimizer))


def end_to_end(config: PretrainConfig) -> PretrainConfig:
    """Returns the settings of the training of all layers at once, which always reconstructs."""
    default = PretrainConfig()
    objective = _objective(dataclasses.replace(config.objective, kind="reconstruction"))
    if config.training == "greedy_then_end_to_end":  # the phases before it decided how layers are decoded
        objective = dataclasses.replace(objective, tied=default.objective.tied, output=default.objective.output)
    inert = {name: getattr(default, name) for name in ("training", "end_to_end_epochs", "wrong_data", "cache_codes")}
    carries = config.carry_step_count and config.training == "greedy_then_end_to_end" and _counts(config.optimizer)
    optimizer, epochs = _optimizer(config.optimizer), config.end_to_end_epochs
    return dataclasses.replace(
        config, **inert, objective=objective, optimizer=optimizer, epochs=epochs, carry_step_count=carries
    )


def finetuning(config: FinetuneConfig) -> FinetuneConfig:
    """Returns the settings of a fine-tuning or read-out, besides those that are numbers of each layer."""
    default = FinetuneConfig()
    inert = {"fresh_layers": 0} if config.encoder_init == "he" else {}  # where all are fresh
    if config.encoder_init in ("pca", "wrong_data"):  # told by the stages before, whose encoder is taken as it is
        inert["encoder_init"] = "pretrained"
    if config.readout != "none":
        kept = (*_OF_READOUTS, *(["l2"] if config.readout == "logistic" else []))
        of_readout = {name: getattr(config, name) for name in kept}
        return dataclasses.replace(default, batch_size=1, **{**of_readout, **inert})
    inert |= {name: getattr(default, name) for name in _OF_LAYERS}
    if not config.frozen_layers:
        inert["cache_codes"] = True
    if config.updates:
        inert["epochs"] = 1
    if config.head_init != "ridge":
        inert["ridge_penalty"] = default.ridge_penalty
    return dataclasses.replace(config, **inert, optimizer=_optimizer(config.optimizer))


def of_layers(configs: Sequence[FinetuneConfig]) -> dict[str, tuple[float, ...]]:
    """Returns the numbers of fine-tuning that each layer has one of, from its settings at every layer."""
    default = FinetuneConfig()
    own = [default if layer < config.frozen_layers else config for layer, config in enumerate(configs)]
    return {name: tuple(float(getattr(config, name)) for config in own) for name in _OF_LAYERS}


def counterpart(objective: ObjectiveConfig, layer: int, activations: Sequence[str]) -> Counterpart:
    """Returns what a greedy phase trains beside a layer, the lowest is 0."""
    match objective.kind:
        case "supervised":
            return Counterpart("none")
        case "pca":
            return Counterpart("tied")
        case "rbm" if objective.visible == "gaussian":
            return Counterpart("scaled")
        case "rbm":
            return Counterpart("tied", "sigmoid")
    output = activations[layer - 1] if layer else _OUTPUTS[objective.output]
    output = "sigmoid" if objective.loss == "cross_entropy" else output
    return Counterpart("tied" if objective.tied else "untied", output, objective.variational)


def counterparts_end_to_end(objective: ObjectiveConfig, activations: Sequence[str]) -> tuple[Counterpart, ...]:
    """Returns what is trained beside all layers at once: only the topmost codes can be variational."""
    top = len(activations) - 1
    made = []
    for layer in range(len(activations)):
        own = dataclasses.replace(objective, variational=objective.variational and layer == top)
        own = dataclasses.replace(own, loss=objective.loss if layer == 0 else "mse")
        made.append(counterpart(own, layer, activations))
    return tuple(made)


def _optimizer(config: OptimizerConfig) -> OptimizerConfig:
    kept = ("name", "learning_rate", "schedule", "warmup_steps", *_OF_RULES[config.name])
    return OptimizerConfig(**{name: getattr(config, name) for name in kept})


def _counts(config: OptimizerConfig) -> bool:
    """Returns whether a rule corrects its bias by a count of updates."""
    return config.name != "sgd"


def _objective(objective: ObjectiveConfig) -> ObjectiveConfig:
    default = ObjectiveConfig()
    if objective.kind != "reconstruction":
        kept = {name: getattr(objective, name) for name in ("kind", *_OF_KINDS[objective.kind])}
        if kept.get("visible") == "bernoulli":
            del kept["visible_deviation"]
        return dataclasses.replace(default, **kept)
    inert = [name for kind, names in _OF_KINDS.items() for name in names]
    inert += [] if objective.corruption != "none" else ["corruption_level", "corruption_schedule"]
    inert += [] if objective.sparsity != "none" else ["sparsity_weight"]
    inert += [] if objective.sparsity == "kl" else ["sparsity_target"]
    inert += [] if objective.contractive else ["contraction_weight"]
    inert += [] if objective.variational else ["kl_weight"]
    inert += [] if objective.loss == "mse" else ["output"]
    return dataclasses.replace(objective, **{name: getattr(default, name) for name in inert})
