"""Numbers are arguments of a program, choices decide its start, and all else makes it another program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.fields import fields, get, join_traced, replace, split_traced, start_values
from tests.experiments import brief, experiments, values_of

OPTIMIZER_NUMBERS = {"learning_rate", "momentum", "beta1", "beta2", "epsilon", "weight_decay"}
TRACED = {"l2", *(f"optimizer.{name}" for name in OPTIMIZER_NUMBERS)}
FINETUNE_TRACED = TRACED | {"ridge_penalty", "first_logit_change", "unfreeze_at", "rate_factor"}
OBJECTIVE_NUMBERS = {"corruption_level", "sparsity_weight", "sparsity_target", "contraction_weight"}
OBJECTIVE_NUMBERS |= {"kl_weight", "visible_deviation"}
PRETRAIN_TRACED = TRACED | {f"objective.{name}" for name in OBJECTIVE_NUMBERS}
ALL_TRACED = FINETUNE_TRACED | PRETRAIN_TRACED
START = {"encoder_init", "fresh_layers", "head_init", "codes", "label_subset"}


def test_exactly_the_numbers_are_traced_and_exactly_what_chooses_a_start_is_not_in_the_program():
    kinds = ((PretrainConfig(), PRETRAIN_TRACED, set()), (FinetuneConfig(), FINETUNE_TRACED, START))
    for config, traced, start in kinds:
        static, numbers = split_traced(config)
        assert numbers == {name: get(config, name) for name in traced}
        assert start_values(config) == {name: get(config, name) for name in start}
        blank = {name for name in fields(type(config)) if get(static, name) is None}
        assert blank == traced | start
        # Every float is a number that a program can take as an argument; of whole numbers, one that it compares.
        floats = {name for name in fields(type(config)) if isinstance(get(config, name), float)}
        assert floats == traced - {"unfreeze_at"}


@brief
@given(experiments(), experiments())
def test_configs_share_a_program_just_when_their_static_fields_are_equal(one, other):
    for config, twin in ((one.pretrain, other.pretrain), (one.finetune, other.finetune)):
        static = [name for name in fields(type(config)) if name not in ALL_TRACED | START]
        same = all(get(config, name) == get(twin, name) for name in static)
        first, second = split_traced(config)[0], split_traced(twin)[0]
        assert (first == second) == same
        assert len({first, second}) == 2 - same


@pytest.mark.parametrize("section", ["pretrain", "finetune"])
@brief
@given(data=st.data())
def test_one_changed_field_splits_programs_unless_it_is_traced_or_start(section, data):
    config = getattr(Experiment(), section)
    name = data.draw(st.sampled_from(sorted(fields(type(config)))))
    value = data.draw(values_of(f"{section}.{name}").filter(lambda value: value != get(config, name)))
    changed = getattr(replace(Experiment(), f"{section}.{name}", value), section)
    assert (split_traced(config)[0] == split_traced(changed)[0]) == (name in ALL_TRACED | START)


@brief
@given(experiments())
def test_join_traced_puts_the_numbers_back(experiment):
    for config in (experiment.pretrain, experiment.finetune):
        static, numbers = split_traced(config)
        start = {name: get(config, name) for name in START & set(fields(type(config)))}
        assert join_traced(static, {**numbers, **start}) == config
        assert split_traced(join_traced(static, numbers)) == (static, numbers)


def test_join_traced_leaves_the_original_alone_and_takes_any_value():
    tracer = object()
    config = FinetuneConfig()
    joined = join_traced(config, {"optimizer.learning_rate": tracer})
    assert joined.optimizer.learning_rate is tracer
    assert config == FinetuneConfig()
