"""What controls keep of a layer, what they lose, and what decides them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pretrain.learn import controls
from pretrain.learn.randomness import Purpose, key_for
from pretrain.learn.start import encoder
from tests.learn.conftest import begun

DRAWS = 300
control = jax.jit(controls.control, static_argnums=2)


def layer(shape=(24, 16), rank=3, seed=0):
    """A layer of few directions, whose weights are neither normal nor of mean 0."""
    rng = np.random.default_rng(seed)
    kernel = rng.exponential(1, (shape[0], rank)) @ rng.normal(0.3, 1, (rank, shape[1]))
    return {"kernel": kernel.astype(np.float32), "bias": rng.exponential(1, shape[1]).astype(np.float32)}


@pytest.fixture(scope="module")
def draws():
    """Many controls of each kind of one layer."""
    keys, given_ = jax.random.split(jax.random.key(0), DRAWS), layer()
    # One by one: side by side, the factorizations of jaxlib 0.10 may wait for each other in its thread pool for ever.
    many = jax.jit(lambda kind: jax.lax.map(lambda key: controls.control(given_, key, kind), keys), static_argnums=0)
    return {kind: jax.tree.map(np.asarray, many(kind)) for kind in controls.KINDS}


def spectrum(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64), compute_uv=False)


@pytest.mark.parametrize("leaf", ["kernel", "bias"])
def test_matched_weights_have_the_mean_and_deviation_and_are_normal(leaf, draws):
    given_, drawn = layer()[leaf].astype(np.float64), draws["matched"][leaf].reshape(DRAWS, -1)
    mean, deviation = given_.mean(), given_.std()
    allowed = 5 * deviation / np.sqrt(drawn.size)
    assert abs(drawn.mean() - mean) < allowed and abs(drawn.std() - deviation) < allowed
    assert stats.kstest((drawn.ravel() - mean) / deviation, "norm").pvalue > 1e-3
    # The shape of their distribution is lost, and so is what stood where.
    assert abs(stats.skew(drawn, axis=None)) < 0.1 < abs(stats.skew(given_, axis=None))
    direction = (given_.ravel() - mean) / np.linalg.norm(given_ - mean)
    assert abs((drawn.mean(0) - mean) @ direction) < 5 * deviation / np.sqrt(DRAWS)


@settings(deadline=None, max_examples=6)
@given(st.sampled_from([(5, 3), (3, 5), (1, 4)]), st.integers(0, 2**31), st.integers(0, 2**31))
def test_permuted_weights_are_the_same_ones_elsewhere(shape, seed, key):
    given_ = layer(shape, 1, seed)
    found = control(given_, jax.random.key(key), "permuted")
    for name, leaf in given_.items():
        assert found[name].shape == leaf.shape
        np.testing.assert_array_equal(np.sort(found[name], axis=None), np.sort(leaf, axis=None))


def test_permuted_weights_may_be_anywhere(draws):
    for name, leaf in layer().items():
        places = draws["permuted"][name].reshape(DRAWS, -1)
        # Every weight's share of draws in every place is the same, but for chance.
        counts = [np.count_nonzero(places == weight, axis=0) for weight in leaf.ravel()[:8]]
        assert all(stats.chisquare(count).pvalue > 1e-4 for count in counts)


@settings(deadline=None, max_examples=6)
@given(st.sampled_from([(5, 3), (3, 5), (4, 4), (1, 4)]), st.integers(0, 2**31), st.integers(0, 2**31))
def test_rotated_layers_have_the_same_singular_values_and_biases(shape, seed, key):
    given_ = layer(shape, 2, seed)
    found = control(given_, jax.random.key(key), "rotated")
    values = spectrum(given_["kernel"])
    np.testing.assert_allclose(spectrum(found["kernel"]), values, atol=1e-5 * values[0])
    np.testing.assert_array_equal(found["bias"], given_["bias"])


def test_rotated_layers_have_singular_vectors_that_point_anywhere(draws):
    left, _, right = np.linalg.svd(draws["rotated"]["kernel"].astype(np.float64), full_matrices=False)
    for vectors, size in ((left[:, :, 0], 24), (right[:, 0], 16)):
        # The square of a coordinate of an even direction follows a beta distribution.
        for coordinate in (0, 7):
            squares = vectors[:, coordinate] ** 2
            assert stats.kstest(squares, stats.beta(0.5, (size - 1) / 2).cdf).pvalue > 1e-3
    # Left and right ones are drawn apart: products of their coordinates have no preferred sign.
    signs = np.sign(left[:, 0, 0] * right[:, 0, 0])
    assert abs(signs.mean()) < 5 / np.sqrt(DRAWS)


def test_the_size_is_kept_on_average_or_exactly_and_the_spectrum_by_rotation_alone(draws):
    given_ = layer()["kernel"].astype(np.float64)
    sizes = {kind: np.linalg.norm(draws[kind]["kernel"], axis=(1, 2)) / np.linalg.norm(given_) for kind in draws}
    distances = {
        kind: np.mean([np.linalg.norm(spectrum(kernel) - spectrum(given_)) for kernel in draws[kind]["kernel"][:20]])
        for kind in draws
    }
    assert sizes["matched"].std() > 0.01 and abs(sizes["matched"].mean() - 1) < 0.02
    np.testing.assert_allclose(sizes["permuted"], 1, rtol=1e-5)
    np.testing.assert_allclose(sizes["rotated"], 1, rtol=1e-5)
    assert min(distances["matched"], distances["permuted"]) > 0.3 * np.linalg.norm(given_)
    assert distances["rotated"] < 1e-4 * np.linalg.norm(given_)
    # What is rotated are not the same weights any more.
    assert not np.allclose(np.sort(draws["rotated"]["kernel"][0], axis=None), np.sort(given_, axis=None), atol=0.1)


def test_there_is_no_other_start(finetune, pretrained, images):
    stage, config = finetune()
    choices = stage.static.choices._replace(encoder_init="mirrored")
    stage = replace(stage, static=stage.static._replace(choices=choices))
    with pytest.raises(ValueError, match="'mirrored'; the controls are matched, permuted, rotated"):
        begun((stage, config), images, parent=pretrained((9, 5)))


@pytest.mark.parametrize("kind", controls.KINDS)
def test_a_trial_starts_from_controls_that_its_seed_and_the_layer_decide(kind, finetune, pretrained, images):
    stage, parent = finetune(encoder_init=kind), pretrained((9, 5))
    static = stage[0].static
    starts = [encoder(static.stack, static.choices, seed, parent) for seed in (4, 4, 5)]
    for number, (name, given_) in enumerate(parent["encoder"].items()):
        expected = controls.control(given_, key_for(4, Purpose.CONTROL, number), kind)
        for leaf in ("kernel", "bias"):
            found = [start[name][leaf] for start in starts]
            np.testing.assert_array_equal(found[0], expected[leaf])
            np.testing.assert_array_equal(found[0], found[1])
            is_kept = kind == "rotated" and leaf == "bias"
            assert np.array_equal(found[0], found[2]) == is_kept
            assert np.array_equal(found[0], given_[leaf]) == is_kept
    # All else of a trial is as without it.
    controlled, plain = (begun(each, images, 4, parent).state.params for each in (stage, finetune()))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)  # a whole program is rounded otherwise
    jax.tree.map(close, controlled["encoder"], starts[0])
    np.testing.assert_array_equal(controlled["head"]["kernel"], plain["head"]["kernel"])


def test_layers_of_a_kind_are_drawn_apart():
    same = jnp.ones((4, 4)) * jnp.arange(4)[None]
    first, second = (
        control({"kernel": same, "bias": same[0]}, key_for(0, Purpose.CONTROL, number), "matched") for number in (0, 1)
    )
    assert not np.array_equal(first["kernel"], second["kernel"])


# Layers of other shapes, whose properties are kept leaf by leaf.


def nested(seed=0):
    """A layer with a convolution's kernel, and layers of its own."""
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return rng.exponential(1, shape).astype(np.float32) - np.float32(0.3)

    norm = {"scale": weights(4), "bias": weights(4)}
    return {
        "kernel": weights(3, 3, 2, 4),
        "lower": {"kernel": weights(1, 1, 4, 5), "bias": weights(5)},
        "norm": norm,
        "deeper": {"twice": {"kernel": weights(6, 4), "bias": weights(4)}},
    }


