"""Weights of classes: scikit-learn's, in the loss that is minimised and in no other, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from pretrain.config import SgdConfig, SupervisedConfig
from pretrain.learn.metrics import Batch, Splits, divided
from pretrain.learn.tasks import Task
from tests.learn.conftest import CLASSES, run
from tests.learn.test_start import first_batch

RATE = 0.25
FIVE = Task(n_outputs=5)


def drawn(seed=0, n=60):
    """Logits and labels of five classes, of which one is frequent and the last occurs nowhere."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)).astype(np.float32), np.minimum(rng.integers(0, 12, n), 3).astype(np.int32)


def balanced(labels):
    """scikit-learn's weight of every label."""
    present = np.unique(labels)
    return dict(zip(present, compute_class_weight("balanced", classes=present, y=labels), strict=True))


def test_balanced_weights_are_scikit_learns_and_have_the_mean_1():
    _, labels = drawn()
    weights = np.asarray(FIVE.balancing(jnp.asarray(labels)))
    for label, weight in balanced(labels).items():
        np.testing.assert_allclose(weights[label], weight, rtol=1e-6)
    assert weights[4] == 0
    np.testing.assert_allclose(weights[labels].mean(), 1, rtol=1e-6)
    np.testing.assert_array_equal(FIVE.balancing(jnp.full(7, 2)), np.eye(5)[2])


def test_of_several_labels_each_is_balanced_over_the_rows_where_it_is_known():
    rng = np.random.default_rng(2)
    labels = (rng.random((50, 3)) < [0.1, 0.5, 0.9]).astype(np.float32)
    labels[rng.random((50, 3)) < 0.2] = np.nan
    weights = np.asarray(Task("multilabel", 3, has_unknown=True).balancing(jnp.asarray(labels)))
    for label in range(3):
        expected = balanced(labels[~np.isnan(labels[:, label]), label])
        np.testing.assert_allclose(weights[:, label], [expected[0.0], expected[1.0]], rtol=1e-6)


@pytest.mark.parametrize("labelled", ["all", "some"])
def test_value_and_gradient_are_those_of_the_weighted_mean(labelled):
    logits, labels = drawn()
    rows = np.arange(60) if labelled == "all" else np.arange(9)
    weights = FIVE.balancing(jnp.asarray(labels))
    targets = FIVE.weighed(jnp.asarray(labels[rows]), weights)
    found = jax.value_and_grad(lambda each: FIVE.objective(each, Batch(None, targets)), has_aux=True)
    (loss, metrics), gradient = found(jnp.asarray(logits[rows]))
    exact, of_rows = logits[rows].astype(np.float64), np.vectorize(balanced(labels).get)(labels[rows])
    losses = -special.log_softmax(exact, axis=1)[np.arange(len(rows)), labels[rows]]
    # Over examples, not over weights: the mean over all rows, of which a batch's is an unbiased estimate.
    np.testing.assert_allclose(loss, (of_rows * losses).mean(), rtol=1e-5)
    slopes = of_rows[:, None] * (special.softmax(exact, axis=1) - np.eye(5)[labels[rows]]) / len(rows)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-7)
    metrics, plain = divided(metrics), divided(FIVE.objective(logits[rows], Batch(None, labels[rows]))[1])
    assert {name: metrics[name] for name in plain} == plain  # to the bit
    probabilities = special.softmax(exact, axis=1)
    theirs = log_loss(labels[rows], probabilities, labels=range(5), sample_weight=of_rows)
    np.testing.assert_allclose(metrics["weighted_loss"], theirs, rtol=1e-5)
    if labelled == "all":
        np.testing.assert_allclose(loss, theirs, rtol=1e-5)


