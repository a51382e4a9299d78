"""Transfer and freezing account for every leaf, or fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.learn.transfer import TransferError, copied, fresh_layer, merged, partition, stack_shapes

SIZES = (9, 6, 4)


def stack():
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), stack_shapes(SIZES))


def test_copied_returns_the_source_where_everything_fits():
    source = stack()
    assert copied(stack_shapes(SIZES), source) is source


def test_copied_lists_every_leaf_that_does_not_fit():
    source = stack()
    del source["encoder"]["layers_0"]["bias"]
    source["encoder"]["layers_1"]["kernel"] = jnp.zeros((6, 5))
    source["decoder"]["layers_0"]["bias"] = jnp.zeros(9, jnp.int32)
    source["decoder"]["layers_7"] = {"bias": jnp.zeros(3)}
    with pytest.raises(TransferError) as error:
        copied(stack_shapes(SIZES), source)
    for leaf in ("encoder/layers_0/bias is missing", "encoder/layers_1/kernel", "int32[9]", "decoder/layers_7/bias"):
        assert leaf in str(error.value)


def test_partition_and_merged_are_inverse_and_total():
    params = stack()
    trainable, frozen = partition(params, frozenset({"encoder/layers_1", "decoder/layers_1"}))
    assert set(trainable["encoder"]) == {"layers_1"} and set(frozen["encoder"]) == {"layers_0"}
    assert jax.tree.structure(merged(trainable, frozen)) == jax.tree.structure(params)


def test_partition_takes_whole_path_parts():
    # layers_1 must not take layers_10 along.
    params = {"encoder": {"layers_1": {"bias": jnp.zeros(1)}, "layers_10": {"bias": jnp.zeros(1)}}}
    trainable, frozen = partition(params, frozenset({"encoder/layers_1"}))
    assert set(trainable["encoder"]) == {"layers_1"} and set(frozen["encoder"]) == {"layers_10"}


def test_training_what_is_not_there_fails():
    with pytest.raises(TransferError, match="encoder/layers_5"):
        partition(stack(), frozenset({"encoder/layers_5", "encoder/layers_0"}))


def test_merging_a_leaf_twice_fails():
    with pytest.raises(TransferError, match="encoder/layers_0/bias"):
        merged(stack(), {"encoder": {"layers_0": {"bias": jnp.zeros(6)}}})


def test_a_fresh_layer_has_he_variance_and_zero_bias():
    params = fresh_layer(400, 500, jax.random.key(0))
    kernel = np.asarray(params["kernel"], np.float64)
    assert kernel.shape == (500, 400)
    assert abs(kernel.mean()) < 5e-4
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 500), rtol=0.01)
    # Truncated at two standard deviations of the normal before truncation.
    np.testing.assert_allclose(np.abs(kernel).max(), 2 * np.sqrt(2 / 500) / 0.87962566, rtol=1e-3)
    np.testing.assert_array_equal(params["bias"], 0)
