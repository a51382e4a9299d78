"""The parameters that a job starts from: those of the stage before it, a checkpoint's, or both."""

from collections.abc import Mapping, Sequence

import jax

from pretrain.learn.layers import Params
from pretrain.plan import arrays
from pretrain.plan.job import Job
from pretrain.store.store import Store


def params(job: Job, store: Store) -> Params | None:
    """Returns the parameters that a job starts from, which its stage has the shapes of; None where it has none.

    Raises:
      StoreError: those of the stage before it cannot be restored.
      TransferError: they are others.
    """
    if job.parent is None or job.parent_stage is None:
        return job.weights
    given, wanted = (job.weights or {}).get("encoder", {}), job.parent_stage.shapes
    below = {name: each for name, each in wanted["encoder"].items() if name not in given}
    return beside(job, store.params(job.parent, {**wanted, "encoder": below}))


def beside(job: Job, before: Params | None) -> Params | None:
    """Returns the parameters that a job starts from, given all or those that it reads of the stage before it."""
    if before is None:
        return job.weights
    given = (job.weights or {}).get("encoder", {})
    return {**before, "encoder": {**before.get("encoder", {}), **given}}


def digests(jobs: Sequence[Job], started: Sequence[Params | None], store: Store) -> list[Mapping[str, int] | None]:
    """Returns the digests, by side, of the parameters that each job started from."""
    named = [job.parent for job in jobs if job.parent and not job.weights]
    records = dict(zip(named, store.records(named), strict=True))
    found: list[Mapping[str, int] | None] = []
    for job, params in zip(jobs, started, strict=True):
        if job.weights:
            one_lane = jax.tree.map(lambda leaf: leaf[None], params)
            found.append({side: int(each[0]) for side, each in arrays.digests_of(one_lane).items()})
        else:
            found.append(records[job.parent].digests if job.parent else None)
    return found
