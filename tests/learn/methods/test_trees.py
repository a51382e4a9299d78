"""Boosted trees: predictions are scikit-learn's own, of every task, on few rows and on rows without some classes."""

import jax
import numpy as np
import pytest
from scipy import special
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from pretrain.config import FinetuneConfig
from pretrain.learn import program
from pretrain.learn.layers import Dense
from pretrain.learn.methods import trees
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Rows, Static
from pretrain.learn.tasks import Task
from pretrain.plan import builders
from tests.learn.conftest import CLASSES, LABELS, PIXELS, begun, results_of, run

OUTPUTS = jax.jit(trees.outputs, static_argnums=0)
STOPPING = {"early_stopping": True, "n_iter_no_change": 10, "scoring": "loss"}


def theirs(kind, known, held_out, seed=0):
    """scikit-learn's estimator of the best leaves, its loss on validation rows at every iteration, and the leaves."""
    best = None
    one_thread = threadpool_limits(1, user_api="openmp")
    for least in (each for each in (20, 5, 1) if 2 * each <= len(known[0])):
        made = kind(min_samples_leaf=least, max_bins=63, random_state=seed, **STOPPING)
        made.fit(*known, X_val=held_out[0], y_val=held_out[1])
        loss = -made.validation_score_[1:]
        if best is None or loss.min() < best[1].min():
            best = made, loss, least
    one_thread.restore_original_limits()
    return best


def drawn(task, n_outputs, n=90, seed=0, width=6):
    """Rows whose targets depend on them by more than lines, and less than surely."""
    rng = np.random.default_rng(seed)

    def split(size):
        inputs = rng.normal(size=(size, width)).astype(np.float32)
        sums = np.stack([inputs[:, j] * inputs[:, j + 1] + inputs[:, j] for j in range(n_outputs)], axis=1)
        sums = (sums + 0.5 * rng.normal(size=sums.shape)).astype(np.float32)
        labels = {"classification": sums.argmax(1).astype(np.int32), "multilabel": (sums > 0).astype(np.float32)}
        return Batch(inputs, labels.get(task, sums))

    return Splits(split(n), split(60), split(50))


def raw(task, n_outputs, n=90, **settings):
    """A stage of trees on raw inputs."""
    has_unknown = settings.pop("has_unknown", False)
    given = {"labels": n, "label_subset": "first", **settings}
    section = FinetuneConfig(readout="trees", encoder_init="none", **given)
    return builders.last(section, [], (), (6,), Task(task, n_outputs, has_unknown), 0, section.labels)


def predicted(stage, ran, images):
    """Outputs on the test rows."""
    return np.asarray(OUTPUTS(stage[0].stack, ran.state.params, images.test.inputs), np.float64)


def test_probabilities_are_scikit_learns():
    images, stage = drawn("classification", 3), raw("classification", 3)
    ran = run(stage, images)
    made, loss, least = theirs(HistGradientBoostingClassifier, images.train[:2], images.validation[:2])
    stop = loss.argmin()
    assert ran.curves["chosen_min_samples_leaf"].tolist() == [least]
    assert ran.curves["chosen_iterations"].tolist() == [stop + 1] and 1 < stop + 1 < made.n_iter_
    (raw_scores,) = (each for at, each in enumerate(made._staged_raw_predict(images.test.inputs)) if at == stop)
    found = predicted(stage, ran, images)
    np.testing.assert_allclose(special.log_softmax(found, axis=1), special.log_softmax(raw_scores, axis=1), atol=2e-6)
    results = results_of(stage[0], ran.state.params, images)
    losses = -special.log_softmax(raw_scores, axis=1)[np.arange(50), images.test.labels]
    right = np.mean(raw_scores.argmax(1) == images.test.labels)
    np.testing.assert_allclose([results["test_loss"], results["test_accuracy"]], [losses.mean(), right], rtol=1e-5)
    np.testing.assert_allclose(results["validation_loss"], loss.min(), rtol=1e-5)
    assert set(results) == {f"{split}_{name}" for split in ("validation", "test") for name in ("loss", "accuracy")}


