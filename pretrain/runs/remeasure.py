"""Reconstruction errors of stored pretraining on other test images than at its training.

Test images do not enter the id of pretraining: runs, and trials, with other test images share it.
"""

from collections.abc import Mapping

from pretrain.config import DataConfig
from pretrain.config.metrics import RECONSTRUCTION
from pretrain.data import Dataset
from pretrain.execute.execute import measured_again
from pretrain.plan.plan import Plan
from pretrain.store.store import Store


def remeasured(plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset]) -> dict[str, float]:
    """Returns ``pretrain_test_mse`` of each trial whose pretraining was measured on other test images, by trial.

    Raises:
      StoreError: parameters cannot be restored.
    """
    pretrained = [trial for trial in plan.trials if len(trial.jobs) > 1]
    last = list(dict.fromkeys(trial.jobs[-2] for trial in pretrained))
    records = dict(zip(last, store.records(last), strict=True))
    groups: dict[tuple, dict[str, list[str]]] = {}  # by stage and images: trials by job
    for trial in pretrained:
        record, job = records[trial.jobs[-2]], plan.jobs[trial.jobs[-2]]
        is_of_others = record.test != datasets[trial.source].fingerprints.test
        if RECONSTRUCTION in record.results and is_of_others and record.is_finite:
            groups.setdefault((job.stage, trial.source), {}).setdefault(job.id, []).append(trial.id)
    errors: dict[str, float] = {}
    for (stage, source), trials in groups.items():
        measured = measured_again(stage, datasets[source], map(store.params, trials))
        for ids, results in zip(trials.values(), measured, strict=True):
            errors |= dict.fromkeys(ids, results[RECONSTRUCTION])
    return errors
