"""Linear reconstructions that pretraining is compared with, against scikit-learn's principal components."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from pretrain.runs import baselines

RNG = np.random.default_rng(0)
FLOATS = (RNG.normal(size=(400, 5)) @ RNG.normal(size=(5, 12)) + 0.3 * RNG.normal(size=(400, 12))).astype(np.float32)
BYTES = np.clip(128 + 20 * FLOATS, 0, 255).astype(np.uint8)


def errors(inputs):
    train, test = (SimpleNamespace(inputs=part) for part in (inputs[:300], inputs[300:]))
    return baselines._linear_errors(SimpleNamespace(train=train, test=test, scaling=SimpleNamespace(padded=False)))


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


def test_constant_inputs_leave_nothing_and_wide_ones_are_not_measured():
    assert max(errors(np.ones((400, 4), np.float32))) == 0
    assert errors(np.zeros((400, 2000), np.float32)) == []


def test_of_many_rows_components_are_fitted_to_some(monkeypatch):
    """Every third one where a hundred of 300 are the most."""
    monkeypatch.setattr(baselines, "_MOST_ROWS", 100)
    fitted = PCA(3, svd_solver="full").fit(FLOATS[:300:3])
    left = FLOATS[300:] - fitted.inverse_transform(fitted.transform(FLOATS[300:]))
    np.testing.assert_allclose(errors(FLOATS)[3], np.mean(np.square(left)), rtol=1e-3)


def test_there_are_no_more_components_than_rows():
    assert len(errors(RNG.normal(size=(320, 500)).astype(np.float32))) == 300
