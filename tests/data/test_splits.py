"""Cuts are of the sizes asked for, fair to every class, and the same whenever they are asked for again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain import data
from pretrain.config import DataConfig, Experiment
from pretrain.config.fields import ConfigError
from pretrain.data import splits
from pretrain.data.splits import Rows, cut, in_order_of_classes, stratified
from tests.data import sources
from tests.experiments import thorough

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(lambda labels: np.array(labels, np.int32))


@thorough
@given(LABELS, st.floats(0, 1), st.integers(0, 9))
def test_a_stratified_draw_has_each_class_in_proportion(labels, share, seed):
    size = int(share * len(labels))
    rows = stratified(labels, size, np.random.default_rng(seed))
    assert len(np.unique(rows)) == len(rows) == size
    for label in range(5):
        expected = (labels == label).sum() * size / len(labels)
        # Rounding of all classes together may move one by a row.
        assert abs((labels[rows] == label).sum() - expected) < 2
    np.testing.assert_array_equal(rows, stratified(labels, size, np.random.default_rng(seed)))


@thorough
@given(LABELS, st.booleans(), st.booleans(), st.integers(0, 2), st.integers(1, 9), st.integers(1, 9), st.data())
def test_every_row_is_in_one_split_and_held_out_rows_have_a_label(labels, has_validation, has_test, number, n, m, draw):
    missing = draw.draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels)))
    labels = np.where(missing, -1, labels)
    rows, config = Rows(labels, has_validation, has_test), DataConfig(validation=n, test=m, cut=number)
    held_out = (0 if has_validation else n) + (0 if has_test else m)
    if held_out >= (labels >= 0).sum():
        if held_out:
            with pytest.raises(ConfigError, match="leaves nothing to train on"):
                cut(rows, config)
        return
    found = cut(rows, config)
    parts = [np.arange(len(labels))[index] for index in found[:3] if index is not None]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert (found.validation is None, found.test is None) == (has_validation, has_test)
    for index, size in ((found.validation, n), (found.test, m)):
        if index is not None:
            assert len(labels[index]) == size and (labels[index] >= 0).all()


def test_rows_in_no_order_are_cut_as_they_stand():
    labels = np.random.default_rng(0).integers(0, 3, 200).astype(np.int32)
    found = cut(Rows(labels, False, True), DataConfig(validation=30))
    assert (found.train, found.validation, found.notes) == (slice(30, 200), slice(0, 30), ())


@pytest.mark.parametrize("seed", range(20))
def test_an_order_of_classes_is_seen_and_none_is_not(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, 150, p=(0.5, 0.2, 0.1, 0.1, 0.1))
    assert not in_order_of_classes(labels)
    assert in_order_of_classes(np.sort(labels)) and in_order_of_classes(np.sort(labels)[::-1])
    assert in_order_of_classes(np.concatenate([np.sort(part) for part in np.split(labels, 3)]))


def test_a_fresh_cut_for_each_seed_differs_in_held_out_rows_and_a_fixed_one_does_not(tmp_path):
    np.savez(tmp_path / "own.npz", **sources.forms()["no_test"])
    fresh = Experiment(data=DataConfig(name=str(tmp_path / "own.npz"), validation=0.1, splits="fresh"), seeds=3)
    found = list(data.load_all(fresh).values())
    assert len(found) == 3
    held_out = [{row.tobytes() for row in dataset.test.inputs} for dataset in found]
    assert held_out[0] != held_out[1] != held_out[2]
    for dataset in found:
        np.testing.assert_array_equal(np.bincount(dataset.test.labels), [8] * 10)
    assert len(data.load_all(Experiment(data=DataConfig(name=str(tmp_path / "own.npz"), validation=0.1), seeds=3))) == 1


def test_sizes_are_counts_or_shares():
    labels = np.zeros(100, np.int32)
    assert splits.sizes(Rows(labels, False, False), DataConfig(validation=0.25, test=7)) == (25, 7)
    assert splits.sizes(Rows(labels, True, True), DataConfig()) == (0, 0)
    with pytest.raises(ConfigError, match=r"data\.validation: 93 leaves nothing"):
        splits.sizes(Rows(labels, False, False), DataConfig(validation=93, test=7))


def test_sizes_of_splits_that_have_rows_of_their_own_are_noted_and_cuts_of_nothing_are_refused():
    labels = np.arange(40) % 3
    sizes = DataConfig(validation=4, test=9)
    assert cut(Rows(labels, False, True), sizes).notes == ("data.test has no effect, for the data have test rows",)
    assert len(cut(Rows(labels, True, True), sizes).notes) == 2
    assert cut(Rows(labels, True, True), DataConfig()).notes == ()
    with pytest.raises(ConfigError, match=r"^data\.splits: 'fresh' has no effect"):
        cut(Rows(labels, True, True), DataConfig(splits="fresh"))
