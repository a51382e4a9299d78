"""Lanes over the devices of a mesh, and the compiled pieces of programs that run on them."""

from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pretrain.execute.compiled import Compiled
from pretrain.learn import program
from pretrain.learn.lanes import over_trials
from pretrain.learn.stage import Stage


def mesh_of(n_jobs: int) -> Mesh:
    """Returns the devices that a pack runs on: as many as it has jobs, but of several hosts all."""
    devices = jax.devices() if jax.process_count() > 1 else jax.local_devices()[:n_jobs]
    return Mesh(np.array(devices), ("T",), axis_types=(AxisType.Auto,))


def mesh_of_one() -> Mesh:
    """Returns a device of this process alone, for what no other process computes."""
    return Mesh(np.array(jax.local_devices()[:1]), ("T",), axis_types=(AxisType.Auto,))


def lanes_on(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays with a leading axis of lanes."""
    return NamedSharding(mesh, PartitionSpec("T"))


def whole_on(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device has."""
    return NamedSharding(mesh, PartitionSpec())


def _mapped(function: Callable, static: Hashable, mesh: Mesh, n_trials: jax.Array, trials: Any, shared: Any) -> Any:
    """Maps ``function(static, trial, shared)`` over lanes, of which each device has ``n_trials``."""
    platform = mesh.devices.flat[0].platform

    def on_device(n_trials, trials, shared):
        return over_trials(lambda trial: function(static, trial, shared), n_trials, trials, platform)

    axis, whole = PartitionSpec("T"), PartitionSpec()
    specs = {"in_specs": (whole, axis, whole), "out_specs": axis}
    return jax.shard_map(on_device, mesh=mesh, **specs, check_vma=False)(n_trials, trials, shared)


def _advanced(stage: Stage, mesh: Mesh, n_trials: jax.Array, carry: program.Carry, rest: Any, shared: Any) -> Any:
    return _mapped(program.advance, stage, mesh, n_trials, (carry, *rest), shared)


# A start runs once a pack: at this level it is compiled in two thirds of the time. Closed forms, whose start is all,
# are optimised as updates are: decompositions are rounded otherwise at another level.
INIT = Compiled(_mapped, n_static=3, cpu_options={"xla_backend_optimization_level": 1})
FIT = Compiled(_mapped, n_static=3)
FINISH = Compiled(_mapped, n_static=3)
LOOP = Compiled(_advanced, n_static=2, donated=(3,))
