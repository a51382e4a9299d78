"""Samples of a run: filters and reconstructions of its first pretraining."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pretrain.config import DataConfig
from pretrain.data import Dataset, Split
from pretrain.learn.layers import Params, encode, scaled
from pretrain.learn.padding import is_real
from pretrain.learn.stack import decode
from pretrain.plan.plan import Job, Plan, Trial
from pretrain.runs.sample_file import Samples, is_series
from pretrain.store.store import Store

MOST_FILTERS = 36
MOST_IMAGES = 10


def of_run(
    plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset], kept: Samples | None = None
) -> Samples | None:
    """Returns the samples of a run; None without pretraining, or if examples are columns, or no colours or grey.

    Args:
      kept: earlier samples, to be returned if they are of the same pretraining.

    Raises:
      StoreError: the pretraining cannot be restored.
    """
    pretrained = next(((trial, phases[-1]) for trial in plan.trials if (phases := _phases(trial, plan))), None)
    if pretrained is None or not shows(datasets[pretrained[1].data]):
        return None
    trial, last = pretrained
    if kept and (kept.trial_id, kept.stage_id) == (trial.id, last.id):
        return kept
    return take(trial, last, store, datasets[last.data])


def take(trial: Trial, job: Job, store: Store, dataset: Dataset) -> Samples:
    """Returns samples of a trial's last phase.

    They are the first units of the first layer, and the first validation image of each of the first classes with its
    reconstruction through all layers.
    """
    params = store.params(job.id)
    rows = _first_of_each_class(dataset.validation)
    inputs = dataset.validation.inputs[rows]

    @jax.jit
    def reconstruct(params: Params, images: jax.Array) -> jax.Array:
        stack = job.stage.stack
        images = images.reshape(len(images), *stack.example)
        return decode(stack, params, encode(stack.layers, params.get("encoder", {}), images))[0]

    images = np.asarray(scaled(inputs))
    reconstructed = np.asarray(reconstruct(params, images))
    return Samples(
        trial_id=trial.id,
        stage_id=job.id,
        seed=trial.seed,
        n_layers=sum(name.startswith("layers_") for name in params["encoder"]),
        n_units=job.stage.stack.shapes[0].outputs[-1],
        filters=_middle(_filters(params.get("encoder", {}).get("layers_0", {}), dataset.example_shape)),
        images=shown(dataset, inputs),
        reconstructions=_as_shown(dataset, reconstructed, images),
        labels=tuple(map(dataset.named, dataset.validation.labels[rows])),
    )


def shown(dataset: Dataset, inputs: Any) -> np.ndarray:
    """Returns inputs [N, D] as people see them: [N, H, W, C] in [0, 1], of volumes a slice; series see ``Samples``."""
    images = np.asarray(scaled(inputs))
    return _as_shown(dataset, images, images)


def _as_shown(dataset: Dataset, values: np.ndarray, images: Any) -> np.ndarray:
    """Returns values of the scale and shape of images, without what pads these."""
    (low, high), shape = dataset.interval, dataset.example_shape
    if dataset.scaling.padded:
        real = np.asarray(is_real(images))
        values = np.where(real, values.reshape(real.shape), np.nan)
    if not is_series(shape) and (low < 0 or high > 1):
        # As of standardised images, which are shown from their least value to their most.
        values = (values - np.float32(low)) / np.float32(high - low)
    return _middle(values.reshape(-1, *shape))


def _middle(values: np.ndarray) -> np.ndarray:
    """Returns the middle slices [N, 1, H, W, C] of volumes [N, D, H, W, C]; images and series as they are."""
    middle = values.shape[1] // 2
    return values if values.ndim == 4 else values[:, middle : middle + 1]


def _filters(layer: Params, image_shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights of a layer's first units: [units, ..., C], with the axes and channels of examples.

    Layers that are neither dense nor convolutional have none: [0, ..., C].
    """
    kernel = layer.get("kernel")
    if not isinstance(kernel, np.ndarray):  # of a module of modules, where a submodule may have that name
        kernel = np.zeros(())
    if kernel.ndim == 2 and kernel.shape[0] == np.prod(image_shape):
        return kernel[:, :MOST_FILTERS].T.reshape(-1, *image_shape)
    if kernel.ndim == len(image_shape) + 1 and kernel.shape[-2] == image_shape[-1]:
        return np.moveaxis(kernel[..., :MOST_FILTERS], -1, 0)
    return np.zeros((0, *image_shape), np.float32)


def shows(dataset: Dataset) -> bool:
    """Returns whether examples are series, or images or volumes in grey or in colours."""
    *sides, channels = dataset.example_shape
    return is_series(dataset.example_shape) or (len(sides) > 1 and channels in (1, 3) and min(sides[-2:]) > 1)


def _phases(trial: Trial, plan: Plan) -> list[Job]:
    """Returns the phases of a trial's pretraining, if its codes can be decoded to images."""
    phases = [job for job in (plan.jobs[each] for each in trial.jobs) if job.stage.stack.head is None]
    return phases if phases and phases[-1].stage.stack.reconstructs else []


def _first_of_each_class(split: Split) -> np.ndarray:
    """Returns the first row of each of the first classes in a split, in the classes' order; else the first rows."""
    rows = np.unique(split.labels, return_index=True)[1] if split.labels.ndim == 1 else np.arange(len(split.labels))
    return rows[:MOST_IMAGES]
