"""What targets are, seen in the training rows or as somebody says, and what does not fit is refused in a line."""

import numpy as np
import pytest

from pretrain.data import targets
from tests.data.own_files import load, refused

RNG = np.random.default_rng(0)
MANY = (RNG.random((260, 4)) < 0.4).astype(np.uint8)


@pytest.fixture
def with_targets(write, tiny_arrays):
    """A function that writes the tiny dataset with other targets: training rows', and as many of them to test."""

    def make(labels, **others):
        return write(train_labels=labels, test_labels=labels[: len(tiny_arrays["test_labels"])], **others)

    return make


@pytest.mark.parametrize(
    ("labels", "task", "n_outputs"),
    [
        (np.arange(260) % 3, "classification", 3),
        (np.array(["ant", "bee"])[np.arange(260) % 2], "classification", 2),
        (np.eye(4, dtype=int)[np.arange(260) % 4], "classification", 4),
        (np.arange(260) % 3 / 2, "regression", 1),
        (np.arange(260), "regression", 1),
        (3 * (np.arange(260) % 60), "regression", 1),  # with gaps, four rows of each
        (np.arange(260) % 60, "classification", 60),
        (np.arange(260)[:, None] * 10, "regression", 1),
        (RNG.normal(size=(260, 2)), "regression", 2),
        (MANY, "multilabel", 4),
        (MANY.astype(bool), "multilabel", 4),
        (np.where(np.arange(260)[:, None] < 3, np.nan, MANY), "multilabel", 4),
        (np.where(RNG.random((260, 4)) < 0.3, np.nan, MANY), "multilabel", 4),
        (np.where(RNG.random((260, 4)) < 0.3, -1, MANY.astype(int)), "multilabel", 4),
        (np.where(RNG.random((260, 4)) < 0.3, -1.0, np.eye(4)[np.arange(260) % 4]), "multilabel", 4),
        (np.where(RNG.random((260, 4)) < 0.3, -1, 1), "regression", 4),  # is and is not
        (np.where(RNG.random((260, 4)) < 0.3, -2, MANY.astype(int)), "regression", 4),
        (np.where(np.arange(260)[:, None] < 3, -1, np.eye(4, dtype=int)[np.arange(260) % 4]), "classification", 4),
    ],
)
def test_the_task_is_seen_in_the_training_rows(labels, task, n_outputs, with_targets):
    found = load(with_targets(labels))
    assert (found.task, len(found.output_names)) == (task, n_outputs)
    is_noted = any(f"{task} (data.task)" in note for note in map(str, found.findings))
    assert is_noted == (task != "classification")
    assert (found.units is not None) == (task == "regression")


