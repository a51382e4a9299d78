"""Codes of a PyTorch encoder's own code are ours, or the first layer whose codes differ is named."""

import dataclasses

import numpy as np
import pytest
import torch

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.plan import fitting, stages

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


def findings(experiment, chosen=()):
    return fitting.load(experiment, {"data.validation", "finetune.labels", *chosen}).findings


def test_agreement_is_a_note_and_ends_the_doubt_of_an_activation(trial):
    experiment = trial()
    (note,) = (each for each in findings(experiment) if "codes agree" in each.sentence)
    assert note.severity == "note" and note.sentence.endswith("of the largest over 20 rows")
    assert note.figures["rows"] == 20 and 0 <= note.figures["difference"] < 1e-5
    without = dataclasses.replace(experiment, finetune=dataclasses.replace(experiment.finetune, reference=""))
    for asked, chosen, n_doubts in (
        (experiment, (), 1),
        (without, (), 2),
        (without, ("encoder.activation",), 1),
        (dataclasses.replace(without, finetune=FinetuneConfig(labels=20, batch_size=10)), (), 0),
    ):
        doubts = [str(each) for each in findings(asked, chosen) if "checkpoint" in each.kind]
        assert len(doubts) == n_doubts, doubts
        if n_doubts:
            assert "was trained on are not known" in doubts[-1] and "data.test or --data.group" in doubts[-1]
    (doubt, _) = (each for each in findings(without) if "checkpoint" in each.kind)
    assert doubt.severity == "doubt" and "does not say its activation; relu is the default here" in doubt.sentence
    # Where all fields are chosen, as a run keeps them, so is the activation.
    assert len([each for each in fitting.load(without).findings if "checkpoint" in each.kind]) == 1


@pytest.mark.parametrize("form", ["byte", "float", "flat", "channel first", "channel last"])
def test_rows_of_a_reference_may_be_as_torch_has_them(form, trial, tmp_path):
    experiment = trial()
    x = (IMAGES[:20] / 255).astype("f")
    forms = {"byte": IMAGES[:20], "float": x, "flat": x.reshape(20, -1), "channel first": x[:, None]}
    with np.load(tmp_path / "codes.npz") as kept:
        codes = kept["codes"]
    np.savez(tmp_path / "codes.npz", x={**forms, "channel last": x[..., None]}[form], codes=codes)
    assert len(staged(experiment)) == 1
    np.savez(tmp_path / "codes.npz", x=x * 3, codes=codes)
    refused(experiment, "differs in scale") if form == "float" else None


def test_of_a_table_with_a_checkpoint_the_scaling_of_columns_is_named(tmp_path):
    module = torch.nn.Linear(64, 5)
    torch.save({f"layers_0.{name}": each for name, each in module.state_dict().items()}, tmp_path / "m.pt")
    rows = IMAGES.reshape(90, -1)
    names = [f"p{number}" for number in range(64)]
    lines = [",".join([*names, "y"]), *(",".join([*map(str, row), "abc"[n % 3]]) for n, row in enumerate(rows))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    experiment = Experiment(
        data=DataConfig(name=str(tmp_path / "rows.csv"), target="y", validation=20, test=20),
        encoder=EncoderConfig(layers=(5,), activation="relu"),
        finetune=FinetuneConfig(encoder_init="weights", labels=20, batch_size=10, weights=str(tmp_path / "m.pt")),
    )
    chosen = ("encoder.activation", "data.test")
    (doubt,) = (each for each in findings(experiment, chosen) if "scale of inputs" in each.kind)
    assert "columns are standardised one by one here" in doubt.sentence and ".npz of uint8 images" in doubt.remedy
    assert not [each for each in findings(experiment, (*chosen, "data.scaling")) if "scale of" in each.kind]


def test_symmetric_padding_is_a_word_of_its_own(trial):
    assert len(staged(trial(stride=2, word="4c3s2p1"))) == 1


def test_the_first_layer_with_other_codes_is_named(trial):
    # Symmetric padding at stride 2 has the shapes of ours.
    refused(trial(stride=2, word="4c3s2"), "other codes of layer 0", "padding, activation")
    refused(trial(stride=2, word="4c3s2", keep=("codes",)), "other codes of layer 1")
    refused(trial(activation="elu"), "other codes of layer 0")
    here = "here 4c3 (padded as SAME of TensorFlow), activation relu, inputs by unit"
    refused(trial(divisor=1.0), "other codes of layer 0", "data.scaling", here, "exchanged or kernels transposed")
    refused(trial(stride=2, word="4c3s2", keep=("codes",)), "here 4c3s2 5", "codes_0 to codes_1 in it would name")


def test_a_reference_that_is_none_is_one_line(trial, tmp_path):
    experiment = trial()
    path = tmp_path / "codes.npz"
    for arrays, words in (
        ({"x": IMAGES[:20]}, "holds x; give x, codes"),
        ({"codes": np.ones((20, 5), "f")}, "holds codes"),
        ({"x": IMAGES[:20, :4], "codes": np.ones((20, 5), "f")}, "20 × 4 × 8"),
        ({"x": IMAGES[:20], "codes": np.ones((20, 4), "f")}, "codes of layer 1 (5) of float32[20, 4], where ours are"),
        ({"x": IMAGES[:20], "codes": np.full((20, 5), np.nan, "f")}, "other codes of layer 1"),
        ({"x": IMAGES[:20], "codes_7": np.ones((20, 5), "f")}, "holds codes_7, x"),
    ):
        np.savez(path, **arrays)
        refused(experiment, words)
    path.write_bytes(b"PK\x03\x04")
    refused(experiment, "cannot be read")
    path.unlink()
    refused(experiment, "cannot be read")
