"""Influences of rows on measures, against leaving each row out."""

import numpy as np
import pytest

from pretrain.runs.influences import influence
from pretrain.runs.measures import MEASURES, Predictions

N = 200


def left_out(measure, predicted):
    """Influences by the jackknife."""
    whole, kept = MEASURES[measure](predicted), ~np.eye(N, dtype=bool)
    without = [
        MEASURES[measure](Predictions(*(array if array is None else array[rows] for array in predicted)))
        for rows in kept
    ]
    values = (N - 1) * (whole - np.array(without))
    return values - values.mean()


def classes(n):
    rng = np.random.default_rng(n)
    targets = rng.integers(0, n, N)
    scores = np.round(rng.normal(size=(N, n)) + (targets[:, None] == np.arange(n)), 1)  # with ties
    return Predictions(scores, scores.argmax(axis=1), targets)


def labels():
    rng = np.random.default_rng(0)
    targets = (rng.random((N, 3)) < 0.4).astype(np.float32)
    targets[rng.random((N, 3)) < 0.2] = np.nan
    return Predictions(np.round(rng.normal(size=(N, 3)) + np.nan_to_num(targets), 1), None, targets)


def numbers():
    targets = np.random.default_rng(0).normal(size=(N, 2))
    return Predictions(targets + np.random.default_rng(1).normal(0, 0.5, (N, 2)), None, targets)


@pytest.mark.parametrize(
    ("task", "predicted", "measure", "tolerance"),
    [
        ("classification", classes(3), "accuracy", 1e-12),
        ("classification", classes(3), "average_precision", 1e-10),
        ("classification", classes(2), "average_precision", 1e-10),
        ("regression", numbers(), "mae", 1e-10),
        # Of these the jackknife differs from the influence by terms of 1 / N.
        ("classification", classes(3), "balanced_accuracy", 0.1),
        ("classification", classes(3), "auroc", 0.1),
        ("classification", classes(2), "auroc", 0.1),
        ("multilabel", labels(), "accuracy", 0.1),
        ("multilabel", labels(), "auroc", 0.1),
        ("multilabel", labels(), "average_precision", 0.1),
        ("regression", numbers(), "r2", 0.4),
        ("regression", numbers(), "rmse", 0.2),
    ],
)
def test_influences_are_what_leaving_rows_out_shows(task, predicted, measure, tolerance):
    found, expected = influence(measure, task, predicted, None), left_out(measure, predicted)
    assert abs(found.mean()) < 1e-12
    np.testing.assert_allclose(found, expected, atol=tolerance * expected.std())


def test_losses_are_means_over_rows():
    predicted = classes(3)
    logs = predicted.scores - np.log(np.exp(predicted.scores).sum(axis=1, keepdims=True))
    each = -logs[np.arange(N), predicted.targets]
    found = influence("loss", "classification", predicted._replace(scores=logs), None)
    np.testing.assert_allclose(found, each - each.mean(), atol=1e-12)
    deviation = np.array([2.0, 3.0])
    each = np.square((numbers().scores - numbers().targets) / deviation).mean(axis=1)
    np.testing.assert_allclose(influence("loss", "regression", numbers(), deviation), each - each.mean(), atol=1e-12)


def test_what_has_no_value_has_no_influences():
    predicted = classes(2)
    assert influence("auroc", "classification", predicted._replace(targets=np.zeros(N, int)), None) is None
    assert influence("accuracy", "classification", predicted._replace(scores=predicted.scores * np.nan), None) is None
    assert influence("loss", "regression", numbers(), None) is None


def test_variances_of_recalls_are_unbiased_class_by_class():
    """The variance of balanced accuracy is the sum of those of recalls, each over its rows less one."""
    predicted = classes(3)
    parts = [(predicted.classes == predicted.targets)[predicted.targets == each].astype(float) for each in range(3)]
    found = influence("balanced_accuracy", "classification", predicted, None)
    expected = sum(part.var(ddof=1) / len(part) for part in parts) / 9
    np.testing.assert_allclose(np.sum(found**2) / N**2, expected, rtol=1e-12)
    two = classes(2)
    scores, truth = two.scores[:, 1] - two.scores[:, 0], two.targets == 1
    above = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    expected = above.mean(axis=1).var(ddof=1) / truth.sum() + above.mean(axis=0).var(ddof=1) / (~truth).sum()
    np.testing.assert_allclose(
        np.sum(influence("auroc", "classification", two, None) ** 2) / N**2, expected, rtol=1e-12
    )
