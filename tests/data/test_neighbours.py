"""Windows that overlap and rows of one subject after another are found; rows in no order never are."""

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.data.neighbours import Order, _correlations, findings, order


def windows(series, length, stride):
    """Windows [N, length, ...] of a series [T, ...]."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(series, length, axis=0)[::stride], -1, 1)


def signals(rng, n=12_000):
    """Series of every kind: noise, a walk, a pure tone, and sensors with levels of their own."""
    time = np.arange(n)
    tones = np.stack([np.sin(time / 7), np.cos(time / 11), np.ones(n)], axis=1)
    return {
        "noise": rng.normal(size=n),
        "walk": np.cumsum(rng.normal(size=n)),
        "tone": np.sin(time / 7.3),
        "sensors": tones + 0.1 * rng.normal(size=(n, 3)) + [0, 9.81, -3],
    }


def as_given(rows):
    return rows


def channels_first(rows):
    return np.moveaxis(rows, 1, -1)


def standardised(rows):
    return ((rows - rows.mean(axis=1, keepdims=True)) / (rows.std(axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def rounded(rows):
    low, high = rows.min(axis=(0, 1)), rows.max(axis=(0, 1))
    return np.rint((rows - low) / (high - low) * 4000)


@pytest.mark.parametrize("form", [as_given, channels_first, standardised, rounded])
@pytest.mark.parametrize("stride", [3, 32, 45])
@pytest.mark.parametrize("kind", signals(np.random.default_rng(0), 10))
def test_windows_that_overlap_are_found_with_their_stride(kind, stride, form):
    rng = np.random.default_rng(1)
    rows = form(windows(signals(rng)[kind], 64, stride))
    classes = np.repeat(rng.integers(0, 4, 1 + len(rows) // 8), 8)[: len(rows)]
    found = order(rows, classes)
    assert found.shift == stride and found.overlapping > 0.9 and found.by_chance < 0.15
    shuffled = rng.permutation(len(rows))
    assert order(rows[shuffled], classes[shuffled]) == Order()


@pytest.mark.parametrize("seed", range(30))
def test_rows_in_no_order_or_sorted_by_class_have_none(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(50, 600)), int(rng.integers(1, 80))
    classes = rng.integers(0, 5, n)
    rows = rng.normal(size=(5, d))[classes] * 3 + rng.normal(size=(n, d)) ** 3
    smooth = np.cumsum(rng.normal(size=(n, 40)), axis=1) + classes[:, None]
    for given in (rows, smooth, np.round(rows), np.where(rng.random(rows.shape) < 0.2, np.nan, rows)):
        assert order(given, classes) == Order()
        by_class = np.argsort(classes, kind="stable")
        assert order(given[by_class], classes[by_class]) == Order()


def test_rows_of_one_subject_after_another_are_more_alike_than_their_class():
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(80), 25)
    rows = rng.normal(size=(80, 48))[subject] * 1.5 + rng.normal(size=(2000, 48))
    found = order(rows, subject % 40)
    assert 0.4 < found.alike < 0.7 and not found.shift
    drift = np.cumsum(rng.normal(size=(500, 6)), axis=0)
    assert order(drift, rng.integers(0, 2, 500)).alike < 0.1
    # A single column in order is an index, and no leak.
    rows = rng.normal(size=(500, 4))
    rows[:, 0] = np.arange(500)
    assert order(rows, np.arange(500) % 2) == Order() == order(np.arange(30.0)[:, None], np.arange(30) % 2)


def test_correlations_are_those_of_the_steps_that_two_rows_share():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 3, 2, 50)) + 5
    found = _correlations(one, other)
    assert found.shape == (3, 50 - 16)
    for row in range(3):
        for place, shift in enumerate(range(1, 35)):
            each = [np.corrcoef(one[row, c, shift:], other[row, c, : 50 - shift])[0, 1] for c in range(2)]
            np.testing.assert_allclose(found[row, place], np.mean(each), atol=1e-9)


def test_an_order_is_a_doubt_where_held_out_rows_are_drawn_from_it():
    for found, kind in (
        (Order(0.5, 8, 0.9, 0.01), "rows that overlap"),
        (Order(0.5), "rows in an order of time or subjects"),
    ):
        (doubt,) = findings(found, True)
        (note,) = findings(found, False)
        assert (doubt.kind, doubt.severity, note.severity) == (kind, "doubt", "note")
        assert "--data.group" in doubt.remedy and "drawn at random" in doubt.sentence and not note.remedy
    assert not list(findings(Order(), True))


def test_a_source_of_windows_is_in_doubt_until_its_rows_are_cut_by_time(tmp_path):
    rng = np.random.default_rng(0)
    rows = windows(signals(rng)["sensors"], 64, 32)
    y, recording = rng.integers(0, 3, len(rows)), np.arange(len(rows)) // 20
    np.savez(tmp_path / "own.npz", X=rows, y=y, recording=recording)
    np.savez(tmp_path / "cut.npz", X_train=rows[:300], y_train=y[:300], X_test=rows[302:], y_test=y[302:])

    def kinds(name="own", **fields):
        found = data.load(DataConfig(name=str(tmp_path / f"{name}.npz"), validation=0.2, **fields)).findings
        return {each.kind: each.severity for each in found if each.kind not in ("reading", "groups that are cut apart")}

    assert kinds() == {"rows that overlap": "doubt"}
    assert kinds(time="order") == {} == kinds(group="recording")
    assert kinds("cut") == {"rows that overlap": "note"}  # validation rows are the first ones
