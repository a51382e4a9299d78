"""Baselines without training: the most frequent class, the mean, and principal components."""

from collections.abc import Mapping

import numpy as np

from pretrain.config import DataConfig
from pretrain.config.metrics import COMPONENTS, MAJORITY, VARIANCE
from pretrain.data import Dataset
from pretrain.data.inputs import blocks
from pretrain.learn.layers import scaled
from pretrain.plan.plan import Plan

_WIDEST = 1024  # inputs whose principal components take less than a second
_MOST_ROWS = 5_000  # that components are fitted to


def of_trials(plan: Plan, datasets: Mapping[DataConfig, Dataset]) -> dict[str, dict[str, float]]:
    """Returns the baselines of each trial's results, by its id.

    ``test_majority_rate``: the share of test rows that are of their most frequent class, where there are classes.
    ``pretrain_test_variance``: of trials with pretraining, the mean squared distance of the test inputs that it was
    measured on from their mean, mean over inputs, which is what predicting that mean comes to.
    ``pretrain_test_pca_mse``: of trials whose pretraining has fewer codes than inputs, the error of reconstructing the
    same rows from as many principal components of the training inputs, of up to 1,024 inputs.
    """
    last = {trial.id: plan.jobs[trial.jobs[-1]].data for trial in plan.trials}
    majority = {config: _majority(datasets[config]) for config in set(last.values())}
    pretrained = [trial for trial in plan.trials if len(trial.jobs) > 1]
    stacks = {trial.id: plan.jobs[trial.jobs[-2]].stage.stack for trial in pretrained}
    variance = {config: _variance(datasets[config].test.inputs) for config in {trial.source for trial in pretrained}}
    reconstructed = {trial.source for trial in pretrained if stacks[trial.id].reconstructs}
    linear = {config: _linear_errors(datasets[config]) for config in reconstructed}
    found: dict[str, dict[str, float]] = {}
    for trial in plan.trials:
        own = {MAJORITY: majority[last[trial.id]]}
        if stack := stacks.get(trial.id):
            own[VARIANCE] = variance[trial.source]
            errors = linear[trial.source] if stack.reconstructs else []
            own[COMPONENTS] = errors[stack.n_codes] if stack.n_codes < len(errors) else None
        found[trial.id] = {name: value for name, value in own.items() if value is not None}
    return found


def _majority(dataset: Dataset) -> float | None:
    if dataset.task != "classification":
        return None
    return float(np.bincount(dataset.test.labels).max() / len(dataset.test.labels))


def _variance(inputs: np.ndarray) -> float:
    """Returns the variance of inputs [N, D], mean over D."""
    sums = np.zeros((2, inputs.shape[1]))
    for block in blocks(inputs):
        values = scaled(block).astype(np.float64)
        sums += [values.sum(axis=0), np.square(values).sum(axis=0)]
    mean, square = sums / len(inputs)
    return float(np.mean(square - np.square(mean)))


def _linear_errors(dataset: Dataset) -> list[float]:
    """Returns the errors of reconstructing test inputs [N, D] from 0, 1, ..., D - 1 principal components, mean over D.

    An empty list of inputs that are wider than is quick.
    """
    train, test = dataset.train.inputs, dataset.test.inputs
    if test.shape[1] > _WIDEST:
        return []
    rows = train[:: -(-len(train) // _MOST_ROWS)]
    mean = scaled(rows).mean(axis=0)
    directions = np.linalg.eigh(_moments(rows, mean))[1][:, ::-1]
    moments = _moments(test, mean)
    explained = np.sum(directions * (moments @ directions), axis=0)
    left = np.trace(moments) - np.concatenate([[0.0], np.cumsum(explained)[:-1]])
    return np.maximum(left / len(moments), 0.0)[: len(rows)].tolist()  # as fewer rows have no more components


def _moments(inputs: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the second moments of inputs [N, D] about a mean [D]: [D, D]."""
    total = np.zeros((len(mean), len(mean)))
    for block in blocks(inputs):
        rows = scaled(block) - mean
        total += rows.T @ rows
    return total / len(inputs)
