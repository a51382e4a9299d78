"""Metrics: every example counts once and by its weight, however many blocks it takes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.learn.metrics import Batch, Mean, divided, evaluate, mean_of, measured_if, sum_over

SIZES = [1, 999, 1000, 1001, 2500]


def examples(size, *shape):
    rng = np.random.default_rng(size)
    values = rng.normal(size=(size, *shape)).astype(np.float32)
    return Batch(jnp.asarray(values), jnp.asarray(rng.integers(0, 5, size))), values.astype(np.float64)


@pytest.mark.parametrize("size", SIZES)
def test_evaluate_is_the_mean_over_all_examples_once(size):
    batch, values = examples(size, 1)
    measure = lambda batch: {"value": mean_of(3 * batch.inputs[:, 0], batch)}
    np.testing.assert_allclose(evaluate(measure, batch)["value"], 3 * values.mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_every_example_is_seen_once_with_its_label(size):
    batch, _ = examples(size, 1)
    numbered = batch._replace(inputs=jnp.arange(size))

    def seen(block):
        assert len(block.inputs) == min(size, 1000)
        counts = jnp.zeros(size).at[block.inputs].add(block.weights)
        return {"examples": counts, "labels": jnp.zeros(size).at[block.inputs].add(block.weights * block.labels)}

    sums = jax.jit(partial(sum_over, seen))(numbered)
    np.testing.assert_array_equal(sums["examples"], np.ones(size))
    np.testing.assert_array_equal(sums["labels"], batch.labels)


@pytest.mark.parametrize("size", [1, 1001, 2500])
def test_each_metric_is_divided_by_its_own_count_and_keeps_its_shape(size):
    batch, values = examples(size, 3)

    def measure(batch):
        positive = (batch.inputs[:, 0] > 0).astype(jnp.float32) * batch.weights
        of_positive = jnp.sum(positive * batch.inputs[:, 1])
        return {"all": mean_of(batch.inputs, batch), "positive": Mean(of_positive, jnp.sum(positive) + 1e-9)}

    found = evaluate(measure, batch)
    np.testing.assert_allclose(found["all"], values.mean(axis=0), rtol=1e-3, atol=1e-6)
    chosen = values[values[:, 0] > 0, 1]
    np.testing.assert_allclose(found["positive"], chosen.mean() if chosen.size else 0, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_the_mean_of_a_batch_is_weighted(shape):
    batch, values = examples(7, *shape)
    weights = np.array([0, 1, 0.5, 2, 0, 1, 3], np.float32)
    plain, weighted = mean_of(batch.inputs, batch), mean_of(batch.inputs, batch._replace(weights=jnp.asarray(weights)))
    assert (plain.count, weighted.count) == (7, 7.5)
    for mean, shares in ((plain, np.ones(7)), (weighted, weights)):
        assert mean.total.shape == shape
        expected = np.average(values, axis=0, weights=shares)
        np.testing.assert_allclose(divided({"value": mean})["value"], expected, rtol=1e-5, atol=1e-6)


def test_an_example_that_weighs_nothing_may_be_anything_finite():
    batch, _ = examples(4)
    measured = [
        divided({"value": mean_of(inputs, batch._replace(weights=jnp.array([1.0, 1, 1, 0])))})["value"]
        for inputs in (batch.inputs, batch.inputs.at[3].set(1e30))
    ]
    assert measured[0] == measured[1]


def test_the_gradient_of_a_mean_is_that_of_its_examples_alone():
    batch, values = examples(5)
    weighted = batch._replace(weights=jnp.array([1.0, 0, 0, 1, 0]))
    slope = jax.grad(lambda scale: divided({"value": mean_of(scale * batch.inputs, weighted)})["value"])(2.0)
    np.testing.assert_allclose(slope, values[[0, 3]].mean(), rtol=1e-5)


@pytest.mark.parametrize("is_due", [True, False])
def test_what_is_not_due_is_not_measured(is_due):
    found = jax.jit(lambda due: measured_if(due, lambda: {"value": jnp.float32(2.5)}))(is_due)
    np.testing.assert_array_equal(found["value"], 2.5 if is_due else np.nan)
