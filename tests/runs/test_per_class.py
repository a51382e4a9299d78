"""Recall and precision of each class are scikit-learn's, and the report shows those of the headline's two arms."""

import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import precision_recall_fscore_support

from pretrain.report import per_class as words
from pretrain.runs import per_class
from pretrain.study.arms import Arm

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c", "d")


def table(task, stored, n=4, ids=("t0", "t1", "t2"), wanted=("t0", "t1")):
    dataset = SimpleNamespace(task=task, output_names=NAMES[:n])
    trials = [SimpleNamespace(id=name, jobs=(f"of {name}",)) for name in ids]
    plan = SimpleNamespace(trials=trials, jobs={f"of {name}": SimpleNamespace(data="x") for name in ids})
    store = SimpleNamespace(predictions=lambda job, split: stored[job.removeprefix("of ")])
    return per_class.of_trials(plan, store, {"x": dataset}, set(wanted))


def of_classes():
    """Of four classes, of which the last has no test row and the third is never predicted."""
    return {"targets": RNG.integers(0, 3, 40), "classes": RNG.choice([0, 1, 3], 40), "scores": np.zeros((40, 4))}


def of_labels():
    targets = np.where(RNG.random((40, 3)) < 0.2, np.nan, RNG.integers(0, 2, (40, 3)))
    return {"targets": targets, "scores": RNG.normal(size=(40, 3))}


def test_classes_are_counted_as_scikit_learn_does():
    stored = {name: of_classes() for name in ("t0", "t1")}
    found = table("classification", stored)
    assert found["trial_id"].to_pylist() == ["t0"] * 4 + ["t1"] * 4 and found["class"].to_pylist() == [*NAMES] * 2
    for name, held in stored.items():
        rows = [row for row in found.to_pylist() if row["trial_id"] == name]
        precision, recall, _, support = precision_recall_fscore_support(
            held["targets"], held["classes"], labels=range(4), zero_division=np.nan
        )
        assert [row["support"] for row in rows] == support.tolist()
        for key, exact in (("recall", recall), ("precision", precision)):
            np.testing.assert_allclose([np.nan if row[key] is None else row[key] for row in rows], exact)
        assert rows[3]["recall"] is None and rows[2]["precision"] is None


def test_labels_are_counted_over_the_rows_that_have_them():
    held = of_labels()
    found = table("multilabel", {"t0": held, "t1": held}, n=3).to_pylist()[:3]
    for column, row in enumerate(found):
        known = ~np.isnan(held["targets"][:, column])
        truth, predicted = held["targets"][known, column] == 1, held["scores"][known, column] > 0
        assert row["support"] == truth.sum()
        np.testing.assert_allclose(row["recall"], predicted[truth].mean())
        np.testing.assert_allclose(row["precision"], truth[predicted].mean())


def test_numbers_have_no_classes():
    assert table("regression", {}, wanted=("t0",)) is None


@pytest.mark.parametrize("lacks", [False, True])
def test_the_report_sets_both_arms_side_by_side(lacks):
    stored = {name: of_classes() for name in ("t0", "t1", "t2")}
    found = table("classification", stored, wanted=("t0", "t1") if lacks else ("t0", "t1", "t2"))
    arms = [
        Arm({"finetune.encoder_init": "pretrained"}, (0, 1), ("t0", "t1"), ()),
        Arm({"finetune.encoder_init": "he"}, (0,), ("t2",), ()),
    ]
    listing = words.listing(arms, found)
    if lacks:  # as of a run that is asked another question
        assert listing is None
        return
    assert len(listing.rows) == 4 and len(listing.headings) == len(listing.align) == 11
    assert "A is pretrained and B is from scratch (He)" in listing.caption
    exact = {
        name: precision_recall_fscore_support(held["targets"], held["classes"], labels=range(4), zero_division=np.nan)
        for name, held in stored.items()
    }
    for place, (name, support, *cells) in enumerate(listing.rows):
        counts = [exact[trial][3][place] for trial in stored]
        low, high = min(counts), max(counts)
        assert (name, support) == (NAMES[place], f"{low}" if low == high else f"{low} to {high}")
        for measure, column in enumerate((1, 0, 2)):  # recall, precision and F1
            with warnings.catch_warnings(action="ignore"):  # of classes without a value
                one = np.nanmean([exact[trial][column][place] for trial in ("t0", "t1")])
            other = exact["t2"][column][place]
            shown = [f"{value:.3f}" if np.isfinite(value) else "–" for value in (one, other)]
            assert cells[3 * measure : 3 * measure + 2] == shown
            gained = f"{one - other:+.3f}".replace("-", "−") if np.isfinite(one - other) else "–"
            assert cells[3 * measure + 2] == gained
    assert listing.rows[3][2:5] == ("–",) * 3  # no test row is of the last class
    assert listing.rows[2][5:8] == ("–",) * 3 and listing.rows[2][8:10] == ("0.000",) * 2  # predicted never


def test_one_arm_stands_alone_and_too_many_classes_are_cut_and_said():
    many = pa.table(
        {
            "trial_id": ["t0"] * 1200,
            "class": [str(n) for n in range(1200)],
            "support": [1] * 1200,
            "recall": [1.0] * 1200,
            "precision": [1.0] * 1200,
        }
    )
    listing = words.listing([Arm({}, (0,), ("t0",), ())], many)
    assert len(listing.rows) == 1000 and "Of 1,200 classes" in listing.caption
    assert listing.headings == ("class", "test rows", "recall", "precision", "F1") and listing.rows[0][-1] == "1.000"
    assert words.listing([], many) is None and words.listing([Arm({}, (), (), ())], many) is None
