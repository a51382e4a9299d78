"""Baselines without training: the level of chance, the most frequent class, the mean, and principal components."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pretrain.config import DataConfig
from pretrain.config.metrics import (
    AUTO,
    CHANCE,
    COMPONENTS,
    IN_COMMON,
    MAJORITY,
    MARGIN,
    MEAN,
    USUAL,
    VARIANCE,
    column,
    split_of,
)
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
    ``test_rows_in_common``, or of validation rows, where each seed has a split of its own: mean over pairs of seeds.
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
    shared = _in_common(dict.fromkeys(last.values()), datasets)
    pretrained = [trial for trial in plan.trials if len(trial.jobs) > 1]
    stacks = {trial.id: plan.jobs[trial.jobs[-2]].stage.stack for trial in pretrained}
    spread = {config: _spread(datasets[config]) for config in {trial.source for trial in pretrained}}
    n_codes: dict[DataConfig, int] = {}
    for trial in (trial for trial in pretrained if stacks[trial.id].reconstructs):
        n_codes[trial.source] = max(n_codes.get(trial.source, 0), stacks[trial.id].n_codes)
    linear = {config: _linear_errors(datasets[config], most) for config, most in n_codes.items()}
    baselines: dict[str, dict[str, float]] = {}
    for trial in plan.trials:
        values = {MAJORITY: majority[last[trial.id]], **levels[last[trial.id]], **shared.get(last[trial.id], {})}
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


def _in_common(
    configs: Iterable[DataConfig], datasets: Mapping[DataConfig, Dataset]
) -> dict[DataConfig, dict[str, float]]:
    """Returns the part of each held-out split that two seeds have in common, of data with a split a seed."""
    alike: dict[DataConfig, list[DataConfig]] = {}
    for config in configs:
        if config.splits == "fresh":
            alike.setdefault(dataclasses.replace(config, cut=0), []).append(config)
    found: dict[DataConfig, dict[str, float]] = {}
    for group in (group for group in alike.values() if len(group) > 1):
        for split in ("test", "validation"):
            cuts = [datasets[config].origins[split].rows for config in group if split in datasets[config].origins]
            if len(cuts) == len(group):
                part = rows_in_common(cuts)
                for config in group:
                    found.setdefault(config, {})[f"{split}{IN_COMMON}"] = part
    return found


def rows_in_common(cuts: Sequence[np.ndarray]) -> float:
    """Returns the part of some seeds' rows that another seed has, too, mean over pairs of seeds, two at least."""
    n, rows = len(cuts), sum(map(len, cuts))
    _, counts = np.unique(np.concatenate(cuts), return_counts=True)
    return float((np.sum(counts.astype(float) ** 2) - rows) / ((n - 1) * rows))


def _spread(dataset: Dataset) -> tuple[float, float]:
    """Returns the errors of predicting test inputs by their own mean and by that of training inputs, mean over D."""
    test, train, padded = dataset.test.inputs, dataset.train.inputs, dataset.scaling.padded
    nothing = np.zeros((0, test.shape[1]))
    own, trained = (_errors(test, _mean(rows, padded), nothing, padded)[0] for rows in (test, train))
    return own, trained


def _linear_errors(dataset: Dataset, most: int) -> list[float]:
    """Returns the errors of reconstructing test inputs [N, D] from 0, 1, 2, … principal components, mean over D.

    Args:
      dataset: whose training inputs the components are of.
      most: components that are asked for; fewer rows or inputs have fewer. D components leave nothing, and are none.
    """
    train, test, padded = dataset.train.inputs, dataset.test.inputs, dataset.scaling.padded
    width = test.shape[1]
    n_rows = _MOST_ROWS if width <= _WIDEST else max(1, min(_MOST_ROWS, _MOST_VALUES // width))
    rows = train[:: -(-len(train) // n_rows)]
    mean = scaled(rows).mean(axis=0)
    n = min(most, len(rows) - 1, width - 1)
    directions = np.zeros((0, width), np.float32)
    if n > 0:
        directions = _leading(scaled(rows) - mean, n) if width > _WIDEST else _all(rows, mean)[:n]
    few = test[:: -(-len(test) // _MOST_PADDED)] if padded else test
    return _errors(few, mean, directions, padded)


def _leading(centred: np.ndarray, n: int) -> np.ndarray:
    """Returns the first n principal directions of centred rows [N, D], by randomised decomposition: [n, D].

    See Halko, Martinsson and Tropp (2011), "Finding structure with randomness".
    """
    from sklearn.utils.extmath import randomized_svd

    return randomized_svd(centred, n, random_state=0)[2]


def _all(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the principal directions of rows [N, D] about a mean [D]: [D, D]."""
    moments = np.zeros((len(mean), len(mean)))
    for block in blocks(rows):
        centred = scaled(block) - mean
        moments += centred.T @ centred
    return np.linalg.eigh(moments)[1].T[::-1].astype(np.float32)


def _mean(inputs: np.ndarray, padded: bool) -> np.ndarray:
    """Returns the mean of inputs [N, D], of padded ones over their real values: [D] float64."""
    total = sum(scaled(block).sum(axis=0, dtype=np.float64) for block in blocks(inputs))
    return total / (np.maximum(np.asarray(is_real(inputs)).sum(axis=0), 1) if padded else len(inputs))


def _errors(inputs: np.ndarray, mean: np.ndarray, directions: np.ndarray, padded: bool) -> list[float]:
    """Returns the squared errors of inputs [N, D] from 0, 1, … components [components, D], mean over D and rows.

    Of padded inputs they are of real values alone: as an autoencoder's, a mean over those of a row, and over rows.
    """
    total = np.zeros(1 + len(directions))
    for block in blocks(inputs):
        left = scaled(block) - mean
        if not padded:
            explained = np.sum(np.square(left @ directions.T), axis=0, dtype=np.float64)
            total += np.sum(np.square(left), dtype=np.float64) - np.concatenate([[0.0], np.cumsum(explained)])
            continue
        real = np.asarray(is_real(block))
        weights = real * (block.shape[1] / np.maximum(real.sum(axis=1, keepdims=True), 1))
        total[0] += np.sum(np.square(left) * weights)
        for number, direction in enumerate(directions, 1):
            left = left - np.outer(left @ direction, direction)
            total[number] += np.sum(np.square(left) * weights)
    return np.maximum(total / inputs.size, 0).tolist()
