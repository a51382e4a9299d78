"""Findings about a checkpoint: what neither it nor a shape states; rows that it may have seen; what agrees."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from pretrain.config import DataConfig, Settings
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset
from pretrain.data.findings import Finding
from pretrain.learn.attention import Attention
from pretrain.learn.layers import LayerError
from pretrain.learn.stack import Stack
from pretrain.plan import modules, reference
from pretrain.plan.folded import stated
from pretrain.plan.imported import imported
from pretrain.plan.modules import Built
from pretrain.plan.stages import example_shape

_ACTIVATION, _SCALING = "encoder.activation", "data.scaling"


def findings(
    points: Iterable[Settings], datasets: Mapping[DataConfig, Dataset], chosen: Collection[str] | None
) -> Iterator[Finding]:
    """Yields the findings about the checkpoints that points read, for each encoder and dataset once.

    Args:
      points: settings.
      datasets: by their configs.
      chosen: fields that somebody chose; None where all are.
    """
    known = set()
    for settings in points:
        if not settings.reads_checkpoint:
            continue
        finetune, per_layer = settings.finetune, tuple(settings.per_layer.items())
        asked = finetune.weights, finetune.weights_layout, finetune.weights_names, finetune.reference
        if (key := (asked, settings.encoder, per_layer, settings.finetuning_data)) not in known:
            known.add(key)
            yield from _of_point(settings, datasets[settings.finetuning_data], chosen)


def _of_point(settings: Settings, dataset: Dataset, chosen: Collection[str] | None) -> Iterator[Finding]:
    built, name = modules.build(settings), f"finetune.weights: {settings.finetune.weights!r}"
    example = example_shape(built.layers, dataset.example_shape)
    try:
        found = imported(settings.finetune, built.layers, example, dataset.example_shape)
        agreement = None
        if settings.finetune.reference:
            stack = Stack(built.layers, example)
            agreement = reference.check(settings.finetune, found, stack, settings.finetuning_data, dataset)
    except (LayerError, ConfigError):
        return  # the plan says so, with the remedy
    if found.unused:
        line = f"{name} holds what is not used: {stated(found.unused)}"
        yield Finding("reading", line, figures={"arrays": list(found.unused)})
    if agreement:
        yield agreement
    elif found.scaling is None and chosen is not None:
        yield from _unsaid(name, settings, built, dataset, chosen)
    yield Finding(
        "test rows that a checkpoint may have seen",
        f"rows that {settings.finetune.weights!r} was trained on are not known; test rows among them would favour it",
        "doubt",
        "hold them out by data.test or --data.group, or bring arrays test_images of your own",
    )


def _unsaid(
    name: str, settings: Settings, built: Built, dataset: Dataset, chosen: Collection[str]
) -> Iterator[Finding]:
    """Yields doubts about what a checkpoint does not say: heads, and an activation and a scale of defaults."""
    if heads := sorted({layer.heads for layer in built.layers if isinstance(layer, Attention)}):
        yield Finding(
            "heads that a checkpoint does not say",
            f"{name} does not say its heads; blocks of {' and '.join(map(str, heads))} are given here",
            "doubt",
            f"give --{reference.FIELD} to check them",
        )
    if any(built.activations) and _ACTIVATION not in chosen:
        yield Finding(
            "an activation that a checkpoint does not say",
            f"{name} does not say its activation; {settings.encoder.activation} is the default here",
            "doubt",
            f"give --{_ACTIVATION}, and --{reference.FIELD} to check it",
        )
    if dataset.scaling.method == "standardise" and not dataset.has_axes and _SCALING not in chosen:
        check = "" if dataset.records else f", and --{reference.FIELD} to check it"
        yield Finding(
            "a scale of inputs that a checkpoint does not say",
            f"{name} does not say the scale of its inputs; columns are standardised one by one here",
            "doubt",
            "of pixels give an .npz of uint8 images, which are divided by 255; else scale columns as your code does, "
            f"with --{_SCALING} none{check}",
        )
