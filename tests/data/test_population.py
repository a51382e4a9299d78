"""A pool of another population decides no scale, and one of the same population does."""

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.data.population import difference
from tests.data import sources


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [(40, 5000), (20_000, 20_000), (300, 30)])
def test_draws_of_one_population_do_not_differ(n, seed):
    rng = np.random.default_rng(seed)
    assert difference([rng.normal(size=(n[0], 30))], [rng.normal(size=(n[1], 30))]) is None


def test_trivial_differences_of_many_rows_do_not_count_and_large_ones_do():
    rng = np.random.default_rng(0)
    rows, other = rng.normal(size=(20_000, 8)), rng.normal(size=(20_000, 8))
    other[:, 3] += 0.2
    assert difference([rows], [other]) is None
    other[:, 3] += 2
    other[:, 6] *= 20
    found = difference([rows], [other[:9000], other[9000:]])
    assert found.columns == (3, 6) and found.compared == 8
    assert found.p < 1e-10 and found.statistic == pytest.approx(0.73, abs=0.03)  # of a shift by 2.2 deviations
    assert "2 of 8 columns differ by Kolmogorov–Smirnov (column d, g; D up to 0.7" in found.described("abcdefgh")


def test_missing_values_and_columns_without_any_are_left_out():
    rng = np.random.default_rng(0)
    rows, other = rng.normal(size=(200, 3)), 9 + rng.normal(size=(200, 3))
    rows[::2, 0], other[:, 1] = np.nan, np.nan
    assert set(difference([rows], [other]).columns) == {0, 2}


def test_images_differ_by_pixel():
    rng = np.random.default_rng(0)
    rows, other = rng.random((300, 40, 40, 1)), rng.random((300, 40, 40, 1))
    assert difference([rows], [other]) is None and difference([rows], [other**4]).compared == 256


@pytest.fixture
def load(tmp_path):
    def load(name="own", scale_from="auto", **arrays):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return data.load(DataConfig(name=str(tmp_path / f"{name}.npz"), validation=0.2, scale_from=scale_from))

    return load


def labelled(dataset):
    """Rows that fine-tuning reads, and those that it is measured on."""
    rows = slice(None) if dataset.labelled is None else dataset.labelled
    return [dataset.train.inputs[rows], *dataset.validation, *dataset.test, dataset.train.labels[rows]]


def doubts(dataset):
    return [each for each in dataset.findings if each.severity == "doubt"]


@pytest.mark.parametrize("shape", [(12,), (6, 2), (2, 2, 3)])
def test_the_baseline_is_the_same_to_the_bit_with_and_without_a_pool_from_elsewhere(shape, load):
    x, y = sources.columns()
    pool = (100 + 50 * np.random.default_rng(1).normal(size=(900, 12))).reshape(-1, *shape)
    x = x.reshape(-1, *shape)
    alone, beside = load(X=x, y=y), load(X=x, y=y, unlabelled_inputs=pool)
    for own, theirs in zip(labelled(alone), labelled(beside), strict=True):
        np.testing.assert_array_equal(own, theirs)
    assert beside.interval == alone.interval and len(beside.train.inputs) == len(alone.train.inputs) + 900
    (doubt,) = doubts(beside)
    assert doubt.kind == "an unlabelled pool of another population" and doubt.figures["statistic"] > 0.5
    assert "the training rows with a label alone decide the scale (data.scale_from)" in doubt.sentence
    # Rows without a label in the same array, too.
    one = load(X=np.concatenate([x, pool]), y=np.r_[y, np.full(900, -1)])
    for own, theirs in zip(labelled(alone), labelled(one), strict=True):
        np.testing.assert_array_equal(own, theirs)
    # All rows decide if somebody says so.
    every = load(X=x, y=y, unlabelled_inputs=pool, scale_from="all")
    assert (
        not np.array_equal(every.test.inputs, alone.test.inputs) and "all of them decide" in doubts(every)[0].sentence
    )


def test_a_pool_of_the_same_population_decides_beside_training_rows(load):
    x, y = sources.columns(rows=900)
    found = load(X=x[:300], y=y[:300], unlabelled_inputs=x[300:])
    alone = load(X=x[:300], y=y[:300], unlabelled_inputs=x[300:], scale_from="train")
    assert not doubts(found) and not doubts(alone)
    np.testing.assert_allclose(found.train.inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(alone.train.inputs[alone.labelled].mean(axis=0), 0, atol=1e-5)
    assert abs(alone.train.inputs.mean(axis=0)).max() > 1e-3


def test_bytes_keep_their_scale_beside_any_pool(load):
    x, y, tx, ty = sources.images()
    beside = load(**sources.four(x, y, tx, ty, unlabelled_images=255 - x // 4))
    np.testing.assert_array_equal(beside.test.inputs, tx.reshape(len(tx), -1))
    assert not doubts(beside)
