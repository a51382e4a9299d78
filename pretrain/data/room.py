"""Memory that is left to this process, and data that are beyond it: refused before they are read."""

import contextlib
from pathlib import Path

import psutil

from pretrain.config.fields import ConfigError

CELL = 16  # bytes of a table's number, as read and as an input, while both are there
_LIMITS = [  # of a control group, version 2 and version 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
]


def available(with_swap: bool = False) -> float:
    """Returns the bytes of the host that this process may still take."""
    free = psutil.virtual_memory().available + (psutil.swap_memory().free if with_swap else 0)
    return min(free, _limit() - taken())


def taken() -> int:
    """Returns the bytes of the host that this process takes now."""
    return psutil.Process().memory_info().rss


def check(source: str, needed: float, content: str) -> None:
    """Checks that there is memory for data.

    Args:
      source: their name.
      needed: bytes that reading them takes.
      content: the data in words.

    Raises:
      ConfigError: there is not.
    """
    left = available(with_swap=True)  # data that are read once may wait there
    if needed > left:
        sizes = f"about {needed / 2**30:,.1f} GiB in memory, where {max(0, left) / 2**30:,.1f} GiB are free"
        raise ConfigError("data.name", source, f"has {content}, {sizes}; take fewer rows or columns")


def _limit() -> float:
    """Returns the bytes that a control group allows this process."""
    limits = []
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            limits.append(float(path.read_text()))
    return min(limits, default=float("inf"))
