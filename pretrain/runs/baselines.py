"""Baselines without training: the level of chance, the most frequent class, the mean, and principal components."""

from collections.abc import Mapping

import numpy as np

from pretrain.config import DataConfig
from pretrain.config.metrics import AUTO, CHANCE, COMPONENTS, MAJORITY, MARGIN, MEAN, USUAL, VARIANCE, column, split_of
from pretrain.data import Dataset
from pretrain.data.inputs import blocks
from pretrain.learn.layers import scaled
from pretrain.learn.padding import is_real
from pretrain.plan.plan import Plan
from pretrain.runs.chance import chance

_WIDEST = 1024  # inputs, all of whose principal components take less than a second
_MOST_ROWS = 5_000  # for fitting components
_MOST_VALUES = 50_000_000  # of these rows, for inputs that are wider
_MOST_PADDED = 1_000  # series of unlike lengths, whose errors are counted value by value


def of_trials(plan: Plan, datasets: Mapping[DataConfig, Dataset], metric: str = AUTO) -> dict[str, dict[str, float]]:
    """Returns the baselines of each trial's results, by its id.

    ``test_accuracy_chance`` and ``test_accuracy_chance_margin``, or of the metric that is compared: ``chance.Chance``.
    ``test_majority_rate``: the share of the most frequent class among test rows, of classification alone.
    ``pretrain_test_variance``: the variance of the test inputs, mean over inputs; of trials with pretraining.
    ``pretrain_test_mean_mse``: the error of predicting the training inputs' mean, which is the same or more.
    ``pretrain_test_pca_mse``: the error of reconstructing the test inputs from as many principal components of the
    training inputs as pretraining has codes, by a randomised decomposition of more than 1,024 inputs; of trials with
    fewer codes than inputs.
    """
    last = {trial.id: plan.jobs[trial.jobs[-1]].data for trial in plan.trials}
    majority = {config: _majority(datasets[config]) for config in set(last.values())}
    levels = {config: _chance(datasets[config], metric) for config in set(last.values())}
    pretrained = [trial for trial in plan.trials if len(trial.jobs) > 1]
    stacks = {trial.id: plan.jobs[trial.jobs[-2]].stage.stack for trial in pretrained}
    spread = {config: _spread(datasets[config]) for config in {trial.source for trial in pretrained}}
    n_codes: dict[DataConfig, int] = {}
    for trial in (trial for trial in pretrained if stacks[trial.id].reconstructs):
        n_codes[trial.source] = max(n_codes.get(trial.source, 0), stacks[trial.id].n_codes)
    linear = {config: _linear_errors(datasets[config], most) for config, most in n_codes.items()}
    baselines: dict[str, dict[str, float]] = {}
    for trial in plan.trials:
        values = {MAJORITY: majority[last[trial.id]], **levels[last[trial.id]]}
        if stack := stacks.get(trial.id):
            values[VARIANCE], values[MEAN] = spread[trial.source]
            errors = linear[trial.source] if stack.reconstructs else []
            values[COMPONENTS] = errors[stack.n_codes] if stack.n_codes < len(errors) else None
        baselines[trial.id] = {name: value for name, value in values.items() if value is not None}
    return baselines


def _majority(dataset: Dataset) -> float | None:
    if dataset.task != "classification":
        return None
    return float(np.bincount(dataset.test.labels).max() / len(dataset.test.labels))


def _chance(dataset: Dataset, metric: str) -> dict[str, float]:
    name = column(USUAL[dataset.task][0] if metric == AUTO else metric)
    split, measure = split_of(name)
    rows = dataset.validation if split == "validation" else dataset.test
    in_units = dataset.units and measure != "loss"
    targets = dataset.units.restored(rows.labels) if in_units else rows.labels
    found = chance(measure, dataset.task, targets, len(dataset.output_names))
    return {f"{name}{CHANCE}": found.level, f"{name}{MARGIN}": found.margin} if found else {}


