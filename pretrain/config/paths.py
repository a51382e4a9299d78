"""Paths as people write them."""

import os
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
