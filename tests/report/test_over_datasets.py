"""Words and pictures of several datasets: short names, two statements, a cell, and a forest plot."""

import numpy as np
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import replace_all
from pretrain.report import over_datasets, words
from pretrain.report.cells import cells
from pretrain.report.record import record
from pretrain.report.short_names import named_shortly, short_names
from pretrain.study.answer import answer
from pretrain.study.over_datasets import groups
from tests.report.test_terminal import INIT, tables

NAMES = [f"/data/{name}.csv" for name in ("iris", "wine", "zoo", "adult", "car", "glass")]


def answer_of(gains, diverged=(), more=({},), study=None, n=8):
    """The answer of a run of both arms on each dataset, and at each of more settings."""
    rng, arms = np.random.default_rng(0), []
    for each in more:
        for name, gain in zip(NAMES, gains, strict=False):
            level = 0.7 + 0.02 * rng.standard_normal(n)
            for init, shift in (("pretrained", gain), ("he", 0)):
                final = level + shift + 0.002 * rng.standard_normal(n)
                arms.append(({INIT: init, "data.name": name, **each}, np.full(n, 0.5), final))
    return answer(*tables(arms, diverged), study or StudyConfig())


@pytest.mark.parametrize(
    ("texts", "short"),
    [
        (["/tmp/iris.csv", "/tmp/wine.csv"], ["iris", "wine"]),
        (["/tmp/iris.csv", "/tmp/wine.tsv"], ["iris.csv", "wine.tsv"]),
        (["/a/x/data.npz", "/a/y/data.npz"], ["x", "y"]),
        (["/a/x/one.csv", "/b/y/one.csv", "/b/y/two.csv"], ["x/one", "y/one", "y/two"]),
        (["sets.py:iris", "sets.py:wine"], ["iris", "wine"]),
        (["mnist", "fashion_mnist"], ["mnist", "fashion_mnist"]),
        (["only/one.csv"], ["one.csv"]),
        (["a", "a/a"], ["a", "a/a"]),
    ],
)
def test_short_names_are_the_parts_that_differ(texts, short):
    assert list(short_names(texts).values()) == short


def test_a_run_over_datasets_ends_in_two_statements():
    answered = answer_of([0.05, 0.04, 0.06, 0.03, 0.05, 0.04], diverged={(2, 0)})
    experiment = replace_all(Experiment(), {})
    (group,) = groups(answered)
    said = over_datasets.statement(group, answered.metric)
    assert said.startswith("On these 6 datasets +4.") and "5 up, 1 failed and left out: wine)" in said
    assert "Most datasets like these: not claimed (p = 0.219, 5 up and 0 down of 6 medians); spread" in said
    assert words.headline(answered, experiment) == words.conclusion(answered, experiment) == said
    assert words.explanation(answered)[0].startswith("Dataset by dataset: Pretraining")
    content = record(answered, experiment, "", "")
    assert content["verdict"] == said and content["datasets"][0]["effects"][1]["has_failed"]
    cell = cells(answered, experiment)["Datasets"]
    assert cell.startswith("6 (iris, wine, zoo, adult, car, glass); on these +") and cell.endswith("failed: wine")


def test_six_datasets_that_gain_are_most():
    said = over_datasets.statement(groups(answer_of([0.05] * 6))[0], "test_accuracy")
    assert "(6 up). Most datasets like these: gain (p = 0.031, 6 up and 0 down of 6 medians)" in said
    assert len(said.split()) <= 60


def test_budgets_are_statements_of_their_own_and_those_that_explore_come_later():
    budgets = [{"finetune.labels": labels} for labels in (100, 1000)]
    study = StudyConfig(family=("finetune.labels=1000",))
    answered = answer_of([0.05, 0.0, -0.05], more=budgets, study=study)
    experiment = Experiment()
    headline = words.headline(answered, experiment)
    assert headline.startswith("Pretraining at 1,000 labels: on these 3 datasets") and "at 100 labels" not in headline
    assert any("Pretraining at 100 labels: on these 3" in text for text in words.explanation(answered))


def test_names_are_short_within_a_block_only():
    experiment = Experiment(sweep=({INIT: ("pretrained", "he"), "data.name": tuple(NAMES)},))
    answered = answer_of([0.05] * 6)
    with named_shortly(experiment):
        assert "most on glass" in words.explanation(answered)[0]
    assert "most on /data/glass.csv" in words.explanation(answered)[0]


def test_a_forest_has_a_row_a_dataset_and_their_mean_below():
    answered = answer_of([0.05, 0.04, 0.06], diverged={(2, 0)})
    (group,) = groups(answered)
    made = over_datasets.drawing(group, answered.metric, answered.level)
    axes = made.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["iris", "wine (failed)", "zoo", "mean of 2"]
    (diamond,) = axes.patches
    x = diamond.get_xy()[:, 0]
    assert (x.min(), x.max()) == pytest.approx((100 * group.fixed.low, 100 * group.fixed.high))
    (first,) = (line for line in axes.lines if list(line.get_ydata()) == [0, 0])
    assert list(first.get_xdata()) == pytest.approx([100 * end for end in answered.comparisons[0].shown[1:]])
    assert "iris" in made.alt and "left out" in made.alt


def test_a_table_has_a_row_a_dataset():
    answered = answer_of([0.05, 0.0, 0.06])
    (listing,) = over_datasets.listings(groups(answered), answered.metric)
    assert [row[0] for row in listing.rows] == ["iris", "wine", "zoo"] and listing.rows[0][1].startswith("+4.8 points")
