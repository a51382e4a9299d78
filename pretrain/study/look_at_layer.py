"""Weights of one network's first layer at its initialisation, after pretraining and after fine-tuning."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pretrain.runs.looks_file import Changed
from pretrain.runs.sample_file import reduced
from pretrain.study.arms import Arm
from pretrain.study.look_at_codes import network
from pretrain.study.looks import Source, chosen

MOST_UNITS = 18
STAGES = ("initialisation", "pretraining", "fine-tuning")


def changed(source: Source, metric: str, arms: Sequence[Arm]) -> list[Changed]:
    """Returns the weights of the units that pretraining changed most, by the norm of their change.

    There are none where the first arm is not pretrained by updates from a fresh draw, or its first layer does not read
    images densely or by windows.
    """
    import jax

    from pretrain.learn.layers import Convolution, Dense, fresh
    from pretrain.learn.randomness import Purpose, key_for
    from pretrain.runs import samples

    trial, seed = chosen(arms[0], metric)
    settings, dataset = source.settings(trial), source.dataset(trial)
    *phases, last = source.stages[trial].values()
    method = settings.at_layer(0).greedy_method
    is_pretrained = settings.finetune.encoder_init == "pretrained" and method.is_random and not settings.goes_on
    if not (phases and is_pretrained and samples.shows(dataset)) or 1 in dataset.example_shape[:2]:
        return []
    stack, _ = network(source, trial)
    first = stack.layers[0]
    if not isinstance(first, Dense | Convolution) or len(dataset.example_shape) != 3:
        return []
    drawn = _drawn(source, trial, method.reads_labels)
    before = _stored(source, trial, drawn)
    if before is None:
        shape = stack.shapes[0].inputs
        before = jax.jit(lambda seed: fresh(first, shape, key_for(seed, Purpose.ENCODER_INIT, 0)))(drawn)  # one program
    params = [before, *(source.store.params(stage)["encoder"]["layers_0"] for stage in (phases[-1], last))]
    kernels = [np.asarray(each["kernel"], np.float32) for each in params]
    if np.array_equal(kernels[1], kernels[2]):  # frozen
        kernels = kernels[:2]
    weights = np.stack([np.moveaxis(kernel, -1, 0) for kernel in kernels])  # [S, units, ...]
    if weights.ndim == 3 and weights.shape[2] != np.prod(dataset.example_shape):
        return []
    if weights.ndim == 5 and max(weights.shape[2:4]) == 1:  # windows of a pixel
        return []
    flat = weights.reshape(*weights.shape[:2], -1).astype(float)
    norms = np.linalg.norm(flat[1] - flat[0], axis=1)
    units = np.argsort(-norms, kind="stable")[:MOST_UNITS]
    relative = norms[units] / np.maximum(np.linalg.norm(flat[0, units], axis=1), np.finfo(float).tiny)
    is_window = weights.ndim == 5
    shape = dataset.example_shape if weights.ndim == 3 else weights.shape[2:]
    filters = weights[:, units].reshape(len(weights), len(units), *shape)
    filters = reduced(filters.reshape(-1, *shape)).astype(np.float32)
    filters = filters.reshape(len(weights), len(units), *filters.shape[1:])
    stages = STAGES[: len(kernels)]
    return [Changed(trial, seed, stages, units, filters, relative, weights.shape[1], int(is_window))]


def _drawn(source: Source, trial: str, reads_labels: bool) -> int:
    """Returns the seed of a stage's draws, as ``redraws.seed_of``: repeats of a trial share what reads no labels."""
    row = source.trials[trial]
    return row["seed"] + (((row.get("repeat") or 0) << 16) if reads_labels else 0)


def _stored(source: Source, trial: str, drawn: int) -> Any:
    """Returns the first layer's initial parameters where the store has them, in a fresh encoder that stays as it is.

    To draw them again takes a program, which compiles for longer than all else here takes. None where there is no such
    trial of the same draws, data and encoder.
    """
    own = source.settings(trial)
    for other, row in source.trials.items():
        if _drawn(source, other, reads_labels=True) != drawn or row["status"] == "diverged":
            continue
        settings = source.settings(other)
        is_alike = (settings.data, settings.encoder) == (own.data, own.encoder)
        if settings.finetune.encoder_init == "he" and is_alike and source.trained_from(other) != 0:
            return source.store.params(source.stages[other]["finetune"])["encoder"]["layers_0"]
    return None
