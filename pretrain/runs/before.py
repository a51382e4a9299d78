"""Errors of pretraining before its first update, measured when a run concludes; a run's table of stages keeps them."""

from collections.abc import Mapping

from pretrain.config import DataConfig
from pretrain.data import Dataset
from pretrain.execute.execute import measured_before
from pretrain.learn.before import alike
from pretrain.plan.plan import Job, Plan
from pretrain.store import parents
from pretrain.store.store import Store

Before = tuple[float, ...]  # training, held out, noise: see ``learn.before.Before``


def of_plan(
    plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset], known: Mapping[str, Before]
) -> dict[str, Before]:
    """Returns the errors of each stage of pretraining before its first update, by its id; a closed form has none.

    Raises:
      StoreError: parameters cannot be restored.
    """
    jobs = [job for job in plan.jobs.values() if job.stage.stack.head is None and job.stage.n_updates]
    groups: dict[tuple, list[Job]] = {}
    for job in (job for job in jobs if job.id not in known):
        groups.setdefault((alike(job.stage), job.data), []).append(job)
    found = {job.id: known[job.id] for job in jobs if job.id in known}
    for (stage, data), members in groups.items():
        started = (parents.params(job, store) for job in members)
        errors = measured_before(stage, datasets[data], members, started)
        found |= {job.id: each for job, each in zip(members, errors, strict=True)}
    return found
