"""Compiled programs on disk, so that they are compiled once: JAX's persistent cache, kept trustworthy.

JAX names a program by its instructions, its options and its own version. On a shared directory this is not enough: a
program may run, or round, differently on another CPU. And JAX neither notices a flipped bit nor ever replaces a
truncated entry. So programs lie in a directory named by everything that could make them stale, every entry of a run is
sealed with a checksum, and entries without a valid seal are deleted.
"""

import contextlib
import functools
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from pretrain.config.digests import sha256, sha256_of_file

_SEALS = "seals.json"
_CPU_LINES = ("model name", "flags", "Features", "CPU part")


def prepare_devices(n_cores: int | None = None) -> None:
    """Gives XLA one CPU device a core, by default of all that this process may use.

    Devices that JAX has begun to use, as in a notebook, stay as they are.
    """
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", n_cores or len(os.sched_getaffinity(0)))


def prepare(root: Path, keep: bool = True) -> None:
    """Gives compiled programs a directory under ``root``, which may not be there yet.

    Args:
      root: of the programs of all versions and machines.
      keep: whether programs can be written there; if not, they are only read, and none unless all are sound.
    """
    directory = root / _fingerprint()
    seals = _seals(directory)
    unsound = [entry for entry in directory.glob("*-cache") if seals.get(entry.name) != _checksum(entry)]
    if not keep and (unsound or not directory.is_dir()):
        return
    for entry in unsound:
        entry.unlink(missing_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1 if keep else float("inf"))
    # XLA's own caches would put the directory's path into every key, and a moved store would compile all again.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def seal(root: Path) -> None:
    """Notes the checksums of all compiled programs; programs without are compiled again some day."""
    directory = root / _fingerprint()
    with contextlib.suppress(OSError):
        checksums = {entry.name: _checksum(entry) for entry in directory.glob("*-cache")}
        if checksums != _seals(directory):
            draft = directory / f"{_SEALS}.{os.getpid()}"
            draft.write_text(json.dumps(checksums))
            draft.replace(directory / _SEALS)


@functools.cache
def _fingerprint() -> str:
    """Returns a digest of everything that makes a program stale, besides its instructions and options."""
    made_by = [version(name) for name in ("jax", "jaxlib")] + [platform.machine(), os.environ.get("XLA_FLAGS", "")]
    with contextlib.suppress(OSError):  # no Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        made_by += sorted({line for line in lines if line.startswith(_CPU_LINES)})
    return sha256("\n".join(made_by))[:16]


def _seals(directory: Path) -> dict[str, str]:
    try:
        seals = json.loads((directory / _SEALS).read_text())
    except (OSError, ValueError):
        return {}
    return seals if isinstance(seals, dict) else {}


def _checksum(path: Path) -> str | None:
    try:
        return sha256_of_file(path)
    except OSError:  # deleted meanwhile
        return None


def stale(root: Path) -> list[Path]:
    """Returns the directories of programs that other versions or machines have compiled."""
    return [path for path in sorted(root.glob("*")) if path.is_dir() and path.name != _fingerprint()]
