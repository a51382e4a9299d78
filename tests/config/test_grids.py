"""Grids have each point once; random search draws what it says it draws."""

import numpy as np
import pytest
from scipy import stats

from pretrain.config.fields import ConfigError
from pretrain.config.grids import LogUniform, Uniform, points, random_search


def column(name, axis, draws=4000, seed=0):
    return [grid[name][0] for grid in random_search({name: axis}, draws, seed)]


def test_a_sweep_has_each_point_of_its_grids_once():
    sweep = ({"a": (1, 2), "b": (0.5,)}, {"b": (0.5, 1.5), "a": (2,)})
    assert list(points(sweep)) == [{"a": 1, "b": 0.5}, {"a": 2, "b": 0.5}, {"b": 1.5, "a": 2}]
    assert list(points(())) == [{}]


def test_values_of_other_types_are_other_points():
    assert len(list(points(({"a": (True, 1, "1", 1.0)},)))) == 4


@pytest.mark.parametrize(
    ("axis", "distribution"),
    [(Uniform(0.5, 2.0), stats.uniform(0.5, 1.5)), (LogUniform(1e-4, 1e-1), stats.loguniform(1e-4, 1e-1))],
)
def test_draws_follow_their_distribution(axis, distribution):
    assert stats.kstest(column("a", axis), distribution.cdf).pvalue > 0.01


def test_whole_ends_draw_whole_numbers_with_both_ends():
    values = column("a", Uniform(3, 6))
    assert set(map(type, values)) == {int}
    assert stats.chisquare(np.bincount(values)[3:]).pvalue > 0.01 and set(values) == {3, 4, 5, 6}
    labels = column("a", LogUniform(10, 1000))
    assert set(map(type, labels)) == {int} and min(labels) >= 10 and max(labels) <= 1000
    assert 0.4 < np.mean(np.array(labels) < 100) < 0.6


def test_listed_values_are_as_likely():
    values = column("a", ("x", "y", "z"))
    assert stats.chisquare([values.count(value) for value in "xyz"]).pvalue > 0.01


def test_axes_are_drawn_independently_and_keep_their_draws():
    both = random_search({"a": Uniform(0.0, 1.0), "b": Uniform(0.0, 1.0)}, 1000)
    pairs = np.array([(grid["a"][0], grid["b"][0]) for grid in both])
    assert abs(stats.pearsonr(*pairs.T).statistic) < 0.1
    assert pairs[:500, 0].tolist() == column("a", Uniform(0.0, 1.0), 500)
    assert column("a", Uniform(0.0, 1.0), 5, seed=1) != column("a", Uniform(0.0, 1.0), 5)


@pytest.mark.parametrize(
    ("axes", "draws"),
    [({"a": Uniform(1.0, 1.0)}, 2), ({"a": LogUniform(0.0, 1.0)}, 2), ({"a": Uniform(0.0, 1.0)}, 0), ({}, 3)],
)
def test_what_cannot_be_drawn_is_refused(axes, draws):
    with pytest.raises(ConfigError):
        random_search(axes, draws)
