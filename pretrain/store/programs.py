"""Compiled programs on disk, so that they are compiled once: JAX's persistent cache, kept trustworthy.

JAX names a program by its instructions, its options and its own version. On a shared directory this is not enough: a
program may run, or round, differently on another CPU. And JAX runs whatever lies under a program's name: a flipped bit,
half a file, or machine code that somebody put there. So programs lie in a directory named by everything that could make
them stale, and each begins with a seal: the HMAC-SHA256 of its directory's name, its own and its bytes under a secret
of the user's, which is outside of the store. A program runs from the very bytes whose seal was checked.

Whoever can write the store can delete programs and make them be compiled again. They cannot alter one, put another in
its place or name, or seal one, as long as they cannot read the user's files: those who can, or are the user, need no
store to run code. What a user compiles is for that user; others compile their own beside it.
"""

import contextlib
import functools
import hashlib
import hmac
import os
import platform
import secrets
import stat
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax

from pretrain.config.digests import sha256
from pretrain.config.paths import opened

try:  # a seam that JAX does not promise: it has no public one for what reads and writes its programs
    from jax._src import compilation_cache
except ImportError:
    compilation_cache = None  # type: ignore[assignment]  # a module elsewhere

_CPU_LINES = ("model name", "flags", "Features", "CPU part")
_SUFFIX, _TIMES = "-program", "seconds"  # ends of programs' files; the file of how long each took to compile
_SEAL, _SECRET = 32, 32  # bytes


def prepare_devices(n_cores: int | None = None) -> None:
    """Gives XLA one CPU device a core, by default of all that this process may use.

    Devices that JAX has begun to use, as in a notebook, stay as they are.
    """
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", n_cores or len(os.sched_getaffinity(0)))


def prepare(root: Path, keep: bool = True) -> None:
    """Gives compiled programs a directory under ``root``, which may not be there yet.

    Args:
      root: of the programs of all versions, machines and users.
      keep: whether programs can be written there; if not, they are only read.
    """
    if not hasattr(compilation_cache, "get_file_cache"):
        return  # of another JAX, which would run what it finds
    secret, is_kept = _secret()
    compilation_cache.get_file_cache = lambda path: (Programs(Path(path), secret), path)
    directory = root / _fingerprint() / sha256(b"name" + secret)[:16]
    keep = keep and is_kept  # or each process would leave programs that none can read
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1 if keep else float("inf"))
    # XLA's own caches would put the directory's path into every key, and a moved store would compile all again.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def compile_seconds(root: Path) -> float | None:
    """Returns how long a program took to compile on this machine, on average; None where none was compiled yet."""
    try:
        with opened(root / _fingerprint() / _TIMES) as content:
            times = [float(line) for line in content.read().splitlines()]
    except (OSError, ValueError):
        return None
    return sum(times) / len(times) if times and all(0 <= each < float("inf") for each in times) else None


class Programs:
    """Sealed programs in a directory, by JAX's keys: a ``CacheInterface`` of its."""

    def __init__(self, directory: Path, secret: bytes):
        self._path = directory
        self._secret = secret
        self._asked: dict[str, float] = {}  # when programs that are not there were asked for (seconds)

    def get(self, key: str) -> bytes | None:
        """Returns a program; None, and nothing is left of it, where it is not as this user's process wrote it."""
        file = self._file(key)
        self._asked[key] = time.perf_counter()
        try:
            with opened(file) as content:
                seal, program = content.read(_SEAL), content.read()
        except FileNotFoundError:
            return None
        except OSError:
            seal, program = b"", b""
        if hmac.compare_digest(seal, self._seal(key, program)):
            return program
        with contextlib.suppress(OSError):
            file.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Keeps a program, all of it or nothing; where it cannot be written, it is compiled again some day."""
        draft = self._path / f".{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_bytes(self._seal(key, value) + value)
                draft.replace(self._file(key))
                if key in self._asked:  # before it was compiled
                    with open(self._path.parent / _TIMES, "a", encoding="ascii") as times:
                        times.write(f"{time.perf_counter() - self._asked.pop(key):.3f}\n")
            finally:
                draft.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}{_SUFFIX}"

    def _seal(self, key: str, program: bytes) -> bytes:
        mac = hmac.new(self._secret, f"{_fingerprint()}\0{key}\0".encode(), hashlib.sha256)
        mac.update(program)
        return mac.digest()


class _Secret(NamedTuple):
    key: bytes
    is_kept: bool  # for other processes of the user's


@functools.cache
def _secret() -> _Secret:
    """Returns the user's secret, made where there is none to trust; this process's own where none can be kept."""
    bases = [os.environ.get("XDG_STATE_HOME", ""), os.path.expanduser("~/.local/state")]
    base = next((base for base in bases if os.path.isabs(base)), None)  # by the standard, others are ignored
    if base:
        file = Path(base) / "pretrain" / "programs.key"
        for make in (lambda: None, lambda: _make(file)):
            with contextlib.suppress(OSError):
                make()
                if key := _trusted(file):
                    return _Secret(key, True)
    return _Secret(secrets.token_bytes(_SECRET), False)


def _trusted(file: Path) -> bytes | None:
    """Returns the secret of a file; None of one that is not whole, another's, or for others to read."""
    with opened(file) as content:
        status, key = os.fstat(content.fileno()), content.read(_SECRET + 1)
    is_private = status.st_uid == os.getuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return key if is_private and len(key) == _SECRET else None


def _make(file: Path) -> None:
    """Makes a secret, in the place of a file that is there."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    was_there, draft = file.exists(), file.with_name(f".{uuid.uuid4().hex}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as content:
            content.write(secrets.token_bytes(_SECRET))
        try:
            if was_there:
                raise OSError
            os.link(draft, file)
        except FileExistsError:  # of another process of the user's, which was faster
            pass
        except OSError:  # or no links are there
            draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@functools.cache
def _fingerprint() -> str:
    """Returns a digest of everything that makes a program stale, besides its instructions and options."""
    made_by = [version(name) for name in ("jax", "jaxlib")] + [platform.machine(), os.environ.get("XLA_FLAGS", "")]
    with contextlib.suppress(OSError):  # no Linux
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        made_by += sorted({line for line in lines if line.startswith(_CPU_LINES)})
    return sha256("\n".join([_SUFFIX, *made_by]))[:16]


def stale(root: Path) -> list[Path]:
    """Returns the directories of programs that other versions or machines have compiled."""
    return [path for path in sorted(root.glob("*")) if path.is_dir() and path.name != _fingerprint()]
