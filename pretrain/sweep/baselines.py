"""What results are compared with that anybody has for nothing: the most frequent class, and the mean of the inputs."""

from collections.abc import Mapping

import numpy as np

from pretrain.config import DataConfig
from pretrain.config.metrics import MAJORITY, VARIANCE
from pretrain.data import Dataset
from pretrain.data.inputs import blocks
from pretrain.sweep.plan import Plan


def of_trials(plan: Plan, datasets: Mapping[DataConfig, Dataset]) -> dict[str, dict[str, float]]:
    """Returns what to compare each trial's results with, by its id.

    ``test_majority_rate``: the share of test rows that are of their most frequent class, where there are classes.
    ``pretrain_test_variance``: of trials with pretraining, the mean squared distance of the test inputs that it was
    measured on from their mean, mean over inputs, which is what predicting that mean comes to.
    """
    last = {trial.id: plan.jobs[trial.jobs[-1]].data for trial in plan.trials}
    majority = {config: _majority(datasets[config]) for config in set(last.values())}
    sources = {trial.source for trial in plan.trials if len(trial.jobs) > 1}
    spread = {config: _variance(datasets[config].test.inputs) for config in sources}
    found: dict[str, dict[str, float]] = {}
    for trial in plan.trials:
        own = {MAJORITY: majority[last[trial.id]]}
        own |= {VARIANCE: spread[trial.source]} if len(trial.jobs) > 1 else {}
        found[trial.id] = {name: value for name, value in own.items() if value is not None}
    return found


def _majority(dataset: Dataset) -> float | None:
    if dataset.task != "classification":
        return None
    return float(np.bincount(dataset.test.labels).max() / len(dataset.test.labels))


def _variance(inputs: np.ndarray) -> float:
    """Returns the variance of inputs [N, D] as an encoder reads them, mean over D."""
    scale = 255.0 if inputs.dtype == np.uint8 else 1.0
    sums = np.zeros((2, inputs.shape[1]))
    for block in blocks(inputs):
        values = block.astype(np.float64)
        sums += [values.sum(axis=0), np.square(values).sum(axis=0)]
    mean, square = sums / len(inputs)
    return float(np.mean(square - np.square(mean)) / scale**2)
