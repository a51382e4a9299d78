"""Cuts are of the sizes asked for, fair to every class, and the same whenever they are asked for again."""

import itertools

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


def test_rows_without_a_group_are_a_group_each():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 900), rng.integers(0, 60, 900)
    groups[rng.random(900) < 0.2] = -1
    for fields in ({}, {"splits": "fresh", "cut": 3}):
        found = cut(Rows(labels, False, False, groups), DataConfig(validation=0.2, test=0.2, **fields))
        parts = [found.train, found.validation, found.test]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(900))
        named = [set(groups[part]) - {-1} for part in parts]
        assert not named[0] & named[1] and not named[0] & named[2] and not named[1] & named[2]
        alone = [int((groups[part] < 0).sum()) for part in parts]
        assert min(alone) > 10  # of every split
        assert f"{sum(alone)} rows without a group are a group each (data.group)" in found.notes
    none = cut(Rows(labels, False, False, np.full(900, -1)), DataConfig(validation=0.2, test=0.2))
    assert abs(len(none.test) - 180) <= 1


def by_time(labels, times, has_validation=False, has_test=False, **fields):
    rows = Rows(np.asarray(labels), has_validation, has_test, times=np.asarray(times))
    return cut(rows, DataConfig(**{"validation": 0.2, "test": 0.2, **fields}))


@thorough
@given(st.lists(st.tuples(st.integers(-1, 30), st.integers(-1, 3)), min_size=30, max_size=80), st.booleans())
def test_the_last_rows_are_held_out_and_ties_stay_together(rows, has_test):
    times, labels = np.array(rows).T
    usable = (times >= 0) & (labels >= 0)
    if len(np.unique(times[usable])) < 12:
        return
    found = by_time(labels, times, has_test=has_test, validation=0.2)
    order = [found.train, found.validation, *([] if has_test else [found.test])]
    for earlier, later in itertools.pairwise(order):
        assert times[earlier].max() < times[later].min()
    assert all(usable[part].all() for part in order[1:]) and (times[found.train] >= 0).all()
    assert set(np.flatnonzero(usable)) <= set(np.concatenate(order))
    # As near to the size asked for as ties allow.
    if not has_test:
        asked, counts = round(0.2 * usable.sum()), np.bincount(times[usable])
        assert abs(len(found.test) - asked) <= counts.max() / 2 + 1


def test_a_cut_by_time_says_so():
    found = by_time(np.arange(100) % 2, np.arange(100))
    np.testing.assert_array_equal(found.test, np.arange(80, 100))
    np.testing.assert_array_equal(found.validation, np.arange(60, 80))
    assert "the last 20 rows in time are test rows (data.time, data.test)" in found.notes
    times = np.arange(100)
    times[:5] = -1
    labels = np.arange(100) % 2
    labels[90:] = -1
    found = by_time(labels, times)
    assert "5 rows without a time left out" in found.notes
    assert "10 rows without a label left out, which are no earlier than held-out rows" in found.notes
    assert len(found.train) + len(found.validation) + len(found.test) == 85


def test_a_cut_by_time_is_refused_beside_others_and_where_there_is_one_time():
    labels = np.arange(40) % 2
    with pytest.raises(ConfigError, match=r"^data\.splits: 'fresh' draws rows at random, which data\.time does not"):
        by_time(labels, np.arange(40), splits="fresh", time="day")
    with pytest.raises(ConfigError, match=r"^data\.time: 'day' has no two times among 40 rows"):
        by_time(labels, np.zeros(40, int), time="day")
    with pytest.raises(ConfigError, match=r"^data\.group: 'g' holds out whole groups"):
        cut(Rows(labels, False, False, labels, np.arange(40)), DataConfig(group="g", time="day"))


def test_training_rows_in_order_of_time_and_of_targets_are_shuffled():
    found = by_time(np.arange(400) * 4 // 400, np.arange(400))
    assert any("have like targets" in note for note in found.notes)
    assert (np.diff(found.train) < 0).any() and set(found.train) == set(range(240))


@pytest.mark.parametrize(
    ("test", "validation", "named"), [(130, 30, "data.test: 130 leaves 20 of 150 rows"), (30, 130, "data.validation")]
)
def test_of_two_cuts_that_leave_nothing_the_larger_is_named(test, validation, named):
    rows = splits.Rows(np.arange(150) % 3, False, False, None, None)
    with pytest.raises(ConfigError, match=named):
        splits.sizes(rows, DataConfig(name="my.csv", test=test, validation=validation))
