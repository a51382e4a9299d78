"""The report shows what a run left to look at, in figures whose words fit, and names what is missing."""

import itertools
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from pretrain.report import (
    calibration,
    code_planes,
    confusion,
    drawing,
    layer_change,
    looks,
    scatter,
    wrong_rows,
)
from pretrain.report.drawing import Drawing
from pretrain.report.listings import Listing
from pretrain.runs.looks_file import Calibrated, Confused, Looks
from pretrain.study.arms import Arm
from tests.runs.test_looks_file import bins, changed, looked, plane, scattered, wrong

ARMS = [Arm({"finetune.encoder_init": "pretrained"}, (0, 1), ("t0", "t1"))]
ARMS.append(Arm({"finetune.encoder_init": "he"}, (0,), ("t2",)))
ANSWER = SimpleNamespace(arms=ARMS)
CALLED = ["pretrained", "from scratch (He)"]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_every_look_has_its_figure_or_table_under_the_names_of_its_arms(tmp_path):
    parts = [*looks.of_rows(looked(), ANSWER), *looks.of_networks(looked(), ANSWER)]
    assert [each.name for each in parts] == [
        "confusion",
        "calibration",
        "wrong_rows",
        "wrong_rows",
        "codes",
        "first_layer",
    ]
    for part in parts:
        assert part.caption and "another arm" not in part.caption
        if isinstance(part, Drawing):
            ElementTree.fromstring(drawing.save(part.figure, tmp_path, part.name))
            assert part.alt and part.alt != part.caption
    assert any(
        "pretrained" in each.alt and "from scratch (He)" in each.alt for each in parts if isinstance(each, Drawing)
    )
    of_numbers = looked(confused=(), calibrated=(), scattered=scattered(), wrong=(wrong(measure="error", shape=None),))
    assert [each.name for each in looks.of_rows(of_numbers, ANSWER)] == ["scatter", "wrong_rows"]


def test_without_looks_there_is_nothing_and_what_is_missing_is_said():
    for parts in (looks.of_rows, looks.of_networks):
        assert parts(None, ANSWER) == [] and parts(Looks("x"), ANSWER) == []
    assert looks.missing(None) == [] and looks.missing(looked()) == []
    (table,) = looks.missing(Looks("x", missing=("Codes on a plane: layers are gone: 3 of 4",)))
    assert table.rows == [("Codes on a plane", "layers are gone: 3 of 4")]
    found = looks.record(Looks("x", missing=("Codes: gone",)), ANSWER)
    assert found == {"calibration": [], "missing": ("Codes: gone",)} and looks.record(None, ANSWER)["missing"] == ()
    recorded = looks.record(looked(), ANSWER)["calibration"]
    assert [each["arm"] for each in recorded] == CALLED
    np.testing.assert_allclose(recorded[0]["mean"], looked().calibrated[0].errors.mean())


def test_cells_of_a_matrix_are_shares_of_the_true_class():
    counts = np.array([[90, 9, 1], [0, 0, 0], [0, 1, 999]])
    np.testing.assert_allclose(confusion.rates(counts)[[0, 2]], counts[[0, 2]] / [[100], [1000]])
    assert np.isnan(confusion.rates(counts)[1]).all()
    made = confusion.drawing([Confused(("t0",), ("a", "b", "c"), counts, np.zeros((0, 4), int))], ["pretrained"])
    assert texts(made.figure) == ["90", "9", "1", "100"] and "without a test row" in made.caption
    assert "most often a as b, 9 %" in made.alt


@pytest.mark.parametrize(("n", "across"), [(2, 2), (7, 1), (20, 1)])
def test_names_of_a_matrix_do_not_overlap(n, across):
    names = tuple(f"class {number}" for number in range(n))
    rng = np.random.default_rng(0)
    arms = [Confused((f"t{k}",), names, rng.integers(1, 99, (n, n)), np.zeros((0, 4), int)) for k in range(2)]
    figure = confusion.drawing(arms, CALLED).figure
    figure.canvas.draw()
    for axes in figure.axes[:2]:
        for labels, side in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
            ends = sorted(getattr(label.get_window_extent(), f"interval{side}").tolist() for label in labels)
            assert all(one[1] <= other[0] + 1 for one, other in itertools.pairwise(ends))
    assert (figure.axes[0].get_position().y0 == figure.axes[1].get_position().y0) == (across == 2)
    assert bool(texts(figure)) == (n <= 12)


def test_of_many_classes_pairs_are_a_table():
    pairs = np.array([[7, 9, 30, 120], [1, 2, 3, 100]])
    names = tuple(map(str, range(300)))
    parts = looks.of_rows(Looks("x", confused=(Confused(("t0", "t1"), names, np.zeros((0, 0), int), pairs),)), ANSWER)
    (table,) = parts
    assert isinstance(table, Listing) and table.rows[0] == ("pretrained", "7", "9", "30 of 120", "25.0 %")


