"""Products of rounded operands have float32 sums, in their gradients too; the default is the product as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.learn.attention import Attention, Linear, Patches
from pretrain.learn.convolution import convolve, native
from pretrain.learn.layers import Convolution, Dense, fresh
from pretrain.learn.products import in_precision, product
from pretrain.learn.stack import DenseDecoder

RNG = np.random.default_rng(0)
LEFT, RIGHT, SLOPES, BATCHED = (
    jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((3, 5, 40), (40, 7), (3, 5, 7), (3, 40, 7))
)


def rounded(values):
    return np.asarray(jnp.asarray(values).astype(jnp.bfloat16), np.float64)


def close(made, wanted):
    np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("right", [RIGHT, BATCHED], ids=["matrix", "batched"])
def test_operands_are_rounded_and_sums_are_not(right):
    with in_precision("bfloat16"):
        made, back = jax.vjp(product, LEFT, right)
        of_left, of_right = back(SLOPES)
    assert {each.dtype for each in (made, of_left, of_right)} == {jnp.dtype("float32")}
    close(made, rounded(LEFT) @ rounded(right))
    close(of_left, rounded(SLOPES) @ np.swapaxes(rounded(right), -1, -2))
    by_row = np.swapaxes(rounded(LEFT), -1, -2) @ rounded(SLOPES)
    close(of_right, by_row if right.ndim == 3 else by_row.sum(axis=0))
    assert np.abs(made - LEFT @ right).max() > 1e-3


def test_the_default_is_the_product_and_tf32_asks_the_hardware():
    plain = str(jax.make_jaxpr(lambda left, right: left @ right)(LEFT, RIGHT))
    assert str(jax.make_jaxpr(product)(LEFT, RIGHT)) == plain and "precision" not in plain
    with in_precision("tf32"):
        slopes = jax.grad(lambda left: product(left, RIGHT).sum())
        assert "HIGH" in str(jax.make_jaxpr(product)(LEFT, RIGHT)) and str(jax.make_jaxpr(slopes)(LEFT)).count("HIGH")
        np.testing.assert_array_equal(product(LEFT, RIGHT), LEFT @ RIGHT)  # a CPU has no others
    assert str(jax.make_jaxpr(product)(LEFT, RIGHT)) == plain


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_round_alike_by_slices_and_by_xla(stride):
    images, kernel = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((2, 7, 6, 3), (3, 3, 3, 5)))
    slopes = jnp.asarray(RNG.normal(size=(2, -(-7 // stride), -(-6 // stride), 5)), jnp.float32)
    found = []
    with in_precision("bfloat16"):
        for of in (convolve, native):
            made, back = jax.vjp(lambda images, kernel, of=of: of(images, kernel, stride), images, kernel)
            found.append((made, *back(slopes.astype(jnp.bfloat16).astype(jnp.float32))))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=2e-2)  # of native ones what comes back is rounded


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Dense(7, "elu"), (40,)),
        (DenseDecoder((6, 4)), (7,)),
        (Convolution(4, 3, 2), (6, 6, 3)),
        (Patches(8, 2), (6, 6, 3)),
        (Attention(2), (5, 8)),
        (Linear(3), (5, 8)),
    ],
)
def test_every_layer_rounds_a_little_and_keeps_its_parameters(layer, shape):
    params, inputs = fresh(layer, shape, jax.random.key(0)), jnp.asarray(RNG.normal(size=(4, *shape)), jnp.float32)
    loss = lambda params: jnp.square(layer.apply({"params": params}, inputs)).mean()
    exact, slopes = jax.value_and_grad(loss)(params)
    with in_precision("bfloat16"):
        near, rough = jax.value_and_grad(loss)(params)
    assert 0 < abs(near - exact) < 2e-2 * exact
    for one, other in zip(jax.tree.leaves(slopes), jax.tree.leaves(rough), strict=True):
        assert one.dtype == other.dtype == jnp.float32
        np.testing.assert_allclose(other, one, rtol=0, atol=0.03 * max(1, float(jnp.abs(one).max())))
