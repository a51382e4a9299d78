"""How far a pack has come, and how it goes on from there."""

import time
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pretrain.execute import hosts
from pretrain.store.records import Progress


def progress_of(step: int, began: float, carry: Any, n_jobs: int) -> Progress:
    """Returns how far a pack has come, given its states and curves."""
    arrays = traverse_util.unflatten_dict(_named(on_host(carry, n_jobs)), sep="/")
    return Progress(step, time.perf_counter() - began, arrays)


def fits(arrays: dict[str, Any], carry: Any, n_jobs: int) -> bool:
    """Returns whether stored arrays are those of a carry, by path, shape and dtype."""
    given = traverse_util.flatten_dict(arrays, sep="/")
    shapes = {path: (leaf.shape, leaf.dtype) for path, leaf in given.items()}
    return shapes == {path: ((n_jobs, *leaf.shape[1:]), leaf.dtype) for path, leaf in _named(carry).items()}


def resumed(arrays: dict[str, Any], carry: Any, mesh: Mesh) -> Any:
    """Returns stored arrays as a carry: each lane on its device, the last repeated as ``execute`` does."""
    given = traverse_util.flatten_dict(arrays, sep="/")
    lanes = NamedSharding(mesh, PartitionSpec("T"))

    def placed(path, leaf):
        rows = given[path]
        padding = np.repeat(rows[-1:], len(leaf) - len(rows), axis=0)
        return hosts.placed(np.concatenate([rows, padding]), lanes)

    leaves = [placed(path, leaf) for path, leaf in _named(carry).items()]
    return jax.tree.unflatten(jax.tree.structure(carry), leaves)


def _named(tree: Any) -> dict[str, Any]:
    """Returns a tree's leaves by path, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def on_host(tree: Any, n_jobs: int) -> Any:
    """Returns arrays without the lanes that only fill up devices, as NumPy arrays."""
    return jax.tree.map(lambda leaf: leaf[:n_jobs], hosts.gathered(tree))
