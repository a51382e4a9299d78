"""Files and archives of arrays, which are written and read whole, or not at all."""

import contextlib
import errno
import io
import math
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.config.paths import opened


class MissingArrayError(ValueError):
    """An archive without an array of a name, which the message is."""


class Kind(NamedTuple):
    """An array by its header."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def memory(self) -> float:
        """The bytes that it takes, with its copy as float32 where it is neither that nor bytes."""
        size = float(np.prod(self.shape, dtype=float))
        return size * (self.dtype.itemsize + 4 * (self.dtype not in (np.uint8, np.float32)))


class State(NamedTuple):
    """A file as it stands: a change of it shows here."""

    path: str
    size: int
    modified: int  # ns
    inode: int


def state_of(path: Path) -> State:
    """Returns the state of a file.

    Raises:
      OSError: there is none, or no plain one; one of these is not opened.
      ValueError: there can be none of the name.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return State(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def altered(states: Iterable[State]) -> list[str]:
    """Returns the paths of files that are no longer as they were."""
    return [each.path for each in states if not _is_as(each)]


def _is_as(state: State) -> bool:
    try:
        return state_of(Path(state.path)) == state
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def unaltered(states: Sequence[State]) -> Iterator[None]:
    """Checks that files which are read stay as they are meanwhile; their own faults count less than that.

    Raises:
      ConfigError: one did not.
    """
    try:
        yield
    finally:
        if paths := altered(states):
            raise ConfigError("data.name", paths[0], "was altered while it was read; run again once it is written")


def read_npz(source: Path | bytes, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz archive, a file or its content, by name, by default all; none can execute anything.

    Raises:
      OSError: it cannot be read.
      MissingArrayError: it lacks an array.
      ValueError: it is damaged, or no archive of arrays.
    """
    with (
        _damage_named(),
        io.BytesIO(source) if isinstance(source, bytes) else opened(source) as file,
        zipfile.ZipFile(file) as archive,
    ):
        members = {member.removesuffix(".npy"): member for member in archive.namelist()}
        missing = [name for name in names or () if name not in members]
        if missing:
            raise MissingArrayError(missing[0])
        return {name: _array(archive, members[name]) for name in (members if names is None else names)}


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """Turns any failure at a damaged archive to a ValueError of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of headers from Python 2
            yield
    except (OSError, MissingArrayError):
        raise
    except Exception as error:  # of the zip, the decompression, the header or the memory
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def _array(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        # NumPy reads fewer rows where the header is damaged. The checksum is compared at the member's end.
        if file.read(1):
            raise zipfile.BadZipFile("an array is longer than its header says")
    return array


def npz_kinds(path: Path) -> dict[str, Kind]:
    """Returns the kind of every array of an .npz archive by name, from their headers alone.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or no archive of arrays.
    """
    with _damage_named(), opened(path) as file, zipfile.ZipFile(file) as archive:
        if _n_members(file) not in (None, len(archive.namelist())):
            raise zipfile.BadZipFile("its directory has lost members")
        kinds = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as array:
                    kinds[member.removesuffix(".npy")] = _kind(array)
        return kinds


def _n_members(file: IO[bytes]) -> int | None:
    """Returns the number of an archive's members by its last record; None where something follows the record.

    A damaged directory may hide members silently.
    """
    size = 22
    file.seek(-size, os.SEEK_END)
    record = file.read(size)
    return struct.unpack("<H", record[10:12])[0] if record.startswith(b"PK\x05\x06") else None


def npy_kind(path: Path) -> Kind:
    """Returns the kind of the array of an .npy file, from its header alone.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or holds no array.
    """
    with _damage_named(), opened(path) as file:
        kind = _kind(file)
        n_bytes = os.fstat(file.fileno()).st_size - file.tell()
        if not kind.dtype.hasobject and n_bytes != kind.dtype.itemsize * math.prod(kind.shape):
            raise ValueError(f"an array of {kind.dtype} {kind.shape} in {n_bytes:,} bytes")
        return kind


def read_npy(path: Path) -> np.ndarray:
    """Returns the array of an .npy file, read and not mapped: later changes of the file change nothing.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or holds Python objects, which are never unpickled.
    """
    with _damage_named(), opened(path) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _kind(file: IO[bytes]) -> Kind:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return Kind(dtype, shape)
