"""Held-out rows know their places in the source, by which the cuts of several seeds have rows in common."""

import numpy as np
import pytest

from pretrain.config.settings import DataConfig
from pretrain.data.loading import load


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{number},{rng.normal():.3f},{'ab'[number % 2]},{number // 5}" for number in range(100)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["number,noise,target,patient", *lines]))
    return str(path)


@pytest.mark.parametrize("cut", [0, 1])
def test_places_are_those_of_the_rows(table, cut):
    found = load(
        DataConfig(name=table, target="target", test=20, validation=20, splits="fresh", cut=cut, scaling="none")
    )
    assert set(found.origins) == {"test", "validation"}
    for split, origin in found.origins.items():
        held = getattr(found, split)
        assert origin.groups is None and len(origin.rows) == len(held.labels) == 20
        assert [found.output_names[label] for label in held.labels] == ["ab"[row % 2] for row in origin.rows]
        np.testing.assert_array_equal(held.inputs[:, 0], origin.rows)


def test_groups_are_those_of_the_rows(table):
    found = load(DataConfig(name=table, target="target", group="patient", test=20, validation=20))
    for origin in found.origins.values():
        _, first = np.unique(origin.groups, return_inverse=True)
        _, second = np.unique(origin.rows // 5, return_inverse=True)
        assert (
            len(np.unique(np.stack([first, second], axis=1), axis=0)) == len(np.unique(first)) == len(np.unique(second))
        )


def test_rows_of_splits_of_their_own_have_no_places(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "rows.npz"
    arrays = {f"x_{split}": rng.normal(size=(40, 3)) for split in ("train", "test")}
    np.savez(path, **arrays, y_train=np.arange(40) % 2, y_test=np.arange(40) % 2)
    assert set(load(DataConfig(name=str(path), validation=10)).origins) == {"validation"}