def test_logits_of_two_classes_differ_by_scikit_learns():
    images, stage = drawn("classification", 2), raw("classification", 2)
    found = predicted(stage, run(stage, images), images)
    made, loss, _ = theirs(HistGradientBoostingClassifier, images.train[:2], images.validation[:2])
    (asked,) = (each for at, each in enumerate(made._staged_raw_predict(images.test.inputs)) if at == loss.argmin())
    np.testing.assert_allclose(found[:, 1] - found[:, 0], asked[:, 0], atol=2e-6)


def test_numbers_are_scikit_learns():
    images, stage = drawn("regression", 1), raw("regression", 1)
    known, held_out = ((split.inputs, split.labels[:, 0]) for split in images[:2])
    made, loss, _ = theirs(HistGradientBoostingRegressor, known, held_out)
    (asked,) = (each for at, each in enumerate(made.staged_predict(images.test.inputs)) if at == loss.argmin())
    ran = run(stage, images)
    np.testing.assert_allclose(predicted(stage, ran, images)[:, 0], asked, atol=2e-6)
    error = np.mean(np.square(asked - images.test.labels[:, 0]))
    np.testing.assert_allclose(results_of(stage[0], ran.state.params, images)["test_loss"], error, rtol=1e-5)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_each_of_several_outputs_has_trees_of_its_own(task):
    images = drawn(task, 3)
    alone = [Splits(*(Batch(split.inputs, split.labels[:, [column]]) for split in images[:3])) for column in range(3)]
    ran = run(raw(task, 3), images)
    leaf = ran.curves["chosen_min_samples_leaf"].tolist()
    found = predicted(raw(task, 3), ran, images)
    same = [column for column in range(3) if run(raw(task, 1), alone[column]).curves[trees._CHOSEN[0]].tolist() == leaf]
    assert same
    for column in same:
        own = predicted(raw(task, 1), run(raw(task, 1), alone[column]), alone[column])
        np.testing.assert_array_equal(found[:, column], own[:, 0])


def test_rows_without_a_label_are_left_out_of_its_trees_alone():
    images = drawn("multilabel", 2)
    labels = images.train.labels.copy()
    labels[:30, 0] = np.nan
    few = images._replace(train=Batch(images.train.inputs, labels))
    cut = Splits(
        Batch(images.train.inputs[30:], labels[30:, :1]),
        *(each._replace(labels=each.labels[:, :1]) for each in images[1:3]),
    )
    stage = raw("multilabel", 2, has_unknown=True)
    ran, own = run(stage, few), run(raw("multilabel", 1, 60), cut)
    assert ran.curves[trees._CHOSEN[0]].tolist() == own.curves[trees._CHOSEN[0]].tolist()
    found = predicted(stage, ran, few)
    np.testing.assert_array_equal(found[:, 0], predicted(raw("multilabel", 1, 60), own, cut)[:, 0])


@pytest.mark.parametrize(("task", "n_outputs"), [("classification", 3), ("multilabel", 2), ("regression", 1)])
@pytest.mark.parametrize("n", [1, 2, 3, 30])
def test_few_rows_make_small_leaves_and_finite_results(task, n_outputs, n):
    images, stage = drawn(task, n_outputs), raw(task, n_outputs, n)
    ran = run(stage, images)
    assert ran.curves["chosen_min_samples_leaf"][0] <= max(n / 2, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ran.state.params))
    assert all(np.isfinite(value) for value in results_of(stage[0], ran.state.params, images).values())


def test_a_class_without_a_labelled_row_is_half_a_row():
    images = drawn("classification", 3)
    rows = np.flatnonzero(images.train.labels != 1)[:30]
    few = images._replace(train=Batch(images.train.inputs[rows], images.train.labels[rows]))
    found = special.softmax(
        predicted(raw("classification", 3, 30), run(raw("classification", 3, 30), few), few), axis=1
    )
    assert (found[:, 1] > 0).all() and found[:, 1].mean() < 0.05 and (found.argmax(1) != 1).all()
    one = images._replace(train=Batch(images.train.inputs[:4], np.full(4, 2, np.int32)))
    found = special.softmax(predicted(raw("classification", 3, 4), run(raw("classification", 3, 4), one), one), axis=1)
    np.testing.assert_allclose(found, np.tile([0.1, 0.1, 0.8], (50, 1)), rtol=1e-5)


