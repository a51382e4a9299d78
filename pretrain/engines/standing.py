"""How far the work of a queue is: packs by state, seconds used and left."""

from typing import Any, NamedTuple

from pretrain.config.counts import counted
from pretrain.engines.queue import Queue


class Counts(NamedTuple):
    """The packs of a queue by state, and the workers' seconds."""

    done: int
    failed: int
    running: int
    waiting: int
    seconds: float = 0.0  # in packs that are done, compilation included
    compiling: float = 0.0  # of these, seconds of tracing and compilation
    left: float | None = None  # seconds of work, by the seconds of packs of the same stage; None where none is done

    def __str__(self) -> str:
        parts = [f"{counted(self.done, 'pack')} done", *([f"{self.failed:,} failed"] if self.failed else [])]
        parts += [f"{self.running:,} running, {self.waiting:,} waiting"]
        if self.seconds:
            parts.append(f"{_duration(self.seconds)} used, {self.compiling / self.seconds:.0%} of it to compile")
        if self.left:
            parts.append(f"about {_duration(self.left)} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    """Returns a worker's seconds in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


class Standing:
    """How far a queue is, whose results are each read once."""

    def __init__(self, queue: Queue):
        self._queue = queue
        self._results: dict[str, dict[str, Any]] = {}  # of packs that are done

    def counts(self) -> Counts:
        """Returns how far the work is; packs that move meanwhile may be counted as they were before."""
        index, states = self._queue.index(), self._queue.states()
        for name in states["done"]:
            if name not in self._results and (result := self._queue.result(name)):
                self._results[name] = result
        results = {name: self._results[name] for name in states["done"] if name in self._results and name in index}
        paces: dict[str, tuple[float, int]] = {}  # seconds without compilation, and jobs, by stage
        for name, result in results.items():
            seconds, n_jobs = paces.get(index[name].title, (0.0, 0))
            seconds += result["seconds"] - result["compiling"]
            paces[index[name].title] = seconds, n_jobs + index[name].n_jobs
        left = [index[name] for name in (*states["running"], *states["waiting"]) if name in index]
        is_known = all(entry.title in paces for entry in left)
        return Counts(
            *(len(states[state]) for state in ("done", "aside", "running", "waiting")),
            sum(result["seconds"] for result in results.values()),
            sum(result["compiling"] for result in results.values()),
            sum(n * paces[title][0] / paces[title][1] for title, n, _ in left) if is_known else None,
        )
