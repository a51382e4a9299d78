"""Holds of runs on stages of a store, so that nobody prunes them.

A run's directory has an id, in ``.run.json``. A note in the store, ``runs/<id>.json``, lists the run's stages and the
directory's last place. A directory that is not there, as it was moved or its disk is not mounted, holds its stages
until it is forgotten; a note follows its directory to another place.
"""

import contextlib
import os
import re
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of, written_whole
from pretrain.runs import run_files
from pretrain.store import manifests
from pretrain.store.manifests import DamageError

_ID_FILE = ".run.json"
_ID = re.compile("[0-9a-f]{32}")


class Hold(NamedTuple):
    """A run's hold on stages."""

    note: Path
    run_dir: Path  # its last place
    # Device, inode and change time (ns) of the file with its id: a move keeps them, and a copy has others. The time
    # counts since a copy may take the inode of a deleted file; the device alone is no sign of a copy, as mounting a
    # disk again may change it.
    file: tuple[int, int, int]
    stages: frozenset[str]  # ids

    @property
    def is_there(self) -> bool:
        """Whether the run's directory is at its last place; a damaged id counts as its id."""
        run_id = _id_of(self.run_dir)
        return run_id == self.note.stem or (run_id is None and os.path.lexists(self.run_dir / _ID_FILE))


@contextlib.contextmanager
def held(root: Path, run_dir: Path, stages: Collection[str]) -> Iterator[None]:
    """Holds stages of a store, besides the stages of the files in a run's directory.

    At the end, when the run's new files are in place, all other stages are released; but not after an exception, which
    leaves the files of the experiment before.

    Raises:
      OSError: the id or the note could not be written; names the file.
    """
    before = _hold_of(root, run_dir)
    _write(root, before._replace(stages=before.stages | set(stages)))
    yield
    _write(root, before._replace(stages=frozenset(stages)))


def note_place(root: Path, run_dir: Path) -> None:
    """Notes the place of a run's directory that was moved or copied, if its store and itself can be written."""
    with contextlib.suppress(OSError):
        if (root / "packs").is_dir():
            hold = _hold_of(root, run_dir)
            if _read(hold.note) != hold:
                _write(root, hold)


def holds(root: Path) -> tuple[list[Hold], list[str]]:
    """Returns the holds of all runs on a store, and a line for every note that cannot be read."""
    notes = {path: _read(path) for path in sorted(root.glob("runs/*.json"))}
    remedy = "so no stage is pruned; run its run's command again, or delete it"
    faults = [f"{path}: cannot be read, {remedy}" for path, hold in notes.items() if hold is None]
    return [hold for hold in notes.values() if hold], faults


def forget(root: Path, run_dirs: Sequence[str]) -> None:
    """Releases the stages of runs whose directories are gone for good.

    Raises:
      ConfigError: no run was last at one of these places, or its directory still is.
      OSError: a note could not be deleted; names it.
    """
    notes, gone = holds(root)[0], []
    for run_dir in run_dirs:
        path_of("forget", run_dir)
        path = Path(run_dir).expanduser().absolute()
        noted = [hold for hold in notes if hold.run_dir in (path, Path(os.path.realpath(path)))]
        gone += (missing := [hold for hold in noted if not hold.is_there])
        if not missing:
            state = "is still there; delete it first" if noted else f"is none of the runs that {root} was used by"
            raise ConfigError("forget", run_dir, state)
    for hold in gone:
        hold.note.unlink(missing_ok=True)


def _hold_of(root: Path, run_dir: Path) -> Hold:
    """Returns the hold of a run's directory at its place; gives it an id if it has none or is a copy."""
    run_dir, run_id = run_dir.resolve(), _id_of(run_dir)
    hold = _read(_note(root, run_id)) if run_id else None
    is_copy = hold is not None and _is_copy(hold, run_dir)
    if run_id is None or is_copy:
        run_id = uuid.uuid4().hex
        with written_whole(run_dir / _ID_FILE) as draft:
            manifests.write(draft, {"id": run_id})
    file = _status(run_dir)
    if hold is None or is_copy:
        stages = _stages_of_files(run_dir) | (hold.stages if hold else frozenset())
        return Hold(_note(root, run_id), run_dir, file, stages)
    return hold._replace(run_dir=run_dir, file=file)


def _is_copy(hold: Hold, run_dir: Path) -> bool:
    """Returns whether a directory with the id of a note is another than the noted directory."""
    file = _status(run_dir)
    return file != hold.file and (run_dir, file[1:]) != (hold.run_dir, hold.file[1:])


def _status(run_dir: Path) -> tuple[int, int, int]:
    """Returns device, inode and change time of the file with a directory's id."""
    status = (run_dir / _ID_FILE).stat()
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _stages_of_files(run_dir: Path) -> frozenset[str]:
    """Returns the stages of the tables in a run's directory; none where they cannot be read."""
    try:
        content = run_files.read(run_dir, lambda files: files.read("stages.parquet"))
        return frozenset(pq.read_table(pa.BufferReader(content), columns=["stage_id"])["stage_id"].to_pylist())
    except (ConfigError, DamageError, pa.ArrowException, OSError, KeyError):
        return frozenset()


def _write(root: Path, hold: Hold) -> None:
    content = {"run_dir": str(hold.run_dir), "file": list(hold.file), "stages": sorted(hold.stages)}
    hold.note.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(hold.note) as draft:
        manifests.write(draft, content)


def _read(note: Path) -> Hold | None:
    """Returns the hold of a note; None if the note is missing or damaged."""
    try:
        content = manifests.read(note)
    except (FileNotFoundError, DamageError):
        return None
    match content:
        case {"run_dir": str(run_dir), "file": [int(device), int(inode), int(changed)], "stages": list(stages)}:
            return Hold(note, Path(run_dir), (device, inode, changed), frozenset(stages))
    return None


def _id_of(run_dir: Path) -> str | None:
    """Returns the id of a run's directory; None if it is missing or damaged."""
    try:
        run_id = manifests.read(run_dir / _ID_FILE).get("id")
        return run_id if isinstance(run_id, str) and _ID.fullmatch(run_id) else None
    except (OSError, DamageError):
        return None


def _note(root: Path, run_id: str) -> Path:
    return root / "runs" / f"{run_id}.json"
