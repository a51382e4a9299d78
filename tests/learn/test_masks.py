"""Masks: as many parts in every row, each part whole, drawn evenly and anew."""

from collections import Counter

import jax
import numpy as np
import pytest

from pretrain.learn.masks import drawn, hidden

KEY = jax.random.key(3)


@pytest.mark.parametrize(
    ("share", "n_parts", "count"), [(0.75, 49, 37), (0.3, 10, 3), (0.01, 5, 1), (0.99, 5, 4), (0.5, 1, 1), (0.75, 2, 1)]
)
def test_every_row_hides_as_many_parts_and_leaves_one(share, n_parts, count):
    found = np.asarray(drawn(KEY, 30, n_parts, share))
    assert found.shape == (30, n_parts) and (found.sum(1) == count).all()
    assert n_parts < 5 or len({row.tobytes() for row in found}) > 1  # rows differ


def test_sets_of_parts_are_drawn_evenly():
    found = Counter(map(tuple, np.asarray(drawn(KEY, 20_000, 5, 0.4))))
    assert len(found) == 10
    expected = 20_000 / 10
    statistic = sum((count - expected) ** 2 / expected for count in found.values())
    assert statistic < 33.7  # chi-squared of 9 degrees of freedom, .9999


@pytest.mark.parametrize(
    ("shape", "patch", "grid"),
    [
        ((28, 28, 1), 4, (7, 7)),
        ((6, 7, 3), 4, (2, 2)),
        ((9, 6, 2), 3, (3, 2)),
        ((12, 1, 2), 4, (3, 1)),
        ((3, 1, 2), 4, (2, 1)),
        ((4, 6, 4, 1), 2, (2, 3, 2)),
        ((5, 8), 2, (3,)),  # positions and their features
    ],
)
def test_patches_are_hidden_whole_with_all_their_channels(shape, patch, grid):
    found = np.asarray(hidden(KEY, 40, shape, 0.5, patch))
    assert found.shape == (40, *shape)
    side = min(patch, -(-max(shape[:-1]) // 2))
    places = np.indices(shape[:-1]) // side
    parts = np.ravel_multi_index(places, grid)
    for row in found:
        of_parts = [row[parts == part] for part in range(np.prod(grid))]
        assert all(values.all() or not values.any() for values in of_parts)
        assert sum(values.all() for values in of_parts) == max(1, min(round(0.5 * len(of_parts)), len(of_parts) - 1))


def test_columns_of_a_category_are_hidden_together_and_units_one_by_one():
    groups = (0, 1, 1, 1, 2, 3)
    found = np.asarray(hidden(KEY, 50, (6,), 0.5, 4, groups))
    assert (found[:, [1, 1]] == found[:, [2, 3]]).all()
    assert (found[:, [0, 1, 4, 5]].sum(1) == 2).all()
    alone = np.asarray(hidden(KEY, 50, (6,), 0.5, 4))
    assert (alone.sum(1) == 3).all() and (alone[:, 1] != alone[:, 2]).any()
    np.testing.assert_array_equal(hidden(KEY, 50, (1, 1, 6), 0.5, 4).reshape(50, 6), alone)  # a map of one place


def test_another_key_hides_others_and_the_same_the_same():
    first, again, other = (np.asarray(hidden(key, 9, (8, 8, 1), 0.75, 4)) for key in (KEY, KEY, jax.random.key(4)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
