"""Targets of estimators: rows without one, of every kind, pretrain only and are left out of scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from pretrain.sklearn import PretrainedClassifier, PretrainedRegressor, targets

SMALL = {"layers": (8,), "pretrain_updates": 50, "updates": 300, "random_state": 0}
ROWS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
MINUTE = np.random.default_rng(0).normal(size=(6, 3))
NAN = float("nan")


@pytest.fixture(scope="module")
def classifier():
    return PretrainedClassifier(**SMALL).fit(ROWS, np.where(np.arange(150) % 3, -1, SPECIES))


@pytest.fixture(scope="module")
def regressor():
    return PretrainedRegressor(**SMALL).fit(ROWS[:, :3], np.where(np.arange(150) % 3, np.nan, ROWS[:, 3]))


TEXTS = [
    np.array(["a", None, "b", "", "a", NAN], object),
    ["a", None, "b", "", "a", NAN],
    np.array(["a", "", "b", " ", "a", ""]),
    pd.Series(["a", None, "b", None, "a", pd.NA], dtype="string"),
    pd.Series(["a", None, "b", pd.NaT, "a", pd.NA], dtype=object),
    pd.Series(["a", None, "b", None, "a", None], dtype="category"),
]
NUMBERS = [
    np.array([0, -1, 2, -1, 0, -1]),
    [0, -1, 2, -1, 0, -1],
    np.array([0, None, 2, NAN, 0, -1], object),
    np.array([0.0, NAN, 2.0, NAN, 0.0, NAN]),
    pd.Series([0, None, 2, -1, 0, None], dtype="Int64"),
    pd.Series([0, None, 2, None, 0, pd.NA], dtype=object),
    np.array([[0], [-1], [2], [-1], [0], [-1]])[:, 0],
]


@pytest.mark.parametrize(
    ("labels", "classes"), [*((each, ["a", "b"]) for each in TEXTS), *((n, [0, 2]) for n in NUMBERS)]
)
def test_rows_without_a_label_are_none_of_a_class(labels, classes):
    found, numbered = targets.classes_of(MINUTE, labels)
    assert found.tolist() == classes and numbered.tolist() == [0, -1, 1, -1, 0, -1]
    is_float = getattr(labels, "dtype", None) == np.float64
    assert isinstance(classes[0], str) or found.dtype == (np.float64 if is_float else np.int64)
    assert not targets.are_numbers(labels)


@pytest.mark.parametrize("value", [None, NAN, pd.NA])
def test_numbers_of_any_type_lack_some(value):
    wanted = np.array([[0.5], [np.nan], [2.0]])
    for given in ([0.5, value, 2.0], np.array([0.5, value, 2], object), pd.Series([0.5, value, 2], dtype="Float64")):
        np.testing.assert_array_equal(targets.numbers_of(MINUTE[:3], given), wanted)
        assert targets.are_numbers(given)
    np.testing.assert_array_equal(targets.numbers_of(MINUTE[:3], np.array(["0.5", "", "2"])), wanted)


def test_minus_one_is_a_class_where_fit_had_it_as_one():
    labels = np.array([-1, 1, 1, -1])
    assert targets.labelled(labels)[1].all()
    assert targets.labelled(labels, np.array([-1, 1]))[1].all()
    for classes in (np.array([0, 1]), np.array(["a", "b"])):
        assert targets.labelled(labels, classes)[1].tolist() == [False, True, True, False]
    assert targets.labelled(np.array([True, False]))[1].all()


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (
            np.array(["a", 1, None, "a", 1, 2], object),
            "y: has labels of unknown type, int, str; give texts alone, or numbers",
        ),
        ([None] * 6, "y: has no row with a target"),
        (["a", "", "a", None, "a", "a"], r"y: has one class, \['a'\]; give rows of two classes or more"),
    ],
)
def test_labels_that_are_no_classes_are_one_line(labels, line):
    with pytest.raises(ValueError, match=line) as fault:
        PretrainedClassifier(**SMALL).fit(MINUTE, labels)
    assert "\n" not in str(fault.value)


def test_scores_leave_out_rows_without_a_target(monkeypatch):
    known, weights = np.arange(150) % 4 == 0, np.linspace(1, 2, 150)
    rng = np.random.default_rng(0)
    classifier, predicted = PretrainedClassifier(), np.where(rng.random(150) < 0.8, SPECIES, 0)
    classifier.classes_ = np.unique(SPECIES)
    monkeypatch.setattr(PretrainedClassifier, "predict", lambda *_: predicted)
    objects = SPECIES.astype(object)
    for y in (np.where(known, SPECIES, -1), np.where(known, SPECIES, NAN), np.where(known, objects, None)):
        assert classifier.score(ROWS, y) == accuracy_score(SPECIES[known], predicted[known])
    wanted = np.average(SPECIES[known] == predicted[known], weights=weights[known])
    assert classifier.score(ROWS, np.where(known, SPECIES, -1), weights) == pytest.approx(wanted)
    regressor, numbers = PretrainedRegressor(), ROWS[:, 3] + rng.normal(size=150)
    monkeypatch.setattr(PretrainedRegressor, "predict", lambda *_: numbers)
    y = np.where(known, ROWS[:, 3], np.nan)
    assert regressor.score(ROWS, y) == r2_score(y[known], numbers[known])
    assert regressor.score(ROWS, y, weights) == r2_score(y[known], numbers[known], sample_weight=weights[known])
    for estimator, none in ((classifier, -1), (classifier, ""), (regressor, np.nan)):
        with pytest.raises(ValueError, match=r"^y: has no row with a target$"):
            estimator.score(ROWS, np.full(150, none))


@pytest.mark.slow
def test_rows_without_a_label_are_the_same_network_however_they_are_marked(classifier):
    known = np.arange(150) % 3 == 0
    for marked in (np.where(known, NAMES.astype(object), None), np.where(known, NAMES, "")):
        made = clone(classifier).fit(ROWS, marked)
        assert made.classes_.tolist() == sorted(set(NAMES))
        np.testing.assert_array_equal(made.predict_proba(ROWS), classifier.predict_proba(ROWS))
        assert made.score(ROWS, marked) == classifier.score(ROWS, np.where(known, SPECIES, -1)) > 0.8


@pytest.mark.slow
def test_several_numbers_of_which_a_row_lacks_one_are_none(regressor):
    pairs = ROWS[:, 2:].copy()
    pairs[:50, 0] = np.nan  # the first rows lack one
    made = clone(regressor).fit(ROWS[:, :2], pairs)
    assert made.predict(ROWS[:, :2]).shape == (150, 2)
    assert made.score(ROWS[:, :2], pairs) == r2_score(pairs[50:], made.predict(ROWS[50:, :2]))


@pytest.mark.slow
def test_searches_score_rows_with_a_target():
    labels = np.where(np.arange(150) % 5, -1, SPECIES)
    network = PretrainedClassifier(**SMALL)
    scores = cross_val_score(network, ROWS, labels, cv=3, error_score="raise")
    assert scores.mean() > 0.8
    search = GridSearchCV(network, {"updates": [200, 300]}, cv=3, error_score="raise").fit(ROWS, labels)
    assert search.best_score_ > 0.8
    texts = np.where(labels == -1, None, NAMES.astype(object))
    cuts = KFold(3, shuffle=True, random_state=0)  # as scikit-learn draws no strata of labels that are missing
    assert cross_val_score(network, ROWS, texts, cv=cuts, error_score="raise").mean() > 0.8
    numbers = np.where(np.arange(150) % 3, np.nan, ROWS[:, 3])
    scores = cross_val_score(PretrainedRegressor(**SMALL), ROWS[:, :3], numbers, cv=cuts, error_score="raise")
    assert scores.mean() > 0.5
