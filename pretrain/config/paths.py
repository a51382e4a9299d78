"""Paths as people write them."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from pretrain.config.fields import ConfigError


def path_of(field: str, name: str | Path) -> Path:
    """Returns a path without links and relative parts, of a file or directory that need not be there.

    Raises:
      ConfigError: there can be no such path, as in a loop of links, or beside a user who is not there.
    """
    try:
        path = Path(name).expanduser().resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(field, str(name), f"is no path ({error}); choose another") from None
    return path


def opened(path: Path) -> BufferedReader:
    """Opens a file to read, and waits for nothing: a pipe or a device in its place is refused.

    Raises:
      OSError: it cannot be read, or is no plain file.
    """
    if stat.S_ISREG(os.stat(path).st_mode):  # opening a device may do something
        # What takes the file's place meanwhile is not waited for either.
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    raise OSError(errno.EINVAL, "is no plain file", str(path))


def check_directory(field: str, name: str) -> None:
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


def is_writable(directory: Path) -> bool:
    """Returns whether a directory can be written, or made."""
    return not directory.exists() or os.access(directory, os.W_OK | os.X_OK)


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Gives a draft beside a file, which takes the file's place unless writing fails.

    Raises:
      OSError: it could not be written; names the file, which stays.
    """
    draft = target.with_name(f".{target.name}.draft")
    try:
        draft.unlink(missing_ok=True)  # a pipe would be waited for, a link followed
        yield draft
        draft.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
