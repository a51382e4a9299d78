"""ResNet-18 from the start: sizes of features, images in blocks, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pretrain.learn import convolution
from pretrain.learn.layers import LayerError, activation_of, apply, fresh, shapes_of
from pretrain.learn.residual_network import ResNet18
from pretrain.learn.stack import mirror
from tests import resnet18

IMAGE = (20, 17, 2)


@pytest.fixture(scope="module")
def params():
    return fresh(ResNet18(), IMAGE, jax.random.key(0))


def test_parameters_are_those_of_torchvision_without_normalisation(params):
    flat = traverse_util.flatten_dict(params, sep=".")
    theirs = {
        name.replace("weight", "kernel"): each
        for name, each in resnet18.ResNet18(2).state_dict().items()
        if each.ndim == 4
    }
    assert {name for name in flat if name.endswith("kernel")} == theirs.keys() and len(flat) == 2 * len(theirs) == 40
    for name, each in theirs.items():
        assert flat[name].shape == tuple(each.permute(2, 3, 1, 0).shape)
        variance = 2 / np.prod(flat[name].shape[:-1]) / (8 if "conv2" in name else 1)
        assert np.var(flat[name]) == pytest.approx(variance, rel=0.1)
        assert np.abs(flat[name]).max() < 2.3 * variance**0.5
        assert not flat[name.replace("kernel", "bias")].any()


@pytest.mark.slow
def test_features_keep_the_size_of_images(params):
    features = apply(ResNet18(), params, jax.random.normal(jax.random.key(1), (40, *IMAGE)))
    assert features.shape == (40, 512) and shapes_of((ResNet18(),), IMAGE)[0].outputs == (512,)
    assert features.min() >= 0 and activation_of(ResNet18()) == "relu"
    assert 0.2 < float(jnp.sqrt(jnp.mean(jnp.square(features)))) < 5


@pytest.mark.slow
def test_images_beyond_a_block_go_through_in_blocks(params):
    images = jax.random.normal(jax.random.key(2), (130, 6, 5, 2))
    apart = [apply(ResNet18(), params, images[at : at + 65]) for at in (0, 65)]
    np.testing.assert_allclose(apply(ResNet18(), params, images), np.concatenate(apart), atol=1e-4)


@pytest.mark.parametrize("shape", [(7, 1, 2), (4, 5, 6, 2), (9,)])
def test_series_volumes_and_columns_are_refused(shape):
    with pytest.raises(LayerError, match=r"resnet18 reads images \[H, W, C\]"):
        shapes_of((ResNet18(),), shape)


def test_it_has_no_decoder():
    with pytest.raises(LayerError, match="leave no image; take weights from a file"):
        mirror(ResNet18(), (9, 8, 3))


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_the_largest_under_overlapping_windows_is_that_of_torch(size):
    import torch

    images = np.random.default_rng(0).normal(size=(3, size, 6, 2)).astype(np.float32) - 5
    wanted = torch.nn.functional.max_pool2d(torch.from_numpy(images).permute(0, 3, 1, 2), 3, 2, 1)
    made = convolution.largest(jnp.asarray(images), 3, 2, 1)
    np.testing.assert_array_equal(made, wanted.permute(0, 2, 3, 1))
