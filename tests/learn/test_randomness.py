"""Random draws: independent purposes, true permutations, labelled subsets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretrain.learn.randomness import Purpose, batch_rows, key_for, label_subset, normal, shuffled, uniform

of_all = jax.jit(lambda key, size: shuffled(key, jnp.arange(size), size), static_argnums=1)


@settings(max_examples=40, deadline=None)
@given(size=st.sampled_from([1, 2, 3, 47, 256, 2999]), seed=st.integers(0, 2**32 - 1))
def test_shuffled_is_a_permutation(size, seed):
    order = of_all(jax.random.key(seed), size)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [120, 2000, 55_000])
def test_shuffled_sends_every_position_anywhere(size):
    # At positions 0 and 1, and jointly, values must spread as uniform draws without replacement do.
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: shuffled(key, jnp.arange(2), size)))(keys))
    bins = draws * 20 // size
    for position in (0, 1):
        assert stats.chisquare(np.bincount(bins[:, position], minlength=20)).pvalue > 1e-3
    in_bin = np.bincount(np.arange(size) * 20 // size, minlength=20)
    pairs = np.outer(in_bin, in_bin) - np.diag(in_bin)
    seen = np.bincount(bins[:, 0] * 20 + bins[:, 1], minlength=400)
    assert stats.chisquare(seen, pairs.ravel() / pairs.sum() * len(keys)).pvalue > 1e-3


def test_an_epoch_visits_every_row_once_and_drops_the_remainder():
    key, size, batch_size = jax.random.key(3), 47, 10
    steps = [np.asarray(batch_rows(key, jnp.asarray(step), size, batch_size, "epoch")) for step in range(8)]
    epochs = [np.concatenate(steps[:4]), np.concatenate(steps[4:])]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 40
    assert not np.array_equal(*epochs)


def test_fresh_batches_draw_without_replacement_within_a_batch_only():
    key = jax.random.key(3)
    steps = np.array([batch_rows(key, jnp.asarray(step), 47, 10, "fresh") for step in range(8)])
    assert all(len(set(batch.tolist())) == 10 for batch in steps)
    assert len(set(steps.ravel().tolist())) < 80


def test_purposes_and_indices_draw_apart_and_seeds_repeat():
    keys = [key_for(seed, purpose, index) for seed in (0, 1) for purpose in Purpose for index in (0, 1)]
    bits = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}
    assert len(bits) == len(keys)
    assert key_for(7, Purpose.HEAD_INIT) == key_for(jnp.uint32(7), Purpose.HEAD_INIT)


LABELS = jnp.asarray(np.random.default_rng(0).choice(3, 500, p=[0.7, 0.25, 0.05]))


def test_the_first_labels_are_the_first_rows():
    np.testing.assert_array_equal(label_subset(jax.random.key(0), LABELS, 7, "first", 3), np.arange(7))


@pytest.mark.parametrize("method", ["random", "balanced"])
def test_drawn_subsets_are_distinct_rows_that_change_with_the_key(method):
    first, second = (np.asarray(label_subset(jax.random.key(seed), LABELS, 60, method, 3)) for seed in (0, 1))
    assert len(set(first.tolist())) == len(set(second.tolist())) == 60
    assert set(first.tolist()) != set(second.tolist())


@pytest.mark.parametrize("size", [3, 10, 60, 100, 500])
def test_a_balanced_subset_has_equal_counts_as_far_as_classes_reach(size):
    rows = label_subset(jax.random.key(0), LABELS, size, "balanced", 3)
    counts, available = np.bincount(LABELS[rows], minlength=3), np.bincount(LABELS, minlength=3)
    assert counts.sum() == size
    assert np.all(counts >= np.minimum(size // 3, available))
    unexhausted = counts[counts < available]
    assert unexhausted.size == 0 or np.ptp(unexhausted) <= 1


def test_uniform_numbers_are_even_independent_and_of_their_key():
    first, second = (np.asarray(uniform(jax.random.key(seed), (300, 200))) for seed in (0, 1))
    assert first.min() > 0 and first.max() < 1
    for values in (first, first[:, ::7], first.T.copy()):
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    pairs = [(first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
    for left, right in pairs:
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 5 / np.sqrt(left.size)
    np.testing.assert_array_equal(first, uniform(jax.random.key(0), (300, 200)))


def test_normal_numbers_are_standard_normal_finite_and_of_their_key():
    first, second = (np.asarray(normal(jax.random.key(seed), (300, 200))) for seed in (0, 1))
    assert np.isfinite(first).all() and first.dtype == np.float32
    assert stats.kstest(first.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)
    np.testing.assert_array_equal(first, normal(jax.random.key(0), (300, 200)))
