"""Labels that are unknown in rows that have others, and whole numbers that may be quantities."""

import numpy as np
import pytest

from pretrain.data import of_targets
from tests.data.own_files import load

RNG = np.random.default_rng(0)
LABELS = (RNG.random((324, 5)) < 0.4).astype(float)
UNKNOWN = RNG.random(LABELS.shape) < 0.3


def with_marks(write, mark, kind=float, unknown=UNKNOWN):
    marked = np.where(unknown, mark, LABELS).astype(kind)
    return write(train_labels=marked[:260], test_labels=marked[260:])


def test_minus_one_and_nan_are_the_same_unknown_labels(write):
    ways = [(np.nan, float), (np.nan, np.float32), (-1, int), (-1, np.int8), (-1, float)]
    found = [load(with_marks(write, *way)) for way in ways]
    assert len({each.fingerprints for each in found}) == 1
    first = found[0]
    assert first.task == "multilabel" and first.has_unknown
    held = np.concatenate([first.validation.labels, first.train.labels])
    everywhere = UNKNOWN[:260].all(axis=1)  # rows without any label
    np.testing.assert_array_equal(held[:60], np.where(UNKNOWN, np.nan, LABELS)[:260][~everywhere][:60])
    assert np.isnan(held).any(axis=1).sum() > 100
    for each, (mark, _) in zip(found, ways, strict=True):
        (said,) = (finding for finding in each.findings if "unknown" in finding.sentence)
        assert said.figures["of"] == 5 * 324 - 5 * UNKNOWN.all(axis=1).sum()
        assert (said.severity, "--data.task regression" in said.remedy) == (("note", False), ("doubt", True))[
            mark == -1
        ]


def test_labels_that_are_all_known_have_no_mask(write):
    found = load(with_marks(write, -1, unknown=np.zeros_like(UNKNOWN)))
    assert found.task == "multilabel" and not found.has_unknown
    rows = np.zeros_like(UNKNOWN)
    rows[70:90] = True
    found = load(with_marks(write, -1, unknown=rows))
    assert found.task == "multilabel" and not found.has_unknown and found.n_labelled == 180


def test_down_none_and_up_are_numbers_where_somebody_says_so(write):
    path = with_marks(write, -1, int)
    found = load(path, task="regression")
    assert found.task == "regression" and found.n_labelled == 200
    (said,) = (each for each in load(path, task="multilabel").findings if "unknown" in each.sentence)
    assert said.severity == "note" and not said.remedy


def test_labels_without_a_positive_or_negative_test_row_are_counted_and_named(write):
    test = LABELS[260:].copy()
    test[:, 1], test[:, 3] = np.where(UNKNOWN[260:, 1], np.nan, 0), 1
    found = load(write(train_labels=LABELS[:260], test_labels=test))
    said = {each.kind: each for each in found.findings if each.kind.startswith("labels without")}
    assert said.keys() == {"labels without a positive test row", "labels without a negative test row"}
    assert "1 label is 1 in no test row" in str(said["labels without a positive test row"])
    assert "train_labels 1" in str(said["labels without a positive test row"])
    assert said["labels without a negative test row"].figures == {"labels": 1, "of": 5}


def test_an_example_is_named_by_its_known_labels(write):
    found = load(with_marks(write, -1, int))
    assert found.named(np.float32([np.nan, 1, 0, np.nan, 1])) == "train_labels 1, train_labels 4"
    assert found.named(np.float32([np.nan, 0, 0, 0, 0])) == "none"


def quantities(values):
    values, names = np.unique(values, return_inverse=True)[::-1]
    return of_targets.perhaps_quantities("y", values, tuple(map(str, names.tolist())))


AGES = np.clip(np.rint(40 + 12 * RNG.normal(size=2000)), 0, 90).astype(int)


@pytest.mark.parametrize(
    ("values", "severity"),
    [
        (AGES, "doubt"),
        (AGES[:300], "doubt"),
        (RNG.poisson(4, 1000), "note"),  # counts
        (RNG.binomial(9, 0.6, 800), "note"),  # ratings
        (RNG.binomial(4, 0.7, 800) + 1, "note"),  # stars
        (RNG.integers(18, 80, 400), "doubt"),  # few of each
    ],
)
def test_numbers_with_counts_like_their_neighbours_may_be_quantities(values, severity):
    (said,) = quantities(values)
    assert said.severity == severity and said.remedy == "if these are quantities: --data.task regression"
    assert said.figures == {"classes": len(np.unique(values))}


@pytest.mark.parametrize(
    "values",
    [
        np.arange(1000) % 10,
        RNG.integers(0, 10, 60_000),
        np.arange(3000) % 100,
        RNG.choice(8, 4000, p=np.array([5, 1, 6, 2, 9, 1, 8, 2]) / 34),
        RNG.choice(3, 500, p=[0.6, 0.3, 0.1]),
        RNG.choice(2, 500),
    ],
)
def test_classes_in_no_order_are_classes(values):
    assert quantities(values) == []


def test_the_note_stands_only_where_nobody_chose_the_task(write):
    sizes = np.clip(AGES // 4, 0, 18)
    path = write(train_labels=sizes[:260], test_labels=sizes[:64])
    assert any(each.kind == "numbers read as classes" for each in load(path).findings)
    assert not any(each.kind == "numbers read as classes" for each in load(path, task="classification").findings)
    one_hot = np.eye(91, dtype=int)[AGES]
    found = load(write(train_labels=one_hot[:260], test_labels=one_hot[:64]))
    assert not any(each.kind == "numbers read as classes" for each in found.findings)
