"""Transfer and freezing account for every leaf, or fail."""

import jax
import jax.numpy as jnp
import pytest

from pretrain.config import AutoencoderConfig
from pretrain.learn.stack import Stack, stack_shapes
from pretrain.learn.transfer import TransferError, copied, merged, partition
from tests.learn.conftest import companions, dense

LAYERS = dense((6, 4), "elu")
SHAPES = stack_shapes(Stack(LAYERS, (9,), companions(AutoencoderConfig(), LAYERS, (9,))))


def stack():
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), SHAPES)


def test_copied_returns_the_source_where_everything_fits():
    source = stack()
    assert copied(SHAPES, source) is source


def test_copied_lists_every_leaf_that_does_not_fit():
    source = stack()
    del source["encoder"]["layers_0"]["bias"]
    source["encoder"]["layers_1"]["kernel"] = jnp.zeros((6, 5))
    source["decoder"]["layers_0"]["bias"] = jnp.zeros(9, jnp.int32)
    source["decoder"]["layers_7"] = {"bias": jnp.zeros(3)}
    with pytest.raises(TransferError) as error:
        copied(SHAPES, source)
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


def test_partition_takes_a_single_leaf_and_leaves_its_neighbours():
    params = {"decoder": {"layers_0": {"bias": jnp.zeros(1), "variance": jnp.ones(())}}}
    trainable, frozen = partition(params, frozenset({"decoder/layers_0/bias"}))
    assert set(trainable["decoder"]["layers_0"]) == {"bias"} and set(frozen["decoder"]["layers_0"]) == {"variance"}


def test_training_what_is_not_there_fails():
    with pytest.raises(TransferError, match="encoder/layers_5"):
        partition(stack(), frozenset({"encoder/layers_5", "encoder/layers_0"}))


def test_merging_a_leaf_twice_fails():
    with pytest.raises(TransferError, match="encoder/layers_0/bias"):
        merged(stack(), {"encoder": {"layers_0": {"bias": jnp.zeros(6)}}})
