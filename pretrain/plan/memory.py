"""Memory: how much the host leaves to this process, and what a pack takes of it."""

from collections.abc import Mapping
from typing import NamedTuple

import jax

from pretrain.data import room
from pretrain.plan.cost import bytes_of, job_memory
from pretrain.plan.job import Job

PROCESS = 850_000_000  # bytes of interpreter, JAX, XLA's compilations, orbax and drawing, without data
_IMPORTED = 250_000_000  # of these, those of a process that has compiled nothing yet

# Bytes of XLA's temporaries by program and platform, as ``execute.temporaries`` measures them; and other figures.
Noted = Mapping[tuple[str, str], int | float]


class Needs(NamedTuple):
    """The bytes that packs of a stage take, besides the process and its data on the host."""

    examples: int  # on all devices together
    temporaries: int  # of XLA, on all devices together; on accelerators they are part of each trial
    trial: int  # of each
    is_noted: bool  # whether temporaries are known


def needs_of(job: Job, noted: Noted, n_devices: int, unknown: int = 0) -> Needs:
    """Returns what a pack of jobs like one takes: on accelerators of theirs, on CPUs of the host's memory.

    Args:
      job: one of the pack's.
      noted: temporaries of programs.
      n_devices: that the pack runs on.
      unknown: temporaries of a program of which none are noted (bytes).
    """
    platform, trial = jax.default_backend(), job_memory(job.traced)
    is_noted = (job.program, platform) in noted
    examples, temporaries = (
        n_devices * bytes_of(job.traced.examples.tree),
        int(noted.get((job.program, platform), unknown)),
    )
    if platform == "cpu":
        return Needs(examples, n_devices * temporaries, trial, is_noted)
    return Needs(examples, 0, trial + temporaries, is_noted)


class Parts(NamedTuple):
    """The bytes that a run takes at most while a pack trains, by what takes them."""

    process: int
    data: int  # on the host, as read and as scaled, and on all devices
    temporaries: int
    trials: int


def parts_of(needs: Needs, n_jobs: int, taken: int) -> Parts:
    """Returns what a run takes while a pack trains: of the host, or of accelerators where these train.

    Args:
      needs: of packs of its stage.
      n_jobs: of the pack.
      taken: by this process so far, which holds the data and has compiled nothing yet (bytes).
    """
    trials = n_jobs * needs.trial
    if jax.default_backend() != "cpu":
        return Parts(0, needs.examples, needs.temporaries, trials)
    return Parts(PROCESS, max(0, taken - _IMPORTED) + needs.examples, needs.temporaries, trials)


def free() -> int:
    """Returns the bytes of the host that are left to packs, with room for what the process itself will need."""
    return max(0, int(room.available()) - (PROCESS - _IMPORTED))
