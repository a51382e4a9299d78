"""torchvision's state dict of ResNet-18 by its names: features are torch's, and every array is accounted for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.fields import ConfigError, replace_all
from pretrain.learn.layers import Dense, apply
from pretrain.learn.residual_network import ResNet18
from pretrain.plan import imported, of_checkpoint, stages
from tests import resnet18
from tests.small_sweep import of_kind

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


def test_features_are_those_of_torch_and_what_is_not_used_is_named(network, images, tmp_path):
    found = taken(saved(network.state_dict(), tmp_path / "w.pt"))
    with torch.no_grad():
        wanted = network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert np.abs(wanted).max() > 1
    features = apply(ResNet18(), jax.tree.map(jnp.asarray, found.params["encoder"]["layers_0"]), jnp.asarray(images))
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
    saved(state | {"bn1.running_var": torch.full((64,), -1e-5, dtype=torch.float64)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "layers_0/conv1/kernel (conv1.weight) is not finite")
    saved(state | {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int64)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "layers_0/conv1/kernel (conv1.weight) is int64", "bn1.running_var has no place")
    saved({"conv1.weight": torch.zeros(64)}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "conv1.weight) is [64] in our layout")
    saved({"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.zeros(())}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", "layers_0/layer4/0/downsample/0/kernel is missing", "bn1.weight has no place")


def test_images_of_one_channel_are_one_line_that_says_what_to_do(network, tmp_path):
    path = saved(network.state_dict(), tmp_path / "w.pt")
    wanted = "its stem reads images of 3 channels; give data with as many, as numpy.repeat(x[..., None], 3, axis=-1)"
    refused(path, wanted, image=(33, 30, 1))


@pytest.fixture
def trial(network, tmp_path):
    """Settings of a point with ResNet-18 on small images in colour, and its datasets."""
    rng = np.random.default_rng(0)
    rows, labels = rng.integers(0, 256, (90, 8, 8, 3)).astype(np.uint8), rng.integers(0, 3, 90)
    np.savez(tmp_path / "rows.npz", x_train=rows[:60], y_train=labels[:60], x_test=rows[60:], y_test=labels[60:])
    path = saved(network.state_dict(), tmp_path / "w.pt")

    def make(init="weights", activation="elu", kind="autoencoder"):
        experiment = Experiment(
            data=DataConfig(name=str(tmp_path / "rows.npz"), validation=20),
            encoder=EncoderConfig(layers=("resnet18", 5), activation=activation),
            pretrain=PretrainConfig(batch_size=10, **of_kind(kind)),
            finetune=FinetuneConfig(
                encoder_init=init,
                labels=20,
                batch_size=10,
                weights=str(path),
                weights_names=("layers_1=fc",) if init == "weights" else (),
            ),
        )
        return experiment.points[0].settings, data.load_all(experiment)

    return make


def test_a_checkpoint_of_another_head_does_not_fit_the_layer_above(trial):
    with pytest.raises(ConfigError, match=r"layers_1/kernel \(fc.weight\) is \[512, 1000\] in our layout"):
        stages.pretraining(*trial())


def test_what_a_checkpoint_holds_beside_features_is_a_note(trial):
    settings, datasets = trial("he")
    alone = replace_all(settings, {"encoder.layers": ("resnet18",), "finetune.encoder_init": "weights"})
    finding, of_rows = of_checkpoint.findings([alone], datasets, None)
    assert of_rows.severity == "doubt"
    assert finding.severity == "note" and len(finding.figures["arrays"]) == 22
    assert str(finding).endswith("holds what is not used: fc.weight, fc.bias, 20 × num_batches_tracked")
    assert not [*of_checkpoint.findings([settings], datasets, None)]
    (spec,) = stages.pretraining(alone, datasets)
    # Its activation is its own.
    (other,) = stages.pretraining(replace_all(alone, {"encoder.activation": "tanh"}), datasets)
    assert spec.content == other.content and spec.stage == other.stage


def test_a_method_that_decodes_is_refused_and_one_that_reads_labels_is_not(trial):
    with pytest.raises(ConfigError) as error:
        stages.pretraining(*trial("pretrained"))
    assert str(error.value).splitlines() == [str(error.value)]
    assert "'ResNet18' cannot be decoded: its pooled features leave no image; take weights from a file" in str(
        error.value
    )
    lowest, _ = stages.pretraining(*trial("pretrained", kind="supervised"))
    assert lowest.stage.name == "pretrain/0" and "encoder/layers_0/layer4" in lowest.stage.static.trained
