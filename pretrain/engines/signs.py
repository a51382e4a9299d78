"""Signs of life of the workers of a queue: each touches a file of its own every few seconds.

Ages are by the clock of the file system, for those of machines differ.
"""

import contextlib
import math
import time
import uuid

from pretrain.engines.queue import WORKERS, Queue

SILENT = 90.0  # seconds without a sign of life, after which a worker counts as lost
BEAT = 10.0  # seconds between two signs


class Signs:
    """The signs of life below a queue."""

    def __init__(self, queue: Queue):
        self._queue, self._folder = queue, queue.root / WORKERS
        self._looked = -math.inf  # when it last looked for silent workers (seconds)

    def beat(self, worker: str) -> None:
        """Gives a sign of life of a worker."""
        file = self._folder / worker
        with contextlib.suppress(OSError):  # the queue is gone, or its disk for a moment
            file.touch()

    def part(self, worker: str) -> None:
        """Takes a worker that ends off the list."""
        (self._folder / worker).unlink(missing_ok=True)

    def ages(self) -> dict[str, float] | None:
        """Returns the workers and the seconds since the last sign of each, by the clock of the file system.

        None where that cannot be said now: the queue is gone, or its disk for a moment.
        """
        probe = self._folder / f".{uuid.uuid4().hex}"
        ages = {}
        try:
            probe.touch()
            now = probe.stat().st_mtime
            for file in self._folder.glob("[!.]*"):
                with contextlib.suppress(FileNotFoundError):
                    ages[file.name] = now - file.stat().st_mtime
            probe.unlink(missing_ok=True)
        except OSError:
            return None
        return ages

    def lose_silent(self, retries: int, every: float = 0.0) -> list[str]:
        """Counts workers without a sign of life as lost; returns the names of their packs.

        To look at each of a thousand workers is a thousand requests to their file system, so that ``every`` says how
        many seconds after a look another is none.
        """
        if time.monotonic() - self._looked < every:
            return []
        self._looked = time.monotonic()
        owners = {worker for _, worker in self._queue.running()}  # first, for who claims has given a sign
        ages = self.ages()
        if ages is None:
            return []
        silent = [owner for owner in owners | ages.keys() if ages.get(owner, SILENT) >= SILENT]
        lost = [name for worker in silent for name in self._queue.lose(worker, retries)]
        for worker in silent:
            self.part(worker)
        return lost