def test_a_comparison_with_float32_comes_out_as_in_float64():
    rng = np.random.default_rng(0)
    thresholds = np.concatenate([rng.normal(size=500), rng.normal(size=500).astype(np.float32)])
    near = thresholds.astype(np.float32)
    rounded = trees._rounded_down(thresholds)
    for values in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
        np.testing.assert_array_equal(values <= rounded, values.astype(np.float64) <= thresholds)
    assert np.isfinite(trees._rounded_down(np.array([np.inf, -np.inf, 1e300]))).all()


def test_trees_read_the_codes_of_an_encoder(readout, pretrained, images):
    stage = readout("trees", (9, 5), codes="standardised", label_subset="random")
    parent = pretrained((9, 5))
    ran = run(stage, images, 3, parent)
    codes = np.asarray(stage[0].stack.encoding(ran.state.params)(images.train.inputs))[ran.labelled]
    mean, scale = (np.asarray(ran.state.params["codes"][name]) for name in ("mean", "scale"))
    known = (codes - mean) * scale
    np.testing.assert_allclose(ran.train.inputs, known, atol=1e-5)
    np.testing.assert_array_equal(ran.train.labels, images.train.labels[ran.labelled])
    assert len(known) == LABELS and set(ran.state.params) == {"encoder", "codes", "trees"}
    assert ran.state.params["trees"]["baseline"].shape == (CLASSES,)
    results = results_of(stage[0], ran.state.params, images)
    assert results["test_accuracy"] > 0.5
    jax.tree.map(np.testing.assert_array_equal, params_of(ran), params_of(run(stage, images, 3, parent)))


def params_of(ran):
    return ran.state.params, ran.curves


def test_arrays_have_the_shapes_that_their_program_has(readout, images):
    stage = readout("trees", (), encoder_init="none")
    piece = program.program_of(*stage, None, images).finish
    ran = run(stage, images)
    same = jax.tree.map(
        lambda left, right: (left.shape, left.dtype) == (right.shape, right.dtype), piece.trial, ran.state.params
    )
    assert all(jax.tree.leaves(same)) and ran.train.inputs.shape[1] == PIXELS


def test_labelled_rows_are_those_of_every_other_arm_of_a_seed(readout, images):
    rows = [
        np.asarray(begun(readout(kind, (), encoder_init="none", labels=20, label_subset="random"), images, 5).labelled)
        for kind in ("trees", "linear", "logistic", "knn")
    ]
    assert all(np.array_equal(rows[0], other) for other in rows[1:]) and len(rows[0]) == 20


# CPU seconds of fits of MNIST's pixels, and of random codes of them, by outputs, labelled and validation rows, and
# units: ten classes, odd ones of two, and a number.
MEASURED = {
    ("classification", 10, 2000, 2000, 10): 2.1,
    ("classification", 10, 2000, 2000, 150): 11.8,
    ("classification", 10, 2000, 2000, 784): 35.1,
    ("classification", 2, 2000, 2000, 10): 0.26,
    ("classification", 2, 2000, 2000, 150): 2.14,
    ("classification", 2, 2000, 2000, 784): 8.0,
    ("regression", 1, 2000, 2000, 150): 2.24,
    ("classification", 10, 2000, 5000, 10): 2.9,
    ("classification", 10, 2000, 5000, 150): 13.4,
    ("classification", 10, 2000, 5000, 784): 33.2,
    ("classification", 2, 2000, 5000, 150): 2.17,
    ("regression", 1, 2000, 5000, 150): 2.55,
    ("classification", 2, 20000, 5000, 10): 1.16,
    ("classification", 2, 20000, 5000, 150): 8.9,
    ("classification", 10, 20000, 5000, 10): 11.5,
}


@pytest.mark.parametrize("fit", MEASURED)
def test_a_fit_takes_as_long_as_is_estimated_within_a_factor_of_two(fit):
    kind, n_outputs, n, n_validation, units = fit
    stack = Stack((), (units,), head=Dense(n_outputs), task=Task(kind, n_outputs))
    estimate = trees.seconds(Static(stack, Rows(n)), n_validation)
    assert 0.5 < estimate / MEASURED[fit] < 2
