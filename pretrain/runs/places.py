"""Where a run lies whose directory nobody typed: one for each experiment, and a link to the newest.

``runs/geron-{id}`` becomes ``runs/geron-`` with the first digits of the experiment's id, so that no experiment takes
another one's place, and the same one goes on in its own; ``runs/geron`` is a link to the run that finished last.
"""

import contextlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.runs import run_files
from pretrain.store.manifests import DamageError

ID = "{id}"
_DIGITS = 8


def place(run_dir: str, experiment_id: str) -> str:
    """Returns the directory of an experiment, given the field ``run_dir``, whose last part may hold ``{id}``."""
    path = Path(run_dir)
    return str(path_of("run_dir", path.with_name(path.name.replace(ID, experiment_id[:_DIGITS]))))


def check(run_dir: Path, trial_ids: Collection[str]) -> None:
    """Checks that an experiment's directory holds no finished run of other trials, as one who typed its name left it.

    Raises:
      ConfigError: it does.
    """
    with contextlib.suppress(DamageError):  # what is damaged is made again
        if there := run_files.opened(run_dir):
            held = pq.read_table(pa.BufferReader(there.read("trials.parquet")), columns=["trial_id"])["trial_id"]
            if not set(held.to_pylist()) <= set(trial_ids):
                raise ConfigError("run_dir", str(run_dir), "holds another experiment; move it away, or choose another")


def newest(run_dir: str) -> str | None:
    """Returns the place of the link to the newest of the runs of a field ``run_dir``; None if its runs have none."""
    return run_dir.removesuffix(f"-{ID}") if run_dir.endswith(f"-{ID}") else None


def link(run_dir: str, to: Path, warn: Callable[[str], None]) -> None:
    """Makes the link of a field ``run_dir`` lead to a run; what else has its name stays, and is named."""
    path = newest(run_dir)
    if path is None:
        return
    link = Path(path).expanduser()
    draft = link.with_name(f"{link.name}.{os.getpid()}")
    try:
        if os.path.lexists(link) and not (link.is_symlink() and os.readlink(link).startswith(f"{link.name}-")):
            warn(f"{path} is no link to a run beside it and stays as it is; this run is in {to}")
            return
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        draft.symlink_to(os.path.relpath(to, link.parent.resolve()))
        draft.replace(link)  # at once, whoever reads it meanwhile
    except OSError as error:
        warn(f"{path} leads to another run or none ({error.strerror}); this run is in {to}")
