"""Where a run reads and writes, checked before anything is written: its directory, and its store."""

import os
from collections.abc import Callable
from pathlib import Path

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.plan.plan import Plan
from pretrain.store import reuse
from pretrain.store.store import Store


def check(field: str, name: str) -> None:
    """Checks that a directory is there or can be made; a store that is there may be one to read only.

    Raises:
      ConfigError: it is no directory, or may not be written.
    """
    path = path_of(field, name)
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(field, name, f"cannot be made, for {there} is no directory; choose another")
    if field == "store" and there == path and os.access(path, os.R_OK | os.X_OK):
        return
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(field, name, f"cannot be written, for {there} may not be; choose another")


def is_open(store: Path) -> bool:
    """Returns whether a store can be written, or made."""
    return not store.exists() or os.access(store, os.W_OK | os.X_OK)


def check_complete(experiment: Experiment, plan: Plan, warn: Callable[[str], None]) -> None:
    """Checks that a store which cannot be written holds all stages of a plan.

    Raises:
      ConfigError: it lacks a stage.
    """
    store = Store(experiment.store, warn, read_only=True)
    jobs = reuse.chosen(experiment, plan, store).jobs
    n_missing = len(jobs) - len(store.verified(jobs))
    if n_missing:
        remedy = f"cannot be written, and lacks {n_missing} of {counted(len(jobs), 'stage')}; choose another"
        raise ConfigError("store", experiment.store, remedy)
