"""Layers, activations and scaling that an exported network states are those of the encoder that takes its weights."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.config.layers import read_word
from pretrain.learn.layers import Convolution, Dense, MaxPooling, PaddedConvolution
from pretrain.models import folder
from pretrain.plan import imported, stages
from pretrain.plan.described import check_inputs, described, word
from pretrain.plan.layouts import in_torch
from pretrain.plan.modules import build
from pretrain.plan.stages import example_shape
from tests.models.test_folder import COLOUR, COLUMNS, network

WORDS = (300, "32c5s2", "32c5", "4c3p1", "4c3s2p0", "max3", "r64s2", "r64", "resnet18", "64p4", "t4", "norm", "mean")
IMAGE = (9, 8, 3)
LAYERS = (PaddedConvolution(4, 3, 2, 1, "relu"), MaxPooling(2), Dense(5, "relu"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "net"
    folder.save(network(LAYERS, IMAGE, COLOUR), path, "A sentence.")
    return path


def taken(path, layers, names=()):
    section = FinetuneConfig(encoder_init="weights", weights=str(path), weights_names=tuple(names))
    return imported.imported(section, layers, example_shape(layers, IMAGE), IMAGE)


def refused(path, layers, *lines, names=()):
    with pytest.raises(ConfigError) as error:
        taken(path, layers, names)
    found = str(error.value).splitlines()
    assert len(found) == len(lines) and all(part in line for part, line in zip(lines, found, strict=True)), found


@pytest.mark.parametrize("written", WORDS)
def test_a_layer_in_words_is_the_word_that_it_was_built_of(written):
    (layer,) = build(Experiment(encoder=EncoderConfig(layers=(written,)))).layers
    assert read_word(int(made) if (made := word(described(layer))).isdigit() else made) == read_word(written)


def test_the_layers_that_are_stated_are_taken(exported):
    found = taken(exported, LAYERS)
    assert found.scaling == "standardise" and not found.unused


def test_another_activation_is_named_with_the_one_that_is_stated(exported):
    elu = (PaddedConvolution(4, 3, 2, 1, "elu"), MaxPooling(2), Dense(5, "elu"))
    name = str(exported)
    refused(exported, elu, f"encoder.activation: 'elu elu' differs from {name!r}, whose layer 0 has relu in the place")
    refused(exported, (*LAYERS[:2], Dense(5, "tanh")), "whose layer 2 has relu in the place of tanh; set it to relu")


def test_another_padding_of_the_same_shapes_is_named(exported):
    same = (Convolution(4, 3, 2, "relu"), MaxPooling(2), Dense(5, "relu"))
    refused(exported, same, "encoder.layers: '4c3s2 max2 5' differs from")
    assert np.isfinite(taken(exported, LAYERS).params["encoder"]["layers_0"]["kernel"]).all()


def test_layers_are_compared_by_the_names_that_are_mapped(tmp_path):
    path = tmp_path / "net"
    folder.save(network((Dense(5, "elu"), Dense(5, "relu")), (7,), COLUMNS), path, "A sentence.")
    section = FinetuneConfig(
        encoder_init="weights", weights=str(path), weights_names=("layers_0=layers_1", "=layers_0")
    )
    assert imported.imported(section, (Dense(5, "relu"),), (5,), (5,)).params
    with pytest.raises(ConfigError, match="layer 0 has relu in the place of elu"):
        imported.imported(section, (Dense(5, "elu"),), (5,), (5,))


def test_pooling_that_no_array_shows_is_missed_and_not_added(exported, tmp_path):
    folder.save(network(LAYERS[:2], IMAGE, COLOUR), tmp_path / "pooled", "A sentence.")
    refused(tmp_path / "pooled", LAYERS[:1], "encoder.layers: '4c3s2p1' lacks max2, layer 1 of")
    assert taken(exported, LAYERS[:1], ["=layers_2"]).params  # as somebody asks for it
    path = tmp_path / "net"
    layers = (Convolution(4, 3, 1, "relu"), MaxPooling(2), Convolution(4, 3, 1, "relu"))
    folder.save(network(layers, IMAGE, COLOUR), path, "A sentence.")
    without = (layers[0], layers[2])
    refused(path, without, "encoder.layers: '4c3 4c3' lacks max2, layer 1 of", names=["layers_1=layers_2"])
    assert taken(path, layers[:1], ["=layers_2"]).params
    refused(path, (*layers, MaxPooling(2)), "encoder.layers: 'max2' is layer 3 here, and none of")


def test_other_columns_and_another_unit_are_named(tmp_path):
    table = network((Dense(5, "relu"),), (7,), COLUMNS)
    folder.save(table, tmp_path / "net", "A sentence.")
    section = FinetuneConfig(encoder_init="weights", weights=str(tmp_path / "net"))
    found = imported.imported(section, (Dense(5, "relu"),), (7,), (7,))
    assert found.columns == table.members[0].inputs.scaling.columns
    names = ("b", "a")
    np.savez(tmp_path / "rows.npz", X=np.random.default_rng(0).normal(size=(90, 7)) * 9, y=np.arange(90) % 3)
    dataset = data.load(DataConfig(name=str(tmp_path / "rows.npz"), validation=20, scaling="none"))
    scaling = dataset.scaling._replace(columns=("a", "b"))
    with pytest.raises(
        ConfigError, match=r"finetune.weights: 'net' reads b where the data have a; give columns in its"
    ):
        check_inputs("net", "standardise", names, dataset._replace(scaling=scaling))
    with pytest.raises(ConfigError, match=r"data.scaling: 'none' differs from 'net', which reads inputs by unit"):
        check_inputs("net", "unit", (), dataset)
    check_inputs("net", "unit", (), dataset._replace(interval=(0.0, 1.0)))


def test_another_scale_of_inputs_is_named(exported, tmp_path):
    rows = np.random.default_rng(0).normal(size=(90, *IMAGE)).cumsum(axis=1).cumsum(axis=2)
    labels = np.arange(90) % 3
    np.savez(tmp_path / "rows.npz", x_train=rows[:60], y_train=labels[:60], x_test=rows[60:], y_test=labels[60:])
    own = Experiment(
        data=DataConfig(name=str(tmp_path / "rows.npz"), validation=20, inputs="images"),
        encoder=EncoderConfig(layers=("4c3s2p1", "max2", 5), activation="relu"),
        finetune=FinetuneConfig(encoder_init="weights", weights=str(exported), labels=20, batch_size=10),
    )
    assert stages.pretraining(own.points[0].settings, data.load_all(own))
    other = dataclasses.replace(own, data=dataclasses.replace(own.data, scaling="none"))
    with pytest.raises(ConfigError, match=r"data.scaling: 'none' differs from .* which reads inputs by standardise"):
        stages.pretraining(other.points[0].settings, data.load_all(other))


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"format": "pretrain-model/1"}', '{"format": "pretrain-model/1", "layers": [1]}']
)
def test_a_damaged_statement_is_one_line(content, exported, tmp_path):
    path = tmp_path / "net"
    shutil.copytree(exported, path)
    (path / "config.json").write_text(content)
    if content == "[]":  # of somebody else
        assert taken(path, LAYERS).scaling is None
    else:
        refused(path, LAYERS, "finetune.weights")
    stated = json.loads((exported / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(stated | {"format": "another"}))
    assert taken(path, LAYERS).scaling is None


@pytest.mark.parametrize(
    ("field", "value"), [("activation", ["relu"]), ("features", None), ("kind", {}), ("stride", 3)]
)
def test_a_statement_of_anything_is_one_line(field, value, exported, tmp_path):
    path = tmp_path / "net"
    shutil.copytree(exported, path)
    stated = json.loads((exported / "config.json").read_text())
    stated["layers"][0][field] = value
    (path / "config.json").write_text(json.dumps(stated))
    refused(path, LAYERS, "whose layer 0 has")


def test_running_averages_are_taken_and_another_normalisation_is_named(tmp_path):
    layers = (PaddedConvolution(4, 3, 2, 1, "relu", norm="batch"), Dense(5, "relu", "layer"))
    model = network(layers, IMAGE, COLOUR)
    folder.save(model, tmp_path / "net", "A sentence.")
    found, given = (
        each["encoder"]["layers_0"]["batch_stats"]["norm"]
        for each in (taken(tmp_path / "net", layers).params, model.members[0].params)
    )
    for name in ("mean", "var"):
        np.testing.assert_array_equal(found[name], given[name])
    plain = (PaddedConvolution(4, 3, 2, 1, "relu"), layers[1])
    refused(tmp_path / "net", plain, "encoder.norm: 'none layer' differs from")
    assert [in_torch(f"layers_0/{path}") for path in ("batch_stats/norm/var", "norm/scale", "norm/bias")] == [
        "layers_0/norm/running_var",
        "layers_0/norm/weight",
        "layers_0/norm/bias",
    ]
