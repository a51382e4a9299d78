"""The trial axis ``T``, added here and nowhere else.

It is sharded over the local devices; within a device trials run one after another on a CPU, where ``vmap`` gains
nothing, and side by side on an accelerator, where it pays.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec


def mesh_of(n_jobs: int) -> Mesh:
    """Returns the devices that a pack runs on: as many as it has jobs, but of several hosts all."""
    devices = jax.devices() if jax.process_count() > 1 else jax.local_devices()[:n_jobs]
    return Mesh(np.array(devices), ("T",), axis_types=(AxisType.Auto,))


def over_trials(function: Callable, mesh: Mesh, n_trials: jax.Array, trials: Any, shared: Any) -> Any:
    """Maps ``function(trial, shared)`` over the leading axis of ``trials``, of which each device has ``n_trials``."""

    def on_device(n_trials, trials, shared):
        if mesh.devices.flat[0].platform == "cpu":
            return _one_by_one(lambda trial: function(trial, shared), n_trials, trials)
        return jax.vmap(lambda trial: function(trial, shared))(trials)

    axis, whole = PartitionSpec("T"), PartitionSpec()
    specs = {"in_specs": (whole, axis, whole), "out_specs": axis}
    return jax.shard_map(on_device, mesh=mesh, **specs, check_vma=False)(n_trials, trials, shared)


def _one_by_one(function: Callable, n_trials: jax.Array, trials: Any) -> Any:
    """Maps a function over the leading axis, so that a trial is rounded alike in packs of any length.

    The compiler unrolls a loop of known length 1 and fuses across its ends, so the length is an argument; and it moves
    work on an axis of length 1 out of the loop, so the trial is tied to the index by a barrier. Slices, since
    ``leaf[index]`` is a gather, which takes longer to compile.
    """

    def taken(leaf, index):
        return jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False, allow_negative_indices=False)

    def put(result, value, index):
        return jax.lax.dynamic_update_index_in_dim(result, value, index, 0, allow_negative_indices=False)

    def one(index):
        _, trial = jax.lax.optimization_barrier((index, jax.tree.map(partial(taken, index=index), trials)))
        return function(trial)

    def body(index, results):
        return jax.tree.map(partial(put, index=index), results, one(index))

    length = len(jax.tree.leaves(trials)[0])
    blank = jax.tree.map(lambda one: jnp.zeros((length, *one.shape), one.dtype), jax.eval_shape(one, 0))
    return jax.lax.fori_loop(0, n_trials, body, blank)
