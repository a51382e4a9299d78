"""Sealed directories: complete or not there, with a checksum of every file in a manifest.

A sealed directory is written elsewhere, flushed, and renamed into place. Its arrays are an orbax checkpoint, whose
structure the manifest holds, since orbax restores damaged bytes and other dtypes silently.
"""

import errno
import functools
import os
import resource
import shutil
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import psutil
from flax import traverse_util

from pretrain.store import manifests
from pretrain.store.manifests import DamageError

FORMAT = 4
_OVERHEAD = 1 << 18  # bytes of a checkpoint besides its arrays


class StoreError(Exception):
    """A store that cannot be read or written; the message names the file."""


def write(target: Path, drafts: Path, content: dict[str, Any], fill: Callable[[Path], None]) -> None:
    """Writes a sealed directory: all of it, or nothing.

    Args:
      target: its place; a directory there, which another process has just written, stays.
      drafts: a directory of the same file system for drafts.
      content: of the manifest, besides the files' checksums.
      fill: writes the files into an empty directory.

    Raises:
      StoreError: it could not be written; the message names the file or directory.
    """
    draft = drafts / f"{socket.gethostname()}@{os.getpid()}@{uuid.uuid4().hex}"
    try:
        _check_limit(draft)
        draft.mkdir(parents=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        fill(draft)
        manifests.write(draft / manifests.NAME, {**content, "format": FORMAT, "files": manifests.checksums(draft)})
        manifests.sync(draft)
        _commit(draft, target)
    except OSError as error:
        raise StoreError(f"{error.filename or draft}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_limit(draft: Path) -> None:
    """Checks that files may be as large as those of the smallest checkpoint, for orbax ends badly where not."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < _OVERHEAD:
        raise OSError(errno.EFBIG, f"{os.strerror(errno.EFBIG)}: `ulimit -f` allows {limit / 1e3:,.0f} kB", str(draft))


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Returns a sealed directory's manifest; None if it is of another format.

    Raises:
      DamageError: the manifest is not as it was written.
    """
    file = path / manifests.NAME
    try:
        manifest = manifests.read(file)
        return manifest if manifest["format"] == FORMAT else None
    except (FileNotFoundError, KeyError):
        raise DamageError(f"{file}: damaged") from None


def check_files(path: Path, manifest: dict[str, Any]) -> None:
    """Checks every file of a sealed directory.

    Raises:
      DamageError: a file is not as it was written.
    """
    for name, checksum in manifest["files"].items():
        manifests.check_file(path / name, checksum)


def structure(arrays: dict[str, Any]) -> dict[str, str]:
    """Returns the dtype and shape of every array of a nested dictionary, by path."""
    flat = traverse_util.flatten_dict(arrays, sep="/")
    return {path: f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in flat.items()}


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Saves a nested dictionary of arrays as an orbax checkpoint; when it returns, all is written.

    Raises:
      OSError: it could not be written.
    """
    _check_room(path.parent, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + _OVERHEAD)
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(path, arrays)
    except Exception as error:  # a full disk arrives as ValueError, from the library below orbax
        reason = " ".join(str(error).split())
        raise OSError(0, f"orbax could not write it: …{reason[-200:]}", str(path)) from None


def _check_room(directory: Path, needed: int) -> None:
    """Checks that a directory's disk has room for so many bytes.

    Orbax writes all arrays at once, and ends at the first failure. Later failures call back into its closed event loop,
    and each prints a traceback that nobody can catch. So orbax must never write to a full disk.
    """
    disk = os.statvfs(directory)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < needed:
        reason = f"{os.strerror(errno.ENOSPC)}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free"
        raise OSError(errno.ENOSPC, reason, str(directory))


def restore_arrays(path: Path, expected: dict[str, str]) -> dict[str, Any]:
    """Returns arrays from ``save_arrays``, as NumPy arrays.

    Raises:
      StoreError: they cannot be read, or have not the expected ``structure``.
    """
    try:
        with _checkpointer() as checkpointer:
            tree = checkpointer.metadata(path).item_metadata.tree
            as_saved = jax.tree.map(lambda _: _orbax().RestoreArgs(restore_type=np.ndarray), tree)
            arrays = checkpointer.restore(path, restore_args=as_saved)
    except Exception as error:  # any error of orbax and the libraries below it
        raise StoreError(f"{path}: cannot be restored ({' '.join(str(error).split())[:200]})") from None
    if structure(arrays) != expected:
        raise StoreError(f"{path}: has other arrays than its manifest says")
    return arrays


@functools.cache
def import_ahead() -> None:
    """Begins to import orbax in another thread, behind the first pack."""
    threading.Thread(target=_orbax, daemon=True).start()


def _orbax() -> ModuleType:
    """Returns orbax, whose import takes a third of a second, which a finished run can spare."""
    import orbax.checkpoint

    return orbax.checkpoint


def _checkpointer() -> Any:
    """Returns the synchronous checkpointer of this process alone; by default it waits for all hosts."""
    index, ocp = jax.process_index(), _orbax()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process-{index}"
    )
    options = {"multiprocessing_options": alone} if jax.process_count() > 1 else {}
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options), **options)


def abandoned(drafts: Path) -> Iterator[Path]:
    """Yields the drafts of killed processes of this machine."""
    for draft in drafts.glob("*@*@*"):
        host, process, _ = draft.name.rsplit("@", 2)
        if host == socket.gethostname() and process.isdigit() and not _is_alive(int(process)):
            yield draft


def _is_alive(process: int) -> bool:
    """Returns whether a process is there, and more than a name that nobody has asked how it ended."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _commit(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
        manifests.sync_entry(target.parent)
    except OSError:
        if not target.exists():
            raise
        # Another process has just stored the same, with the same content.