def _spread(dataset: Dataset) -> tuple[float, float]:
    """Returns the errors of predicting test inputs by their own mean and by that of training inputs, mean over D."""
    test, train = dataset.test.inputs, dataset.train.inputs
    if dataset.scaling.padded:
        nothing = np.zeros((0, test.shape[1]))
        own, trained = (float(_padded_errors(test, nothing, mean)[0]) for mean in (_real_mean(test), _real_mean(train)))
        return own, trained
    mean, square = _means(test)
    variance = float(np.mean(square - np.square(mean)))
    return variance, variance + float(np.mean(np.square(mean - _means(train)[0])))


def _means(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means of inputs [N, D] and of their squares: [D] each."""
    sums = np.zeros((2, inputs.shape[1]))
    for block in blocks(inputs):
        values = scaled(block).astype(np.float64)
        sums += [values.sum(axis=0), np.square(values).sum(axis=0)]
    mean, square = sums / len(inputs)
    return mean, square


def _linear_errors(dataset: Dataset, most: int) -> list[float]:
    """Returns the errors of reconstructing test inputs [N, D] from 0, 1, 2, … principal components, mean over D.

    Args:
      dataset: whose training inputs the components are of.
      most: components that are asked for; fewer rows or inputs have fewer. D components leave nothing, and are none.
    """
    train, test = dataset.train.inputs, dataset.test.inputs
    width = test.shape[1]
    n_rows = _MOST_ROWS if width <= _WIDEST else max(1, min(_MOST_ROWS, _MOST_VALUES // width))
    rows = train[:: -(-len(train) // n_rows)]
    mean = scaled(rows).mean(axis=0)
    is_wide = width > _WIDEST
    if is_wide:
        directions = _leading(scaled(rows) - mean, min(most, len(rows) - 1, width - 1))
    else:
        directions = np.linalg.eigh(_moments(rows, mean))[1][:, ::-1]
    if dataset.scaling.padded:
        few = test[:: -(-len(test) // _MOST_PADDED)]
        return _padded_errors(few, directions[:, : min(most, width - 1, len(rows) - 1)].T, mean).tolist()
    if not is_wide:
        moments = _moments(test, mean)
        explained, total = np.sum(directions * (moments @ directions), axis=0), np.trace(moments)
    else:
        explained, total = np.zeros(directions.shape[1] + 1), 0.0  # the last component is not taken away below
        for block in blocks(test):
            centred = scaled(block) - mean
            explained[:-1] += np.sum(np.square(centred @ directions), axis=0, dtype=np.float64) / len(test)
            total += float(np.sum(np.square(centred), dtype=np.float64)) / len(test)
    left = total - np.concatenate([[0.0], np.cumsum(explained)[:-1]])
    return np.maximum(left / width, 0.0)[: len(rows)].tolist()  # as fewer rows have no more components


def _leading(centred: np.ndarray, n: int) -> np.ndarray:
    """Returns the first n principal directions of centred rows [N, D], by randomised decomposition: [D, n].

    See Halko, Martinsson and Tropp (2011), "Finding structure with randomness".
    """
    from sklearn.utils.extmath import randomized_svd

    if n < 1:
        return np.zeros((centred.shape[1], 0), np.float32)
    return randomized_svd(centred, n, random_state=0)[2].T


def _real_mean(inputs: np.ndarray) -> np.ndarray:
    """Returns the mean of padded inputs [N, D] over their real values: [D]."""
    return inputs.sum(axis=0, dtype=np.float64) / np.maximum(np.asarray(is_real(inputs)).sum(axis=0), 1)


def _padded_errors(inputs: np.ndarray, directions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the errors of padded inputs [N, D] from 0, 1, ... components [components, D], of real values alone.

    As an autoencoder's, they are a mean over the values of a row, and over rows.
    """
    real = np.asarray(is_real(inputs))
    left, counts = inputs.astype(np.float64) - mean, np.maximum(real.sum(axis=1), 1)
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
