"""A worker's work on one pack: restore its parents, run it, keep what is done; wherever that is."""

import time
from collections.abc import Callable

from pretrain.data import Dataset
from pretrain.sweep import execute, hosts
from pretrain.sweep.execute import Outcome, Progress
from pretrain.sweep.interrupts import Interrupted
from pretrain.sweep.plan import Pack
from pretrain.sweep.store import Store


def train(
    pack: Pack,
    dataset: Dataset,
    store: Store,
    save_every: float,
    advanced: Callable[[int], None],
    stop: Callable[[], bool],
) -> Outcome:
    """Runs a pack from where it was stored last, and keeps what is done of it stored.

    Args:
      pack: the jobs, whose parents are stored.
      dataset: the images that all jobs read.
      store: where parents come from and results go.
      save_every: seconds between two saves of a pack in training.
      advanced: told the number of updates after each chunk, summed over the jobs.
      stop: asked after each chunk whether to stop.

    Raises:
      Interrupted: it was to stop, and what was done is stored.
      StoreError: something could not be read or written.
    """
    parents = [job.parent and store.params(job.parent, job.parent_stage.shapes) for job in pack.jobs]
    begun = store.progress(pack)
    done, saved = 0, time.monotonic()

    def after_chunk(step: int, progress: Callable[[], Progress]) -> None:
        nonlocal done, saved
        advanced((step - done) * len(pack.jobs))
        done = step
        if step == pack.stage.total_steps:
            return
        stopping = bool(hosts.agreed(stop()))
        if hosts.agreed(stopping or time.monotonic() - saved >= save_every):
            reached = progress()
            if hosts.leads():
                store.save_progress(pack, reached)
            saved = time.monotonic()
        if stopping:
            raise Interrupted

    return execute.run(pack, dataset, parents, after_chunk, begun)
