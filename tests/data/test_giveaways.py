"""Row numbers that predict the target, and columns by which it is all but known, are named."""

import time

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

from pretrain import data
from pretrain.config import DataConfig
from pretrain.data import giveaways
from pretrain.data.scaling import Column
from tests.data import sources

N = 600
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(N, 4))
HALVES, THIRDS = np.repeat([0, 1], N // 2), RNG.integers(0, 3, N)
ROW = "row numbers that predict the target"
GIVEAWAY = "a giveaway of the target"


def kinds(column, labels, task="classification"):
    """The kinds of findings of a column beside noise, and the columns that they name."""
    inputs = np.column_stack([NOISE, column])
    found = giveaways.found(inputs, labels, task, (), "y")
    return {each.kind: set(each.figures["errors"]) for each in found}


@pytest.mark.parametrize(
    ("column", "labels", "task", "kind"),
    [
        (1001 + np.arange(N), HALVES, "classification", ROW),
        (1001 + np.arange(N), np.where(RNG.random(N) < 0.1, 1 - HALVES, HALVES), "classification", ROW),
        (7 * np.arange(N)[::-1], np.arange(N) // 200, "classification", ROW),
        (np.arange(N), (np.arange(N) / 100 + RNG.normal(size=N))[:, None], "regression", ROW),
        (np.array([3, 7, 5])[THIRDS], THIRDS, "classification", GIVEAWAY),
        (np.where(RNG.random(N) < 0.1, np.nan, 2 * HALVES), HALVES, "classification", None),
        (np.where(HALVES == 1, np.nan, 2.0), HALVES, "classification", GIVEAWAY),
        (THIRDS + 0.3 * RNG.random(N), THIRDS, "classification", GIVEAWAY),
        (2.54 * NOISE[:, 0] + 3, NOISE[:, :1], "regression", GIVEAWAY),
        (np.exp(NOISE[:, 0]), np.column_stack([NOISE[:, 1] * NOISE[:, 2], NOISE[:, 0]]), "regression", GIVEAWAY),
        (HALVES, np.column_stack([THIRDS > 0, HALVES]).astype(np.float32), "multilabel", GIVEAWAY),
        (HALVES + 0.5 * RNG.normal(size=N), HALVES, "classification", None),
        (np.arange(N), RNG.integers(0, 2, N), "classification", None),
        (RNG.permutation(N), HALVES, "classification", None),
        (RNG.normal(size=N), NOISE[:, :1] * NOISE[:, 1:2], "regression", None),
        (np.ones(N), HALVES, "classification", None),
    ],
)
def test_columns_that_give_the_target_away_are_named(column, labels, task, kind):
    found = kinds(column, labels, task)
    named = {**{GIVEAWAY: set()}, **found}
    if task == "regression":
        named[GIVEAWAY] -= {"0"}  # which the target is made of here
    assert {each: names for each, names in named.items() if names} == ({kind: {"4"}} if kind else {})


def test_a_few_rows_give_nothing_away():
    assert kinds(HALVES, HALVES) == {GIVEAWAY: {"4"}}
    few = np.arange(0, N, 15)
    assert not list(giveaways.found(HALVES[few, None], HALVES[few], "classification", (), "y"))


def test_rows_without_a_target_are_not_looked_at():
    labels = np.where(np.arange(N) % 3 == 0, -1, HALVES)
    assert kinds(np.where(labels < 0, 1 - HALVES, HALVES), labels) == {GIVEAWAY: {"4"}}
    several = np.where(np.arange(N)[:, None] % 3 == 0, np.nan, np.column_stack([HALVES, THIRDS > 0]))
    assert kinds(HALVES, several, "multilabel") == {GIVEAWAY: {"4"}}


def test_categories_are_one_column():
    words = np.array(["c", "a", "b"])[THIRDS]
    inputs = np.column_stack([NOISE, *(words == each for each in "abc")])
    columns = [Column(name) for name in "wxyz"] + [Column("word", each) for each in "abc"]
    (found,) = giveaways.found(inputs, THIRDS, "classification", columns, "y")
    assert set(found.figures["errors"]) == {"word"} and found.remedy.endswith("--data.drop word")


def test_a_table_says_so_and_is_silent_where_the_column_is_dropped(tmp_path):
    kind = np.array(["case", "control"])[HALVES]
    table = pa.table({"sample": 1001 + np.arange(N), "x": NOISE[:, 0], "code": 4 * HALVES, "y": kind})
    path = sources.write_csv(table, tmp_path / "own.csv")
    found = {each.kind: each for each in data.load(DataConfig(name=str(path), target="y", validation=0.2)).findings}
    assert found[ROW].severity == found[GIVEAWAY].severity == "doubt"
    assert "sample" in str(found[ROW]) and str(found[GIVEAWAY]).endswith("--data.drop code")
    dropped = DataConfig(name=str(path), target="y", validation=0.2, drop=("sample", "code"))
    assert not {ROW, GIVEAWAY} & {each.kind for each in data.load(dropped).findings}


def test_wide_and_long_sources_are_looked_at_in_a_moment():
    wide, long = RNG.normal(size=(1500, 8000)).astype(np.float32), RNG.normal(size=(100_000, 40))
    for inputs in (wide, long):
        labels = (inputs[:, 11] > 0).astype(np.int32)
        start = time.process_time()
        (found,) = giveaways.found(inputs, labels, "classification", (), "y")
        assert set(found.figures["errors"]) == {"11"} and time.process_time() - start < 10


def test_no_cut_of_iris_makes_its_best_column_a_giveaway(tmp_path):
    iris = load_iris()
    np.savez(tmp_path / "iris.npz", X=iris.data, y=iris.target)
    for cut in range(1, 40):  # of which one has training rows that petal widths tell apart
        made = data.load(DataConfig(name=str(tmp_path / "iris.npz"), validation=30, splits="fixed", cut=cut))
        assert not [finding for finding in made.findings if "giveaway" in finding.kind]


@pytest.mark.parametrize("n_rare", [20, 60])
def test_a_copy_of_a_rare_class_is_named_where_its_rows_are_enough(n_rare, tmp_path):
    rng = np.random.default_rng(0)
    y = (np.arange(1200) < n_rare).astype(int)[rng.permutation(1200)]
    np.savez(tmp_path / "rare.npz", X=np.c_[rng.normal(size=(1200, 3)), 2 * y + 1], y=y)
    made = data.load(DataConfig(name=str(tmp_path / "rare.npz"), validation=100))
    named = [finding for finding in made.findings if "giveaway" in finding.kind]
    assert bool(named) == (n_rare == 60) and all("column predicts the target: 3" in each.sentence for each in named)
