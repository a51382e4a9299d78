"""Baselines without training: the most frequent class, the mean, and principal components."""

from collections.abc import Mapping

import numpy as np

from pretrain.config import DataConfig
from pretrain.config.metrics import COMPONENTS, MAJORITY, VARIANCE
from pretrain.data import Dataset
from pretrain.data.inputs import blocks
from pretrain.learn.layers import scaled
from pretrain.learn.padding import is_real
from pretrain.plan.plan import Plan

_WIDEST = 1024  # inputs whose principal components take less than a second
_MOST_ROWS = 5_000  # for fitting components
_MOST_PADDED = 1_000  # series of unlike lengths, whose errors are counted value by value


def of_trials(plan: Plan, datasets: Mapping[DataConfig, Dataset]) -> dict[str, dict[str, float]]:
    """Returns the baselines of each trial's results, by its id.

    ``test_majority_rate``: the share of the most frequent class among test rows, of classification alone.
    ``pretrain_test_variance``: the variance of the test inputs, mean over inputs, which is the error of predicting
    their mean; of trials with pretraining.
    ``pretrain_test_pca_mse``: the error of reconstructing the test inputs from as many principal components of the
    training inputs, at most 1,024 inputs wide, as pretraining has codes; of trials with fewer codes than inputs.
    """
    last = {trial.id: plan.jobs[trial.jobs[-1]].data for trial in plan.trials}
    majority = {config: _majority(datasets[config]) for config in set(last.values())}
    pretrained = [trial for trial in plan.trials if len(trial.jobs) > 1]
    stacks = {trial.id: plan.jobs[trial.jobs[-2]].stage.stack for trial in pretrained}
    variance = {config: _variance(datasets[config]) for config in {trial.source for trial in pretrained}}
    reconstructed = {trial.source for trial in pretrained if stacks[trial.id].reconstructs}
    linear = {config: _linear_errors(datasets[config]) for config in reconstructed}
    baselines: dict[str, dict[str, float]] = {}
    for trial in plan.trials:
        values = {MAJORITY: majority[last[trial.id]]}
        if stack := stacks.get(trial.id):
            values[VARIANCE] = variance[trial.source]
            errors = linear[trial.source] if stack.reconstructs else []
            values[COMPONENTS] = errors[stack.n_codes] if stack.n_codes < len(errors) else None
        baselines[trial.id] = {name: value for name, value in values.items() if value is not None}
    return baselines


def _majority(dataset: Dataset) -> float | None:
    if dataset.task != "classification":
        return None
    return float(np.bincount(dataset.test.labels).max() / len(dataset.test.labels))


def _variance(dataset: Dataset) -> float:
    """Returns the variance of test inputs [N, D], mean over D."""
    inputs = dataset.test.inputs
    if dataset.scaling.padded:
        return float(_padded_errors(inputs, np.zeros((0, inputs.shape[1])), None)[0])
    sums = np.zeros((2, inputs.shape[1]))
    for block in blocks(inputs):
        values = scaled(block).astype(np.float64)
        sums += [values.sum(axis=0), np.square(values).sum(axis=0)]
    mean, square = sums / len(inputs)
    return float(np.mean(square - np.square(mean)))


def _linear_errors(dataset: Dataset) -> list[float]:
    """Returns the errors of reconstructing test inputs [N, D] from 0, 1, ..., D - 1 principal components, mean over D.

    The list is empty if inputs are too wide for a quick answer.
    """
    train, test = dataset.train.inputs, dataset.test.inputs
    if test.shape[1] > _WIDEST:
        return []
    rows = train[:: -(-len(train) // _MOST_ROWS)]
    mean = scaled(rows).mean(axis=0)
    directions = np.linalg.eigh(_moments(rows, mean))[1][:, ::-1]
    if dataset.scaling.padded:
        few = test[:: -(-len(test) // _MOST_PADDED)]
        return _padded_errors(few, directions.T, mean)[: min(len(rows), test.shape[1])].tolist()
    moments = _moments(test, mean)
    explained = np.sum(directions * (moments @ directions), axis=0)
    left = np.trace(moments) - np.concatenate([[0.0], np.cumsum(explained)[:-1]])
    return np.maximum(left / len(moments), 0.0)[: len(rows)].tolist()  # as fewer rows have no more components


def _padded_errors(inputs: np.ndarray, directions: np.ndarray, mean: np.ndarray | None) -> np.ndarray:
    """Returns the errors of padded inputs [N, D] from 0, 1, ... components [components, D], of real values alone.

    As an autoencoder's, they are a mean over the values of a row, and over rows. The mean is that of real values where
    none is given.
    """
    real = np.asarray(is_real(inputs))
    values = inputs.astype(np.float64)
    if mean is None:
        mean = values.sum(axis=0) / np.maximum(real.sum(axis=0), 1)
    left, counts = values - mean, np.maximum(real.sum(axis=1), 1)
    errors = [float((np.square(left * real).sum(axis=1) / counts).mean())]
    for direction in directions:
        left -= np.outer(left @ direction, direction)
        errors.append(float((np.square(left * real).sum(axis=1) / counts).mean()))
    return np.array(errors)


def _moments(inputs: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the second moments of inputs [N, D] about a mean [D]: [D, D]."""
    total = np.zeros((len(mean), len(mean)))
    for block in blocks(inputs):
        rows = scaled(block) - mean
        total += rows.T @ rows
    return total / len(inputs)
