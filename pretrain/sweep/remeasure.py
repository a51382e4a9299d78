"""Reconstruction errors of stored pretraining on test images that it was not measured on.

Test images name no pretraining, so that one may be found in a store by a run with others.
"""

from collections.abc import Mapping

from pretrain.config import DataConfig
from pretrain.data import Dataset
from pretrain.learn.stage import Stage
from pretrain.sweep.execute import measured_again
from pretrain.sweep.plan import Plan
from pretrain.sweep.store import Store

NAME = "pretrain_test_mse"


def remeasured(plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset]) -> dict[str, float]:
    """Returns ``pretrain_test_mse`` of each last stage of pretraining that was measured on other test images, by id.

    Raises:
      StoreError: its parameters cannot be restored.
    """
    last = list(dict.fromkeys(trial.jobs[-2] for trial in plan.trials if len(trial.jobs) > 1))
    groups: dict[tuple[Stage, DataConfig], list[str]] = {}
    for job_id, record in zip(last, store.records(last), strict=True):
        job = plan.jobs[job_id]
        is_of_others = record.test != datasets[job.data].fingerprints.test
        if NAME in record.results and is_of_others and record.status == "ok":
            groups.setdefault((job.stage, job.data), []).append(job_id)
    found = {}
    for (stage, data), ids in groups.items():
        measured = measured_again(stage, datasets[data], "test", map(store.params, ids))
        found |= {job_id: results["mse"] for job_id, results in zip(ids, measured, strict=True)}
    return found
