"""Measures of stored predictions, against scikit-learn and by hand."""

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as theirs

from pretrain.config import metrics
from pretrain.config.fields import ConfigError
from pretrain.runs.measures import MEASURES, Predictions, measured

RNG = np.random.default_rng(0)
TRUTH = RNG.choice(4, 300, p=[0.7, 0.2, 0.07, 0.03])
SCORES = special.log_softmax(RNG.normal(size=(300, 4)) + 1.5 * np.eye(4)[TRUTH], axis=1)
CLASSES = Predictions(SCORES.astype(np.float16), SCORES.argmax(1), TRUTH)
LABELS = Predictions(RNG.normal(size=(80, 3)), None, (RNG.random((80, 3)) < 0.3).astype(np.float32))
NUMBERS = Predictions(*(lambda y: (y + RNG.normal(size=y.shape), None, y))(100 * RNG.normal(size=(90, 2))))


def test_measures_of_classes_are_scikit_learns():
    assert MEASURES["accuracy"](CLASSES) == theirs.accuracy_score(TRUTH, CLASSES.classes)
    recalls = [np.mean(CLASSES.classes[number == TRUTH] == number) for number in range(4)]
    np.testing.assert_allclose(MEASURES["balanced_accuracy"](CLASSES), np.mean(recalls))
    exact = theirs.roc_auc_score(TRUTH, np.exp(SCORES), multi_class="ovr")
    np.testing.assert_allclose(MEASURES["auroc"](CLASSES), exact, atol=2e-3)  # scores are float16


def test_the_area_of_two_classes_is_that_of_the_difference_of_their_scores():
    truth = TRUTH > 0
    scores = np.stack([np.zeros(300), RNG.normal(size=300) + truth], axis=1)
    found = MEASURES["auroc"](Predictions(scores, scores.argmax(1), truth.astype(int)))
    np.testing.assert_allclose(found, theirs.roc_auc_score(truth, scores[:, 1]))


def test_a_class_or_label_that_a_split_lacks_has_no_part_in_the_area():
    without = Predictions(CLASSES.scores[TRUTH < 3], CLASSES.classes[TRUTH < 3], TRUTH[TRUTH < 3])
    each = [theirs.roc_auc_score(without.targets == number, without.scores[:, number]) for number in range(3)]
    np.testing.assert_allclose(MEASURES["auroc"](without), np.mean(each))
    one = Predictions(CLASSES.scores[:5], CLASSES.classes[:5], np.zeros(5, int))
    assert np.isnan(MEASURES["auroc"](one))


def test_measures_of_labels_are_means_over_them():
    areas = [theirs.roc_auc_score(LABELS.targets[:, number], LABELS.scores[:, number]) for number in range(3)]
    np.testing.assert_allclose(MEASURES["auroc"](LABELS), np.mean(areas))
    np.testing.assert_allclose(MEASURES["accuracy"](LABELS), np.mean((LABELS.scores > 0) == (LABELS.targets > 0)))


def test_average_precision_is_scikit_learns():
    each = [theirs.average_precision_score(number == TRUTH, CLASSES.scores[:, number]) for number in range(4)]
    np.testing.assert_allclose(MEASURES["average_precision"](CLASSES), np.mean(each))
    truth, score = TRUTH > 0, RNG.normal(size=300)
    two = Predictions(np.stack([np.zeros(300), score], axis=1), (score > 0).astype(int), truth.astype(int))
    np.testing.assert_allclose(MEASURES["average_precision"](two), theirs.average_precision_score(truth, score))
    each = [theirs.average_precision_score(LABELS.targets[:, k], LABELS.scores[:, k]) for k in range(3)]
    np.testing.assert_allclose(MEASURES["average_precision"](LABELS), np.mean(each))


def test_unknown_labels_are_in_no_measure():
    known = RNG.random(LABELS.targets.shape) < 0.6
    known[:, 2] &= LABELS.targets[:, 2] > 0  # no negative one is known
    found = LABELS._replace(targets=np.where(known, LABELS.targets, np.nan).astype(np.float32))
    right = ((LABELS.scores > 0) == (LABELS.targets > 0))[known]
    np.testing.assert_allclose(MEASURES["accuracy"](found), right.mean())
    for name, exact in (("auroc", theirs.roc_auc_score), ("average_precision", theirs.average_precision_score)):
        each = [exact(LABELS.targets[known[:, k], k], LABELS.scores[known[:, k], k]) for k in range(2)]
        np.testing.assert_allclose(MEASURES[name](found), np.mean(each))


def test_measures_of_numbers_are_in_their_units():
    scores, _, truth = NUMBERS
    np.testing.assert_allclose(MEASURES["r2"](NUMBERS), theirs.r2_score(truth, scores))
    np.testing.assert_allclose(MEASURES["rmse"](NUMBERS), theirs.root_mean_squared_error(truth, scores))
    np.testing.assert_allclose(MEASURES["mae"](NUMBERS), theirs.mean_absolute_error(truth, scores))


class Stored:
    """A store of predictions."""

    def __init__(self, **stored):
        self.stored = stored

    def predictions(self, job, split):
        return self.stored[job][split]


def test_what_has_no_value_has_no_cell():
    arrays = CLASSES._asdict()
    broken = {**arrays, "scores": np.full_like(CLASSES.scores, np.nan)}
    store = Stored(sound={"test": arrays}, broken={"test": broken})
    found = measured(store, ["sound", "broken"], ["test_auroc", "test_accuracy"])
    assert found.keys() == {"sound", "broken"}
    assert found["sound"].keys() == {"test_auroc", "test_accuracy"} and found["broken"].keys() == {"test_accuracy"}


def test_every_metric_is_recorded_or_measured_and_every_task_has_usual_ones():
    assert metrics.METRICS.keys() == {"loss", *MEASURES}
    for task, usual in metrics.USUAL.items():
        assert all(task in metrics.METRICS[name].tasks for name in usual)


@pytest.mark.parametrize(
    ("name", "full", "split"),
    [
        ("accuracy", "test_accuracy", "test"),
        ("validation_r2", "validation_r2", "validation"),
        ("test_mae", "test_mae", "test"),
    ],
)
def test_metrics_are_of_test_rows_unless_they_say_otherwise(name, full, split):
    assert (metrics.column(name), metrics.split_of(name)[0]) == (full, split)
    metrics.check_metric(name)


def test_a_metric_that_is_none_or_of_other_targets_is_refused_in_a_line():
    with pytest.raises(ConfigError, match=r"study.metric: 'acuracy' is none of .*did you mean 'accuracy'"):
        metrics.check_metric("acuracy")
    with pytest.raises(ConfigError, match=r"'rmse' is no measure of classification; choose one of accuracy, "):
        metrics.check_task("rmse", ["classification"])
    metrics.check_task("auto", ["regression"])
    assert metrics.metric_of("validation_accuracy after batch 1").is_fraction
    assert metrics.metric_of("post_update_loss after batch 1").low == 0
    assert not metrics.metric_of("validation_loss").higher_is_better
