"""Ctrl-C, SIGTERM and SIGHUP: finish the chunk, save, and say how to go on."""

import signal
from collections.abc import Callable
from types import FrameType


class Interrupted(Exception):
    """Work was stopped on request, after all that was done was saved; says how to go on."""


class Detached(Exception):
    """Work was left to the workers of a cluster, on request; the same command looks after it again."""


class Interrupts:
    """While entered, turns the first signal into a request to stop; the second acts as if nothing were here.

    Schedulers send SIGTERM before they preempt, people press Ctrl-C or close the terminal: SIGHUP, which nohup ignores.
    """

    def __init__(self, notify: Callable[[str], None]):
        """Args: notify: called, once, with a line for people when a stop is requested."""
        self._notify = notify
        self._before: dict[int, object] = {}
        self._requested = False

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Returns whether work is to stop."""
        return self._requested

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.__exit__()
        self._requested = True
        self._notify(f"{signal.Signals(number).name}: stopping at the end of this chunk; once more stops at once")
