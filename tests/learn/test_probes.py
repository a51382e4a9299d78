"""Read-outs against scikit-learn, and ridge against its normal equations."""

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
from pretrain.learn.layers import Dense
from pretrain.learn.methods import METHODS
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Rows, Static
from pretrain.learn.tasks import Task

sizes = st.sampled_from([(12, 1), (13, 6), (40, 4)])  # of which each is compiled once
seeds = st.integers(0, 2**32 - 1)


def drawn(seed, n=40, units=5, classes=3, spread=1.5):
    """Overlapping classes of correlated codes, float32, with labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    codes = rng.normal(size=(n, units)) + spread * rng.normal(size=(classes, units))[labels]
    return (codes @ rng.normal(size=(units, units)) + 2).astype(np.float32), labels


def correlated(size, seed, offset=0.0):
    """Correlated codes of one distribution, float32."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=size) @ rng.normal(size=(size[1], size[1])) + offset).astype(np.float32)


def rule(neighbours, count):
    """The class of most of the first neighbours; of equals, the one that is met first."""
    found = Counter(neighbours[:count].tolist()).most_common()  # of equals, the first met first
    return found[0][0]


ridge = jax.jit(probes.ridge, static_argnums=2)
converged = jax.jit(probes.converged, static_argnums=2)
nearest = jax.jit(probes.nearest, static_argnums=3)
voted = jax.jit(probes.voted, static_argnums=1)
THREE = Task(n_outputs=3)


def votes(neighbours, n_classes, count):
    """The class with the most votes."""
    return np.argmax(voted(neighbours, Task(n_outputs=n_classes), count), axis=1)


@settings(deadline=None, max_examples=10)
@given(seeds)
def test_ridge_is_scikit_learns_at_every_penalty(seed):
    codes, labels = drawn(seed)
    penalties = (1e-3, 0.1, 10.0)
    heads = ridge(codes, labels, THREE, jnp.array(penalties))
    exact = codes.astype(np.float64)
    for place, penalty in enumerate(penalties):
        # Theirs is of the sum over examples, and knows nothing of the codes' variance.
        theirs = Ridge(alpha=penalty * len(exact) * exact.var(0).mean()).fit(exact, np.eye(3)[labels])
        fitted = exact @ np.asarray(heads["kernel"][place]) + np.asarray(heads["bias"][place])
        np.testing.assert_allclose(fitted, theirs.predict(exact), atol=5e-3)
        np.testing.assert_allclose(heads["kernel"][place], theirs.coef_.T, rtol=2e-2, atol=5e-3)


@settings(deadline=None, max_examples=30)
@given(sizes, seeds, st.sampled_from([1e-3, 0.01, 1.0]))
def test_ridge_solves_its_normal_equations(size, seed, penalty):
    values, labels = correlated(size, seed, offset=2.0), np.random.default_rng(seed).integers(0, 3, size[0])
    found = ridge(jnp.asarray(values), jnp.asarray(labels), THREE, penalty)
    exact, targets = values.astype(np.float64), np.eye(3)[labels]
    # With the bias as one more column of ones, which alone is not penalised.
    columns = np.hstack([exact, np.ones((size[0], 1))])
    weight = penalty * exact.var(0).mean()
    penalties = weight * size[0] * np.diag([*[1.0] * size[1], 0.0])
    solution = np.linalg.solve(columns.T @ columns + penalties, columns.T @ targets)
    fitted = values @ np.asarray(found["kernel"]) + np.asarray(found["bias"])
    np.testing.assert_allclose(fitted, columns @ solution, rtol=2e-3, atol=2e-3)


def test_ridge_penalises_alike_at_every_scale_of_the_codes():
    values, labels = correlated((40, 5), 3), np.random.default_rng(3).integers(0, 3, 40)
    heads = [ridge(np.float32(scale) * values, labels, THREE, 0.1) for scale in (1.0, 1000.0)]
    np.testing.assert_allclose(heads[0]["kernel"], 1000 * heads[1]["kernel"], rtol=1e-3, atol=1e-5)


def test_ridge_of_fewer_examples_than_units_is_finite_at_any_penalty():
    values = np.random.default_rng(0).normal(size=(10, 150)).astype(np.float32)
    for penalty in (1e-2, 1e-7, 1e-12):
        head = ridge(values, np.arange(10) % 3, THREE, penalty)
        assert all(np.isfinite(leaf).all() for leaf in head.values())
        assert np.array_equal(
            np.argmax(values @ np.asarray(head["kernel"]) + np.asarray(head["bias"]), axis=1), np.arange(10) % 3
        )


def test_ridge_of_codes_without_any_spread_predicts_the_classes_shares():
    head = ridge(np.ones((4, 2), np.float32), np.asarray([0, 0, 0, 1]), Task(n_outputs=2), 0.01)
    np.testing.assert_allclose(head["kernel"], 0, atol=1e-6)
    np.testing.assert_allclose(head["bias"], [0.75, 0.25], rtol=1e-6)


