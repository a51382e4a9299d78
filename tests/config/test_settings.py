"""What decides a trial: its layers, and its images of pretraining."""

import dataclasses

import pytest

from pretrain.config import (
    AdamConfig,
    AdamWConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    Settings,
    SgdConfig,
)
from pretrain.config.effects import active
from pretrain.config.fields import fields, get
from tests.experiments import refused


def test_a_layer_has_its_own_values_and_shares_the_others():
    per_layer = {"pretrain.epochs": (1, 2), "encoder.activation": ("relu", "tanh"), "finetune.rate_factor": (0.5, 1)}
    settings = Settings(per_layer=per_layer)
    for layer in range(2):
        found = settings.at_layer(layer)
        own = {name: values[layer] for name, values in per_layer.items()}
        assert found.per_layer == {}
        expected = {name: own.get(name, get(settings, name)) for name in fields(settings)}
        assert {name: get(found, name) for name in fields(found)} == {**expected, "per_layer": {}}
    assert Experiment(per_layer=per_layer, seeds=3).at({}) == settings
    plain = Settings()
    assert plain.at_layer(1) == plain


def test_a_layer_of_another_kind_has_the_defaults_of_its_kind_and_those_fields_of_it_that_are_given():
    steps = (1, 5)
    kinds = {"pretrain.optimizer.momentum": (0.5, 0.25), "pretrain.optimizer.kind": ("sgd", "sgd")}
    pretrain = PretrainConfig(method=RbmConfig(gibbs_steps=7), optimizer=AdamConfig(learning_rate=0.5))
    settings = Settings(pretrain=pretrain, per_layer={**kinds, "pretrain.method.gibbs_steps": steps})
    found = [settings.at_layer(layer).pretrain for layer in range(2)]
    assert [each.optimizer for each in found] == [SgdConfig(momentum=0.5), SgdConfig(momentum=0.25)]
    assert [each.method for each in found] == [RbmConfig(gibbs_steps=1), RbmConfig(gibbs_steps=5)]
    # The kind that the settings have keeps its fields.
    mixed = Settings(pretrain=pretrain, per_layer={"pretrain.method.kind": ("pca", "rbm")})
    assert [mixed.at_layer(layer).pretrain.method for layer in range(2)] == [PcaConfig(), RbmConfig(gibbs_steps=7)]


def test_layers_of_a_swept_depth_take_the_values_from_the_images_up():
    def swept(*layers, **per_layer):
        return lambda: Experiment(sweep=({"encoder.layers": layers},), per_layer=per_layer)

    refused(swept((9,), (9, 8), **{"pretrain.epochs": (1, 2)}), "encoder of 1 layer")
    refused(swept((9,), (9, 8, 7), **{"pretrain.epochs": (1,)}), "encoder of 3 layers")


def test_words_are_read_in_order():
    settings = Settings(encoder=EncoderConfig(layers=("32c5s2", "r64", 10)))
    assert [(word.kind, word.features) for word in settings.words] == [
        ("convolution", 32),
        ("residual", 64),
        ("dense", 10),
    ]


def test_an_experiment_is_settings_and_hands_on_those_alone():
    assert isinstance(Experiment(), Settings)
    experiment = Experiment(finetune=FinetuneConfig(labels=100), seeds=3, sweep=({"finetune.l2": (0.5,)},))
    at = experiment.at({"finetune.epochs": 9})
    assert type(at) is Settings and not {"seeds", "sweep", "store"} & set(fields(at))
    assert at == Settings(finetune=FinetuneConfig(labels=100, epochs=9))


def test_images_of_pretraining_are_those_of_fine_tuning_unless_the_encoder_starts_from_others():
    def images(encoder_init, wrong_data="noise"):
        pretrain, finetune = PretrainConfig(wrong_data=wrong_data), FinetuneConfig(encoder_init=encoder_init)
        own = DataConfig(name="own.npz", validation=60, greyscale=True)
        return Experiment(data=own, pretrain=pretrain, finetune=finetune).pretraining_data

    own = images("pretrained")
    assert own == DataConfig(name="own.npz", validation=60, greyscale=True)
    assert images("pca", "other.npz") == images("he") == images("rotated") == own
    assert images("wrong_data") == dataclasses.replace(own, shuffled_pixels=True)
    assert images("wrong_data", "other.npz") == dataclasses.replace(own, name="other.npz")


ADAM = {f"optimizer.{name}" for name in ("kind", "learning_rate", "schedule", "warmup_steps", "beta1", "beta2")}
ADAM |= {"optimizer.epsilon", "optimizer.epsilon_inside"}
SGD = {f"optimizer.{name}" for name in ("kind", "learning_rate", "schedule", "warmup_steps", "momentum")}
TRAINED = {"training", "epochs", "batch_size", "sampling", "l2", "cache_codes", "carry_step_count", "wrong_data"}
TRAINED |= {"updates", "validate_every", "watch", "stop", "encoder_init"}
OF_READOUTS = {"encoder_init", "fresh_layers", "codes", "readout", "frozen_layers", "labels", "label_subset"}
OF_TRAINING = OF_READOUTS | {
    *("head_init", "unfreeze_at", "rate_factor", "epochs", "updates", "batch_size", "sampling", "l2"),
    *("first_logit_change", "cache_codes", "validate_at", "validate_every", "stop", "diagnose_at"),
    *("class_weights", "views", "activation"),
}


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (PretrainConfig(method=PcaConfig()), TRAINED | {"method.kind"} | ADAM),
        (PretrainConfig(method=PcaConfig(), optimizer=SgdConfig()), TRAINED | {"method.kind"} | SGD),
        (
            PretrainConfig(method=RbmConfig(), optimizer=AdamWConfig()),
            TRAINED
            | {f"method.{name}" for name in ("kind", "visible", "gibbs_steps", "persistent")}
            | ADAM
            | {"optimizer.weight_decay"},
        ),
        *(
            (PretrainConfig(training=way, method=PcaConfig()), TRAINED | {"end_to_end_epochs", "method.kind"} | ADAM)
            for way in ("end_to_end", "greedy_then_end_to_end")
        ),
        (
            PretrainConfig(training="end_to_end", method=PcaConfig(), updates=3, stop="validation"),
            (TRAINED | {"method.kind", "patience"} | ADAM) - {"epochs"},
        ),
        (FinetuneConfig(), OF_TRAINING | ADAM),
        (FinetuneConfig(optimizer=SgdConfig()), OF_TRAINING | SGD),
        (FinetuneConfig(updates=3), (OF_TRAINING | ADAM) - {"epochs"}),
        (FinetuneConfig(head_init="ridge"), OF_TRAINING | ADAM | {"ridge_penalty"}),
        (FinetuneConfig(encoder_init="he"), (OF_TRAINING | ADAM) - {"fresh_layers"}),
        (FinetuneConfig(readout="ridge"), OF_READOUTS),
        (FinetuneConfig(readout="knn", head_init="ridge", updates=3), OF_READOUTS),
        (FinetuneConfig(readout="logistic"), OF_READOUTS | {"l2", "class_weights"}),
    ],
)
def test_exactly_these_fields_have_an_effect(config, names):
    assert active(config) == {name: get(config, name) for name in names}