def by_path(tree):
    return traverse_util.flatten_dict(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree), sep="/")


def matrix(kernel):
    return kernel.reshape(-1, kernel.shape[-1])


@pytest.mark.parametrize("kind", controls.KINDS)
def test_controls_keep_their_property_of_every_leaf_of_any_layer(kind):
    given_ = nested()
    many = jax.jit(lambda keys: jax.lax.map(lambda key: controls.control(given_, key, kind), keys))
    draws, leaves = by_path(many(jax.random.split(jax.random.key(1), DRAWS))), by_path(given_)
    assert draws.keys() == leaves.keys()
    for path, leaf in leaves.items():
        drawn = draws[path]
        assert drawn.shape == (DRAWS, *leaf.shape)
        if kind == "permuted":
            np.testing.assert_array_equal(np.sort(drawn.reshape(DRAWS, -1)), [np.sort(leaf, axis=None)] * DRAWS)
        elif kind == "matched":
            allowed = 5 * leaf.std() / np.sqrt(drawn.size)
            assert abs(drawn.mean() - leaf.mean()) < allowed and abs(drawn.std() - leaf.std()) < allowed
            assert stats.kstest((drawn.ravel() - leaf.mean()) / leaf.std(), "norm").pvalue > 1e-4
        elif path.endswith("kernel"):
            values = spectrum(matrix(leaf))
            for kernel in drawn[:20]:
                np.testing.assert_allclose(spectrum(matrix(kernel)), values, atol=1e-5 * values[0])
        else:
            np.testing.assert_array_equal(drawn, np.broadcast_to(leaf, drawn.shape))
        # From draw to draw, all that is not kept as it is differs.
        is_kept = kind == "rotated" and not path.endswith("kernel")
        assert np.array_equal(drawn[0], drawn[1]) == is_kept


@pytest.mark.parametrize("kind", controls.KINDS)
def test_leaves_of_a_control_are_drawn_apart(kind):
    rng = np.random.default_rng(0)
    kernel, row = rng.normal(size=(6, 6)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    own = {"kernel": kernel, "bias": row, "scale": row}
    found = by_path(control({**own, "lower": own, "upper": own}, jax.random.key(2), kind))
    kernels = [leaf for path, leaf in found.items() if path.endswith("kernel")]
    rows = [leaf for path, leaf in found.items() if not path.endswith("kernel")]
    assert len(kernels) == 3 and len(rows) == 6
    for alike in (kernels, *([] if kind == "rotated" else [rows])):
        assert len({leaf.tobytes() for leaf in alike}) == len(alike)
