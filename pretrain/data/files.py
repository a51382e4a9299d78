"""Files and archives of arrays, which are written and read whole, or not at all."""

import contextlib
import io
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np


class MissingArrayError(ValueError):
    """An archive without an array of a name, which the message is."""


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Gives a draft beside a file, which takes the file's place unless writing fails.

    Raises:
      OSError: it could not be written; names the file, which stays.
    """
    draft = target.with_name(f".{target.name}.draft")
    try:
        yield draft
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def read_npz(source: Path | bytes, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz archive, a file or its content, by name, by default all; none can execute anything.

    Raises:
      OSError: it cannot be read.
      MissingArrayError: it lacks an array.
      ValueError: it is damaged, or no archive of arrays.
    """
    opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with _damage_named(), opened as file, zipfile.ZipFile(file) as archive:
        members = {member.removesuffix(".npy"): member for member in archive.namelist()}
        missing = [name for name in names or () if name not in members]
        if missing:
            raise MissingArrayError(missing[0])
        return {name: _array(archive, members[name]) for name in (members if names is None else names)}


@contextlib.contextmanager
def _damage_named() -> Iterator[None]:
    """Turns any failure at a damaged archive to a ValueError of one line."""
    try:
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


def npz_kinds(path: Path) -> dict[str, np.dtype]:
    """Returns the type of every array of an .npz archive by name, from their headers alone.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or no archive of arrays.
    """
    with _damage_named(), path.open("rb") as file, zipfile.ZipFile(file) as archive:
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


def npy_kind(path: Path) -> np.dtype:
    """Returns the type of the array of an .npy file, from its header alone.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or holds no array.
    """
    with path.open("rb") as file:
        return _kind(file)


def _kind(file: IO[bytes]) -> np.dtype:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[2]
