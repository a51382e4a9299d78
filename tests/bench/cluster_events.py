"""What a discrete-event simulation needs: a clock, servers, and packs that are ready to be claimed."""

import heapq
import itertools
from collections.abc import Iterator

Process = Iterator[float]  # yields the seconds until it goes on


class Clock:
    """Runs processes in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Process]] = []
        self._numbers = itertools.count()

    def start(self, process: Process) -> None:
        heapq.heappush(self._due, (self.now, next(self._numbers), process))

    def run(self) -> None:
        """Returns when all processes have ended."""
        while self._due:
            self.now, _, process = heapq.heappop(self._due)
            wait = next(process, None)
            if wait is not None:
                heapq.heappush(self._due, (self.now + wait, next(self._numbers), process))


class Server:
    """Serves requests one after another, in the order in which they come."""

    def __init__(self, rate: float):
        self.rate, self.busy, self.served, self._free = rate, 0.0, 0.0, 0.0

    def wait(self, now: float, amount: float) -> float:
        """Returns the seconds until a request is served that comes now."""
        seconds = amount / self.rate
        self.busy += seconds
        self.served += amount
        self._free = max(now, self._free) + seconds
        return self._free - now


class Ready:
    """Packs that are ready, in the order in which they became so, and when each was claimed."""

    def __init__(self, n_packs: int):
        self.packs: list[int] = []
        self.n_claimed = 0
        self._claimed = [float("inf")] * n_packs  # when, by place
        self._next = list(range(n_packs + 1))  # from a place that is claimed towards the next that is not

    def claim(self, place: int, now: float) -> bool:
        """Claims the pack of a place; returns whether nobody had it."""
        if self._claimed[place] <= now:
            return False
        self._claimed[place], self._next[place] = now, place + 1
        self.n_claimed += 1
        return True

    def candidates(self, now: float, share: float) -> Iterator[int]:
        """Yields the places that a worker tries which lists the packs now, until it has claimed one.

        It begins a share of the way down its list, and tries in vain what others have claimed meanwhile. Beyond the
        first place, those that were claimed between two of its tries are left out.
        """
        begin, end = self._free(0), len(self.packs)
        middle = begin + int(share * (end - begin))
        if not share:
            yield from (place for place in range(begin, end) if self._claimed[place] > now)
            return
        for first, last in ((middle, end), (begin, middle)):
            place = self._free(first)
            while place < last:
                yield place
                place = self._free(place)

    def _free(self, place: int) -> int:
        """Returns the first place from one on that is not claimed."""
        path = []
        while self._next[place] != place:
            path.append(place)
            place = self._next[place]
        for each in path:
            self._next[each] = place
        return place
