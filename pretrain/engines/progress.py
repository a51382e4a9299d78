"""How a sweep reports that it is under way: bars in a terminal, plain lines elsewhere."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pretrain.config.counts import counted

if TYPE_CHECKING:
    from pretrain.plan.plan import Pack  # which imports JAX

_SECONDS_BETWEEN_LINES = 10.0
_LONG = 60.0  # seconds, after which work without a count is named where there is no terminal


@contextlib.contextmanager
def going_on(console: Console, work: str) -> Iterator[None]:
    """Names work that has no count: in a terminal while it goes on, elsewhere once it takes long."""
    if console.is_terminal:
        with console.status(work):
            yield
        return
    timer = threading.Timer(_LONG, console.print, [f"{work} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Reporter:
    """Reports the packs of a sweep as they run."""

    def __init__(self, console: Console, packs: "list[Pack]", note: Callable[[str], None] = lambda work: None):
        self._console = console
        self._packs = packs
        self._note = note

    @contextlib.contextmanager
    def pack(self, number: int, pack: "Pack | None" = None) -> Iterator[Callable[[int], None]]:
        """Reports a pack while it runs; yields the function to report finished updates.

        Args:
          number: of the pack, from 0.
          pack: the pack without some of its lanes; by default all.
        """
        pack = pack or self._packs[number]
        total = pack.stage.n_updates * len(pack.jobs)
        title = f"{pack.stage.name}  pack {number + 1}/{len(self._packs)}, {counted(len(pack.jobs), 'trial')}"
        most = "at most " if pack.stage.patience else ""
        self._note(title)
        shown = self._bar if self._console.is_terminal else self._lines
        done = 0
        with shown(title, total, most) as advanced:

            def noted(updates: int) -> None:
                nonlocal done
                done += updates
                self._note(f"{title}, step {done // len(pack.jobs):,} of {most}{pack.stage.n_updates:,}")
                advanced(updates)

            yield noted

    @contextlib.contextmanager
    def _bar(self, title: str, total: int, most: str) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Rate(),
            TextColumn(f"left {most}".strip()),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda updates: progress.advance(task, updates)
            progress.update(task, total=progress.tasks[task].completed)  # fewer, where trials stopped early

    @contextlib.contextmanager
    def _lines(self, title: str, total: int, most: str) -> Iterator[Callable[[int], None]]:
        began = reported = time.monotonic()
        done, first = 0, (began, 0)  # the first chunk, which may wait for a compilation, says nothing of the pace

        def pace(now: float) -> float:
            return (done - first[1]) / (now - first[0])

        def advanced(updates: int) -> None:
            nonlocal reported, done, first
            done += updates
            now = time.monotonic()
            if not first[1]:
                first = now, done
            elif now - reported > _SECONDS_BETWEEN_LINES and first[1] < done < total:
                reported, left = now, (total - done) / pace(now)
                self._say(f"{title}: {done / total:.0%}, {pace(now):,.0f} steps/s, {most}{left:.0f} s left")

        yield advanced
        now = time.monotonic()
        if done <= first[1]:  # a single chunk
            first = began, 0
        speed = f", {pace(now):,.0f} steps/s" if total else ""  # of a closed form there is none
        self._say(f"{title}: done in {now - began:.1f} s{speed}")

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


class _Rate(ProgressColumn):
    """Updates per second, all trials together."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} steps/s" if speed else "compiling")
