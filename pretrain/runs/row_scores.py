"""Influence of every held-out row on trials' results, from stored predictions."""

from collections.abc import Collection, Mapping

import numpy as np

from pretrain.config import DataConfig
from pretrain.config.metrics import split_of
from pretrain.data import Dataset
from pretrain.plan.plan import Plan
from pretrain.runs.influences import influence
from pretrain.runs.measures import Predictions
from pretrain.runs.scored import RowScores
from pretrain.store.store import Store


def of_trials(
    plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset], metric: str, trial_ids: Collection[str]
) -> dict[str, RowScores]:
    """Returns the influence of each row on a result of some trials; of those without one none.

    Args:
      plan: of the run.
      store: of all its stages.
      datasets: that it read.
      metric: the result, as a column's name.
      trial_ids: of the trials.
    """
    split, measure = split_of(metric)
    found: dict[str, RowScores] = {}
    of_job: dict[str, RowScores | None] = {}
    for trial in plan.trials:
        job = trial.jobs[-1]
        if trial.id in trial_ids and job not in of_job:
            dataset, stored = datasets[plan.jobs[job].data], store.predictions(job, split)
            predicted = Predictions(stored["scores"], stored.get("classes"), stored["targets"])
            deviation = dataset.units.deviation if dataset.units else None
            values = influence(measure, dataset.task, predicted, deviation)
            origin = dataset.origins.get(split)
            places = origin.rows if origin else np.arange(len(predicted.targets))
            of_job[job] = None
            if values is not None:
                groups = origin.groups if origin else None
                of_job[job] = RowScores(values.astype(np.float32), places, groups, predicted.targets)
        if scores := of_job.get(job):
            found[trial.id] = scores
    return found
