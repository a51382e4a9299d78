"""What no single field of an experiment can check: that its stages, and its layers, fit together."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pretrain.config.fields import ConfigError, fields, nearest
from pretrain.config.settings import EncoderConfig, FinetuneConfig, ObjectiveConfig, PretrainConfig

if TYPE_CHECKING:
    from pretrain.config import Experiment

_OF_ALL_LAYERS = ("training", "end_to_end_epochs", "carry_step_count", "wrong_data")
_PER_LAYER = (
    "encoder.activation",
    *(f"pretrain.{name}" for name in fields(PretrainConfig) if name not in _OF_ALL_LAYERS),
    *("finetune.unfreeze_at", "finetune.rate_factor"),
)


def check(experiment: "Experiment") -> None:
    """Checks an experiment without a sweep.

    Raises:
      ConfigError: two fields do not fit; the message names one of them, and the remedy the other.
    """
    _check_finetuning(experiment.finetune, experiment.encoder)
    if experiment.finetune.encoder_init == "wrong_data" and experiment.pretraining_data == experiment.data:
        remedy = "is what fine-tuning reads; name another dataset"
        raise ConfigError("pretrain.wrong_data", experiment.pretrain.wrong_data, remedy)
    layers = [experiment.at_layer(layer) for layer in range(len(experiment.encoder.widths))]
    activations = [layer.encoder.activation for layer in layers]
    if experiment.pretrain.training != "greedy":
        _check_end_to_end(experiment.pretrain, [layer.pretrain.objective for layer in layers], activations)
    if experiment.pretrain.training == "end_to_end":
        _check_nothing_greedy(experiment.per_layer)
        return
    for number, layer in enumerate(layers):
        _check_objective(layer.pretrain, number, activations)


def check_per_layer(
    per_layer: Mapping[str, Sequence[Any]], depth: int, sweep: Sequence[Mapping[str, Collection[Any]]]
) -> None:
    """Checks fields that differ from layer to layer against the deepest encoder and against the sweep.

    Raises:
      ConfigError: a field cannot differ, is swept too, or has not one value a layer.
    """
    for name, values in per_layer.items():
        if name not in _PER_LAYER:
            raise ConfigError("per_layer", name, f"is not a layer's; did you mean {nearest(name, _PER_LAYER)!r}?")
        if len(values) != depth:
            remedy = f"has {len(values)} values for an encoder of {depth} layers; give one a layer"
            raise ConfigError(f"per_layer {name}", values, remedy)
        if any(name in grid for grid in sweep):
            raise ConfigError("sweep", name, "is given per layer; leave one of the two out")


def check_sweep(sweep: Sequence[Mapping[str, Collection[Any]]], finetune: FinetuneConfig) -> None:
    """Checks that no grid sweeps what makes no difference beside a read-out: its arms would be one, told as several.

    Raises:
      ConfigError: frozen layers are swept beside a read-out.
    """
    for grid in sweep:
        readouts = [each for each in grid.get("finetune.readout", (finetune.readout,)) if each != "none"]
        frozen = grid.get("finetune.frozen_layers", ())
        if readouts and len(set(frozen)) > 1:
            remedy = f"are swept, but readout {readouts[0]} trains no layer; set finetune.frozen_layers to one value"
            raise ConfigError("finetune.frozen_layers", tuple(frozen), remedy)


def _check_finetuning(finetune: FinetuneConfig, encoder: EncoderConfig) -> None:
    for name in ("frozen_layers", "fresh_layers"):
        if getattr(finetune, name) > len(encoder.widths):
            remedy = f"is more layers than the encoder has; at most {len(encoder.widths)}, or widen encoder.widths"
            raise ConfigError(f"finetune.{name}", getattr(finetune, name), f"{remedy} {encoder.widths}")
    if finetune.batch_size > finetune.labels and finetune.readout == "none":
        remedy = f"is larger than finetune.labels {finetune.labels}; lower it"
        raise ConfigError("finetune.batch_size", finetune.batch_size, remedy)


def _check_objective(pretrain: PretrainConfig, layer: int, activations: Sequence[str]) -> None:
    """Checks that what a layer reads, and its codes, lie where its objective needs them."""
    objective, own = pretrain.objective, activations[layer]
    of_reconstruction = objective.kind == "reconstruction"
    reads_codes = layer and (
        (of_reconstruction and objective.loss == "cross_entropy")
        or (objective.kind == "rbm" and objective.visible == "bernoulli")
    )
    if reads_codes and activations[layer - 1] != "sigmoid":
        field, value = ("loss", objective.loss) if of_reconstruction else ("visible", objective.visible)
        raise _unbounded(field, value, activations[layer - 1])
    if objective.kind == "rbm" and own != "sigmoid":
        raise _unbounded("kind", objective.kind, own)
    if of_reconstruction and objective.sparsity == "kl" and own != "sigmoid":
        raise _unbounded("sparsity", objective.sparsity, own, ", or take l1")


def _unbounded(field: str, value: str, activation: str, other: str = "") -> ConfigError:
    remedy = f"needs codes between 0 and 1; set encoder.activation to sigmoid, not {activation!r}{other}"
    return ConfigError(f"pretrain.objective.{field}", value, remedy)


def _check_end_to_end(
    pretrain: PretrainConfig, of_layers: Sequence[ObjectiveConfig], activations: Sequence[str]
) -> None:
    """Checks that all layers can be trained at once, after phases with objectives of their own if there are any."""
    objective, deep = pretrain.objective, len(activations) > 1
    unfit = [layer.kind for layer in of_layers if layer.kind != "reconstruction"]
    if pretrain.training == "end_to_end" and unfit:
        remedy = "trains one layer at a time; set pretrain.training to greedy"
        raise ConfigError("pretrain.objective.kind", unfit[0], remedy)
    if pretrain.training == "greedy_then_end_to_end":
        _check_phases_before(objective, of_layers)
    if objective.contractive and deep:
        remedy = "has no closed form over several layers; set pretrain.training to greedy"
        raise ConfigError("pretrain.objective.contractive", True, remedy)
    if objective.sparsity == "kl" and activations[-1] != "sigmoid":
        raise _unbounded("sparsity", objective.sparsity, activations[-1], ", or take l1")


def _check_phases_before(objective: ObjectiveConfig, of_layers: Sequence[ObjectiveConfig]) -> None:
    """Checks that phases leave what training all layers at once for an objective starts from."""
    lowest, top = of_layers[0], of_layers[-1]
    if any(layer.kind == "supervised" for layer in of_layers):
        remedy = "leaves nothing that decodes a layer, as training all at once needs; set pretrain.training to greedy"
        raise ConfigError("pretrain.objective.kind", "supervised", remedy)
    if len(of_layers) == 1:
        remedy = "would train one layer twice; set it to greedy or end_to_end, or give encoder.widths more layers"
        raise ConfigError("pretrain.training", "greedy_then_end_to_end", remedy)
    if objective.variational and not (top.kind == "reconstruction" and top.variational):
        remedy = "needs a topmost layer pretrained so; make it variational, or set pretrain.training to end_to_end"
        raise ConfigError("pretrain.objective.variational", True, remedy)
    bounded = {
        "reconstruction": lowest.loss == "cross_entropy" or lowest.output == "sigmoid",
        "rbm": lowest.visible == "bernoulli",
    }
    if objective.loss == "cross_entropy" and not bounded.get(lowest.kind, False):
        remedy = "needs images decoded between 0 and 1, which the lowest layer's phase does not leave; set it to mse"
        raise ConfigError("pretrain.objective.loss", objective.loss, remedy)


def _check_nothing_greedy(per_layer: Mapping[str, Any]) -> None:
    for name in per_layer:
        if name.startswith("pretrain."):
            remedy = "differs from layer to layer, but all are trained at once; set pretrain.training to greedy"
            raise ConfigError("per_layer", name, remedy)