@settings(deadline=None, max_examples=4)
@given(seeds, st.sampled_from([0.01, 0.1]))
def test_balanced_logistic_regression_is_scikit_learns(seed, penalty):
    codes, labels = drawn(seed)
    labels = np.where(labels == 2, np.arange(len(labels)) % 2, labels)  # one of the three classes is rare
    labels[:3] = range(3)
    weights = THREE.balancing(jnp.asarray(labels))
    head, norm = converged(codes, THREE.weighed(jnp.asarray(labels), weights), THREE, penalty)
    assert norm <= 1e-6
    theirs = LogisticRegression(C=1 / (penalty * len(codes)), class_weight="balanced", tol=1e-8, max_iter=10_000)
    centred = codes.astype(np.float64) - codes.mean(0)
    np.testing.assert_allclose(head["kernel"], theirs.fit(centred, labels).coef_.T, atol=1e-5 / penalty)


@example(1783, 0.1, 0.0)  # whose last update but one is nearer to the optimum than its last
@settings(deadline=None, max_examples=8)
@given(seeds, st.sampled_from([0.01, 0.1, 1.0]), st.sampled_from([0.0, 100.0]))
def test_logistic_regression_is_scikit_learns_however_far_from_zero_codes_lie(seed, penalty, offset):
    codes, labels = drawn(seed)
    codes = np.float32(codes + offset)
    labels[:3] = range(3)
    head, norm = converged(codes, labels, THREE, penalty)
    assert norm <= 1e-6
    # Theirs is given centred codes, or takes long; the bias, which is not penalised, takes up the difference.
    exact = codes.astype(np.float64)
    centred = exact - exact.mean(0)
    theirs = LogisticRegression(C=1 / (penalty * len(exact)), tol=1e-8, max_iter=10_000).fit(centred, labels)
    np.testing.assert_allclose(head["kernel"], theirs.coef_.T, atol=1e-5 / penalty)
    ours = np.asarray(head["bias"], np.float64)
    probabilities = special.softmax(exact @ np.asarray(head["kernel"], np.float64) + ours, axis=1)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(centred), atol=1e-4)


@pytest.mark.parametrize(
    ("n", "units", "penalty", "tolerance"),
    # Where classes are apart, probabilities near 1 leave float32 few digits of the gradient.
    [(1000, 60, 1e-4, 1e-4), (1000, 60, 5e-4, 1e-4), (1000, 60, 1e-2, 1e-4), (80, 120, 1e-2, 1e-3)],
)
def test_probabilities_are_scikit_learns_also_along_flat_directions(n, units, penalty, tolerance):
    rng = np.random.default_rng(0)
    labels = rng.permutation(n) % 5
    causes = rng.normal(size=(n, 30)) * np.exp(rng.normal(size=30)) + 0.4 * rng.normal(size=(5, 30))[labels]
    codes = np.maximum(causes @ rng.normal(size=(30, units)), 0)
    codes = np.float32((codes - codes.mean(0)) / np.maximum(codes.std(0), 1e-3))
    exact = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    theirs = LogisticRegression(C=1 / (penalty * n), tol=1e-10, max_iter=10_000, solver="newton-cg").fit(exact, labels)
    expected = theirs.predict_proba(exact)
    head, _ = converged(codes, labels, Task(n_outputs=5), penalty)
    kernel, bias = (np.asarray(head[name], np.float64) for name in ("kernel", "bias"))
    found = special.softmax(codes @ kernel + bias, axis=1)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=5e-6)
    losses = [-np.log(each[np.arange(n), labels]).mean() for each in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)


@pytest.mark.parametrize("shape", [(50, 20), (20, 50)])
@pytest.mark.parametrize("penalty", [0.0, 1e-4])
def test_logistic_regression_of_codes_without_any_spread_predicts_the_classes_shares(shape, penalty):
    labels = np.arange(shape[0]) % 10 // 5 * 2  # no row of the second class
    head, _ = converged(np.ones(shape, np.float32), labels, THREE, penalty)
    np.testing.assert_array_equal(head["kernel"], 0)
    np.testing.assert_allclose(special.softmax(head["bias"]), [0.5, 0, 0.5], atol=1e-4)


def test_logistic_regression_without_a_penalty_ends_and_separates_what_can_be():
    codes, labels = drawn(0, spread=30.0)
    head, norm = converged(codes, labels, THREE, 0.0)
    assert np.isfinite(norm) and all(np.isfinite(leaf).all() for leaf in head.values())
    logits = codes @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_array_equal(logits.argmax(1), labels)


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


