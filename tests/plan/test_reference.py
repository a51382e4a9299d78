"""Codes of a PyTorch encoder's own code are ours, or the first layer whose codes differ is named."""

import dataclasses

import numpy as np
import pytest
import torch

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.plan import stages

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (90, 8, 8)).astype(np.uint8)


@pytest.fixture
def trial(tmp_path):
    """Settings of an encoder of a torch module, with the codes that the module makes of rows by its own code."""
    labels = RNG.integers(0, 3, 90)
    arrays = {"x_train": IMAGES[:60], "y_train": labels[:60], "x_test": IMAGES[60:], "y_test": labels[60:]}
    np.savez(tmp_path / "data.npz", **arrays)

    def make(padding=1, stride=1, activation="relu", divisor=255.0, keep=None, word="4c3"):
        torch.manual_seed(0)
        convolution = torch.nn.Conv2d(1, 4, 3, stride=stride, padding=padding)
        inputs = torch.from_numpy(IMAGES[:20, None].astype(np.float32) / divisor)
        below = torch.nn.functional.relu(convolution(inputs))
        top = torch.nn.Linear(below[0].numel(), 5)
        codes = {"codes_0": below, "codes": torch.nn.functional.relu(top(below.flatten(1)))}
        tensors = {f"conv.{name}": each for name, each in convolution.state_dict().items()}
        torch.save(tensors | {f"fc.{name}": each for name, each in top.state_dict().items()}, tmp_path / "m.pt")
        kept = {name: each.detach().numpy() for name, each in codes.items() if name in (keep or codes)}
        np.savez(tmp_path / "codes.npz", x=IMAGES[:20], **kept)
        finetune = FinetuneConfig(
            encoder_init="weights",
            labels=20,
            batch_size=10,
            weights=str(tmp_path / "m.pt"),
            weights_names=("layers_0=conv", "layers_1=fc"),
            reference=str(tmp_path / "codes.npz"),
        )
        return Experiment(
            data=DataConfig(name=str(tmp_path / "data.npz"), validation=20),
            encoder=EncoderConfig(layers=(word, 5), activation=activation),
            finetune=finetune,
        )

    return make


def staged(experiment):
    (point,) = experiment.points
    return stages.pretraining(point.settings, data.load_all(experiment))


def refused(experiment, *parts):
    with pytest.raises(ConfigError) as error:
        staged(experiment)
    text = str(error.value)
    assert text.splitlines() == [text] and all(part in text for part in ("finetune.reference", *parts)), text


def test_codes_that_are_ours_are_taken_and_name_nothing(trial):
    experiment = trial()
    (spec,) = staged(experiment)
    without = dataclasses.replace(experiment, finetune=dataclasses.replace(experiment.finetune, reference=""))
    assert staged(without)[0].content == spec.content


def test_symmetric_padding_is_a_word_of_its_own(trial):
    assert len(staged(trial(stride=2, word="4c3s2p1"))) == 1


def test_the_first_layer_with_other_codes_is_named(trial):
    # Symmetric padding at stride 2 has the shapes of ours.
    refused(trial(stride=2, word="4c3s2"), "other codes of layer 0", "padding, activation")
    refused(trial(stride=2, word="4c3s2", keep=("codes",)), "other codes of layer 1")
    refused(trial(activation="elu"), "other codes of layer 0")
    refused(trial(divisor=1.0), "other codes of layer 0", "data.scaling")


def test_a_reference_that_is_none_is_one_line(trial, tmp_path):
    experiment = trial()
    path = tmp_path / "codes.npz"
    for arrays, words in (
        ({"x": IMAGES[:20]}, "holds x; give x, codes"),
        ({"codes": np.ones((20, 5), "f")}, "holds codes"),
        ({"x": IMAGES[:20, :4], "codes": np.ones((20, 5), "f")}, "20 × 4 × 8"),
        ({"x": IMAGES[:20], "codes": np.ones((20, 4), "f")}, "codes of layer 1 of float32[20, 4], where ours are"),
        ({"x": IMAGES[:20], "codes": np.full((20, 5), np.nan, "f")}, "other codes of layer 1"),
        ({"x": IMAGES[:20], "codes_7": np.ones((20, 5), "f")}, "holds codes_7, x"),
    ):
        np.savez(path, **arrays)
        refused(experiment, words)
    path.write_bytes(b"PK\x03\x04")
    refused(experiment, "cannot be read")
    path.unlink()
    refused(experiment, "cannot be read")
