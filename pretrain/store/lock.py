"""One launcher at a time on a run directory."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pretrain.config.fields import ConfigError

NAME = ".lock"
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a link, a directory, a pipe or socket
_TRIES, _BETWEEN = 10, 0.01  # seconds between two
LONGEST = 1 << 16  # bytes of a lock file that are read
_LONGEST_WORK, _MOST_TAGS = 200, 20  # characters of what its holder does, and tags of the run


@contextlib.contextmanager
def held(run_dir: Path, tags: Sequence[str] = ()) -> Iterator[Callable[[str], None]]:
    """Holds a run directory's lock; gives a function that notes what its holder does, for those who are refused.

    The lock is the operating system's and ends with its process, however that ends: the lock file of a dead process is
    taken over. Its content only names the holder, and the run's tags, to people.

    Raises:
      ConfigError: another process holds it, the file system has no locks, or something else has the lock's name.
      OSError: the file cannot be opened.
    """
    with _opened(run_dir) as file:
        try:
            _take(file)
        except BlockingIOError:
            remedy = f"is in use by {_holder(file)}; wait for it, or choose another directory"
            raise ConfigError("run_dir", str(run_dir), remedy) from None
        except OSError as error:
            remedy = f"is on a file system without locks ({error.strerror}); choose another directory"
            raise ConfigError("run_dir", str(run_dir), remedy) from None
        holder: dict[str, Any] = {"tags": [tag[:_LONGEST_WORK] for tag in tags[:_MOST_TAGS]]} if tags else {}
        holder |= {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}

        def note(work: str) -> None:
            content = json.dumps({**holder, "work": work[:_LONGEST_WORK]} if work else holder).encode()
            with contextlib.suppress(OSError):  # a full disk, which other writes will report
                os.pwrite(file.fileno(), content, 0)
                file.truncate(len(content))

        note("")
        yield note


def _take(file: IO[bytes]) -> None:
    """Takes the lock of a file; what lists runs may hold it for a moment."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_BETWEEN)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _opened(run_dir: Path) -> IO[bytes]:
    """Opens the lock file, and follows no link to somebody else's file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(run_dir / NAME, flags, 0o666), "r+b", buffering=0)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
    else:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    remedy = f"has a {NAME} that is a link or no plain file; move it away, or choose another directory"
    raise ConfigError("run_dir", str(run_dir), remedy)


def _holder(file: IO[bytes]) -> str:
    try:
        holder = json.loads(os.pread(file.fileno(), LONGEST, 0))
        work = f", at {holder['work']}" if "work" in holder else ""
        return f"process {int(holder['process'])} on {holder['host']} since {holder['since']}{work}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        # It has just taken the lock, and not named itself yet; or the file is damaged.
        return "another process"
