"""What a batch's logits come to, against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from pretrain.learn import tasks
from pretrain.learn.metrics import Batch, divided
from pretrain.learn.tasks import NO_TASK, Task

classification, multilabel, regression = map(jax.jit, (tasks.classification, tasks.multilabel, tasks.regression))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_classification_is_softmax_cross_entropy_and_the_share_of_largest_logits(scale):
    rng = np.random.default_rng(0)
    logits = (scale * rng.normal(size=(50, 4))).astype(np.float32)
    labels = np.where(rng.random(50) < 0.5, logits.argmax(axis=1), rng.integers(0, 4, 50))
    losses = -special.log_softmax(logits.astype(np.float64), axis=1)[np.arange(50), labels]
    correct = logits.argmax(axis=1) == labels
    loss, metrics = classification(jnp.asarray(logits), Batch(None, jnp.asarray(labels)))
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(divided(metrics)["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(divided(metrics)["accuracy"], correct.mean(), rtol=1e-6)

    def of_one(weights):
        return divided(classification(jnp.asarray(logits), Batch(None, jnp.asarray(labels), weights))[1])

    each = jax.jit(jax.vmap(of_one))(np.eye(50, dtype=np.float32))
    np.testing.assert_allclose(each["loss"], losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(each["accuracy"], correct)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_multilabel_is_sigmoid_cross_entropy_and_the_share_of_labels_on_the_right_side(scale):
    rng = np.random.default_rng(1)
    logits = (scale * rng.normal(size=(40, 3))).astype(np.float32)
    labels = rng.integers(0, 2, (40, 3)).astype(np.float32)
    exact = logits.astype(np.float64)
    losses = np.where(labels > 0, np.logaddexp(0, -exact), np.logaddexp(0, exact)).mean(1)
    loss, metrics = multilabel(jnp.asarray(logits), Batch(None, jnp.asarray(labels)))
    np.testing.assert_allclose([loss, divided(metrics)["loss"]], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(divided(metrics)["accuracy"], ((logits > 0) == (labels > 0)).mean(), rtol=1e-6)
    weights = (jnp.arange(40) < 7).astype(jnp.float32)
    some = divided(multilabel(jnp.asarray(logits), Batch(None, jnp.asarray(labels), weights))[1])
    np.testing.assert_allclose(some["loss"], losses[:7].mean(), rtol=1e-5)


def test_unknown_labels_count_for_nothing():
    """Neither in loss, accuracy and gradient, nor in those of rows that have other labels."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(40, 3)).astype(np.float32)
    labels = np.where(rng.random((40, 3)) < 0.3, np.nan, rng.integers(0, 2, (40, 3))).astype(np.float32)
    labels[5] = np.nan
    known, exact = ~np.isnan(labels), logits.astype(np.float64)
    losses = np.where(labels > 0, np.logaddexp(0, -exact), np.logaddexp(0, exact))
    objective = jax.jit(Task("multilabel", 3, has_unknown=True).objective)
    loss, metrics = objective(jnp.asarray(logits), Batch(None, jnp.asarray(labels)))
    np.testing.assert_allclose([loss, divided(metrics)["loss"]], losses[known].mean(), rtol=1e-5)
    right = ((logits > 0) == (labels > 0))[known]
    np.testing.assert_allclose(divided(metrics)["accuracy"], right.mean(), rtol=1e-6)
    weights = (np.arange(40) < 7).astype(np.float32)
    some = divided(objective(jnp.asarray(logits), Batch(None, jnp.asarray(labels), jnp.asarray(weights)))[1])
    np.testing.assert_allclose(some["loss"], losses[:7][known[:7]].mean(), rtol=1e-5)
    slopes = jax.grad(lambda outputs: objective(outputs, Batch(None, jnp.asarray(labels)))[0])(jnp.asarray(logits))
    np.testing.assert_array_equal(np.asarray(slopes)[~known], 0)
    np.testing.assert_allclose(
        np.asarray(slopes)[known], (special.expit(exact) - labels)[known] / known.sum(), rtol=1e-4, atol=1e-7
    )
    nothing = objective(jnp.asarray(logits[5:6]), Batch(None, jnp.asarray(labels[5:6])))[0]
    assert nothing == 0


def test_a_mask_over_known_labels_changes_nothing():
    rng = np.random.default_rng(4)
    batch = Batch(None, jnp.asarray(rng.integers(0, 2, (40, 3)).astype(np.float32)))
    logits = jnp.asarray(rng.normal(size=(40, 3)).astype(np.float32))
    found, usual = (jax.jit(Task("multilabel", 3, has).objective)(logits, batch) for has in (True, False))
    np.testing.assert_allclose(found[0], usual[0], rtol=1e-6)
    for name, value in divided(usual[1]).items():
        np.testing.assert_allclose(divided(found[1])[name], value, rtol=1e-6)


def test_regression_is_the_mean_squared_error_over_rows_and_numbers():
    rng = np.random.default_rng(2)
    outputs, numbers = rng.normal(size=(2, 30, 4)).astype(np.float32)
    errors = np.square(outputs.astype(np.float64) - numbers).mean(1)
    loss, metrics = regression(jnp.asarray(outputs), Batch(None, jnp.asarray(numbers)))
    np.testing.assert_allclose([loss, divided(metrics)["loss"]], errors.mean(), rtol=1e-5)
    weights = (jnp.arange(30) < 5).astype(jnp.float32)
    some = divided(regression(jnp.asarray(outputs), Batch(None, jnp.asarray(numbers), weights))[1])
    np.testing.assert_allclose(some["loss"], errors[:5].mean(), rtol=1e-5)


def test_predictions_are_probabilities_labels_and_numbers():
    outputs = jnp.asarray([[1.0, 3.0, 2.0], [70_000.0, 0.0, -1.0]])
    found = Task("classification", 3).predicted(outputs, are_logits=True)
    np.testing.assert_allclose(np.exp(np.float64(found.scores[0])), special.softmax([1.0, 3.0, 2.0]), rtol=2e-3)
    assert found.classes.tolist() == [1, 0] and found.scores.dtype == jnp.float16
    assert np.isfinite(np.asarray(found.scores)).all()  # float16 ends at 65,504
    as_they_are = Task("classification", 3).predicted(outputs[:1], are_logits=False)
    np.testing.assert_array_equal(as_they_are.scores, np.float16(outputs[:1]))
    of_labels = Task("multilabel", 3).predicted(outputs, are_logits=True)
    assert of_labels.classes is None and (np.asarray(of_labels.scores[1]) > 0).tolist() == [True, False, False]
    of_numbers = Task("regression", 3).predicted(outputs, are_logits=True)
    assert of_numbers.scores.dtype == jnp.float32 and of_numbers.classes is None
    np.testing.assert_array_equal(of_numbers.scores, outputs)


def test_targets_have_the_shape_of_their_task():
    assert (Task("classification", 5).target_shape, Task("classification", 5).n_classes) == ((), 5)
    assert (Task("multilabel", 5).target_shape, Task("regression", 2).n_classes) == ((5,), 0)
    assert NO_TASK.target_shape == () and not Task("regression", 1).has_accuracy
