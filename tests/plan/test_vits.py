"""timm's state dicts of vision transformers by their names: features are torch's, and what differs is one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches
from pretrain.learn.layers import Dense, encode
from pretrain.plan import imported, of_checkpoint
from tests import vit

IMAGE, SIZES = (8, 12, 3), (12, 4, 3, 2, 6)
FIRST = (Patches(12, 4), Attention(3), Attention(3))
LAST = {"norm": (LayerNorm(), Mean()), "fc_norm": (Mean(), LayerNorm())}


def taken(tensors, layers, path, names=(), image=IMAGE):
    torch.save(tensors, path / "w.pt")
    section = FinetuneConfig(encoder_init="weights", weights=str(path / "w.pt"), weights_names=tuple(names))
    return imported.imported(section, layers, image, image)


def refused(tensors, layers, path, *parts, **arguments):
    with pytest.raises(ConfigError) as error:
        taken(tensors, layers, path, **arguments)
    text = str(error.value)
    assert text.splitlines() == [text] and all(part in text for part in parts), text


@pytest.mark.parametrize("begin", ["", "encoder.model."])
@pytest.mark.parametrize("norm", LAST)
def test_features_are_those_of_torch(norm, begin, tmp_path):
    network, layers = vit.drawn(*SIZES, norm=norm), (*FIRST, *LAST[norm])
    tensors = {f"{begin}{name}": each for name, each in network.state_dict().items()}
    found = taken(tensors, layers, tmp_path)
    images = np.random.default_rng(0).normal(size=(5, *IMAGE)).astype(np.float32)
    with torch.no_grad():
        wanted = network.features(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    params = jax.tree.map(jnp.asarray, found.params["encoder"])
    np.testing.assert_allclose(encode(layers, params, images), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert found.unused == (f"{begin}head.weight", f"{begin}head.bias")
    again = taken(dict(reversed(tensors.items())), layers, tmp_path)
    assert again.digest == found.digest


def test_its_head_is_a_layer_where_it_is_mapped_to_one(tmp_path):
    network = vit.drawn(*SIZES)
    found = taken(network.state_dict(), (*FIRST, *LAST["fc_norm"], Dense(7)), tmp_path, ["layers_5=head"])
    np.testing.assert_array_equal(found.params["encoder"]["layers_5"]["kernel"], network.head.weight.detach().T)
    assert not found.unused


def test_heads_which_no_shape_shows_are_a_doubt(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, (60, *IMAGE)).astype(np.uint8)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "rows.npz", x_train=rows[:40], y_train=labels[:40], x_test=rows[40:], y_test=labels[40:])
    torch.save(vit.drawn(*SIZES).state_dict(), tmp_path / "w.pt")
    experiment = Experiment(
        data=DataConfig(name=str(tmp_path / "rows.npz"), validation=10),
        encoder=EncoderConfig(layers=("12p4", "t3", "t3", "mean", "norm")),
        finetune=FinetuneConfig(encoder_init="weights", weights=str(tmp_path / "w.pt"), labels=20, batch_size=10),
    )
    found = {str(each): each for each in of_checkpoint.findings([experiment], data.load_all(experiment), ())}
    (doubt,) = [each for line, each in found.items() if "does not say its heads; blocks of 3 are given here" in line]
    assert doubt.severity == "doubt" and any("not used: head.weight, head.bias" in line for line in found)


@pytest.mark.parametrize(
    "layers",
    [FIRST, (*FIRST, Attention(3), *LAST["norm"]), (*FIRST, *LAST["norm"]), (Patches(12, 2), *FIRST[1:], Mean())],
)
def test_another_encoder_is_refused_with_the_words_of_the_network(layers, tmp_path):
    words = "is a vision transformer of --encoder.layers 12p4 t… t… mean norm, heads, as t3, in the place of t…"
    refused(vit.drawn(*SIZES).state_dict(), layers, tmp_path, words)


def test_a_class_token_images_of_another_size_and_what_has_no_place_are_refused(tmp_path):
    tensors, layers = vit.drawn(*SIZES).state_dict(), (*FIRST, *LAST["fc_norm"])
    token = {"cls_token": torch.zeros(1, 1, 12)}
    refused(tensors | token, layers, tmp_path, "has a class token, where tokens are averaged; take a model of")
    refused(tensors, layers, tmp_path, "has 6 positions, where examples have 9 patches", image=(12, 12, 3))
    refused(tensors, layers, tmp_path, "is [4, 4, 3, 12] in our layout, wanted [4, 4, 1, 12]", image=(8, 12, 1))
    scales = {"blocks.1.ls1.gamma": torch.ones(12)}
    refused(tensors | scales, layers, tmp_path, "blocks.1.ls1.gamma has no place")
    del tensors["blocks.0.attn.qkv.bias"], tensors["pos_embed"]
    refused(tensors, layers, tmp_path, "layers_0/positions is missing", "layers_1/attn/qkv/bias is missing")
