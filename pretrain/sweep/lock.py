"""One launcher at a time on a run directory."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from pretrain.config.fields import ConfigError

NAME = ".lock"


@contextlib.contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Holds a run directory's lock.

    The lock is the operating system's and ends with the process that holds it, however that ends, so a lock file that a
    dead process left is taken over; its content only tells people who holds it.

    Raises:
      ConfigError: another process holds it, or the file system has no locks.
    """
    path = run_dir / NAME
    with path.open("a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = f"is in use by {_holder(path)}; wait for it, or choose another directory"
            raise ConfigError("run_dir", str(run_dir), remedy) from None
        except OSError as error:
            remedy = f"is on a file system without locks ({error.strerror}); choose another directory"
            raise ConfigError("run_dir", str(run_dir), remedy) from None
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk, which whatever else is written will tell
            file.truncate(0)
            file.write(json.dumps(holder).encode())
        yield


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {int(holder['process'])} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just taken the lock, and will say so in a moment
        return "another process"
