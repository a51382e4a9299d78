"""Reconstruction errors of stored pretraining on test images that it was not measured on.

Test images name no pretraining, so that one may be found in a store by a run with others.
"""

from collections.abc import Mapping

import jax
import numpy as np

from pretrain.config import DataConfig
from pretrain.data import Dataset
from pretrain.learn.metrics import Batch
from pretrain.learn.stage import results
from pretrain.sweep.plan import Plan
from pretrain.sweep.store import Store

NAME = "pretrain_test_mse"


def remeasured(plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset]) -> dict[str, float]:
    """Returns ``pretrain_test_mse`` of each last stage of pretraining that was measured on other test images, by id.

    Raises:
      StoreError: its parameters cannot be restored.
    """
    last = dict.fromkeys(trial.jobs[-2] for trial in plan.trials if len(trial.jobs) > 1)
    found = {}
    measure = jax.jit(results, static_argnums=(0, 1))
    for job_id, record in zip(last, store.records(list(last)), strict=True):
        job = plan.jobs[job_id]
        dataset = datasets[job.data]
        if NAME not in record.results or record.test == dataset.fingerprints.test or record.status != "ok":
            continue
        images = dataset.test.images.reshape(-1, *job.stage.stack.example)
        test = Batch(images)
        found[job_id] = float(np.asarray(measure(*job.stage.as_left(), store.params(job_id), test, test)["mse"]))
    return found
