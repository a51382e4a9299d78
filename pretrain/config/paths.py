"""Paths as people write them."""

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
