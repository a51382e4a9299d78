"""Fields by dotted name: of a union only those of the kind that it has, distinguished by what they decide."""

import dataclasses
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import (
    AdamConfig,
    AdamWConfig,
    AutoencoderConfig,
    ContrastiveConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    MaskedConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    RedundancyConfig,
    Settings,
    SgdConfig,
    SupervisedConfig,
    TeacherConfig,
    VarianceConfig,
    VimeConfig,
)
from pretrain.config.fields import fields, get, is_traced, kind_of, replace, replace_all, with_values
from pretrain.config.suggestions import nearest
from pretrain.config.views import View
from tests.experiments import KINDS, LEAVES, OF_FILES, brief, experiments, kind_with, refused, values_of, with_field

OF_VIEWS = (ContrastiveConfig, RedundancyConfig, VarianceConfig, TeacherConfig)
ALL = (AutoencoderConfig, RbmConfig, SupervisedConfig, PcaConfig, *OF_VIEWS, MaskedConfig, VimeConfig)
METHODS = {kind_of(method): method for method in ALL}
RULES = {kind_of(rule): rule for rule in (AdamConfig, AdamWConfig, SgdConfig)}
OPTIMIZER_NUMBERS = {"learning_rate", "momentum", "beta1", "beta2", "epsilon", "weight_decay", "clip_norm"}
TRACED = {"l2", *(f"optimizer.{name}" for name in OPTIMIZER_NUMBERS)}
FINETUNE_TRACED = (
    TRACED | set(typing.get_args(View)) | {"ridge_penalty", "first_logit_change", "unfreeze_at", "rate_factor"}
)
METHOD_NUMBERS = {"corruption_level", "sparsity_weight", "sparsity_target", "contraction_weight"}
METHOD_NUMBERS |= {"kl_weight", "visible_deviation", "temperature", "off_diagonal", "momentum", *typing.get_args(View)}
METHOD_NUMBERS |= {f"{term}_weight" for term in ("invariance", "variance", "covariance", "reconstruction", "mask")}
PRETRAIN_TRACED = TRACED | {f"method.{name}" for name in METHOD_NUMBERS}


def own_names(config):
    return [field.name for field in dataclasses.fields(config)]


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("rule", RULES)
def test_a_config_has_the_fields_of_the_kinds_that_it_holds(kind, rule):
    method, optimizer = METHODS[kind], RULES[rule]
    experiment = Experiment(
        encoder=EncoderConfig(activation="sigmoid"),
        pretrain=PretrainConfig(method=method()),
        finetune=FinetuneConfig(optimizer=optimizer()),
    )
    sections = {"pretrain.method": method, "pretrain.optimizer": AdamConfig, "finetune.optimizer": optimizer}
    found = fields(experiment)
    for section, held in sections.items():
        own = [name for name in found if name.startswith(f"{section}.")]
        assert sorted(own) == sorted(f"{section}.{name}" for name in own_names(held))
        # What the kind may become is named beside what it is.
        assert found[f"{section}.kind"] == LEAVES[f"{section}.kind"]
    assert found.keys() <= {*LEAVES, "sweep", "per_layer", OF_FILES}
    assert all(get(experiment, name) is not None for name in found)


def test_a_config_class_has_the_fields_of_all_kinds_each_once_and_in_order():
    found = list(fields(Experiment))
    assert typing.get_args(fields(Experiment)["pretrain.method.kind"]) == tuple(METHODS)
    assert typing.get_args(fields(Experiment)["finetune.optimizer.kind"]) == tuple(RULES)
    for section, kinds in {"pretrain.method": METHODS, "finetune.optimizer": RULES}.items():
        own = {name for held in kinds.values() for name in own_names(held)}
        assert {name for name in found if name.startswith(f"{section}.")} == {f"{section}.{name}" for name in own}
    heads = [name.partition(".")[0] for name in found]
    declared = [field.name for field in dataclasses.fields(Experiment)]
    assert list(dict.fromkeys(heads)) == declared
    assert set(fields(Settings)) == {name for name in found if name.partition(".")[0] in own_names(Settings)}


@brief
@given(data=st.data())
def test_a_replaced_field_has_its_value_and_no_other_changes(data):
    name = data.draw(st.sampled_from(sorted(LEAVES.keys() - KINDS.keys())))
    before = with_field(name, Experiment())
    value = data.draw(values_of(name))
    after = replace(before, name, value)
    assert type(after) is Experiment and get(after, name) == value
    assert {other: get(after, other) for other in fields(after) if other != name} == {
        other: get(before, other) for other in fields(before) if other != name
    }


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in KINDS.items() for kind in kinds])
def test_to_set_a_kind_puts_its_defaults_in_place_of_another(name, kind):
    section = name.removesuffix(".kind")
    classes = METHODS if section == "pretrain.method" else RULES
    for start in classes:
        before = with_values(Experiment(), {section: classes[start]()})
        after = replace(before, name, kind)
        assert get(after, section) == classes[kind]() and type(get(after, section)) is classes[kind]
        elsewhere = [other for other in fields(after) if not other.startswith(f"{section}.")]
        assert [get(after, other) for other in elsewhere] == [get(before, other) for other in elsewhere]
        assert get(before, section) == classes[start]()


@pytest.mark.parametrize("name", KINDS)
def test_to_set_the_kind_that_a_config_has_leaves_its_fields(name):
    section = name.removesuffix(".kind")
    own = {"pretrain.method": RbmConfig(gibbs_steps=3)}.get(section, SgdConfig(momentum=0.5))
    before = with_values(Experiment(), {section: own})
    assert get(replace(before, name, own.kind), section) == own


