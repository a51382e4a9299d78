"""Configs as pytrees: their numbers are leaves, and all else is structure."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import (
    AdamConfig,
    AdamWConfig,
    AutoencoderConfig,
    ContrastiveConfig,
    DataConfig,
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
from pretrain.config.fields import fields, get, is_traced, replace, with_values
from pretrain.config.method import Method
from pretrain.config.methods import WeightsConfig
from pretrain.config.views import TwoViews, View
from pretrain.learn.pytrees import skeleton
from pretrain.learn.stage import StageConfig

SCHEDULED = {"learning_rate", "clip_norm"}
ADAM = SCHEDULED | {"beta1", "beta2", "epsilon"}
LOSSES = {"corruption_level", "sparsity_weight", "sparsity_target", "contraction_weight", "kl_weight"}
LEVELS = set(typing.get_args(View))
LAST = {"unfreeze_at", "rate_factor", "first_logit_change", "l2", "ridge_penalty"}


def under(section, names):
    return {f"{section}.{name}" for name in names}


# The numbers of each config class: what a compiled program takes as arguments.
NUMBERS = {
    ContrastiveConfig: LEVELS | {"temperature"},
    RedundancyConfig: LEVELS | {"off_diagonal"},
    TeacherConfig: LEVELS | {"momentum"},
    VarianceConfig: LEVELS | {"invariance_weight", "variance_weight", "covariance_weight"},
    MaskedConfig: set(),
    VimeConfig: {"swap", "reconstruction_weight", "mask_weight"},
    AdamConfig: ADAM,
    AdamWConfig: ADAM | {"weight_decay"},
    SgdConfig: SCHEDULED | {"momentum"},
    AutoencoderConfig: LOSSES,
    RbmConfig: {"visible_deviation"},
    SupervisedConfig: set(),
    PcaConfig: set(),
    WeightsConfig: set(),
    DataConfig: set(),
    EncoderConfig: set(),
    PretrainConfig: {"l2"} | under("optimizer", ADAM) | under("method", LOSSES),
    FinetuneConfig: LAST | LEVELS | under("optimizer", ADAM),
    Settings: {"pretrain.l2"}
    | under("pretrain.optimizer", ADAM)
    | under("pretrain.method", LOSSES)
    | under("finetune", LAST | LEVELS)
    | under("finetune.optimizer", ADAM),
}
PER_LAYER = {"unfreeze_at": (1.0, 2.0), "rate_factor": (0.5, 0.25)}
# A config of each class, and of some unions another kind than the default.
CONFIGS = {
    **{kind.__name__: kind() for kind in NUMBERS},
    "layer by layer": with_values(FinetuneConfig(), PER_LAYER),
    "machine by descent": PretrainConfig(method=RbmConfig(), optimizer=SgdConfig()),
    "AdamW": PretrainConfig(optimizer=AdamWConfig()),
    "components": Settings(pretrain=PretrainConfig(method=PcaConfig()), finetune=FinetuneConfig(optimizer=SgdConfig())),
}
each = pytest.mark.parametrize("name", CONFIGS)
# A whole trial's settings hold a dictionary, so they are no compiled program's key; their sections are.
KEYS = [name for name, config in CONFIGS.items() if not isinstance(config, Settings)]


def names_of(config):
    """The dotted names of a config's leaves, those of a tuple's elements without their numbers."""
    paths, _ = jax.tree_util.tree_flatten_with_path(config)
    return {".".join(part.name for part in path if hasattr(part, "name")): leaf for path, leaf in paths}


def nudged(config):
    """The config with every number changed, one by one through its fields."""
    for name, kind in fields(config).items():
        if is_traced(kind):
            value = get(config, name)
            value = tuple(each + 1.5 for each in value) if isinstance(value, tuple) else value * 0.75 + 0.125
            config = with_values(config, {name: value})
    return config


def test_every_config_class_is_here():
    sections = {type(get(Settings(), name)) for name in ("data", "encoder", "pretrain", "finetune")}
    known = {*Method.__subclasses__(), *TwoViews.__subclasses__()}
    assert NUMBERS.keys() >= {each for each in known if each.__module__ == WeightsConfig.__module__} | sections


@pytest.mark.parametrize("kind", NUMBERS)
def test_the_leaves_are_the_numbers(kind):
    assert names_of(CONFIGS[kind.__name__]).keys() == NUMBERS[kind]


@each
def test_the_leaves_are_exactly_the_traced_fields_at_their_values(name):
    config = CONFIGS[name]
    traced = {name for name, kind in fields(config).items() if is_traced(kind)}
    leaves = names_of(config)
    assert leaves.keys() == traced
    for name, leaf in leaves.items():
        value = get(config, name)
        assert leaf == (value[-1] if isinstance(value, tuple) else value)
    elements = sum(len(value) if isinstance(value, tuple) else 1 for value in (get(config, name) for name in traced))
    assert len(jax.tree.leaves(config)) == elements


@each
def test_a_config_comes_back_from_its_leaves(name):
    config = CONFIGS[name]
    leaves, structure = jax.tree.flatten(config)
    back = jax.tree.unflatten(structure, leaves)
    assert back == config and type(back) is type(config)
    assert jax.tree.map(lambda leaf: leaf, config) == config
    doubled = jax.tree.map(lambda leaf: 2 * leaf, config)
    assert jax.tree.leaves(doubled) == [2 * leaf for leaf in leaves]
    assert skeleton(doubled) == skeleton(config)
    for name, kind in fields(config).items():
        if not is_traced(kind):
            assert get(doubled, name) == get(config, name)


@pytest.mark.parametrize("name", KEYS)
def test_skeletons_are_hashable_and_equal_where_numbers_alone_differ(name):
    config = CONFIGS[name]
    other = nudged(config)
    assert (other != config) == bool(jax.tree.leaves(config))
    first, second = skeleton(config), skeleton(other)
    assert first == second and hash(first) == hash(second)
    assert type(first) is type(config) and not jax.tree.leaves(first)
    assert jax.tree.structure(config) == jax.tree.structure(other)
    assert hash(jax.tree.structure(config)) == hash(jax.tree.structure(other))


def test_skeletons_differ_where_anything_else_does():
    config = PretrainConfig()
    changes = {
        "epochs": 7,
        "sampling": "fresh",
        "cache_codes": False,
        "method.kind": "rbm",
        "method.tied": True,
        "method.corruption": "masking",
        "optimizer.kind": "adamw",
        "optimizer.epsilon_inside": True,
        "optimizer.warmup_steps": 3,
    }
    kinds = [skeleton(config), *(skeleton(replace(config, name, value)) for name, value in changes.items())]
    assert len(set(kinds)) == len(kinds)
    structures = {jax.tree.structure(replace(config, name, value)) for name, value in changes.items()}
    assert len(structures) == len(changes)


def test_layers_of_their_own_numbers_count_in_the_skeleton():
    two, three = (FinetuneConfig().of_method(dict.fromkeys(PER_LAYER, (1.0,) * depth)) for depth in (2, 3))
    assert skeleton(two) != skeleton(three)
    assert skeleton(two).rate_factor == (None, None)
    # Beside them, a method has the numbers that no other part of its stage reads.
    assert names_of(two) == {**dict.fromkeys(PER_LAYER, 1.0), "first_logit_change": 0.0, "ridge_penalty": 0.01}


def test_programs_are_compiled_once_for_all_numbers_and_see_them_as_tracers():
    compiled = []

    @jax.jit
    def rate(config):
        compiled.append(config)
        assert isinstance(config.optimizer.learning_rate, jax.core.Tracer)
        assert (config.optimizer.kind, config.method.corruption) == ("sgd", "none")
        return config.optimizer.learning_rate * config.method.kl_weight

    for learning_rate in (0.5, 0.25):
        config = StageConfig(AutoencoderConfig(kl_weight=8.0), optimizer=SgdConfig(learning_rate=learning_rate))
        np.testing.assert_allclose(rate(jax.tree.map(jnp.float32, config)), 8 * learning_rate, rtol=1e-6)
    assert len(compiled) == 1


def test_numbers_of_several_trials_stack_under_one_config():
    configs = [AdamConfig(learning_rate=rate) for rate in (0.1, 0.2, 0.3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.float32(leaf) for leaf in leaves]), *configs)
    np.testing.assert_allclose(stacked.learning_rate, [0.1, 0.2, 0.3], rtol=1e-6)
    assert stacked.beta1.shape == (3,) and skeleton(stacked) == skeleton(configs[0])
    found = jax.vmap(lambda config: config.learning_rate * 2)(stacked)
    np.testing.assert_allclose(found, [0.2, 0.4, 0.6], rtol=1e-6)


def test_properties_of_a_config_work_on_tracers_and_skeletons():
    config = AutoencoderConfig(loss="cross_entropy")
    assert skeleton(config).decodes_into_unit_interval
    assert jax.eval_shape(lambda config: config.kl_weight * config.decodes_into_unit_interval, config).shape == ()


def test_an_experiment_is_no_pytree_of_numbers():
    experiment = Experiment()
    assert jax.tree.leaves(experiment) == [experiment]
    assert dataclasses.is_dataclass(experiment)
