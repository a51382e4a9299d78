"""What each update rule has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import AdamConfig, AdamWConfig, Experiment, PretrainConfig, SgdConfig
from pretrain.config.effects import ABSENT, active, canonical, decisive, trimmed
from pretrain.config.fields import fields as fields_of
from pretrain.config.fields import is_traced, kind_of
from tests.commands.lines import read
from tests.experiments import brief, configs_of

RULES = {
    AdamConfig: {"beta1", "beta2", "epsilon", "epsilon_inside"},
    AdamWConfig: {"beta1", "beta2", "epsilon", "epsilon_inside", "weight_decay"},
    SgdConfig: {"momentum"},
}
OF_ALL = {"kind", "learning_rate", "schedule", "warmup_steps"}


@pytest.mark.parametrize(("rule", "own"), RULES.items())
def test_a_rule_has_its_own_fields_and_the_schedule_that_all_have(rule, own):
    assert active(rule()).keys() == OF_ALL | own
    assert fields_of(rule).keys() == OF_ALL | own | {"clip_norm"}
    assert active(rule(clip_norm=0.5)).keys() == fields_of(rule).keys()
    static = {"kind", "schedule", "warmup_steps", "epsilon_inside"}
    assert {name for name, kind in fields_of(rule).items() if not is_traced(kind)} == static & (OF_ALL | own)


@pytest.mark.parametrize("rule", RULES)
@brief
@given(data=st.data())
def test_every_field_of_a_rule_has_an_effect(rule, data):
    config = data.draw(configs_of(rule))
    assert canonical(config) == config
    unclipped = set() if config.clip_norm else {"clip_norm"}
    assert active(config) == {name: getattr(config, name) for name in fields_of(rule) if name not in unclipped}
    assert trimmed(config).clip_norm == (config.clip_norm or ABSENT) and trimmed(trimmed(config)) == trimmed(config)
    assert active(trimmed(config)) == active(config) and decisive(trimmed(config)) == decisive(config)


def test_rules_are_distinguished_by_their_kind_even_where_one_has_all_fields_of_another():
    assert [kind_of(rule) for rule in RULES] == ["adam", "adamw", "sgd"]
    assert AdamConfig() != AdamWConfig() and active(AdamConfig()) != active(AdamWConfig())
    with pytest.raises(ValueError, match="kind"):
        AdamConfig(kind="adamw")


def test_a_norm_may_be_set_to_none_where_a_config_has_one():
    config = Experiment(pretrain=PretrainConfig(optimizer=SgdConfig(clip_norm=0.5)))
    made = read("--pretrain.optimizer.clip-norm", "0", default=config).experiment
    assert made.pretrain.optimizer == SgdConfig()
