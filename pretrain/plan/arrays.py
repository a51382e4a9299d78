"""All movement of arrays on the host, on the way from a dataset to a program and from there to the store and back.

No trace shows it, so the definitions here are part of a stage's name (``identity.py``). Elsewhere in ``store/`` and
``execute/`` no value of an array is read, written or computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from pretrain.data import Dataset, Split
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.program import Inputs
from pretrain.learn.randomness import mixed
from pretrain.learn.stage import Stage

_GOLDEN = np.uint32(0x9E3779B9)


def examples_of(stage: Stage, dataset: Dataset) -> Splits:
    """Returns the examples in the shape in which the lowest layer reads them, with labels where a stage reads them."""

    def shaped(split: Split) -> Batch:
        labels = split.labels if "labels" in stage.reads else None
        return Batch(split.inputs.reshape(len(split.inputs), *stage.stack.example), labels)

    labelled = dataset.labelled if stage.rows.subset else None
    return Splits(shaped(dataset.train), shaped(dataset.validation), shaped(dataset.test), labelled)


def inherited(stage: Stage, parent: Params | None) -> Params | None:
    """Returns the sides of a parent's parameters that a stage reads."""
    return parent and {side: parent[side] for side in stage.inherits}


def stacked(seeds: Sequence[int], configs: Sequence[Any], parents: Sequence[Params | None], n_lanes: int) -> Inputs:
    """Returns the inputs of jobs as lanes, the last of which is repeated until there are so many."""
    lanes = [*range(len(seeds)), *[len(seeds) - 1] * (n_lanes - len(seeds))]
    return Inputs(
        np.array([seeds[lane] for lane in lanes], np.uint32),
        jax.tree.map(lambda *numbers: np.array([numbers[lane] for lane in lanes], np.float32), *configs),
        jax.tree.map(lambda *leaves: np.stack([leaves[lane] for lane in lanes]), *parents),
    )


def lane_of(tree: Any, lane: int) -> Any:
    """Returns one lane of arrays with a leading axis of lanes."""
    return jax.tree.map(lambda leaf: leaf[lane], tree)


def lanes_of(tree: Any, first: int, stop: int) -> Any:
    """Returns some lanes of arrays with a leading axis of lanes."""
    return jax.tree.map(lambda leaf: leaf[first:stop], tree)


def padded(rows: np.ndarray, n_lanes: int) -> np.ndarray:
    """Returns lanes, the last of which is repeated until there are so many."""
    return np.concatenate([rows, np.repeat(rows[-1:], n_lanes - len(rows), axis=0)])


def named(tree: Any) -> dict[str, Any]:
    """Returns a tree's leaves by path, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def nested(tree: Any) -> dict[str, Any]:
    """Returns a tree as nested dictionaries, by path."""
    return traverse_util.unflatten_dict(named(tree), sep="/")


def unnested(arrays: Mapping[str, Any], like: Any) -> Any:
    """Returns nested dictionaries as the tree that ``nested`` made them of."""
    flat = traverse_util.flatten_dict(dict(arrays), sep="/")
    return jax.tree.unflatten(jax.tree.structure(like), [flat[path] for path in named(like)])


def kept_predictions(predictions: Mapping[str, np.ndarray], dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns predictions with their targets, numbers in their units, and classes in as few bytes as they take."""
    kept = dict(predictions)
    for split in ("validation", "test"):
        kept[f"{split}_targets"] = getattr(dataset, split).labels
    if dataset.units:
        return {name: dataset.units.restored(values) for name, values in kept.items()}
    kind = np.min_scalar_type(max(len(dataset.output_names) - 1, 0))
    return {name: values.astype(kind) if values.dtype == np.int32 else values for name, values in kept.items()}


def prediction_of(kept: Mapping[str, np.ndarray], split: str, lane: int) -> dict[str, np.ndarray]:
    """Returns a lane's kept predictions on a split: ``scores``, ``classes``, ``targets``, which all lanes share."""
    parts = {name.removeprefix(f"{split}_"): array for name, array in kept.items() if name.startswith(f"{split}_")}
    return {name: array if name == "targets" else array[lane] for name, array in parts.items()}


def curve_rows(
    curves: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], ends: np.ndarray | None
) -> tuple[list[str], dict[str, np.ndarray], np.ndarray]:
    """Returns what was measured of curves in long form, lane after lane.

    Args:
      curves: values [lanes, steps] by metric.
      masks: whether each step is followed by a measurement [steps], by metric.
      ends: the steps that each lane has made [lanes]; None where all have made all.

    Returns:
      The metrics' names; columns ``metric``, by place among the names, ``step`` and ``value``; and rows a lane.
    """
    names = sorted(curves)
    steps = [np.flatnonzero(masks[name]) for name in names]
    values = np.concatenate([curves[name][:, at] for name, at in zip(names, steps, strict=True)], axis=1)
    n_lanes, step = len(values), np.concatenate(steps) + 1
    made = np.ones(values.shape, bool) if ends is None else step <= ends[:, None]
    metric = np.repeat(np.arange(len(names), dtype=np.int32), [len(at) for at in steps])
    columns = {
        "metric": np.tile(metric, n_lanes)[made.ravel()],
        "step": np.tile(step.astype(np.int32), n_lanes)[made.ravel()],
        "value": values.ravel()[made.ravel()],
    }
    return names, columns, made.sum(axis=1)


def digest_of(side: Any) -> np.ndarray:
    """Returns a hash of the bits of each lane's parameters on one side, as ``program.digest``: [lanes] uint32."""
    leaves = [np.ascontiguousarray(leaf).view(np.uint32).reshape(len(leaf), -1) for leaf in jax.tree.leaves(side)]
    bits = np.concatenate([np.zeros((len(leaves[0]), 1), np.uint32), *leaves], axis=1)
    hashed = np.asarray(mixed(bits ^ np.arange(bits.shape[1], dtype=np.uint32) * _GOLDEN))
    return np.asarray(hashed.sum(axis=1, dtype=np.uint32))


def digests_of(params: Params) -> dict[str, np.ndarray]:
    """Returns the ``digest_of`` each side that has parameters; the program's is 0 of one that has none."""
    return {side: digest_of(tree) for side, tree in params.items() if jax.tree.leaves(tree)}


def are_finite(trees: Any) -> np.ndarray:
    """Returns whether all numbers of each lane are finite: [lanes] bool."""
    rows = [np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in jax.tree.leaves(trees)]
    return np.logical_and.reduce(rows)


def are_alike(arrays: Mapping[str, Any], like: Any, n_lanes: int) -> bool:
    """Returns whether nested arrays are those of a tree with other many lanes, by path, shape and dtype."""
    flat = traverse_util.flatten_dict(dict(arrays), sep="/")
    shapes = {path: (leaf.shape, leaf.dtype) for path, leaf in flat.items()}
    return shapes == {path: ((n_lanes, *leaf.shape[1:]), leaf.dtype) for path, leaf in named(like).items()}
