"""Windows of one series on both sides of a cut are found in any order, and rows that share no steps never are."""

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.data.segments import find
from tests.data.test_neighbours import signals, windows


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("kind", ["noise", "walk", "sensors"])
def test_shuffled_windows_are_found_by_the_steps_that_they_share(kind, channels_first):
    rng = np.random.default_rng(0)
    rows = windows(signals(rng)[kind], 64, 32)
    rows = np.moveaxis(rows, 1, -1) if channels_first else rows
    rows = rows[rng.permutation(len(rows))]
    (found,) = find(rows[:250], rows[250:].astype(np.float32))
    n = found.figures["rows"]
    assert found.severity == "doubt" and n > 0.8 * found.figures["of"] == 0.8 * (len(rows) - 250)
    apart = windows(signals(rng)[kind], 64, 64)
    apart = np.moveaxis(apart, 1, -1) if channels_first else apart
    assert not list(find(apart[:90], apart[90:]))


@pytest.mark.parametrize("seed", range(10))
def test_rows_that_share_no_steps_are_none(seed):
    rng = np.random.default_rng(seed)
    for rows in (
        rng.normal(size=(300, 40)),
        rng.integers(0, 2, (300, 60)),  # one-hot columns
        np.repeat(rng.integers(0, 9, (300, 5)), 12, axis=1).astype(float),
        rng.poisson(0.1, (300, 80)),
        np.where(rng.random((300, 50)) < 0.5, np.nan, rng.normal(size=(300, 1))),
        np.r_[rng.normal(size=(150, 40))][rng.integers(0, 150, 300)],  # copies, which are no windows
        rng.integers(0, 256, (300, 24, 24)).astype(np.uint8),
        rng.random((300, 24, 24, 3)),
    ):
        assert not list(find(rows[:200], rows[200:]))


def test_a_source_of_windows_that_somebody_shuffled_is_in_doubt(tmp_path):
    rng = np.random.default_rng(0)
    rows = windows(signals(rng)["sensors"], 64, 16)
    rows = rows[rng.permutation(len(rows))]
    y = rng.integers(0, 3, len(rows))
    np.savez(tmp_path / "one.npz", X=rows, y=y)
    np.savez(tmp_path / "two.npz", X_train=rows[:500], y_train=y[:500], X_test=rows[500:], y_test=y[500:])
    for name in ("one", "two"):
        found = data.load(DataConfig(name=f"{tmp_path}/{name}.npz", validation=0.2)).findings
        assert [f.kind for f in found if f.severity == "doubt"] == ["test rows that overlap with training rows"]
