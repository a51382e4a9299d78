"""Read-outs against scikit-learn, and the stage that fits them."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from pretrain.learn import probes
from tests.learn.conftest import CLASSES, FIRST, run

seeds = st.integers(0, 2**32 - 1)
WIDTHS = (9, 5)


def drawn(seed, n=40, units=5, classes=3, spread=1.5):
    """Overlapping classes of correlated codes, float32, with labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    codes = rng.normal(size=(n, units)) + spread * rng.normal(size=(classes, units))[labels]
    return (codes @ rng.normal(size=(units, units)) + 2).astype(np.float32), labels


ridge = jax.jit(probes.ridge, static_argnums=2)
logistic = jax.jit(probes.logistic, static_argnums=2)
nearest = jax.jit(probes.nearest, static_argnums=3)
votes = jax.jit(probes.votes, static_argnums=1)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_ridge_is_scikit_learns_at_every_penalty(seed):
    codes, labels = drawn(seed)
    penalties = (1e-3, 0.1, 10.0)
    heads = ridge(codes, labels, 3, jnp.array(penalties))
    exact = codes.astype(np.float64)
    for place, penalty in enumerate(penalties):
        # Theirs is of the sum over examples, and knows nothing of the codes' variance.
        theirs = Ridge(alpha=penalty * len(exact) * exact.var(0).mean()).fit(exact, np.eye(3)[labels])
        fitted = exact @ np.asarray(heads["kernel"][place]) + np.asarray(heads["bias"][place])
        np.testing.assert_allclose(fitted, theirs.predict(exact), atol=5e-3)
        np.testing.assert_allclose(heads["kernel"][place], theirs.coef_.T, rtol=2e-2, atol=5e-3)


@example(1783, 0.1, 0.0)  # whose last update but one is nearer to the optimum than its last
@settings(deadline=None, max_examples=8)
@given(seeds, st.sampled_from([0.01, 0.1, 1.0]), st.sampled_from([0.0, 100.0]))
def test_logistic_regression_is_scikit_learns_however_far_from_zero_codes_lie(seed, penalty, offset):
    codes, labels = drawn(seed)
    codes = np.float32(codes + offset)
    labels[:3] = range(3)
    head, norm = logistic(codes, labels, 3, penalty)
    assert norm <= 1e-4
    # Theirs is given centred codes, or takes long; the bias, which is not penalised, takes up the difference.
    exact = codes.astype(np.float64)
    centred = exact - exact.mean(0)
    theirs = LogisticRegression(C=1 / (penalty * len(exact)), tol=1e-8, max_iter=10_000).fit(centred, labels)
    np.testing.assert_allclose(head["kernel"], theirs.coef_.T, atol=3e-4 / penalty)
    ours = np.asarray(head["bias"], np.float64)
    probabilities = special.softmax(exact @ np.asarray(head["kernel"], np.float64) + ours, axis=1)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(centred), atol=5e-3)


def test_logistic_regression_without_a_penalty_ends_and_tells_apart_what_can_be():
    codes, labels = drawn(0, spread=30.0)
    head, norm = logistic(codes, labels, 3, 0.0)
    assert np.isfinite(norm) and all(np.isfinite(leaf).all() for leaf in head.values())
    logits = codes @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_array_equal(logits.argmax(1), labels)


def rule(neighbours, count):
    """The class of most of the first neighbours; of equals, the one that is met first."""
    found = Counter(neighbours[:count].tolist()).most_common()  # of equals, the first met first
    return found[0][0]


NARROW = [0, *[1] * 12, *[0] * 11, 2]  # as many of the nearest's class as of the next twelve's


@example([NARROW], 25)
@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3), min_size=25, max_size=25), min_size=1, max_size=1), st.integers(1, 25))
def test_the_most_votes_win_and_of_equals_the_nearest_neighbours_class(rows, count):
    assert votes(jnp.array(rows), 4, count)[0] == rule(np.array(rows[0]), count)


@settings(deadline=None, max_examples=10)
@given(seeds, st.sampled_from([1, 3, 9]), st.sampled_from([0.0, 3000.0]))
def test_neighbours_are_scikit_learns_however_far_from_zero_codes_lie(seed, count, offset):
    codes, labels = drawn(seed, n=60)
    codes = np.float32(codes + offset)
    known, asked = codes[:40], codes[40:]
    found = np.asarray(nearest(asked, known, labels[:40], 9))
    theirs = KNeighborsClassifier(count, algorithm="brute").fit(known.astype(np.float64), labels[:40])
    order = theirs.kneighbors(asked.astype(np.float64), 9, return_distance=False)
    assert np.mean(found == labels[order]) > 0.99  # rounding may swap two at nearly the same distance
    # Theirs gives ties to the smallest class; where there are none, both say the same.
    ballots = np.sort([np.bincount(row, minlength=3) for row in found[:, :count]], axis=1)
    is_clear = ballots[:, -1] > ballots[:, -2]
    ours = np.asarray(votes(found, 3, count))
    assert np.mean(ours[is_clear] == theirs.predict(asked.astype(np.float64))[is_clear]) > 0.99


