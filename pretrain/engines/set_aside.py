"""Packs that fail are tried once more and then set aside, with all that would follow them; others go on."""

import gc
from collections.abc import Callable, Mapping

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
    said = " ".join(str(error).split())
    # Of what JAX says of a callback the user's own error is the end, after its own traces.
    return f"{type(error).__name__}: {said if len(said) <= _LONGEST else f'…{said[-_LONGEST:]}'}"


class SetAside:
    """The packs of a run in this process that are set aside, and what would follow them."""

    def __init__(self, console: Console):
        """Args: console: for a line about each."""
        self._console = console
        self._why: dict[str, str] = {}

    @property
    def why(self) -> Mapping[str, str]:
        """The reason that a job is missing, by its id."""
        return self._why

    def without_orphans(self, pack: Pack) -> Pack | None:
        """Returns a pack without the lanes whose parents are missing; None where none is left."""
        kept = [lane for lane, job in enumerate(pack.jobs) if job.parent not in self._why]
        for lane in set(range(len(pack.jobs))) - set(kept):
            for part in (pack, *pack.passed):
                self._why[part.jobs[lane].id] = self._why[pack.jobs[lane].parent or ""]
        return pack.of_lanes(kept) if kept else None

    def unless_done(self, pack: Pack, do: Callable[[], None]) -> None:
        """Does a pack, again where it fails, and sets it aside where it fails twice, or does not fit in memory.

        Raises:
          Interrupted, LaneError, OSError, StoreError: as ``work.do``; and of several processes whatever it raises.
        """
        for is_last in (False, True):
            try:
                do()
                return
            except OF_THE_RUN:
                raise
            except Exception as error:
                if jax.process_count() > 1:
                    raise
                reason, is_last = reason_of(error), is_last or isinstance(error, MemoryFault)
            gc.collect()  # outside of the handler, whose exception held arrays
            named = reason if pack.stage.name in reason else f"{pack.stage.name}: {reason}"
            self._console.print(f"{named}; the pack is {'set aside' if is_last else 'run again'}", soft_wrap=True)
            if is_last:
                self._why |= dict.fromkeys((job.id for job in pack.left), named)
                return
