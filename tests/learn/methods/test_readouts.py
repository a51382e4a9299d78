"""Read-out stages, which fit a head or count neighbours, against scikit-learn and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression, Ridge

from pretrain.learn import probes
from pretrain.learn.methods import linear
from pretrain.learn.metrics import Splits
from tests.learn.conftest import CLASSES, results_of, run
from tests.learn.test_probes import rule
from tests.learn.test_start import encoded

WIDTHS = (9, 5)


def read(params, images):
    """What the head reads of images, in float64."""
    values = encoded(params, images)
    statistics = {name: np.asarray(leaf, np.float64) for name, leaf in params["codes"].items()}
    offsets = values - statistics["mean"]
    return offsets @ statistics["kernel"] if "kernel" in statistics else offsets * statistics["scale"]


def splits(params, images, rows):
    """What is read, and labels, of the labelled subset, validation and test images."""
    labelled = images.train.inputs[rows], np.asarray(images.train.labels)[rows]
    return [
        (read(params, inputs), np.asarray(labels))
        for inputs, labels in (labelled, images.validation[:2], images.test[:2])
    ]


@pytest.fixture(scope="module")
def hard(images):
    """The images with labels that are hard to predict, so that it matters how a read-out is fitted."""

    def harder(split, seed):
        rng = np.random.default_rng(seed)
        others = rng.integers(0, CLASSES, len(split.labels))
        is_changed = rng.random(len(split.labels)) < 0.4
        return split._replace(labels=jnp.where(is_changed, others, split.labels).astype(jnp.int32))

    return Splits(*(harder(split, seed) for seed, split in enumerate(images[:3])))


def fitted(stage_and_config, images, parent):
    """Runs a read-out; returns its run, and its results."""
    ran = run(stage_and_config, images, parent=parent)
    return ran, results_of(stage_and_config[0], ran.state.params, images)


@pytest.mark.parametrize("codes", ["raw", "standardised", "whitened"])
def test_ridge_takes_the_largest_penalty_of_those_that_do_best_on_validation_images(codes, readout, pretrained, hard):
    stage = readout("ridge", WIDTHS, codes=codes, label_subset="random")
    ran, found = fitted(stage, hard, pretrained(WIDTHS))
    assert stage[0].n_updates == 0 and set(ran.curves) == {"chosen_penalty"}
    params = ran.state.params
    known, held_out, test = splits(params, hard, np.asarray(ran.labelled))
    accuracies = []
    for penalty in probes.PENALTIES:
        alpha = penalty * len(known[0]) * known[0].var(0).mean()
        theirs = Ridge(alpha=alpha).fit(known[0], np.eye(CLASSES)[known[1]])
        accuracies.append(np.mean(theirs.predict(held_out[0]).argmax(1) == held_out[1]))
    assert len(set(accuracies)) > 1
    best = np.flatnonzero(np.isclose(accuracies, max(accuracies)))[-1]
    np.testing.assert_allclose(ran.curves["chosen_penalty"], [probes.PENALTIES[best]], rtol=1e-6)
    np.testing.assert_allclose(found["validation_accuracy"], max(accuracies), rtol=1e-6)
    # Results follow from the parameters.
    logits = test[0] @ np.asarray(params["head"]["kernel"], np.float64) + np.asarray(params["head"]["bias"])
    np.testing.assert_allclose(found["test_accuracy"], np.mean(logits.argmax(1) == test[1]), rtol=1e-6)
    assert set(found) == {"validation_accuracy", "test_accuracy", "constant_units"}


def test_logistic_read_outs_are_scikit_learns_on_the_labelled_subset(readout, pretrained, hard):
    parent = pretrained(WIDTHS)
    stage = readout("logistic", WIDTHS, l2=0.02, codes="standardised", label_subset="random")
    ran, found = fitted(stage, hard, parent)
    params = ran.state.params
    known, held_out, test = splits(params, hard, np.asarray(ran.labelled))
    theirs = LogisticRegression(C=1 / (0.02 * len(known[0])), tol=1e-8, max_iter=10_000).fit(*known)
    np.testing.assert_allclose(params["head"]["kernel"], theirs.coef_.T, atol=0.01)
    assert set(ran.curves) == {"gradient_norm"} and ran.curves["gradient_norm"][0] <= 1e-6
    for split, (inputs, labels) in (("validation", held_out), ("test", test)):
        logits = inputs @ np.asarray(params["head"]["kernel"], np.float64) + np.asarray(params["head"]["bias"])
        losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        values = found[f"{split}_accuracy"], found[f"{split}_loss"]
        np.testing.assert_allclose(values, [np.mean(logits.argmax(1) == labels), losses.mean()], rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], parent["encoder"])


def test_linear_read_outs_take_the_penalty_of_the_lowest_loss_on_validation_images(readout, pretrained, hard):
    parent = pretrained(WIDTHS)
    ran, found = fitted(readout("linear", WIDTHS, codes="standardised", label_subset="random"), hard, parent)
    losses = []
    for penalty in linear.PENALTIES:
        stage = readout("logistic", WIDTHS, l2=penalty, codes="standardised", label_subset="random")
        own, results = fitted(stage, hard, parent)
        losses.append(float(results["validation_loss"]))
        if np.isclose(ran.curves["chosen_penalty"][0], penalty):
            np.testing.assert_allclose(
                ran.state.params["head"]["kernel"], own.state.params["head"]["kernel"], atol=1e-4
            )
            np.testing.assert_allclose(found["test_loss"], results["test_loss"], rtol=1e-4)
    assert 0 < np.argmin(losses) < len(losses) - 1
    np.testing.assert_allclose(ran.curves["chosen_penalty"], [linear.PENALTIES[np.argmin(losses)]], rtol=1e-6)
    assert set(ran.curves) == {"chosen_penalty", "gradient_norm"} and ran.curves["gradient_norm"][0] <= 1e-6


@pytest.mark.parametrize("n_labels", [60, 7])
def test_the_number_of_neighbours_is_chosen_on_validation_images(n_labels, readout, pretrained, hard):
    stage = readout("knn", WIDTHS, labels=n_labels, codes="standardised", label_subset="random")
    ran, found = fitted(stage, hard, pretrained(WIDTHS))
    known, held_out, test = splits(ran.state.params, hard, np.asarray(ran.labelled))

    def accuracy(split, count):
        distances = np.linalg.norm(split[0][:, None] - known[0][None], axis=2)
        order = known[1][np.argsort(distances, axis=1, kind="stable")]
        return np.mean([rule(row, count) for row in order] == split[1])

    counts = [count for count in (1, 3, 5, 9, 15, 25) if count <= n_labels]
    accuracies = [accuracy(held_out, count) for count in counts]
    assert len(set(accuracies)) > 1
    chosen = counts[int(np.argmax(accuracies))]  # of equals, the fewest
    assert ran.curves["chosen_neighbours"].tolist() == [chosen] and ran.state.params["neighbours"]["count"] == chosen
    np.testing.assert_allclose(found["validation_accuracy"], max(accuracies), rtol=1e-6)
    np.testing.assert_allclose(found["test_accuracy"], accuracy(test, chosen), rtol=1e-6)
    assert "head" not in ran.state.params


@pytest.mark.parametrize("kind", ["ridge", "logistic", "knn"])
def test_without_an_encoder_images_are_read_as_an_encoder_would(kind, readout, hard):
    assert hard.train.inputs.dtype == np.uint8
    scaled = Splits(*(split._replace(inputs=split.inputs.astype(np.float32) / 255) for split in hard[:3]))
    stage = readout(kind, (), label_subset="random")
    (ran, found), (_, same) = (fitted(stage, images, None) for images in (hard, scaled))
    for name, value in found.items():
        np.testing.assert_allclose(value, same[name], rtol=1e-5)
    rows = np.asarray(ran.labelled)
    known, asked = np.asarray(scaled.train.inputs)[rows], np.asarray(scaled.test.inputs)
    if kind == "logistic":
        theirs = LogisticRegression(C=1 / (5e-4 * len(rows)), tol=1e-8, max_iter=10_000)
        theirs.fit(known.reshape(len(known), -1), np.asarray(hard.train.labels)[rows])
        right = theirs.predict(asked.reshape(len(asked), -1)) == np.asarray(hard.test.labels)
        np.testing.assert_allclose(found["test_accuracy"], right.mean(), atol=2 / len(asked))
