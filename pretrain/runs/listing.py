"""The runs below a folder: what each asked and answered, how large it is, and whether a process is at work there."""

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import opened, path_of
from pretrain.data import findings
from pretrain.engines import queue
from pretrain.engines.signs import SILENT, Signs
from pretrain.engines.standing import Standing
from pretrain.store import lock, manifests

State = Literal["running", "finished", "incomplete", "stopped", "damaged"]  # incomplete: trials are missing

_ANSWER, _EXPERIMENT, _STORE = "answer.json", "experiment.json", "packs"
_BEGINNING = 1 << 15  # bytes of an answer that hold its question and its verdict
_TEXT = r'"(question|verdict)": ("(?:[^"\\]|\\.)*")'
_DEEPEST = 6  # folders below the first in which runs are looked for
_NOBODY: tuple[str, str, tuple[str, ...]] = ("", "", ())
_SILENT = 120  # seconds without a note, after which the process of another host counts as gone


class Listed(NamedTuple):
    """A run below a folder."""

    path: Path
    state: State
    question: str = ""
    verdict: str = ""
    changed: float = 0.0  # seconds since the epoch, of its last file
    n_bytes: int = 0  # of its own files, without the store
    holder: str = ""  # process and host that work there, and since when, or workers that their launcher has left
    work: str = ""  # how far that is
    tags: tuple[str, ...] = ()


def list_runs(folder: Path | str = "runs", tag: str = "") -> list[Listed]:
    """Returns the runs up to six folders below one, those that changed last first; no checksum is computed.

    A run of another host on the same disk counts as running until its process has noted nothing for two minutes.

    Args:
      folder: in which they lie.
      tag: of the runs to list; empty lists all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     list_runs(folder)
    []

    Raises:
      ConfigError: it is no directory.
    """
    place = path_of("folder", folder)
    if not place.is_dir():
        raise ConfigError("folder", str(folder), "is no directory; name the one in which runs lie")
    found = (run for run in _below(place, _DEEPEST) if not tag or tag in run.tags)
    return sorted(found, key=lambda run: (-run.changed, str(run.path)))


def _below(folder: Path, depth: int) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as found:
            entries = {entry.name: entry for entry in found}
    except OSError:  # not ours to read, or gone meanwhile
        return
    if manifests.NAME in entries or lock.NAME in entries:
        yield _run(folder, entries)
        return
    if _STORE in entries or not depth:
        return
    for name, entry in entries.items():
        if not name.startswith(".") and entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), depth - 1)


def _run(path: Path, entries: dict[str, os.DirEntry]) -> Listed:
    holder, work, noted = _holder(path) if lock.NAME in entries else _NOBODY
    if not holder and queue.FOLDER in entries:
        holder, work = _workers(path / queue.FOLDER)
    changed = 0.0
    for entry in entries.values():
        with contextlib.suppress(OSError):  # files of a run that is writing come and go
            changed = max(changed, entry.stat(follow_symlinks=False).st_mtime)
    state: State = "running" if holder else "stopped"
    if manifests.NAME not in entries:
        return Listed(path, state, changed=changed, holder=holder, work=work, tags=noted)
    try:
        files = manifests.read(path / manifests.NAME)["files"]
        n_bytes = sum((path / name).stat().st_size for name in files)
        texts, tags = _texts(path / _ANSWER), noted if holder else _tags(path / _EXPERIMENT)
        ended: State = "incomplete" if _lacks_trials(path / findings.FILE) else "finished"
    except (manifests.DamageError, OSError, LookupError, TypeError, ValueError):
        return Listed(path, "running" if holder else "damaged", "", "", changed, 0, holder, work, noted)
    question, verdict = (texts.get(name, "") for name in ("question", "verdict"))
    return Listed(path, "running" if holder else ended, question, verdict, changed, n_bytes, holder, work, tags)


def _texts(path: Path) -> dict[str, str]:
    """Returns the question and the verdict with which an answer begins."""
    with opened(path) as file:
        beginning = file.read(_BEGINNING).decode(errors="replace")
    return {name: json.loads(text) for name, text in reversed(re.findall(_TEXT, beginning))}


def _lacks_trials(path: Path) -> bool:
    """Returns whether findings name trials that are missing; versions that wrote none had none missing."""
    if not path.exists():
        return False
    with opened(path) as file:
        return any(finding.kind == findings.MISSING for finding in findings.read(file.read()))


def _tags(path: Path) -> tuple[str, ...]:
    """Returns the tags of an experiment; none of versions that knew none."""
    if not path.exists():
        return ()
    with opened(path) as file:
        return tuple(map(str, dict(json.load(file)).get("tags", ())))


def _holder(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """Returns the process that works in a directory, how far it is, and the run's tags; nothing where none does."""
    try:
        with opened(path / lock.NAME) as file:
            noted, content = os.fstat(file.fileno()).st_mtime, file.read(lock.LONGEST)
            holder = json.loads(content)
            here = holder["host"] == socket.gethostname()
            if (here and _is_free(file.fileno())) or (not here and time.time() - noted > _SILENT):
                return _NOBODY
            text = f"process {int(holder['process'])} on {holder['host']} since {holder['since']}"
            return text, str(holder.get("work", "")), tuple(map(str, holder.get("tags", ())))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return _NOBODY


def _workers(folder: Path) -> tuple[str, str]:
    """Returns the workers of a queue that its launcher has left, and how far they are; nothing where none is left."""
    left = queue.Queue(folder)
    n_alive = sum(age < SILENT for age in (Signs(left).ages() or {}).values())
    with contextlib.suppress(OSError, ValueError):
        n_jobs = len(json.loads((folder / queue.JOBS).read_text())) if (folder / queue.JOBS).exists() else 0
        if (n_alive or n_jobs) and not left.is_over():
            return counted(n_alive, "worker"), str(Standing(left).counts())
    return "", ""


def _is_free(file: int) -> bool:
    """Returns whether no process of this host holds a file's lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
    return True