def test_of_known_codes_at_the_same_distance_the_first_is_nearest():
    known = np.array([[-3, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [3, 0]], np.float32)
    found = nearest(np.zeros((1, 2), np.float32), known, np.arange(6), 6)
    assert found.tolist() == [[1, 2, 3, 4, 0, 5]]
    twice = np.repeat(drawn(0, n=5)[0], 2, axis=0)  # the same code under two labels
    np.testing.assert_array_equal(
        nearest(twice, twice, np.arange(10), 2), np.arange(10).reshape(5, 2).repeat(2, axis=0)
    )


def test_more_codes_than_a_block_have_each_their_neighbours():
    codes = np.random.default_rng(0).permutation(np.arange(601, dtype=np.float32))[:, None]
    found = nearest(codes, np.arange(601, dtype=np.float32)[:, None], np.arange(601), 1)
    np.testing.assert_array_equal(found[:, 0], codes[:, 0])


# The stage.


def elu(values):
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def read(params, images):
    """What the head reads of images, in float64."""
    values = np.asarray(images, np.float64) / 255
    for layer in params["encoder"].values():
        values = elu(values @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64))
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
    """The images with labels that are hard to tell, so that it matters how a read-out is fitted."""

    def harder(split, seed):
        rng = np.random.default_rng(seed)
        others = rng.integers(0, CLASSES, len(split.labels))
        is_changed = rng.random(len(split.labels)) < 0.4
        return split._replace(labels=jnp.where(is_changed, others, split.labels).astype(jnp.int32))

    return type(images)(*(harder(split, seed) for seed, split in enumerate(images)))


def fitted(stage_and_numbers, images, parent, **choices):
    """Runs a read-out; returns its run, and its results."""
    ran = run(stage_and_numbers, images, parent=parent, choices={**FIRST, **choices})
    return ran, jax.jit(stage_and_numbers[0].results)(ran.state.params, images)


@pytest.mark.parametrize("codes", ["raw", "standardised", "whitened"])
def test_ridge_takes_the_largest_penalty_of_those_that_do_best_on_validation_images(codes, readout, pretrained, hard):
    stage = readout("ridge", WIDTHS, whitens=codes == "whitened")
    ran, results = fitted(stage, hard, pretrained(WIDTHS), codes=codes, label_subset="random")
    assert stage[0].total_steps == 1 and set(ran.curves) == {"chosen_penalty"}
    params = ran.state.params
    known, held_out, test = splits(params, hard, np.asarray(ran.start.labelled))
    accuracies = []
    for penalty in probes.PENALTIES:
        alpha = penalty * len(known[0]) * known[0].var(0).mean()
        theirs = Ridge(alpha=alpha).fit(known[0], np.eye(CLASSES)[known[1]])
        accuracies.append(np.mean(theirs.predict(held_out[0]).argmax(1) == held_out[1]))
    assert len(set(accuracies)) > 1
    best = np.flatnonzero(np.isclose(accuracies, max(accuracies)))[-1]
    np.testing.assert_allclose(ran.curves["chosen_penalty"], [probes.PENALTIES[best]], rtol=1e-6)
    np.testing.assert_allclose(results["validation_accuracy"], max(accuracies), rtol=1e-6)
    # Results follow from the parameters.
    logits = test[0] @ np.asarray(params["head"]["kernel"], np.float64) + np.asarray(params["head"]["bias"])
    np.testing.assert_allclose(results["test_accuracy"], np.mean(logits.argmax(1) == test[1]), rtol=1e-6)
    assert set(results) == {"validation_accuracy", "test_accuracy"}


def test_logistic_read_outs_are_scikit_learns_on_the_labelled_subset(readout, pretrained, hard):
    parent = pretrained(WIDTHS)
    stage = readout("logistic", WIDTHS, l2=0.02)
    ran, results = fitted(stage, hard, parent, codes="standardised", label_subset="random")
    params = ran.state.params
    known, held_out, test = splits(params, hard, np.asarray(ran.start.labelled))
    theirs = LogisticRegression(C=1 / (0.02 * len(known[0])), tol=1e-8, max_iter=10_000).fit(*known)
    np.testing.assert_allclose(params["head"]["kernel"], theirs.coef_.T, atol=0.01)
    assert set(ran.curves) == {"gradient_norm"} and ran.curves["gradient_norm"][0] <= 1e-4
    for split, (inputs, labels) in (("validation", held_out), ("test", test)):
        logits = inputs @ np.asarray(params["head"]["kernel"], np.float64) + np.asarray(params["head"]["bias"])
        losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        values = results[f"{split}_accuracy"], results[f"{split}_loss"]
        np.testing.assert_allclose(values, [np.mean(logits.argmax(1) == labels), losses.mean()], rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], parent["encoder"])


@pytest.mark.parametrize("n_labels", [60, 7])
def test_the_number_of_neighbours_is_chosen_on_validation_images(n_labels, readout, pretrained, hard):
    stage = readout("knn", WIDTHS, labels=n_labels)
    ran, results = fitted(stage, hard, pretrained(WIDTHS), codes="standardised", label_subset="random")
    known, held_out, test = splits(ran.state.params, hard, np.asarray(ran.start.labelled))

    def accuracy(split, count):
        distances = np.linalg.norm(split[0][:, None] - known[0][None], axis=2)
        order = known[1][np.argsort(distances, axis=1, kind="stable")]
        return np.mean([rule(row, count) for row in order] == split[1])

    counts = [count for count in (1, 3, 5, 9, 15, 25) if count <= n_labels]
    accuracies = [accuracy(held_out, count) for count in counts]
    assert len(set(accuracies)) > 1
    chosen = counts[int(np.argmax(accuracies))]  # of equals, the fewest
    assert ran.curves["chosen_neighbours"].tolist() == [chosen] and ran.state.params["neighbours"]["count"] == chosen
    np.testing.assert_allclose(results["validation_accuracy"], max(accuracies), rtol=1e-6)
    np.testing.assert_allclose(results["test_accuracy"], accuracy(test, chosen), rtol=1e-6)
    assert "head" not in ran.state.params
