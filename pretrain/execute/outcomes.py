"""Outcomes of the jobs of a pack: parameters, curves, results on whole splits, and predictions."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pretrain.data import Dataset
from pretrain.execute.checkpoint import on_host
from pretrain.execute.compiled import Program
from pretrain.execute.lanes import over_trials
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, Images
from pretrain.learn.results import predictions, results
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Stage
from pretrain.learn.stopping import Stopping
from pretrain.learn.train import Values
from pretrain.plan.one_trial import images_of
from pretrain.store.records import Outcome

ENDS = ("finetune_updates", "finetune_best_update", "finetune_stopped")  # of training that may end early


def of(stage: Stage, mesh: Mesh, share: np.int32, images: Images, carry: Any, n_jobs: int, dataset: Dataset) -> Outcome:
    """Returns the outcomes so far of a pack's jobs, or of those of fewer updates, without the seconds it took.

    Args:
      stage: of the jobs, or the shorter one whose end they are passing.
      mesh: of the devices that share the pack.
      share: jobs a device.
      images: on these devices.
      carry: states and curves, as ``run_steps`` leaves them.
      n_jobs: how many there are; what fills up the mesh is left out.
      dataset: that the images are of.
    """
    states, curves = carry
    measured, predicted = {}, {}
    for split in stage.measured_splits:
        found, own = RESULTS(*stage.as_left(), mesh, share, states.kept, images.train, getattr(images, split))
        if split == "validation" and "constant_units" in found:
            measured["constant_units"] = found["constant_units"]
        found = {name: values for name, values in found.items() if name != "constant_units"}
        prefix = stage.result_names.get(split)
        measured |= {prefix + name: values for name, values in found.items()} if prefix else {}
        predicted |= {f"{split}_{part}": values for part, values in own.items()}
    # As copies, for the next chunk is given the arrays themselves, to write in.
    on_device = states.kept, curves, measured, predicted, states.stopping
    params, curves, measured, predicted, stopping = jax.tree.map(np.array, on_host(on_device, n_jobs))
    curves = {name: curve[:, : stage.total_steps] for name, curve in curves.items()}
    # The last update is always followed by a validation, and so is the best.
    last = np.full(n_jobs, stage.total_steps) if stopping is None else stopping.best_update
    finals = {name: _at(last, curve) for name, curve in curves.items() if name.startswith("validation_")}
    if stopping is not None:
        finals |= _ends(stage, stopping)
    kept = _kept(predicted, dataset) if predicted else None
    return Outcome(params, curves, finals | measured, 0.0, dataset.fingerprints.test, kept)


def measured_again(stage: Stage, dataset: Dataset, split: str, params: Iterable[Params]) -> Iterator[dict[str, float]]:
    """Yields the results of finished jobs of a stage on a split, computed by this process alone, as packs compute them.

    Args:
      stage: theirs.
      dataset: the images.
      split: its name.
      params: of each job.
    """
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("T",), axis_types=(AxisType.Auto,))
    images = jax.device_put(images_of(stage, dataset), NamedSharding(mesh, PartitionSpec()))
    for one in params:
        lane = jax.device_put(jax.tree.map(lambda leaf: leaf[None], one), NamedSharding(mesh, PartitionSpec("T")))
        found, _ = RESULTS(*stage.as_left(), mesh, np.int32(1), lane, images.train, getattr(images, split))
        yield {name: float(np.asarray(values)[0]) for name, values in found.items()}


def _kept(predicted: dict[str, np.ndarray], dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns predictions with their targets, numbers in their units, and classes in as few bytes as they take."""
    kept = dict(predicted)
    for split in ("validation", "test"):
        kept[f"{split}_targets"] = getattr(dataset, split).labels
    if dataset.units:
        return {name: dataset.units.restored(values) for name, values in kept.items()}
    kind = np.min_scalar_type(max(len(dataset.output_names) - 1, 0))
    return {name: values.astype(kind) if values.dtype == np.int32 else values for name, values in kept.items()}


def _at(updates: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Returns each job's value after its update of a number; NaN after none: [T]."""
    return np.where(updates > 0, curve[np.arange(len(curve)), np.maximum(updates, 1) - 1], np.nan)


def _ends(stage: Stage, stopping: Stopping) -> dict[str, np.ndarray]:
    """Returns how each job's training ended, where it may have ended early."""
    is_early = stopping.n_since >= stage.config.training.patience
    return dict(zip(ENDS, (stopping.updates, stopping.best_update, is_early), strict=True))


def _results(stack: Stack, method: type, mesh: Mesh, n_trials, params, train: Batch, split: Batch) -> Any:
    def measure(params: Params, shared: tuple[Batch, Batch]) -> tuple[Values, Values]:
        if stack.head is None:
            return results(stack, method, params, *shared), {}
        values, found = predictions(stack, method, params, *shared)
        return values, {name: leaf for name, leaf in found._asdict().items() if leaf is not None}

    return over_trials(measure, mesh, n_trials, params, (train, split))


RESULTS = Program(_results, n_static=3)