@settings(deadline=None, max_examples=8)
@given(seeds, st.sampled_from([1, 3]), st.sampled_from([0.05, 0.5]))
def test_read_outs_of_numbers_are_least_squares_and_means_of_neighbours(seed, n_outputs, penalty):
    rng = np.random.default_rng(seed)
    codes, task = correlated((40, 4), seed), Task("regression", n_outputs)
    numbers = rng.normal(size=(40, n_outputs)).astype(np.float32)
    exact = codes.astype(np.float64)
    # The mean over outputs of squared errors, and the penalty times half the squared kernel.
    theirs = Ridge(alpha=penalty * len(exact) * n_outputs / 2).fit(exact, numbers)
    head, norm = converged(codes, numbers, task, penalty)
    assert norm <= 1e-6
    np.testing.assert_allclose(head["kernel"], theirs.coef_.reshape(n_outputs, -1).T, atol=5e-3)
    theirs = Ridge(alpha=penalty * len(exact) * exact.var(0).mean()).fit(exact, numbers)
    kernel = ridge(codes, numbers, task, penalty)["kernel"]
    np.testing.assert_allclose(kernel, theirs.coef_.reshape(n_outputs, -1).T, atol=5e-3)
    found = nearest(codes[:5], codes, numbers, 9)
    assert found.shape == (5, 9, n_outputs)
    np.testing.assert_allclose(voted(found, task, 3), np.asarray(found)[:, :3].mean(1), rtol=1e-5)


def test_read_outs_of_labels_that_are_partly_unknown_are_fitted_to_the_rows_that_have_them():
    rng = np.random.default_rng(0)
    codes, task = correlated((60, 4), 1, offset=3.0), Task("multilabel", 3, has_unknown=True)
    labels = (codes @ rng.normal(size=(4, 3)) + rng.normal(size=(60, 3)) > 0).astype(np.float32)
    labels[rng.random((60, 3)) < 0.3] = np.nan
    labels[:, 2] = np.nan
    penalties = (1e-3, 0.1)
    heads, head = ridge(codes, labels, task, jnp.array(penalties)), converged(codes, labels, task, 0.1)[0]
    n_known = (~np.isnan(labels)).sum()
    for number in range(2):
        rows = ~np.isnan(labels[:, number])
        known, truth = codes[rows].astype(np.float64), labels[rows, number]
        for place, penalty in enumerate(penalties):
            alpha = penalty * known.var(axis=0).mean() * len(known)
            theirs = Ridge(alpha).fit(known, 2 * truth - 1)
            np.testing.assert_allclose(heads["kernel"][place, :, number], theirs.coef_, rtol=2e-3, atol=2e-4)
            np.testing.assert_allclose(heads["bias"][place, number], theirs.intercept_, rtol=2e-3, atol=2e-3)
        logistic = LogisticRegression(C=1 / (0.1 * n_known), tol=1e-8, max_iter=10_000).fit(
            known - known.mean(0), truth
        )
        np.testing.assert_allclose(head["kernel"][:, number], logistic.coef_[0], atol=3e-3)
    np.testing.assert_array_equal(heads["kernel"][..., 2], 0)
    neighbours = np.asarray(nearest(codes[:5], codes, labels, 9))
    found = voted(neighbours, task, 9)
    np.testing.assert_allclose(found, np.nansum(2 * neighbours - 1, axis=1) / 9, atol=1e-6)


@settings(deadline=None, max_examples=8)
@given(seeds)
def test_read_outs_of_labels_are_one_classifier_each(seed):
    rng = np.random.default_rng(seed)
    codes, task = correlated((60, 4), seed), Task("multilabel", 2)
    labels = (codes @ rng.normal(size=(4, 2)) + rng.normal(size=(60, 2)) > 0).astype(np.float32)
    labels[:2] = [[0, 1], [1, 0]]
    head, norm = converged(codes, labels, task, 0.1)
    assert norm <= 1e-6
    exact = codes.astype(np.float64) - codes.astype(np.float64).mean(0)
    for number in range(2):  # the mean over two labels halves each loss, and so doubles the penalty
        theirs = LogisticRegression(C=1 / (0.2 * len(exact)), tol=1e-8, max_iter=10_000).fit(exact, labels[:, number])
        np.testing.assert_allclose(head["kernel"][:, number], theirs.coef_[0], atol=3e-3)
    found = np.asarray(nearest(codes[:5], codes, labels, 9))
    np.testing.assert_array_equal(voted(found, task, 5) > 0, found[:, :5].mean(1) > 0.5)


# CPU seconds of read-outs of MNIST's pixels, and of 150 random codes: those that operations account for, and all.
MEASURED = {
    ("ridge", 2000, 784): (0.04, 1.78),
    ("ridge", 20000, 784): (0.29, 1.74),
    ("ridge", 2000, 150): (0.32, 0.27),
    ("logistic", 2000, 784): (0.07, 5.33),
    ("logistic", 2000, 150): (0.29, 0.42),
    ("logistic", 20000, 784): (0.64, 17.6),
    ("linear", 2000, 784): (0.07, 9.38),
    ("linear", 2000, 150): (0.32, 1.03),
}


@pytest.mark.parametrize("read_out", MEASURED)
def test_a_read_out_takes_as_long_as_is_estimated_within_a_factor_of_two(read_out):
    (name, n, units), (counted, measured) = read_out, MEASURED[read_out]
    static = Static(Stack((), (units,), head=Dense(10), task=Task("classification", 10)), Rows(n))
    assert 0.5 < (counted + METHODS[name].seconds(static, 5000)) / measured < 2
