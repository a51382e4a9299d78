"""A worker's work on one pack: restore its parents, run it, keep what is done; wherever that is."""

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator

import jax

from pretrain.config.counts import counted
from pretrain.data import Dataset
from pretrain.engines import pace
from pretrain.engines.interrupts import Interrupted
from pretrain.execute import execute, hosts
from pretrain.execute.compiled import seconds_waited
from pretrain.plan import plan as planning
from pretrain.plan.plan import Pack
from pretrain.store import parents, sealed
from pretrain.store.records import Outcome, Progress
from pretrain.store.store import Store

_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "bad_alloc", "Out of memory", "out of memory")  # in what XLA says


class MemoryFault(Exception):
    """A pack that does not fit in memory; the message names it."""


def do(
    pack: Pack,
    dataset: Dataset,
    store: Store,
    save_every: float,
    advanced: Callable[[int], None],
    stop: Callable[[], bool],
    keep: Callable[[Pack, Outcome], None],
    notify: Callable[[str], None],
) -> None:
    """Trains a pack, as ``train`` does, and keeps its outcome; one that does not fit in memory in two halves.

    Args:
      pack: the jobs, whose parents are stored.
      dataset: the images that all jobs read.
      store: where parents come from and results go.
      save_every: seconds between two saves of a pack in training.
      advanced: called after each chunk with the number of its updates, summed over the jobs.
      stop: asked after each chunk whether to stop.
      keep: stores an outcome.
      notify: called with a line when the pack is cut.

    Raises:
      Interrupted: it was to stop, and what was done is stored.
      MemoryFault: not even the halves fit, or there are none.
      StoreError: something could not be read or written.
    """
    sealed.import_ahead()
    made = 0

    def noted(updates: int) -> None:
        nonlocal made
        made += updates
        advanced(updates)

    def trained(pack: Pack) -> None:
        waited = seconds_waited()
        outcome = train(pack, dataset, store, save_every, noted, stop, keep)
        seconds = max(0.0, outcome.seconds - (seconds_waited() - waited) / len(pack.jobs))
        program, platform, known = pack.jobs[0].program, jax.default_backend(), store.temporaries
        known[program, platform] = execute.temporaries(pack, dataset)
        paced = pace.key(program, platform)  # the least of all, as others may share the machine
        known[paced] = min(known.get(paced, seconds), seconds)
        keep(pack, outcome)

    try:
        trained(pack)
        return
    except MemoryFault as fault:
        if len(pack.jobs) == 1 or jax.process_count() > 1:  # other processes would wait for this one
            raise
        line = f"{fault}; it is cut in half and run again"
    gc.collect()  # outside of the handler, whose exception held the arrays
    notify(line)
    advanced(-made)
    parts = planning.cut(pack, -(-len(pack.jobs) // 2))
    store.cut_progress(pack, parts)
    for part in parts:
        trained(part)


def train(
    pack: Pack,
    dataset: Dataset,
    store: Store,
    save_every: float,
    advanced: Callable[[int], None],
    stop: Callable[[], bool],
    keep: Callable[[Pack, Outcome], None],
) -> Outcome:
    """Runs a pack from where it was stored last, and keeps what is done of it stored; arguments are those of ``do``."""
    starts = [parents.params(job, store) for job in pack.jobs]
    digests = parents.digests(pack.jobs, starts, store)
    stored = store.progress(pack) or store.states.progress(pack)
    if stored and (missed := [part for part in pack.passed if part.stage.n_updates < stored.step]):
        *shorter, longest = missed  # as where a run of this pack alone was interrupted
        longest = dataclasses.replace(longest, passed=tuple(shorter))
        keep(longest, train(longest, dataset, store, save_every, advanced, stop, keep))
    done, saved = 0, time.monotonic()

    def after_chunk(step: int, progress: Callable[[], Progress]) -> None:
        nonlocal done, saved
        advanced((step - done) * len(pack.jobs))
        done = step
        if step == pack.stage.n_updates:
            return
        stopping = bool(hosts.broadcast(stop()))
        if hosts.broadcast(stopping or time.monotonic() - saved >= save_every):
            reached = progress()
            if hosts.is_leader():
                store.save_progress(pack, reached)
            saved = time.monotonic()
        if stopping:
            raise Interrupted

    def keep_state(part: Pack, state: Progress) -> None:
        if hosts.is_leader():
            store.save_state(part, state)

    with _naming_what_does_not_fit(pack):
        keeps = keep_state if pack.jobs[0].course else None
        return execute.run(pack, dataset, starts, after_chunk, stored, keep, digests, keeps)


@contextlib.contextmanager
def _naming_what_does_not_fit(pack: Pack) -> Iterator[None]:
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not any(word in reason for word in _OUT_OF_MEMORY):
            raise
        named = f"{pack.stage.name}: a pack of {counted(len(pack.jobs), 'trial')}"
        raise MemoryFault(f"{named} does not fit in memory ({reason[:200] or type(error).__name__})") from None
