"""The figure of ways to pretrain: a row for each, a panel for each encoder, a colour for each label budget."""

import numpy as np
import pytest

from pretrain.config import StudyConfig
from pretrain.report import drawing, names
from pretrain.report import gains_by_way as ways
from pretrain.report.drawing import COLOURS
from pretrain.report.short_names import short_names
from pretrain.study.answer import answer
from tests.report.test_terminal import INIT, tables

KIND, LAYERS, LABELS = "pretrain.method.kind", "encoder.layers", "finetune.labels"
DENSE, CONVOLUTIONAL = "300 100", "32c5s2 64c5s2 128"  # texts, as tables have them where some layers are words


def answer_of(points, gain, n=8, diverged=()):
    """The answer of a run of both arms at each point, the pretrained one better by the point's gain."""
    rng, arms = np.random.default_rng(0), []
    for point in points:
        level = 0.7 + 0.02 * rng.standard_normal(n)
        for init, shift in (("pretrained", gain(point)), ("he", 0)):
            arms.append(({INIT: init, **point}, np.full(n, 0.5), level + shift + 0.002 * rng.standard_normal(n)))
    return answer(*tables(arms, diverged), StudyConfig())


def points(kinds=("contrastive",), layers=(DENSE,), labels=(100,)):
    return [{KIND: kind, LAYERS: each, LABELS: size} for kind in kinds for each in layers for size in labels]


def marks(figure):
    """Of each panel the marks of means: gain, row, colour and whether it is hollow."""
    return [
        [
            (line.get_xdata()[0], line.get_ydata()[0], line.get_color(), line.get_fillstyle() == "none")
            for line in axes.lines
            if line.get_marker() not in ("None", None, "") and len(line.get_xdata()) == 1
        ]
        for axes in figure.axes
        if axes.get_visible()
    ]


def test_each_gain_stands_in_the_row_of_its_way_and_the_panel_of_its_encoder():
    gains = {"contrastive": 0.04, "variance": -0.02, "teacher": 0.01}
    asked = points(gains, (DENSE, CONVOLUTIONAL), (1000, 100))
    made = ways.drawing(answer_of(asked, lambda point: gains[point[KIND]] * (2 if point[LABELS] == 100 else 1)))
    left, right = marks(made.figure)
    for panel in (left, right):
        ordered = sorted(panel, key=lambda mark: mark[1])
        expected = [4 * size * gains[kind] * 25 for kind in gains for size in (2, 1)]  # few labels above, in points
        np.testing.assert_allclose([mark[0] for mark in ordered], expected, atol=0.3)
        assert [mark[2] for mark in ordered] == [*COLOURS[:2]] * 3
    assert [axes.get_title() for axes in made.figure.axes] == ["300 100", "32c5s2 64c5s2 128"]
    assert [text.get_text() for text in made.figure.axes[0].get_yticklabels()] == list(gains)
    assert {tuple(axes.get_xlim()) for axes in made.figure.axes} == {made.figure.axes[0].get_xlim()}
    assert [text.get_text() for text in made.figure.legends[0].get_texts()] == ["100 labels", "1,000 labels"]
    assert "variance 32c5s2 64c5s2 128 at 100 labels -4." in made.alt and "Shown" not in made.caption


@pytest.mark.parametrize(
    ("asked", "is_drawn"),
    [
        (points(), False),
        (points(labels=(100, 1000)), False),
        (points(("contrastive", "teacher")), True),
        (points(layers=(DENSE, CONVOLUTIONAL)), True),
        ([{"finetune.frozen_layers": frozen} for frozen in (0, 2)], False),
        ([{LAYERS: DENSE}, {LAYERS: CONVOLUTIONAL}], True),
    ],
)
def test_a_single_way_with_a_single_encoder_has_no_figure(asked, is_drawn):
    assert bool(ways.drawing(answer_of(asked, lambda point: 0.02))) is is_drawn


def test_what_was_not_run_is_not_drawn_and_what_failed_is_hollow():
    asked = points(("contrastive", "teacher"), labels=(100, 1000))[:-1]
    (panel,) = marks(ways.drawing(answer_of(asked, lambda point: 0.02, diverged={(0, 0), (0, 1)})).figure)
    assert [mark[3] for mark in panel] == [True, False, False]


def test_of_too_many_ways_encoders_and_budgets_the_first_are_shown(tmp_path):
    kinds = [f"my_methods/of_a_long_name_{number}.py:Method{number}" for number in range(26)]
    layers = [[2 * units] for units in range(20, 27)]
    made = ways.drawing(answer_of(points(kinds[:2], layers, (10, 100, 300, 1000, 3000, 10_000)), lambda point: 0.02))
    assert made.caption.endswith(" Shown are 6 of 7 panels and 5 of 6 label budgets.")
    assert {mark[2] for mark in marks(made.figure)[0]} == set(COLOURS[:5])
    with names.in_place(short_names(kinds)):
        made = ways.drawing(answer_of(points(kinds), lambda point: 0.02))
    assert made.caption.endswith(" Shown are 24 of 26 ways.")
    drawing.save(made.figure, tmp_path, made.name)
    assert [text.get_text() for text in made.figure.axes[0].get_yticklabels()] == [f"Method{n}" for n in range(24)]


def test_ways_are_named_by_method_and_what_else_is_swept():
    noise = "pretrain.method.corruption"
    grids = [*({KIND: "autoencoder", noise: each} for each in ("none", "masking")), {KIND: "mine", noise: None}]
    found = ways.drawing(answer_of(grids, lambda point: 0.02)).figure.axes[0].get_yticklabels()
    expected = ["autoencoder (corruption=none)", "autoencoder (corruption=masking)", "mine"]
    assert [text.get_text().replace("\n", " ") for text in found] == expected


def test_of_a_loss_less_is_a_gain():
    found = answer_of(points(("contrastive", "teacher")), lambda point: 0.02)
    losses = found._replace(comparisons=[each._replace(metric="test_loss") for each in found.comparisons])
    (panel,) = marks(ways.drawing(losses._replace(metric="test_loss")).figure)
    assert all(mark[0] < 0 for mark in panel)
