"""Tuned arms: which setting each seed chooses, and which values lie on the edge of their grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pretrain.study.tuning import best_by_seed, beyond, edge, times_chosen

NAN = float("nan")
few = st.sampled_from([NAN, 0.5, 0.6, 0.7])  # so that there are ties
grids = arrays.arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=few)


def test_every_seed_chooses_its_own_best_by_validation_alone():
    validation = np.array([[0.1, 0.9, 0.3], [0.8, 0.2, 0.4], [0.5, 0.5, NAN]])
    assert best_by_seed(validation).tolist() == [1, 0, 1]


@given(grids)
def test_what_is_chosen_is_a_best_one_and_the_middle_of_those_that_tie(validation):
    for seed, setting in enumerate(best_by_seed(validation)):
        column = validation[:, seed].tolist()
        known = [value for value in column if value == value]
        if not known:
            assert setting == -1
            continue
        best = [place for place, value in enumerate(column) if value == max(known)]
        assert setting == best[(len(best) - 1) // 2]


@given(grids, st.integers(0, 4))
def test_no_seed_depends_on_another(validation, seed):
    seed %= validation.shape[1]
    assert best_by_seed(validation[:, [seed]])[0] == best_by_seed(validation)[seed]


def test_values_are_counted_in_the_order_of_the_grid():
    chosen = np.array([0, 3, 3, -1, 2])
    assert times_chosen([0.1, 0.2, 0.1, 0.3], chosen) == {0.1: 2, 0.2: 0, 0.3: 2}


@pytest.mark.parametrize(
    ("values", "setting", "found"),
    [
        ([0.01, 0.1, 1.0], 0, "lowest"),
        ([0.01, 0.1, 1.0], 2, "highest"),
        ([0.01, 0.1, 1.0], 1, None),
        ([1.0, 0.1, 0.01], 0, "highest"),
        ([0.1, 0.1, 0.1], 1, None),
        ([1, 2, 1, 2], 3, "highest"),
        (["a", "b"], 0, None),
        ([True, False], 0, None),
    ],
)
def test_the_edge_of_a_grid(values, setting, found):
    assert edge(values, setting) == found


@pytest.mark.parametrize(
    ("values", "side", "found"),
    [
        ([0.001, 0.01, 0.1], "highest", [1, 10]),
        ([0.001, 0.01, 0.1], "lowest", [1e-4, 1e-5]),
        ([1, 2, 4, 8], "highest", [16, 32]),
        ([1, 2, 4, 8], "lowest", []),
        ([0.0, 0.1, 0.2], "highest", [0.3, 0.4]),
        ([2, 3], "lowest", [1]),
    ],
)
def test_a_grid_goes_on_as_it_ended(values, side, found):
    assert beyond(values, side) == pytest.approx(found)