def test_calibration_draws_trials_and_their_mean():
    one, other = Calibrated(("t0", "t1"), bins(2)), Calibrated(("t2",), bins(1))
    figure = calibration.drawing([one, other], CALLED).figure
    (trials,), (_, *means) = figure.axes[0].collections, figure.axes[0].lines
    np.testing.assert_allclose(trials.get_segments(), one.bins[..., :2])
    assert len(means) == 2
    np.testing.assert_allclose(means[0].get_xdata(), one.bins[..., 0].mean(axis=0))
    np.testing.assert_allclose(means[0].get_ydata(), one.bins[..., 1].mean(axis=0))
    assert means[1].get_label() == f"from scratch (He): error {other.errors[0]:.3f}"
    for task, said, axis in (
        ("multilabel", "labels", "are there"),
        ("classification", "predicted classes", "are right"),
    ):
        of_task = looks.of_rows(Looks("x", calibrated=(one._replace(task=task),)), ANSWER)[0].figure  # confusion failed
        assert said in of_task.get_suptitle() and axis in of_task.axes[0].get_ylabel()


def test_rows_that_are_wrong_are_a_table_with_their_columns():
    table = wrong_rows.listing(wrong(shape=None, columns=("age", "colour")), *CALLED)
    assert table.headings[-3:] == ("wrong of the other arm", "age", "colour")
    assert table.rows[1] == ("1000", "b", "c", "0.700", "50 %", "–", "1.age", "1.colour")
    assert wrong_rows.drawing(wrong(shape=None), "pretrained") is None
    alone = wrong_rows.listing(wrong(measure="error", beside=()), "pretrained", "")
    assert alone.headings == ("row", "true", "predicted", "error") and alone.rows[0][-1] == "+0.9"
    assert len(alone.headings) == len(alone.align)


@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 5, 3), (1, 6, 5, 1), (20, 1, 2)])
def test_rows_that_are_wrong_are_pictures_or_lines(shape, tmp_path):
    made = wrong_rows.drawing(wrong(n=7, shape=shape), "pretrained")
    said = texts(made.figure)
    assert "a → b" in said and "1000: 0.833" in said
    n_images = drawing.save(made.figure, tmp_path, "rows").count("<image")
    assert n_images == (0 if shape[1] == 1 else 7)


def test_numbers_stand_against_their_predictions_and_residuals_against_these():
    one, other = scattered()
    made = scatter.drawing([one, other], CALLED)
    for place, each in enumerate((one, other)):
        left, right = made.figure.axes[2 * place : 2 * place + 2]
        np.testing.assert_allclose(left.collections[0].get_offsets(), each.points[0])
        residuals = np.stack([each.points[0, :, 1], each.points[0, :, 1] - each.points[0, :, 0]], axis=1)
        np.testing.assert_allclose(right.collections[0].get_offsets(), residuals)
    assert "Shown are 50 of 900 rows" in made.caption and "correlation 0.9" in made.alt


def test_codes_are_named_at_their_means_and_names_do_not_overlap():
    figure = code_planes.drawing([plane(), plane("random", "t2")], CALLED).figure
    assert [axes.get_title() for axes in figure.axes] == ["pretrained", "random encoder: from scratch (He)"]
    assert sorted(texts(figure)) == ["a", "a", "b", "b", "c", "c"]
    wide = code_planes.drawing([plane(), plane("random", "t2")._replace(n_codes=900)], CALLED)
    assert "pretrained, seed 1, 12 codes; random encoder: from scratch (He), seed 1, 900 codes" in wide.caption
    assert re.search(r"40 % of the variance", figure.axes[0].get_xlabel())
    moved = code_planes.apart(np.zeros((6, 2)), np.array([2.0, 4.0]), np.full(6, 0.1))
    assert (np.diff(np.sort(moved[:, 1])) > 0.8 * 4 * 0.055).all() and not moved[:, 0].any()
    far = np.array([[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(code_planes.apart(far, np.ones(2), np.full(2, 0.1)), far)
    numbers = code_planes.drawing([plane(is_classes=False)], CALLED[:1])
    assert "colour is age" in numbers.caption and numbers.figure.axes[1].get_xlabel() == "age"


@pytest.mark.parametrize("shape", [(6, 5, 1), (3, 3, 3)])
def test_filters_stand_before_and_after_on_one_scale(shape):
    made = changed(shape=shape, n=5)
    figure = layer_change.drawing(made, "pretrained").figure
    images = figure.axes[0].images
    assert len(images) == 15 and len({each.get_clim() for each in images}) == 1
    low, high = images[0].get_clim()
    assert low == -high
    for unit in range(5):
        for stage in range(3):
            tile = made.filters[stage, unit].transpose(0, 2, 1).reshape(shape[0], -1)
            np.testing.assert_array_equal(images[3 * unit + stage].get_array(), tile)
    still = layer_change.drawing(changed(stages=("initialisation", "pretraining")), "pretrained")
    assert "frozen" in still.caption and "frozen" not in layer_change.drawing(made, "pretrained").caption
