"""Levels of chance are what measures give constant predictions, and margins what luck gives those without relation."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss

from pretrain.runs.chance import _of_random_ranks, chance
from pretrain.runs.measures import MEASURES, Predictions

RNG = np.random.default_rng(0)
CLASSES = RNG.permutation(np.repeat([0, 1, 3], [50, 30, 20]))  # of four, one of which has no row
TWO = RNG.permutation(np.repeat([0, 1], [70, 30]))
LABELS = (RNG.random((100, 3)) < [0.2, 0.5, 0.9]).astype(float)
UNKNOWN = np.where(RNG.random((100, 3)) < 0.3, np.nan, LABELS)
NUMBERS = RNG.normal([5, -3], [2, 9], (100, 2))


def constant(metric, targets, n):
    """The measure of the best constant prediction."""
    if targets.ndim == 1:
        classes = np.full(len(targets), np.bincount(targets).argmax())
        return MEASURES[metric](Predictions(np.zeros((len(targets), n)), classes, targets))
    if metric in ("r2", "rmse", "mae"):
        middle = np.median(targets, axis=0) if metric == "mae" else targets.mean(axis=0)
        return MEASURES[metric](Predictions(np.tile(middle, (len(targets), 1)), None, targets))
    mostly = np.sign(np.nanmean(targets, axis=0) - 0.5) * (metric == "accuracy")
    return MEASURES[metric](Predictions(np.tile(mostly, (len(targets), 1)), None, targets))


@pytest.mark.parametrize(
    ("metric", "task", "targets", "n"),
    [
        *((name, "classification", CLASSES, 4) for name in ("accuracy", "balanced_accuracy", "auroc")),
        *((name, "classification", TWO, 2) for name in ("accuracy", "auroc", "average_precision")),
        *((name, "multilabel", LABELS, 3) for name in ("accuracy", "auroc", "average_precision")),
        *((name, "multilabel", UNKNOWN, 3) for name in ("accuracy", "auroc", "average_precision")),
        *((name, "regression", NUMBERS, 2) for name in ("r2", "rmse", "mae")),
    ],
)
def test_the_level_is_the_measure_of_constant_predictions(metric, task, targets, n):
    found = chance(metric, task, targets, n)
    np.testing.assert_allclose(found.level, constant(metric, targets, n), atol=1e-9)
    assert found.margin > 0.01


def test_the_level_of_a_loss_is_that_of_the_rates():
    rates = np.bincount(CLASSES, minlength=4) / 100
    found = chance("loss", "classification", CLASSES, 4).level
    np.testing.assert_allclose(found, log_loss(CLASSES, np.tile(rates[[0, 1, 3]], (100, 1))))
    by_label = [log_loss(column, np.full(100, column.mean())) for column in LABELS.T]
    np.testing.assert_allclose(chance("loss", "multilabel", LABELS, 3).level, np.mean(by_label))
    standard = (NUMBERS - NUMBERS.mean(axis=0)) / NUMBERS.std(axis=0)
    np.testing.assert_allclose(chance("loss", "regression", standard, 2).level, 1)


@pytest.mark.parametrize(("n", "most"), [(30, 0.1), (300, 0.1), (3000, 0.1)])
@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "auroc", "r2", "rmse", "mae"])
def test_predictions_without_relation_stay_within_the_margin(metric, n, most):
    rng, above = np.random.default_rng(n), []
    for _ in range(200):
        if metric in ("r2", "rmse", "mae"):
            targets, sign = rng.normal(50, 3, (n, 1)), 1 if metric == "r2" else -1
            spread = rng.uniform(0, 2 / np.sqrt(n))  # of a network that has learned next to nothing
            predicted = Predictions(50 + 3 * spread * rng.normal(size=(n, 1)), None, targets)
            found = chance(metric, "regression", targets, 1)
        else:
            targets, scores, sign = rng.permutation(np.arange(n) % 3), rng.normal(size=(n, 3)), 1
            predicted = Predictions(scores, scores.argmax(axis=1), targets)
            found = chance(metric, "classification", targets, 3)
        above.append(sign * (MEASURES[metric](predicted) - found.level) > found.margin)
    assert np.mean(above) <= most


@pytest.mark.parametrize(("n", "n_positive"), [(2, 1), (3, 2), (7, 3), (8, 1), (8, 7), (9, 5)])
def test_average_precision_of_random_order_is_that_of_all_orders(n, n_positive):
    found = []
    for places in combinations(range(n), n_positive):
        truth = np.isin(np.arange(n), places)
        found.append(average_precision_score(truth, -np.arange(n)))
    np.testing.assert_allclose(_of_random_ranks(n, n_positive), [np.mean(found), np.std(found)], atol=1e-12)


@pytest.mark.parametrize(("n", "share"), [(100, 0.05), (500, 0.02), (300, 0.3), (2000, 0.05)])
def test_random_order_stays_within_the_margin_of_average_precision(n, share):
    rng, targets = np.random.default_rng(n), (np.arange(n) < share * n).astype(int)
    found = chance("average_precision", "classification", targets, 2)
    above = [average_precision_score(targets, rng.normal(size=n)) > found.level + found.margin for _ in range(200)]
    assert np.mean(above) <= 0.1


def test_nothing_perfect_is_at_chance_and_rows_of_one_value_have_no_ranks():
    few = np.array([0] * 57 + [1] * 3)
    for metric in ("accuracy", "balanced_accuracy", "auroc", "average_precision"):
        found = chance(metric, "classification", few, 2)
        assert found.level + found.margin < 1
    loss = chance("loss", "classification", few, 2)
    assert loss.level - loss.margin > 0
    assert chance("auroc", "classification", np.zeros(9, int), 2) is None
    assert chance("r2", "regression", np.arange(4.0)[:, None], 1).margin == 0.5
