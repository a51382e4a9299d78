"""One pack over the devices of several hosts: the same launcher on each, of which the first decides and writes.

Every process runs the same programs on its share of the trials. What a clock, a signal or the store's state decides is
decided by the first process and sent to the others; for a single process, all of this does nothing.
"""

import os
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError


def join() -> None:
    """Joins the processes of a run, found by Slurm's, MPI's or a TPU's environment, or by three variables.

    These are ``JAX_COORDINATOR_ADDRESS`` (host:port of the first process), ``JAX_NUM_PROCESSES`` and
    ``JAX_PROCESS_ID``. Must come before the first use of JAX's devices.

    Raises:
      ConfigError: the others cannot be found.
    """
    numbers = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
    try:
        known = {name: int(os.environ[variable]) for name, variable in numbers.items() if variable in os.environ}
        jax.distributed.initialize(**known)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = f"finds no other process ({reason}); set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        raise ConfigError("engine.distributed", True, remedy) from None


def is_leader() -> bool:
    """Returns whether this process is the one that decides and writes."""
    return jax.process_index() == 0


def devices() -> str:
    """Returns the devices of this run, in words."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def in_words() -> str:
    """Returns the devices of this run as people call them, as in *2 CPU devices*."""
    kind = jax.devices()[0].device_kind
    return counted(jax.device_count(), "CPU device" if kind == "cpu" else f"{kind} device")


def broadcast(value: int) -> int:
    """Returns the first process's value, which all must ask for at the same point of their work."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def barrier() -> None:
    """Returns when all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("pretrain")


def placed(tree: Any, sharding: Sharding) -> Any:
    """Puts arrays, which every process has whole, on the devices of a sharding."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    whole = jax.tree.map(np.asarray, tree)
    return jax.tree.map(lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__), whole)


def gathered(tree: Any) -> Any:
    """Returns arrays from the devices of all processes as NumPy arrays."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)
