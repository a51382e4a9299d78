"""Manifests: JSON with its own checksum, which holds the SHA-256 of every file beside it.

Nothing here imports JAX, so that readers of tables need not wait for it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrain.config.digests import sha256, sha256_of_file
from pretrain.config.paths import opened

NAME = "manifest.json"


class DamageError(Exception):
    """A file that is missing or not as it was written; the message names it."""


def write(file: Path, content: Mapping[str, Any]) -> None:
    """Writes canonical JSON with its own checksum.

    Raises:
      OSError: it could not be written.
    """
    file.write_text(canonical({**content, "checksum": _self_checksum(content)}))


def read(file: Path) -> dict[str, Any]:
    """Returns content from ``write``.

    Raises:
      FileNotFoundError: there is no such file.
      DamageError: it is not as it was written, or cannot be read.
    """
    try:
        with opened(file) as bytes_of:
            text = bytes_of.read().decode()
        content = json.loads(text)
        if text != canonical(content) or content.pop("checksum") != _self_checksum(content):
            raise ValueError
        return content
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamageError(f"{file}: damaged") from None


def canonical(content: Any) -> str:
    """Returns the canonical text of a JSON value."""
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False)


def checksums(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file under a directory, by its relative path."""
    files = (file for file in sorted(directory.rglob("*")) if file.is_file())
    return {file.relative_to(directory).as_posix(): sha256_of_file(file) for file in files}


def check_file(file: Path, expected: str) -> None:
    """Checks that a file has its checksum.

    Raises:
      DamageError: it has another, or cannot be read.
    """
    try:
        if sha256_of_file(file) != expected:
            raise DamageError(f"{file}: fails its checksum")
    except OSError as error:
        raise DamageError(f"{file}: cannot be read ({error.strerror})") from None


def sync(directory: Path) -> None:
    """Flushes a directory and its content to the disk, so that no rename precedes its file's content."""
    for place in [*directory.rglob("*"), directory]:
        sync_entry(place)


def sync_entry(place: Path) -> None:
    """Flushes a file, or a directory's list of names, to the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _self_checksum(content: Mapping[str, Any]) -> str:
    return sha256(canonical(content))