@pytest.mark.parametrize("has_unknown", [False, True])
def test_positives_and_negatives_of_several_labels_have_their_weights(has_unknown):
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(size=(40, 3)).astype(np.float32), (rng.random((40, 3)) < 0.2).astype(np.float32)
    if has_unknown:
        labels[rng.random((40, 3)) < 0.2] = np.nan
    known, task = ~np.isnan(labels), Task("multilabel", 3, has_unknown)
    weights = np.asarray(task.balancing(jnp.asarray(labels)), np.float64)
    targets = task.weighed(jnp.asarray(labels), jnp.float32(weights))
    minimised = jax.value_and_grad(lambda each: task.objective(each, Batch(None, targets)), has_aux=True)
    (loss, metrics), gradient = minimised(jnp.asarray(logits))
    exact, of_labels = logits.astype(np.float64), np.where(labels > 0, weights[1], weights[0]) * known
    losses = np.where(labels > 0, np.logaddexp(0, -exact), np.logaddexp(0, exact))
    np.testing.assert_allclose(loss, (of_labels * losses)[known].sum() / known.sum(), rtol=1e-5)
    slopes = of_labels * (special.expit(exact) - (labels > 0)) / known.sum()
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-7)
    weighted = (of_labels * losses).sum() / of_labels.sum()
    np.testing.assert_allclose(divided(metrics)["weighted_loss"], weighted, rtol=1e-5)


@pytest.fixture(scope="module")
def skewed(images):
    """The examples with three quarters of the rows in class 0."""

    def of(split):
        is_kept = jnp.arange(len(split.labels)) % 4 == 0
        return Batch(split.inputs, jnp.where(is_kept, split.labels, 0))

    return Splits(*map(of, images[:3]))


def test_an_update_of_fine_tuning_goes_down_the_weighted_gradient(finetune, skewed):
    settings = {"labels": 60, "batch_size": 12, "l2": 0.0, "optimizer": SgdConfig(learning_rate=RATE)}
    stage = finetune(**settings, class_weights="balanced")
    ran = run(stage, skewed, stops=[1])
    labels = np.asarray(skewed.train.labels)[np.asarray(ran.labelled)]
    rows = np.asarray(first_batch(stage[0]))
    batch = skewed.train.inputs[ran.labelled][rows]
    stack, params = stage[0].stack, ran.before.params
    logits = np.asarray(stack.logits(params, batch), np.float64)
    of_rows = np.vectorize(balanced(labels).get)(labels[rows])
    slopes = of_rows[:, None] * (special.softmax(logits, axis=1) - np.eye(CLASSES)[labels[rows]]) / len(rows)
    step = np.asarray(ran.state.params["head"]["bias"], np.float64) - np.asarray(params["head"]["bias"])
    np.testing.assert_allclose(step, -RATE * slopes.sum(0), rtol=1e-3, atol=1e-6)
    plain = run(finetune(**settings), skewed, stops=[1])
    assert ran.curves["loss"][0] == plain.curves["loss"][0]  # which is reported without weights
    assert ran.curves.keys() == plain.curves.keys() | {"validation_weighted_loss"}


def test_training_stops_by_the_weighted_loss(finetune, skewed):
    settings = {"labels": 60, "batch_size": 12, "stop": "validation", "patience": 2, "validate_every": 1, "epochs": 8}
    ran = run(finetune(**settings, class_weights="balanced"), skewed)
    measured = np.asarray(ran.curves["validation_weighted_loss"])
    assert ran.state.stopping.best_update == np.nanargmin(measured) + 1
    np.testing.assert_allclose(ran.state.stopping.loss, np.nanmin(measured))


def test_supervised_layers_are_trained_by_the_same_weights(phase, skewed):
    method = SupervisedConfig(class_weights="balanced")
    settings = {"optimizer": SgdConfig(learning_rate=RATE), "l2": 0.0, "label_subset": "random"}
    stage = phase((9,), method=method, **settings)
    ran = run(stage, skewed, stops=[1])
    labels = np.asarray(skewed.train.labels)[np.asarray(ran.labelled)]
    expected = [balanced(labels)[label] for label in range(CLASSES)]
    np.testing.assert_allclose(ran.before.carry, expected, rtol=1e-6)
    plain = run(phase((9,), **settings, method=SupervisedConfig()), skewed, stops=[1])
    assert ran.curves["loss"][0] == plain.curves["loss"][0] != ran.curves["weighted_loss"][0]
    assert ran.curves.keys() - plain.curves.keys() == {"weighted_loss", "validation_weighted_loss"}