def test_numbers_are_standardised_by_the_training_rows_and_restored(with_targets):
    numbers = 1000 + 50 * RNG.normal(size=(260, 2))
    found = load(with_targets(numbers))
    for split in (found.train, found.validation, found.test):
        assert split.labels.dtype == np.float32 and split.labels.shape[1] == 2
    np.testing.assert_allclose(found.train.labels.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.train.labels.std(0), 1, atol=1e-5)
    rows = np.concatenate([found.validation.labels, found.train.labels])
    np.testing.assert_allclose(np.sort(found.units.restored(rows), axis=0), np.sort(numbers, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(found.units.standardised(found.units.restored(rows)), rows)


def test_rows_without_a_target_pretrain_only(with_targets):
    numbers = RNG.normal(size=260)
    numbers[100:180] = np.nan
    found = load(with_targets(numbers), validation=30)
    assert len(found.train.labels) == 230 and found.n_labelled == 150
    assert np.isfinite(found.known_labels).all() and np.isfinite(found.validation.labels).all()
    labels = MANY.astype(int)
    labels[5:9] = -1
    assert load(with_targets(labels), validation=30).n_labelled == 226


def test_a_task_that_somebody_chose_is_taken(with_targets):
    counts = np.arange(260) % 7
    assert load(with_targets(counts)).task == "classification"
    found = load(with_targets(counts), task="regression")
    assert found.task == "regression" and not any("data.task" in note for note in map(str, found.findings))
    assert load(with_targets(np.eye(4, dtype=int)[np.arange(260) % 4]), task="multilabel").task == "multilabel"
    assert load(with_targets(np.arange(260) % 2), task="multilabel").train.labels.shape[1:] == (1,)
    with_minus_one = np.arange(260) % 5 - 1  # a number like any other
    assert load(with_targets(with_minus_one), task="regression").n_labelled == 200


@pytest.mark.parametrize(
    ("labels", "task", "parts"),
    [
        (np.arange(260).astype(str), "regression", ["train_labels of 260 texts: '0', ", "a regression needs numbers"]),
        (np.arange(260) % 3, "multilabel", ["train_labels such as 2", "each 0 or 1"]),
        (np.full(260, 2.5), "auto", ["train_labels of one value only, 2.5"]),
        (np.full((260, 2), np.nan), "regression", ["has no train_labels but missing ones"]),
        (np.where(np.arange(260) == 3, np.inf, np.arange(260) / 7), "auto", ["infinite train_labels"]),
        (
            np.where(MANY == 0, 255, MANY) * (RNG.random((260, 4)) < 0.5),
            "auto",
            ["of 255 beside 0 and 1", "with a sign"],
        ),
        (np.ones((260, 3), int), "auto", ["the same train_labels in every row"]),
        (np.arange(260).astype(str), "auto", ["260 different train_labels in 260 rows"]),
        (RNG.normal(size=(260, 2)), "classification", ["train_labels of float64 (260, 2)", "one-hot"]),
    ],
)
def test_targets_that_do_not_fit_are_refused_in_a_line(labels, task, parts, with_targets):
    refused(with_targets(labels), "data.name: ", *parts, task=task)


def test_targets_of_different_widths_are_refused(write):
    path = write(train_labels=RNG.normal(size=(260, 2)), test_labels=RNG.normal(size=(64, 3)))
    refused(path, "2 in train_labels, 3 in test_labels")


def test_rows_in_the_order_of_their_numbers_are_shuffled_and_cut_in_proportion(with_targets):
    found = load(with_targets(np.sort(RNG.normal(size=260))), validation=52)
    assert any("have like targets" in note or "shuffled" in note for note in map(str, found.findings))
    held = found.validation.labels[:, 0]
    assert abs(held.mean()) < 0.2 and abs(held.std() - 1) < 0.2  # tenths are held out alike
    assert np.abs(np.corrcoef(np.arange(208), found.train.labels[:, 0])[0, 1]) < 0.3


def test_strata_are_classes_combinations_and_tenths():
    np.testing.assert_array_equal(targets.strata(np.array([2, -1, 0])), [2, -1, 0])
    combined = targets.strata(np.float32([[0, 1], [1, 1], [np.nan, np.nan], [0, 1]]))
    assert combined[0] == combined[3] != combined[1] and combined[2] == -1
    partly = targets.strata(np.float32([[0, 1], [np.nan, 1], [1, np.nan], [np.nan, np.nan], [1, 0]]))
    assert partly[0] == partly[1] != partly[2] == partly[4] and partly[3] == -1  # unknown ones count as not there
    tenths = targets.strata(np.append(np.arange(100.0), np.nan)[:, None])
    assert tenths[-1] == -1 and np.bincount(tenths[:-1]).tolist() == [10] * 10


def test_a_number_that_is_the_same_in_all_training_rows_is_refused(write):
    # The first rows validate, and the second number varies among them only.
    numbers = np.stack([RNG.normal(size=260), np.r_[RNG.normal(size=60), np.zeros(200)]], axis=1)
    refused(write(train_labels=numbers, test_labels=numbers[:64]), "of one value in all training rows", validation=60)


def test_numbers_in_another_unit_are_other_targets_of_the_same_inputs(with_targets):
    numbers = RNG.normal(size=260)
    one, other = load(with_targets(numbers)), load(with_targets(100 + 50 * numbers))
    np.testing.assert_allclose(one.train.labels, other.train.labels, atol=1e-5)
    assert one.fingerprints.labels != other.fingerprints.labels  # predictions are kept in their unit
    assert one.fingerprints.images == other.fingerprints.images


def test_rows_that_lack_some_of_their_numbers_count_as_rows_without_any(with_targets):
    numbers = RNG.normal(size=(260, 3))
    numbers[70:79, 0] = np.nan
    found = load(with_targets(numbers))
    assert any("9 rows lack some of their train_labels" in note for note in map(str, found.findings))
    assert found.n_labelled == 191 and not found.has_unknown
