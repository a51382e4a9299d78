"""torchvision's state dict of ResNet-18 by its names: features are torch's, and every array is accounted for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch

from pretrain.config import FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.learn.layers import Dense, apply, outside_of_loops
from pretrain.learn.residual_network import ResNet18
from pretrain.plan import imported
from tests import resnet18

IMAGE = (33, 30, 3)
LAYERS = (ResNet18(),)


@pytest.fixture(scope="module")
def network():
    return resnet18.drawn()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(6, *IMAGE)).astype(np.float32)


def taken(path, layers=LAYERS, image=IMAGE, names=()):
    section = FinetuneConfig(encoder_init="weights", weights=str(path), weights_names=tuple(names))
    return imported.imported(section, layers, image, image)


def saved(tensors, path):
    torch.save(tensors, path)
    return path


def refused(path, *parts, **arguments):
    with pytest.raises(ConfigError) as error:
        taken(path, **arguments)
    text = str(error.value)
    assert text.splitlines() == [text] and all(part in text for part in parts), text


@pytest.mark.parametrize("layer", [outside_of_loops(ResNet18()), pytest.param(ResNet18(), marks=pytest.mark.slow)])
def test_features_are_those_of_torch_and_what_is_not_used_is_named(layer, network, images, tmp_path):
    found = taken(saved(network.state_dict(), tmp_path / "w.pt"))
    with torch.no_grad():
        wanted = network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.abs(wanted).max() > 1
    features = apply(layer, jax.tree.map(jnp.asarray, found.params["encoder"]["layers_0"]), jnp.asarray(images))
    np.testing.assert_allclose(features, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert len(found.unused) == 22 and {"fc.weight", "fc.bias", "layer2.0.downsample.1.num_batches_tracked"} < {
        *found.unused
    }


@pytest.mark.slow
def test_slopes_of_images_are_those_of_torch(network, images, tmp_path):
    found = taken(saved(network.state_dict(), tmp_path / "w.pt"))
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_()
    network.features(inputs).square().sum().backward()
    params = jax.tree.map(jnp.asarray, found.params["encoder"]["layers_0"])
    loss = lambda images: jnp.sum(jnp.square(apply(ResNet18(), params, images)))
    wanted = inputs.grad.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(images)), wanted, rtol=0, atol=1e-3 * np.abs(wanted).max())


def test_a_checkpoint_is_named_by_its_values_alone(network, tmp_path):
    state = network.state_dict()
    named = taken(saved(state, tmp_path / "w.pt"))
    safetensors.torch.save_file({name: each.clone() for name, each in state.items()}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="weights_layout"):
        taken(tmp_path / "w.safetensors")
    tensors = {name: each.clone() for name, each in state.items()}
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert taken(tmp_path / "w.safetensors").digest == named.digest
    within = {f"backbone.{name}": each for name, each in state.items() if not name.startswith("fc")}
    saved(within | {"head.weight": torch.zeros(2, 512)}, tmp_path / "within.pt")
    mapped = taken(tmp_path / "within.pt", names=("layers_0=backbone", "=head"))
    assert mapped.digest == named.digest and len(mapped.unused) == 20
    # Statistics are part of what it computes.
    assert taken(saved(state | {"bn1.running_var": state["bn1.running_var"] + 1}, tmp_path / "o.pt")).digest != (
        named.digest
    )
    assert taken(saved(state | {"fc.bias": state["fc.bias"] + 1}, tmp_path / "o.pt")).digest == named.digest


def test_its_head_is_a_layer_where_it_is_mapped_to_one(network, images, tmp_path):
    path = saved(network.state_dict(), tmp_path / "w.pt")
    found = taken(path, layers=(ResNet18(), Dense(1000)), names=("layers_1=fc",))
    assert not {"fc.weight", "fc.bias"} & {*found.unused}
    np.testing.assert_array_equal(found.params["encoder"]["layers_1"]["kernel"], network.fc.weight.detach().T)


def test_every_array_that_does_not_fit_is_named(network, tmp_path):
    state = network.state_dict()
    without = {name: each for name, each in state.items() if name not in ("bn1.running_var", "layer1.0.conv2.weight")}
    refused(
        saved(without | {"more": torch.zeros(3)}, tmp_path / "w.pt"),
        *("bn1.weight has no place", "bn1.running_mean has no place", "layers_0/conv1/bias is missing"),
        *("more has no place", "layers_0/layer1/0/conv2/kernel is missing", "layer1.0.bn2.running_mean has no place"),
    )
    saved(state | {"layer4.1.conv2.weight": torch.zeros(512, 512, 1, 1)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "layers_0/layer4/1/conv2/kernel (layer4.1.conv2.weight) is [1, 1, 512, 512]")
    saved(state | {"bn1.running_var": torch.full((64,), -1.0)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "layers_0/conv1/kernel (conv1.weight) is not finite")
    saved({"conv1.weight": torch.zeros(64)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "conv1.weight) is [64] in our layout")
    saved({"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.zeros(())}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "layers_0/layer4/0/downsample/0/kernel is missing", "bn1.weight has no place")


def test_images_of_one_channel_are_one_line_that_says_what_to_do(network, tmp_path):
    path = saved(network.state_dict(), tmp_path / "w.pt")
    wanted = "its stem reads images of 3 channels; give data with as many, as numpy.repeat(x[..., None], 3, axis=-1)"
    refused(path, wanted, image=(33, 30, 1))
