"""Noise on what a layer reads: how much, where, and of which distribution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretrain.config import AutoencoderConfig
from pretrain.learn import corruption
from pretrain.learn.attention import Attention, Patches
from pretrain.learn.methods.autoencoder import reconstruction
from pretrain.learn.metrics import Batch
from pretrain.learn.padding import is_real
from pretrain.learn.stack import Stack, fresh_layer
from tests.learn.conftest import companions

corrupted = jax.jit(corruption.corrupted, static_argnums=2)


@given(st.floats(0.0, 1.0), st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_masking_loses_as_many_values_as_its_level_says_and_leaves_the_others(level, seed):
    inputs = np.full((200, 100), 0.7, np.float32)
    noisy = np.asarray(corrupted(inputs, jax.random.key(seed), "masking", level))
    assert set(np.unique(noisy)) <= {np.float32(0), np.float32(0.7)}
    assert abs(np.mean(noisy == 0) - level) < 5 * np.sqrt(level * (1 - level) / noisy.size) + 5 / noisy.size


def test_salt_and_pepper_are_as_likely():
    noisy = np.asarray(corrupted(np.full((400, 100), 0.7, np.float32), jax.random.key(0), "salt_and_pepper", 0.4))
    shares = [np.mean(noisy == kept) for kept in (0.0, 1.0, np.float32(0.7))]
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.6], atol=0.01)


def test_gaussian_noise_is_normal_and_of_its_level():
    noise = np.asarray(corrupted(np.full((300, 100), 2.0, np.float32), jax.random.key(1), "gaussian", 0.5)).ravel() - 2
    assert stats.kstest(noise / 0.5, "norm").pvalue > 1e-3


def test_swaps_take_values_of_other_rows_column_by_column_and_by_groups():
    inputs = np.arange(200 * 6, dtype=np.float32).reshape(200, 3, 2)  # codes may have axes
    noisy = np.asarray(corruption.corrupted(inputs, jax.random.key(0), "swap", 0.3))
    assert noisy.shape == inputs.shape and (noisy % 6 == inputs % 6).all()
    assert abs(np.mean(noisy != inputs) - 0.3) < 5 * np.sqrt(0.21 / inputs.size)
    rows = (np.asarray(corruption.corrupted(inputs[:, :, 0], jax.random.key(0), "swap", 0.5, (0, 1, 1))) - 2) // 6
    assert (rows[:, 1] == rows[:, 2]).all() and (rows[:, 0] != rows[:, 1]).any()


def test_no_corruption_changes_no_bit():
    inputs = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    np.testing.assert_array_equal(corrupted(inputs, jax.random.key(0), "none", 0.5), inputs)


@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt_and_pepper"])
def test_images_of_any_shape_are_corrupted_value_by_value(kind):
    inputs = np.random.default_rng(0).random((6, 4, 5, 3)).astype(np.float32)
    noisy = corrupted(inputs, jax.random.key(2), kind, 0.4)
    assert noisy.shape == inputs.shape and noisy.dtype == inputs.dtype
    np.testing.assert_array_equal(
        np.reshape(noisy, (6, -1)), corrupted(inputs.reshape(6, -1), jax.random.key(2), kind, 0.4)
    )


@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt_and_pepper", "swap"])
def test_every_key_draws_noise_of_its_own(kind):
    inputs = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    first, second, again = (corrupted(inputs, jax.random.key(key), kind, 0.4) for key in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt_and_pepper"])
def test_padding_of_series_stays_padding_under_noise(kind):
    stack = Stack((Patches(4, 2), Attention(2)), (8, 1, 2), padded=True)
    stack = dataclasses.replace(stack, companions=companions(AutoencoderConfig(), stack.layers, stack.example))
    steps = np.random.default_rng(0).normal(size=(5, 8, 1, 2)).astype(np.float32)
    steps[:, 5:] = -0.0
    params = {side: {} for side in ("encoder", "decoder")}
    for number in range(2):
        for side, own in fresh_layer(stack, number, 0).items():
            params[side][f"layers_{number}"] = own
    read = []

    def corrupt(inputs):
        read.append(corruption.corrupted(inputs, jax.random.key(0), kind, 0.5))
        return read[-1]

    def loss(inputs, corrupt):
        batch, config = Batch(inputs), AutoencoderConfig()
        return reconstruction(params, batch, stack=stack, config=config, corrupt=corrupt)[0]

    noisy = loss(jnp.asarray(steps), corrupt)
    assert is_real(read[0][:, 5:]).any()
    kept = loss(jnp.asarray(steps), lambda inputs: jnp.where(is_real(inputs), read[0], -0.0))
    assert noisy == kept
