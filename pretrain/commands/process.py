"""The process of ``launch.py``: its streams, signals, devices and JAX; nothing here takes long to import."""

import contextlib
import gc
import logging
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from pretrain.commands import streams

INTERRUPTED = 130  # exit code: stopped at once
_ALLOCATIONS = 100_000  # of containers between two searches for cycles


def run(argv: Sequence[str], configs: Path | None = None) -> int:
    """Runs the command line as ``commands.launch.main`` does, whatever becomes of its streams and signals."""
    with owned():
        try:
            from pretrain.commands.launch import main

            return main(argv, configs)
        except KeyboardInterrupt:  # before there was anything to go on from
            streams.complain("interrupted before anything was begun")
            return INTERRUPTED


@contextlib.contextmanager
def owned() -> Iterator[None]:
    """Takes the process: streams that never fail, and SIGTERM and SIGHUP that act as Ctrl-C does.

    A SIGHUP that the process was started to ignore, as by nohup, stays ignored.
    """
    # Imports and traces leave a million objects that stay. Python's default, to search them every 700 allocations,
    # takes a tenth of a short run's time.
    gc.set_threshold(_ALLOCATIONS)
    with streams.unfailing():
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


def set_up_jax(is_distributed: bool = False) -> list[str]:
    """Gives JAX its settings and devices; returns the variables of the environment that it sets aside.

    Raises:
      ConfigError: the environment asks for float64 or for devices that are not there, or the other processes of a
        distributed run cannot be found.
    """
    from pretrain.execute import hosts
    from pretrain.plan import environment
    from pretrain.store import programs

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
    aside = environment.fix()
    programs.prepare_devices()
    if is_distributed:
        hosts.join()
    environment.check_devices()
    return aside
