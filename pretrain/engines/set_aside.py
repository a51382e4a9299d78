"""Packs that fail are tried once more after all others and then set aside, with what would follow; others go on."""

import gc
import re
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import jax
from rich.console import Console

from pretrain.config.fields import ConfigError
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.work import MemoryFault
from pretrain.execute.execute import LaneError
from pretrain.plan.plan import Pack
from pretrain.store.store import StoreError

_LONGEST = 300  # characters of a reason
OF_THE_RUN = (Interrupted, ConfigError, LaneError, StoreError, OSError)  # which no other pack would be spared


def reason_of(error: Exception) -> str:
    """Returns the reason for which a pack failed, in one line."""
    if isinstance(error, MemoryFault):
        return str(error)
    *_, (name, text) = [(type(error).__name__, str(error)), *_raised_in_callback(str(error))]
    said = " ".join(text.split())
    return f"{name}: {said if len(said) <= _LONGEST else f'…{said[-_LONGEST:]}'}" if said else name


def _raised_in_callback(text: str) -> list[tuple[str, str]]:
    """Returns the name and the text of the user's error that JAX says of a callback after the trace; or none."""
    *before, after = re.split(r'^ *File ".*", line \d+.*$', text.strip(), flags=re.MULTILINE)
    raised = re.search(r"^(\w[\w.]*)(?:: ?(.*))?\Z", after, re.MULTILINE | re.DOTALL) if before else None
    return [(raised[1], raised[2] or "")] if raised else []


class SetAside:
    """The turns of a run's packs in this process: what fails is run again after all others, and then set aside."""

    def __init__(self, console: Console, log: Path, stored: Callable[[Collection[str]], Collection[str]]):
        """Args: console: for a line about each that fails. log: the file of their traces. stored: which jobs are."""
        self._console, self._log, self._stored = console, log, stored
        self._why: dict[str, str] = {}
        self._failed: set[str] = set()  # jobs, once
        self._later: list[tuple[int, Pack]] = []  # packs of the next round
        self._waiting: set[str] = set()  # their jobs

    @property
    def why(self) -> Mapping[str, str]:
        """The reason that a job is missing, by its id."""
        return self._why

    def turns(self, packs: Sequence[Pack]) -> Iterator[tuple[int, Pack]]:
        """Yields the numbers of packs and what of them can run, parents first; for ``unless_done`` before the next.

        Lanes whose parents are set aside are left out. Those whose parents are run again follow these.
        """
        left = list(enumerate(packs))
        while left:
            turn, self._later, self._waiting = left, [], set()
            for number, whole in turn:
                if not (pack := self._without_orphans(whole)):
                    continue
                waits = [job.parent in self._waiting for job in pack.jobs]
                if any(waits):
                    self._put_off(number, pack.of_lanes([lane for lane, is_late in enumerate(waits) if is_late]))
                if not all(waits):
                    yield number, pack.of_lanes([lane for lane, is_late in enumerate(waits) if not is_late])
            left = self._later

    def unless_done(self, number: int, pack: Pack, do: Callable[[], None]) -> None:
        """Does a pack; one that fails has another turn, and is set aside after two, or where it does not fit in memory.

        Raises:
          Interrupted, LaneError, OSError, StoreError: as ``work.do``; and of several processes whatever it raises.
        """
        try:
            do()
            return
        except OF_THE_RUN:
            raise
        except Exception as error:
            if jax.process_count() > 1:
                raise
            reason, is_last = reason_of(error), isinstance(error, MemoryFault)
            trace = "" if is_last else traceback.format_exc()
        gc.collect()  # outside of the handler, whose exception held arrays
        done = self._stored({job.id for job in pack.left})  # a half, or jobs of fewer updates, whose children can run
        pack = pack.of_lanes(
            [lane for lane in range(len(pack.jobs)) if any(job not in done for job in _at(pack, lane))]
        )
        ids = {job.id for job in pack.left} - set(done)
        is_last = is_last or not ids.isdisjoint(self._failed)
        named = reason if pack.stage.name in reason else f"{pack.stage.name}: {reason}"
        self._failed |= ids
        if is_last:
            self._why |= dict.fromkeys(ids, named)
        else:
            self._put_off(number, pack)
        kept = f" (trace in {self._log})" if trace and self._write(f"{named}\n{trace}") else ""
        then = "set aside" if is_last else "run again after all others"
        self._console.print(f"{named}{kept}; the pack is {then}", soft_wrap=True)

    def _without_orphans(self, pack: Pack) -> Pack | None:
        """Returns a pack without the lanes whose parents are missing; None where none is left."""
        kept = [lane for lane, job in enumerate(pack.jobs) if job.parent not in self._why]
        if len(kept) == len(pack.jobs):
            return pack
        for lane in set(range(len(pack.jobs))) - set(kept):
            self._why |= dict.fromkeys(_at(pack, lane), self._why[pack.jobs[lane].parent or ""])
        return pack.of_lanes(kept) if kept else None

    def _put_off(self, number: int, pack: Pack) -> None:
        self._later.append((number, pack))
        self._waiting |= {job.id for job in pack.left}

    def _write(self, text: str) -> bool:
        """Appends to the log; returns whether it could."""
        try:
            with self._log.open("a") as log:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.strip()}\n")
        except OSError:
            return False
        return True


def _at(pack: Pack, lane: int) -> list[str]:
    """Returns the ids of the jobs whose outcomes a lane leaves."""
    return [part.jobs[lane].id for part in (pack, *pack.passed)]