def test_a_method_is_itself_a_config_with_fields_but_cannot_become_another():
    assert replace(RbmConfig(), "gibbs_steps", 3) == RbmConfig(gibbs_steps=3)
    assert replace(RbmConfig(), "kind", "rbm") == RbmConfig()
    refused(lambda: replace(RbmConfig(), "kind", "pca"), "kind: 'pca' should be 'rbm'")
    refused(lambda: replace(PretrainConfig(), "method.kind", "knn"), "method.kind: 'knn' should be 'autoencoder'")


@pytest.mark.parametrize(
    ("config", "name", "reported"),
    [
        (Experiment(), "pretrain.method.gibbs_steps", "is of pretrain.method.kind rbm, not of autoencoder"),
        (PretrainConfig(method=PcaConfig()), "method.loss", "is of method.kind autoencoder, not of pca"),
        (PretrainConfig(optimizer=SgdConfig()), "optimizer.beta1", "is of optimizer.kind adam or adamw, not of sgd"),
        (FinetuneConfig(), "optimizer.weight_decay", "is of optimizer.kind adamw, not of adam"),
        (Experiment(), "pretrain.method.gibbs_step", "is no field; did you mean 'pretrain."),
        (RbmConfig(), "gibbs", "is no field; did you mean 'gibbs_steps'?"),
    ],
)
def test_a_field_that_a_config_has_not_is_refused_naming_its_kind_or_the_nearest_one(config, name, reported):
    refused(lambda: replace(config, name, 1), f"sweep: {name!r} {reported}")
    refused(lambda: replace_all(config, {name: 1}), f"sweep: {name!r} {reported}")


def test_kinds_are_set_before_the_fields_that_only_they_have():
    values = {"pretrain.method.gibbs_steps": 3, "pretrain.optimizer.momentum": 0.5}
    kinds = {"pretrain.method.kind": "rbm", "pretrain.optimizer.kind": "sgd"}
    expected = PretrainConfig(method=RbmConfig(gibbs_steps=3), optimizer=SgdConfig(momentum=0.5))
    for order in (values | kinds, kinds | values):
        assert replace_all(Experiment(), order).pretrain == expected
    refused(lambda: replace_all(Experiment(), values), "pretrain.method.gibbs_steps")


def test_values_that_are_set_unvalidated_leave_the_original_alone_and_may_be_anything():
    tracer = object()
    config = FinetuneConfig()
    joined = with_values(config, {"optimizer.learning_rate": tracer})
    assert joined.optimizer.learning_rate is tracer
    assert config == FinetuneConfig()
    whole = with_values(Experiment(), {"pretrain.method": PcaConfig(), "finetune.optimizer": SgdConfig(momentum=0.5)})
    assert whole.pretrain.method == PcaConfig() and whole.finetune.optimizer.momentum == 0.5
    assert type(whole) is Experiment and dataclasses.replace(whole) == whole


@brief
@given(experiments())
def test_with_values_puts_back_what_get_reads(experiment):
    for config in (experiment, experiment.pretrain, experiment.finetune):
        blank = with_values(config, dict.fromkeys(fields(config)))
        assert {get(blank, name) for name in fields(blank)} == {None}
        assert with_values(blank, {name: get(config, name) for name in fields(config)}) == config


def test_exactly_the_numbers_are_traced():
    for config, traced in ((PretrainConfig, PRETRAIN_TRACED), (FinetuneConfig, FINETUNE_TRACED)):
        assert {name for name, kind in fields(config).items() if is_traced(kind)} == traced
        # Every float is a number that a program can take as an argument; of whole numbers, one that it compares.
        kinds = {name: typing.get_args(kind)[0] for name, kind in fields(config).items() if is_traced(kind)}
        assert {name for name, kind in kinds.items() if kind is not float} <= {"unfreeze_at"}
    for config in (*METHODS.values(), *RULES.values(), FinetuneConfig, PretrainConfig):
        floats = {name for name in fields(config()) if isinstance(get(config(), name), float)}
        counted = {name for name in floats if name.rpartition(".")[2] == "share"}  # of parts: a number of them
        assert floats - counted == {name for name, kind in fields(config()).items() if is_traced(kind)} - {
            "unfreeze_at"
        }


def test_every_field_of_a_union_is_of_a_kind():
    for name in LEAVES:
        section = name.rpartition(".")[0]
        kinds = KINDS.get(f"{section}.kind")
        assert (kind_with(name) in kinds) if kinds else kind_with(name) is None


def test_the_nearest_name_is_that_of_the_likest_last_part():
    names = list(LEAVES)
    assert nearest("frozen_layer", names) == "finetune.frozen_layers"
    assert nearest("pretrain.gibbs_steps", names) == "pretrain.method.gibbs_steps"
    assert nearest("method", ["pretrain.method.kind", "methods"]) == "methods"


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        # Of the types that a value may have, the one that it has counts.
        (
            "encoder.layers",
            ("32c",),
            "a number of units, 32c5s2 or 32c5s2p2 (features, window, stride, padding), r64s2",
        ),
        ("encoder.layers", (0,), "should be greater than 0"),
        ("encoder.layers", (2.5,), "should be a valid integer or a valid string"),
        ("encoder.layers", (), "should have at least 1 item"),
        ("finetune.frozen_layers", -1, "should be greater than or equal to 0"),
        ("finetune.frozen_layers", "most", "should be a valid integer or 'all'"),
        ("finetune.labels", 2.5, "should be less than 1"),
        ("finetune.labels", True, "should be a valid integer or a valid number"),
    ],
)
def test_what_is_wrong_with_a_value_is_named_by_the_type_that_it_has(name, value, reported):
    text = refused(lambda: replace(Experiment(), name, value), f"{name}: {value!r} ", reported)
    assert "constrained" not in text and "function" not in text
