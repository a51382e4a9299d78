"""Effects of fields beside others, and the fields that name a stage."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import AutoencoderConfig, Experiment, FinetuneConfig, PretrainConfig, SgdConfig
from pretrain.config.effects import active, canonical, decisive, inert_because
from pretrain.config.fields import fields, get, replace, with_values
from tests.experiments import LEAVES, brief, experiments, values_of, with_field


@brief
@given(experiments())
def test_a_field_is_inert_just_when_it_is_not_active(experiment):
    for config in (experiment, experiment.pretrain, experiment.finetune, experiment.pretrain.method):
        found = active(config)
        assert found == {name: get(config, name) for name in found}
        assert list(found) == [name for name in fields_in_order(config) if inert_because(config, name) is None]


def fields_in_order(config, prefix=""):
    """The names of all fields in the order in which they are declared."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_in_order(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


@brief
@given(experiments())
def test_the_canonical_config_keeps_what_is_active_and_has_all_else_at_its_default(experiment):
    for config in (experiment.pretrain, experiment.finetune, experiment.pretrain.method, experiment.finetune.optimizer):
        found = canonical(config)
        assert type(found) is type(config)
        assert active(found) == active(config)
        assert canonical(found) == found
        for name in set(fields(found)) - set(active(found)):
            section, _, last = name.rpartition(".")
            owner = get(found, section) if section else found
            assert get(found, name) == getattr(type(owner)(), last)


@brief
@given(data=st.data())
def test_configs_that_differ_only_where_nothing_is_decided_are_one_and_all_others_several(data):
    name = data.draw(st.sampled_from([each for each in LEAVES if each.startswith(("pretrain", "finetune"))]))
    head, _, own = name.partition(".")
    config = getattr(with_field(name, data.draw(experiments())), head)
    changed = getattr(replace(with_values(Experiment(), {head: config}), name, data.draw(values_of(name))), head)
    inert = inert_because(config, own) is not None and inert_because(changed, own) is not None
    assert (canonical(config) == canonical(changed)) == (inert or config == changed)
    assert (decisive(config) == decisive(changed)) == (inert or config == changed)
    assert decisive(config).items() <= active(config).items()


def test_a_whole_section_may_have_no_effect():
    readout = FinetuneConfig(readout="knn", optimizer=SgdConfig(learning_rate=0.5, momentum=0.5), epochs=9)
    assert not [name for name in active(readout) if name.startswith("optimizer")]
    assert inert_because(readout, "optimizer.momentum") == "readout is 'knn'"
    assert canonical(readout) == FinetuneConfig(readout="knn")


@pytest.mark.parametrize(
    ("config", "name", "reason"),
    [
        (AutoencoderConfig(), "corruption_level", "corruption is 'none'"),
        (AutoencoderConfig(corruption="masking"), "corruption_level", None),
        (Experiment(), "pretrain.method.corruption_level", "pretrain.method.corruption is 'none'"),
        (Experiment(), "pretrain.end_to_end_epochs", "pretrain.training is 'greedy'"),
        (FinetuneConfig(updates=3), "epochs", "updates is 3"),
        (FinetuneConfig(encoder_init="he"), "fresh_layers", "encoder_init is 'he'"),
        (FinetuneConfig(readout="ridge"), "optimizer.learning_rate", "readout is 'ridge'"),
        (FinetuneConfig(readout="ridge", head_init="ridge"), "ridge_penalty", "readout is 'ridge'"),
    ],
)
def test_what_keeps_a_field_from_having_an_effect_is_reported(config, name, reason):
    assert inert_because(config, name) == reason


def test_a_name_is_by_kind_numbers_and_what_is_not_at_its_default():
    assert decisive(AutoencoderConfig()) == {"kind": "autoencoder"}
    assert decisive(AutoencoderConfig(tied=True, corruption="masking", sparsity_weight=0.5)) == {
        "kind": "autoencoder",
        "tied": True,
        "corruption": "masking",
        "corruption_level": 0.3,
    }
    # A rate of the same value in another rule is another number.
    assert decisive(SgdConfig(schedule="cosine")) == {
        "kind": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.0,
        "schedule": "cosine",
    }
    names = [f"optimizer.{name}" for name in ("kind", "learning_rate", "beta1", "beta2", "epsilon")]
    assert {name for name in decisive(PretrainConfig()) if name.startswith("optimizer")} == set(names)
