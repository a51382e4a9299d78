"""What each method has: fields that have an effect beside the others, and what a plan must know of it."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import (
    AutoencoderConfig,
    ContrastiveConfig,
    Experiment,
    FinetuneConfig,
    MaskedConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    RedundancyConfig,
    SupervisedConfig,
    TeacherConfig,
    VarianceConfig,
    VimeConfig,
)
from pretrain.config.effects import active, canonical
from pretrain.config.fields import kind_of
from pretrain.config.methods import LayerFacts, Method, WeightsConfig
from pretrain.config.views import TwoViews, View
from pretrain.learn.methods import METHODS
from tests.experiments import brief, configs_of, refused

OF_VIEWS = (ContrastiveConfig, RedundancyConfig, VarianceConfig, TeacherConfig)
ALL = (AutoencoderConfig, RbmConfig, SupervisedConfig, PcaConfig, *OF_VIEWS, MaskedConfig, VimeConfig)
LAST = [FinetuneConfig(readout=readout) for readout in ("none", "ridge", "logistic", "linear", "knn", "trees")]
PLAIN = {"kind", "loss", "output", "tied", "corruption", "sparsity", "contractive", "variational"}
NOISES = ("masking", "gaussian", "salt_and_pepper", "swap")
NOISE = {"corruption_level", "corruption_schedule"}
TWO_VIEWS = {"kind", "views", "anchor", "projector"}
LEVELS = typing.get_args(View)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (AutoencoderConfig(), PLAIN),
        (AutoencoderConfig(loss="cross_entropy"), PLAIN - {"output"}),
        (AutoencoderConfig(tied=True), PLAIN),
        *((AutoencoderConfig(corruption=noise), PLAIN | NOISE) for noise in NOISES),
        (AutoencoderConfig(sparsity="l1"), PLAIN | {"sparsity_weight"}),
        (AutoencoderConfig(sparsity="kl"), PLAIN | {"sparsity_weight", "sparsity_target"}),
        (AutoencoderConfig(contractive=True), PLAIN | {"contraction_weight"}),
        (AutoencoderConfig(variational=True), PLAIN | {"kl_weight"}),
        (
            AutoencoderConfig(
                loss="cross_entropy", corruption="masking", sparsity="kl", contractive=True, variational=True
            ),
            PLAIN - {"output"} | NOISE | {"sparsity_weight", "sparsity_target", "contraction_weight", "kl_weight"},
        ),
        (RbmConfig(), {"kind", "visible", "gibbs_steps", "persistent"}),
        (RbmConfig(visible="gaussian"), {"kind", "visible", "visible_deviation", "gibbs_steps", "persistent"}),
        (SupervisedConfig(), {"kind", "class_weights"}),
        (PcaConfig(), {"kind"}),
        (RedundancyConfig(), TWO_VIEWS | {"off_diagonal", *LEVELS}),
        (MaskedConfig(), {"kind", "share", "patch"}),
        (VimeConfig(), {"kind", "swap", "reconstruction_weight", "mask_weight"}),
        (ContrastiveConfig(views=("swap",)), TWO_VIEWS | {"negatives", "temperature", "swap"}),
    ],
)
def test_exactly_these_fields_have_an_effect(config, names):
    assert active(config).keys() == names
    assert active(config) == {name: getattr(config, name) for name in names}
    assert canonical(config) == config  # all others are at their defaults


@pytest.mark.parametrize("config", ALL)
@brief
@given(data=st.data())
def test_the_canonical_method_has_the_default_of_every_field_without_effect(config, data):
    method = data.draw(configs_of(config))
    names = active(method).keys()
    assert canonical(method) == config(**{name: getattr(method, name) for name in names})
    assert canonical(canonical(method)) == canonical(method)
    assert active(canonical(method)) == active(method)


def test_every_method_has_a_kind_of_its_own():
    kinds = [kind_of(method) for method in ALL]
    known = {*Method.__subclasses__(), *TwoViews.__subclasses__()}
    of_package = {each for each in known if each.__module__ == WeightsConfig.__module__}
    assert of_package == {*ALL, WeightsConfig}
    assert all(method().kind == kind for method, kind in zip(ALL, kinds, strict=True))
    assert METHODS.keys() == {*kinds, WeightsConfig().kind, *(last.kind for last in LAST)}
    assert len(METHODS) == len((*ALL, WeightsConfig, *LAST))


def test_a_method_describes_what_it_needs_and_leaves_to_a_plan():
    assert {method for method in ALL if not method.makes_updates} == {PcaConfig}
    assert [last.kind for last in LAST if last.makes_updates] == ["finetuning"]
    assert {method for method in ALL if method.reads_labels} == {SupervisedConfig}
    assert {method for method in ALL if not method.is_random} == {PcaConfig}
    assert {method for method in ALL if method.trains_deep} == {AutoencoderConfig, *OF_VIEWS, MaskedConfig, VimeConfig}
    assert {method for method in ALL if method.decodes} == {AutoencoderConfig, RbmConfig, PcaConfig, VimeConfig}


@pytest.mark.parametrize(
    ("config", "is_bounded"),
    [
        (AutoencoderConfig(), False),
        (AutoencoderConfig(output="sigmoid"), True),
        (AutoencoderConfig(loss="cross_entropy"), True),
        (RbmConfig(), True),
        (RbmConfig(visible="gaussian"), False),
        (PcaConfig(), False),
        (SupervisedConfig(), False),
    ],
)
def test_a_method_says_whether_what_it_decodes_lies_between_0_and_1(config, is_bounded):
    assert config.decodes_into_unit_interval is is_bounded


SIGMOID, ELU = LayerFacts("9", True, "sigmoid", "sigmoid"), LayerFacts("9", True, "elu", "elu")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (AutoencoderConfig(loss="cross_entropy"), "loss: 'cross_entropy'"),
        (AutoencoderConfig(sparsity="kl"), "sparsity: 'kl'"),
        (RbmConfig(), "visible: 'bernoulli'"),
        (RbmConfig(visible="gaussian"), "kind: 'rbm'"),
    ],
)
def test_codes_between_0_and_1_are_asked_of_a_layer_whose_activation_is_known(config, field):
    config.check_layer(SIGMOID)
    refused(lambda: config.check_layer(ELU), f"pretrain.method.{field} needs codes between 0 and 1", "not 'elu'")
    config.check_layer(ELU._replace(activation=None, below=None))


@pytest.mark.parametrize("config", [AutoencoderConfig(), SupervisedConfig(), AutoencoderConfig(corruption="gaussian")])
def test_other_methods_train_any_layer(config):
    for facts in (SIGMOID, ELU, LayerFacts("8c3s2", False, "elu", None), LayerFacts("a.py:b", False, None, None)):
        config.check_layer(facts)


@pytest.mark.parametrize("noise", ["masking", "salt_and_pepper", "gaussian"])
def test_a_probability_of_noise_is_at_most_one(noise):
    method = AutoencoderConfig(corruption=noise, corruption_level=1.5)
    if noise == "gaussian":  # a deviation
        Experiment(pretrain=PretrainConfig(method=method))
    else:
        refused(lambda: Experiment(pretrain=PretrainConfig(method=method)), "lower it to 1 or less")
