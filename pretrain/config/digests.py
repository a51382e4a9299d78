"""SHA-256 of texts, JSON, arrays and files, in hexadecimal digits."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.paths import opened


def sha256(content: str | bytes) -> str:
    """Returns the digest of bytes, or of a text as UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_of_json(content: Any) -> str:
    """Returns the digest of the canonical JSON of a value."""
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False))


def sha256_of_arrays(*arrays: np.ndarray) -> str:
    """Returns the digest of arrays: their types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def sha256_of_file(file: Path) -> str:
    """Returns the digest of a file's content.

    Raises:
      OSError: it cannot be read.
    """
    with opened(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
