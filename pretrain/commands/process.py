"""The process of ``launch.py``: its streams, its signals, and nothing that takes long to import before them."""

import contextlib
import gc
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from pretrain.commands import streams

INTERRUPTED = 130  # exit code: stopped at once
_ALLOCATIONS = 100_000  # of containers between two searches for cycles


def run(argv: Sequence[str], configs: Path) -> int:
    """Runs the command line as ``commands.launch.main`` does, whatever becomes of its streams and signals.

    SIGTERM and SIGHUP act as Ctrl-C does, unless the process was started with SIGHUP ignored, as by nohup.
    """
    # Imports and traces leave a million objects that stay. Python's default, to search them every 700 allocations,
    # takes a tenth of a short run's time.
    gc.set_threshold(_ALLOCATIONS)
    with streams.unfailing():
        try:
            with _signals():
                from pretrain.commands.launch import main

                return main(argv, configs)
        except KeyboardInterrupt:  # before there was anything to go on from
            streams.complain("interrupted before anything was begun")
            return INTERRUPTED


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
