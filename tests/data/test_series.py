"""Series of unlike lengths are read to their ends: what follows counts in no scale, no loss and no yardstick."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import AutoencoderConfig
from pretrain.config.fields import ConfigError
from pretrain.config.settings import DataConfig
from pretrain.data import forms, loading, series
from pretrain.data.scaling import fit
from pretrain.learn.layers import Convolution, Dense
from pretrain.learn.methods.autoencoder import METHOD, reconstruction
from pretrain.learn.metrics import Batch
from pretrain.learn.padding import is_real
from pretrain.learn.results import whole_reconstruction
from pretrain.learn.stack import Stack, decode, fresh_layer
from pretrain.learn.tasks import NO_TASK
from pretrain.runs import baselines

RNG = np.random.default_rng(0)


def ragged(n=60, longest=20, channels=3):
    """Series [T, C] of unlike lengths, the last as long as can be."""
    lengths = [*RNG.integers(5, longest, n - 1), longest]
    return [RNG.normal(size=(length, channels)).cumsum(axis=0) * [1, 10, 100] + 5 for length in lengths]


def padded(made):
    return series.together({"x": made})["x"]


def test_lists_and_padded_arrays_are_one(tmp_path):
    made = ragged()
    whole = padded(made)
    assert whole.shape == (60, 20, 3) and series.padding_axis(whole) == 1
    objects = np.empty(60, object)
    objects[:] = made
    np.testing.assert_array_equal(padded(objects), whole)
    turned = padded([each.T for each in made])
    assert turned.shape == (60, 3, 20) and series.padding_axis(turned) == 2
    shaped = [forms.shaped({"train": rows}, "series", axis)["train"] for rows, axis in ((whole, 1), (turned, 2))]
    np.testing.assert_array_equal(*shaped)
    np.testing.assert_array_equal(series.lengths(shaped[0]), [len(each) for each in made])
    assert padded([each[:, 0] for each in made]).shape == (60, 20, 1)
    both = series.together({"x_train": made, "x_test": ragged(9, 15), "y": [1, 2]})
    assert both["x_test"].shape == (9, 20, 3) and both["y"] == [1, 2]
    assert not series.padding_axis(RNG.normal(size=(5, 4, 3))) and not series.padding_axis(np.ones((5, 4, 3), int))


@pytest.mark.parametrize("value", [[1, 2], ["a", "bc"], [[1, 2], [3, 4]], [], [np.ones((2, 3)), np.ones((3, 2))], "ab"])
def test_other_lists_stay_as_they_are(value):
    assert series.together({"x": value})["x"] is value


def damaged(kind):
    rows = padded(ragged())
    if kind == "a gap":
        rows[-1, 4] = np.nan
    elif kind == "one channel":
        rows[-1, 15:, 1] = np.nan
    elif kind == "the start":
        rows[-1, :3] = np.nan
    else:
        rows[3] = np.nan
    return rows


@pytest.mark.parametrize("kind", ["a gap", "one channel", "the start", "a row"])
@pytest.mark.parametrize("asked", ["auto", "series"])
def test_other_gaps_are_one_line(kind, asked, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, X=damaged(kind), y=np.arange(60) % 2)
    with pytest.raises(ConfigError) as error:
        loading.load(DataConfig(name=str(path), inputs=asked))
    assert len(str(error.value).splitlines()) == 1 and "leave" in str(error.value)


@pytest.mark.parametrize("method", ["standardise", "unit"])
def test_scales_are_of_the_steps_that_there_are(method):
    made = ragged()
    rows = padded(made)[:, :, None]
    fitted = fit([rows], [rows[:5]], method, (), padded=True)
    steps = np.concatenate(made)
    start, spread = steps.mean(axis=0), steps.std(axis=0)
    if method == "unit":
        start, spread = steps.min(axis=0), steps.max(axis=0) - steps.min(axis=0)
    found = fitted.scaling.applied(rows).reshape(60, 20, 3)
    missing = np.isnan(rows[:, :, 0])
    np.testing.assert_allclose(found[~missing], ((rows[:, :, 0] - start) / spread)[~missing], rtol=1e-4, atol=1e-5)
    assert (found[missing] == 0).all()
    np.testing.assert_array_equal(np.asarray(is_real(jnp.asarray(found))), ~missing)
    assert not any("missing" in note for note in fitted.notes)
    values = np.concatenate([(each - start) / spread for each in made])
    np.testing.assert_allclose(fitted.interval, (values.min(), values.max()), rtol=1e-5)


def test_zeros_of_a_series_are_no_padding():
    rows = padded([np.array([[-0.0, 1], [0.0, 1]]), np.array([[0.5, -0.0]])])[:, :, None]
    found = fit([rows], [], "none", (), padded=True).scaling.applied(rows).reshape(2, 2, 2)
    np.testing.assert_array_equal(np.asarray(is_real(jnp.asarray(found))), ~np.isnan(rows[:, :, 0]))


@pytest.mark.parametrize("method", ["none", "standardise"])
def test_zeros_of_series_of_one_length_are_no_padding(method):
    rows = np.array([[[-0.0], [1.0], [-0.0]], [[0.5], [-0.0], [0.25]]])[:, :, None]
    for given in (rows, rows.astype(np.float32)):
        found = fit([given], [], method, ()).scaling.applied(given)
        assert np.asarray(is_real(jnp.asarray(found))).all()
        if method == "none":
            np.testing.assert_array_equal(found, rows.reshape(2, 3))


def test_subnormal_numbers_are_no_padding():
    rows = padded([np.array([[-1e-40], [1e-40], [-1.0]]), np.array([[-1.1754944e-38]])])[:, :, None]
    found = fit([rows], [], "none", (), padded=True).scaling.applied(rows)
    expected = ~np.isnan(rows.reshape(2, 3))
    for traced in (is_real, jax.jit(is_real)):  # XLA compares them as zeros
        np.testing.assert_array_equal(np.asarray(traced(jnp.asarray(found))), expected)


@pytest.mark.parametrize("name", ["dense", "convolution"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_what_follows_an_end_is_in_no_loss(name, loss):
    rows = padded(ragged(12, 9))[:, :, None]
    inputs = fit([rows], [], "unit", (), padded=True).scaling.applied(rows)
    layer, shape = (Dense(5), (27,)) if name == "dense" else (Convolution(4, 3, 2), (9, 1, 3))
    config = AutoencoderConfig(loss=loss, output="sigmoid")
    beside = (METHOD.companions(config, (layer,), shape, NO_TASK),)
    stack = Stack((layer,), shape, beside, padded=True)
    params = {side: {"layers_0": each} for side, each in fresh_layer(stack, 0, 0).items()}
    batch = Batch(jnp.asarray(inputs.reshape(12, *shape)))

    def error(params):
        return reconstruction(params, batch, stack=stack, config=config)

    (loss_found, metrics), slopes = jax.value_and_grad(error, has_aux=True)(params)
    codes = layer.apply({"params": params["encoder"]["layers_0"]}, batch.inputs)
    outputs, logits = (np.asarray(each, np.float64).reshape(12, -1) for each in decode(stack, params, codes))
    real = ~np.isnan(rows.reshape(12, -1))
    targets = np.where(real, inputs, 0).astype(np.float64)
    squares = np.where(real, np.square(outputs - targets), 0).sum(axis=1) / real.sum(axis=1)
    np.testing.assert_allclose(metrics["mse"].total / metrics["mse"].count, squares.mean(), rtol=1e-5)
    whole = whole_reconstruction(stack, params, batch)["mse"]
    np.testing.assert_allclose(whole.total / whole.count, squares.mean(), rtol=1e-5)
    expected = squares.mean()
    if loss == "cross_entropy":
        entropy = np.logaddexp(0, logits) - targets * logits
        expected = np.where(real, entropy, 0).sum(axis=1).mean()
    np.testing.assert_allclose(loss_found, expected, rtol=1e-5)
    if name == "dense":  # the bias of a value that no row has
        never = ~real.any(axis=0)
        bias = np.asarray(slopes["decoder"]["layers_0"]["bias"]).ravel()
        assert not bias[never].any() and bias[~never].all()


@pytest.fixture
def loaded(tmp_path):
    made = ragged(120, 16)
    path = tmp_path / "series.npz"
    np.savez(path, X=padded(made), y=np.arange(120) % 2)
    return loading.load(DataConfig(name=str(path), validation=20))


def test_a_run_says_what_it_reads(loaded):
    assert loaded.example_shape == (16, 1, 3) and loaded.scaling.padded
    (line,) = [str(each) for each in loaded.findings if "series of" in str(each)]
    assert "series of 5 to 16 steps of 3 channels" in line and "no scale and no reconstruction counts" in line
    assert all(np.isfinite(split.inputs).all() for split in (loaded.train, loaded.validation, loaded.test))


def test_yardsticks_are_of_the_steps_that_there_are(loaded):
    test = loaded.test.inputs.astype(np.float64)
    real = np.asarray(is_real(jnp.asarray(loaded.test.inputs)))
    values = np.where(real, test, np.nan)
    present = real.any(axis=0)
    mean = np.zeros(test.shape[1])
    mean[present] = np.nanmean(values[:, present], axis=0)
    expected = np.nanmean(np.square(values - mean), axis=1).mean()
    assert baselines._spread(loaded)[0] == pytest.approx(expected)
    train = loaded.train.inputs.astype(np.float64)
    centre = train.mean(axis=0)
    directions = np.linalg.svd(train - centre)[2]
    errors = baselines._linear_errors(loaded, 10)
    for n in (0, 3, 10):
        made = (test - centre) @ directions[:n].T @ directions[:n] + centre
        assert errors[n] == pytest.approx(np.nanmean(np.square(values - made), axis=1).mean(), rel=1e-4)


def test_rows_with_gaps_are_counted_and_padded_ones_are_not():
    made = padded(ragged(120, 16))
    for row in (3, 7):
        made[row, 2] = np.nan
        made[row, 3:5] = 1.0
    with pytest.raises(ValueError, match=r"amid 2 rows;"):
        series.padding_axis(made)
