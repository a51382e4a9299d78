"""Linear reconstructions that pretraining is compared with, against scikit-learn's principal components."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from pretrain.config import DataConfig
from pretrain.data.dataset import Origin
from pretrain.runs import baselines

RNG = np.random.default_rng(0)
FLOATS = (RNG.normal(size=(400, 5)) @ RNG.normal(size=(5, 12)) + 0.3 * RNG.normal(size=(400, 12))).astype(np.float32)
BYTES = np.clip(128 + 20 * FLOATS, 0, 255).astype(np.uint8)


def dataset(inputs):
    train, test = (SimpleNamespace(inputs=part) for part in (inputs[:300], inputs[300:]))
    return SimpleNamespace(train=train, test=test, scaling=SimpleNamespace(padded=False))


def errors(inputs, most=10_000):
    return baselines._linear_errors(dataset(inputs), most)


@pytest.mark.parametrize("inputs", [FLOATS, BYTES, FLOATS + 50], ids=["floats", "bytes", "far from zero"])
def test_errors_are_those_of_principal_components(inputs):
    values = inputs / 255 if inputs.dtype == np.uint8 else inputs.astype(np.float64)
    found = errors(inputs)
    assert len(found) == 12
    for n in (1, 5, 11):
        fitted = PCA(n, svd_solver="full").fit(values[:300])
        left = values[300:] - fitted.inverse_transform(fitted.transform(values[300:]))
        np.testing.assert_allclose(found[n], np.mean(np.square(left)), rtol=1e-3)
    np.testing.assert_allclose(found[0], np.mean(np.square(values[300:] - values[:300].mean(axis=0))), rtol=1e-5)


def test_inputs_stay_as_they_are_and_blocks_change_nothing(monkeypatch):
    before, whole = FLOATS.copy(), errors(FLOATS)
    monkeypatch.setattr("pretrain.data.inputs._BLOCK", 12 * 7)
    np.testing.assert_allclose(errors(FLOATS), whole, rtol=1e-3)
    np.testing.assert_array_equal(FLOATS, before)


def test_rows_in_common_are_those_of_pairs_of_seeds():
    cuts = [RNG.permutation(60)[:15] for _ in range(5)]
    pairs = [len(set(one) & set(other)) / 15 for one, other in itertools.permutations(cuts, 2)]
    assert baselines.rows_in_common(cuts) == pytest.approx(np.mean(pairs))
    assert baselines.rows_in_common([np.arange(9)] * 3) == 1
    assert baselines.rows_in_common([np.arange(9), np.arange(9, 18)]) == 0
    fixed, fresh = DataConfig(), [DataConfig(splits="fresh", cut=seed) for seed in range(5)]
    other = DataConfig(name="iris", splits="fresh", cut=0)  # of one seed
    datasets = {
        config: SimpleNamespace(origins={"test": Origin(cut, None)})
        for config, cut in zip([*fresh, fixed, other], [*cuts, cuts[0], cuts[0]], strict=True)
    }
    found = baselines._in_common(datasets, datasets)
    assert found == {config: {"test_rows_in_common": pytest.approx(np.mean(pairs))} for config in fresh}


def test_constant_inputs_leave_nothing():
    assert max(errors(np.ones((400, 4), np.float32))) == 0
    assert errors(np.zeros((400, 2000), np.float32), 2) == [0, 0, 0]


@pytest.mark.parametrize("kind", ["floats", "bytes", "far from zero"])
def test_components_of_wide_inputs_are_found_by_a_randomised_decomposition(kind):
    """Spectra, genes and texts are wider than 1,024 columns; few directions hold most of what varies."""
    inputs = RNG.normal(size=(400, 8)) @ RNG.normal(size=(8, 1500)) + 0.3 * RNG.normal(size=(400, 1500))
    wide = np.clip(128 + 12 * inputs, 0, 255).astype(np.uint8) if kind == "bytes" else inputs.astype(np.float32)
    wide = wide + np.float32(50) if kind == "far from zero" else wide
    values = wide / 255 if kind == "bytes" else wide.astype(np.float64)
    found = errors(wide, 12)
    assert len(found) == 13
    for n in (0, 1, 4, 8, 12):
        fitted = PCA(max(n, 1), svd_solver="full").fit(values[:300])
        left = values[300:] - fitted.inverse_transform(fitted.transform(values[300:]))
        left = values[300:] - fitted.mean_ if not n else left
        np.testing.assert_allclose(found[n], np.mean(np.square(left)), rtol=0.01)


def test_of_very_wide_inputs_fewer_rows_are_read(monkeypatch):
    wide = RNG.normal(size=(400, 1500)).astype(np.float32)
    monkeypatch.setattr(baselines, "_MOST_VALUES", 1500 * 100)
    assert len(errors(wide, 500)) == 100  # all components of a hundred rows about their mean


def test_the_mean_is_that_of_the_training_rows():
    shifted = np.concatenate([FLOATS[:300], FLOATS[300:] + 3])
    variance, error = baselines._spread(dataset(shifted))
    np.testing.assert_allclose(variance, np.mean(np.var(shifted[300:], axis=0)), rtol=1e-5)
    np.testing.assert_allclose(error, np.mean(np.square(shifted[300:] - shifted[:300].mean(axis=0))), rtol=1e-5)
    np.testing.assert_allclose(error, errors(shifted)[0], rtol=1e-5)


def test_of_many_rows_components_are_fitted_to_some(monkeypatch):
    """Every third one where a hundred of 300 are the most."""
    monkeypatch.setattr(baselines, "_MOST_ROWS", 100)
    fitted = PCA(3, svd_solver="full").fit(FLOATS[:300:3])
    left = FLOATS[300:] - fitted.inverse_transform(fitted.transform(FLOATS[300:]))
    np.testing.assert_allclose(errors(FLOATS)[3], np.mean(np.square(left)), rtol=1e-3)


def test_there_are_no_more_components_than_rows():
    assert len(errors(RNG.normal(size=(320, 500)).astype(np.float32))) == 300
