"""A field takes what its type says and is refused in one line otherwise; a sweep is its distinct points."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given

from pretrain.config import (
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    OptimizerConfig,
    PretrainConfig,
    from_json,
)
from pretrain.config.fields import ConfigError, get, nearest, replace
from tests.experiments import FREELY_SWEPT, LEAVES, brief, experiments, nested, refused

COUNTS, SIZES, TEXTS, SWITCHES = (
    [0, -1, 2.5, "3", True, None],
    [-1, 0.5, "3", False, None],
    [3, None, b"mnist"],
    [1, "no"],
)
RATES, PENALTIES = [0.0, -0.1, "0.1", True, None, math.nan, math.inf], [-0.1, "0", False, None, math.nan, math.inf]
DECAYS, CHOICES = [-0.1, 1.0, 1.5, "0.9", True, math.nan], ["nonsense", "", 3, None, True]
WRONG_OPTIMIZER = {
    "name": CHOICES,
    "learning_rate": RATES,
    "momentum": DECAYS,
    "beta1": DECAYS,
    "beta2": DECAYS,
    "epsilon": RATES,
    "weight_decay": PENALTIES,
    "schedule": CHOICES,
    "warmup_steps": SIZES,
}
WRONG = {
    "data.name": ["", *TEXTS],
    "data.dir": TEXTS,
    "data.validation": COUNTS,
    "data.greyscale": SWITCHES,
    "data.shuffled_pixels": SWITCHES,
    "encoder.widths": [(), (0,), (3, -1), (3, 2.5), ("3",), 3, "300", None],
    "encoder.activation": CHOICES,
    "pretrain.training": CHOICES,
    "pretrain.epochs": COUNTS,
    "pretrain.end_to_end_epochs": COUNTS,
    "pretrain.batch_size": COUNTS,
    "pretrain.sampling": CHOICES,
    "pretrain.l2": PENALTIES,
    "pretrain.cache_codes": SWITCHES,
    "pretrain.carry_step_count": SWITCHES,
    "pretrain.wrong_data": ["", *TEXTS],
    **{f"pretrain.optimizer.{name}": values for name, values in WRONG_OPTIMIZER.items()},
    "pretrain.objective.kind": CHOICES,
    "pretrain.objective.loss": CHOICES,
    "pretrain.objective.output": CHOICES,
    "pretrain.objective.tied": SWITCHES,
    "pretrain.objective.corruption": CHOICES,
    "pretrain.objective.corruption_level": PENALTIES,
    "pretrain.objective.corruption_schedule": CHOICES,
    "pretrain.objective.sparsity": CHOICES,
    "pretrain.objective.sparsity_weight": PENALTIES,
    "pretrain.objective.sparsity_target": [0.0, 1.0, -0.1, "0.1", True, math.nan],
    "pretrain.objective.contractive": SWITCHES,
    "pretrain.objective.contraction_weight": PENALTIES,
    "pretrain.objective.variational": SWITCHES,
    "pretrain.objective.kl_weight": PENALTIES,
    "pretrain.objective.visible": CHOICES,
    "pretrain.objective.visible_deviation": RATES,
    "pretrain.objective.gibbs_steps": COUNTS,
    "pretrain.objective.persistent": SWITCHES,
    "finetune.encoder_init": CHOICES,
    "finetune.fresh_layers": SIZES,
    "finetune.head_init": CHOICES,
    "finetune.ridge_penalty": RATES,
    "finetune.codes": CHOICES,
    "finetune.readout": CHOICES,
    "finetune.unfreeze_at": SIZES,
    "finetune.rate_factor": PENALTIES,
    "finetune.first_logit_change": PENALTIES,
    "finetune.diagnose_at": [(0,), (1, -1), (1.5,), 1, None],
    "finetune.frozen_layers": SIZES,
    "finetune.labels": COUNTS,
    "finetune.label_subset": CHOICES,
    "finetune.epochs": COUNTS,
    "finetune.updates": SIZES,
    "finetune.batch_size": COUNTS,
    "finetune.sampling": CHOICES,
    "finetune.l2": PENALTIES,
    "finetune.cache_codes": SWITCHES,
    "finetune.validate_at": [(0,), (1, -1), (1.5,), ("1",), 1, None],
    **{f"finetune.optimizer.{name}": values for name, values in WRONG_OPTIMIZER.items()},
    "seeds": COUNTS,
    "run_dir": ["", *TEXTS],
    "repeats": COUNTS,
    "store": ["", *TEXTS],
    "engine.name": CHOICES,
    "engine.address": TEXTS,
    "engine.distributed": SWITCHES,
    "engine.cpus": COUNTS,
    "engine.gpus": PENALTIES,
    "engine.memory": RATES,
    "engine.retries": SIZES,
    "engine.time_limit": COUNTS,
    "engine.partition": TEXTS,
    "engine.parallel": COUNTS,
    "engine.flags": [(1,), ("a", None), "account=mine", 1, None],
    "study.compare": ["", *TEXTS],
    "study.metric": CHOICES,
    "study.smallest_effect": [0.0, 1.0, -0.1, "0.1", True, math.nan],
    "study.until_conclusive": SWITCHES,
    "study.most_seeds": [*COUNTS, (1 << 16) + 1],
    "save_every": PENALTIES,
}
WRONG_VALUES = [pytest.param(name, value, id=f"{name}={value!r}") for name, values in WRONG.items() for value in values]


def test_the_table_of_wrong_values_covers_every_field():
    assert set(WRONG) == set(LEAVES)


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(name, value):
    text = refused(lambda: replace(Experiment(), name, value))
    assert text.startswith(f"{name}: {value!r} ")
    remedy = text.removeprefix(f"{name}: {value!r} ")
    assert len(remedy.split()) >= 3


@pytest.mark.parametrize(("name", "value"), [wrong for wrong in WRONG_VALUES if not isinstance(wrong.values[1], bytes)])
def test_a_wrong_value_in_json_is_refused_by_the_name_of_its_field(name, value):
    refused(lambda: from_json(nested(name, value)), name)


@pytest.mark.parametrize(("name", "value"), [wrong for wrong in WRONG_VALUES if wrong.values[0] in FREELY_SWEPT])
def test_a_wrong_value_in_a_sweep_is_refused(name, value):
    # Some are no values at all, and fail before the sweep is looked through.
    with pytest.raises((ConfigError, ValueError), match=name.replace(".", r"\.")):
        Experiment(sweep=({name: (value,)},))


@pytest.mark.parametrize(
    "kind", [DataConfig, EncoderConfig, OptimizerConfig, PretrainConfig, FinetuneConfig, Experiment]
)
def test_configs_take_no_unknown_field_and_cannot_be_changed(kind):
    with pytest.raises(ValueError, match="lables"):
        kind(lables=3)
    config = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("finetune.label", "finetune.labels"),
        ("finetune.frozen", "finetune.frozen_layers"),
        ("frozen_layers", "finetune.frozen_layers"),
        ("pretrain.learning_rate", "pretrain.optimizer.learning_rate"),
        ("finetune.optimiser.learning_rate", "finetune.optimizer.learning_rate"),
        ("encoder.width", "encoder.widths"),
        ("batchsize", "pretrain.batch_size"),
    ],
)
def test_a_misspelt_sweep_is_refused_with_the_nearest_name(misspelt, meant):
    refused(lambda: Experiment(sweep=({misspelt: (1,)},)), f"sweep: {misspelt!r} ", f"did you mean {meant!r}?")
    assert nearest(misspelt, LEAVES) == meant


@pytest.mark.parametrize("name", ["finetune", "encoder", "pretrain.optimizer", "", ".", "finetune.", "a\nb"])
def test_what_is_no_field_cannot_be_swept(name):
    refused(lambda: Experiment(sweep=({name: (1,)},)), f"sweep: {name!r} ")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seeds", (2, 3)),
        ("run_dir", ("a", "b")),
        ("store", ("a", "b")),
        ("repeats", (1, 2)),
        ("engine.name", ("local", "ray")),
        ("study.compare", ("a", "b")),
        ("save_every", (1.0, 2.0)),
        ("sweep", ((),)),
        ("per_layer", ((),)),
    ],
)
def test_what_all_trials_of_a_run_share_cannot_be_swept(name, values):
    refused(lambda: Experiment(sweep=({name: values},)), "sweep", repr(name))


def test_a_swept_field_without_values_is_refused():
    refused(lambda: Experiment(sweep=({"finetune.labels": ()},)), "sweep: 'finetune.labels' ")


def test_an_experiment_without_a_sweep_is_one_point():
    for sweep in ((), ({},), ({}, {})):
        experiment = Experiment(sweep=sweep)
        assert list(experiment.points()) == [{}]
        assert experiment.at({}) == Experiment()


def test_a_grid_is_the_product_of_its_fields_in_order():
    grid = {"finetune.labels": (100, 200), "finetune.l2": (0.0, 0.1), "finetune.epochs": (1, 2, 3)}
    expected = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert list(Experiment(sweep=(grid,)).points()) == expected


def test_a_sweep_is_the_union_of_its_grids_without_duplicates():
    grids = ({"finetune.labels": (100, 200)}, {"finetune.labels": (200, 300, 300)}, {"finetune.l2": (0.1,)})
    points = list(Experiment(sweep=grids).points())
    assert points == [*({"finetune.labels": labels} for labels in (100, 200, 300)), {"finetune.l2": 0.1}]


@brief
@given(experiments())
def test_points_are_the_distinct_products_and_set_what_they_name(experiment):
    points = list(experiment.points())
    products = [
        dict(zip(grid, values, strict=True))
        for grid in experiment.sweep or ({},)
        for values in itertools.product(*grid.values())
    ]
    assert all(point in products for point in points) and all(product in points for product in products)
    assert not any(first == second for first, second in itertools.combinations(points, 2))
    for point in points:
        settings_at = experiment.at(point)
        assert settings_at.sweep == ()
        for name in LEAVES:
            assert get(settings_at, name) == point.get(name, get(experiment, name))


def test_a_layer_has_its_own_values_and_shares_the_others():
    per_layer = {"pretrain.epochs": (1, 2), "encoder.activation": ("relu", "tanh"), "finetune.rate_factor": (0.5, 1)}
    experiment = Experiment(per_layer=per_layer, seeds=3)
    for layer in range(2):
        found = experiment.at_layer(layer)
        own = {name: values[layer] for name, values in per_layer.items()}
        assert found.per_layer == {}
        assert {name: get(found, name) for name in LEAVES} == {
            name: own.get(name, get(experiment, name)) for name in LEAVES
        }
    assert experiment.at({}).per_layer == per_layer
    plain = Experiment()
    assert plain.at_layer(1) == plain


def test_layers_of_a_swept_depth_take_the_values_from_the_images_up():
    depths = ({"encoder.widths": ((9,), (9, 8, 7), (9, 8))},)
    experiment = Experiment(sweep=depths, per_layer={"pretrain.epochs": (1, 2, 3)})
    for point in experiment.points():
        at = experiment.at(point)
        assert [at.at_layer(n).pretrain.epochs for n in range(len(at.encoder.widths))] == [1, 2, 3][
            : len(at.encoder.widths)
        ]
    refused(lambda: dataclasses.replace(experiment, per_layer={"pretrain.epochs": (1, 2)}), "encoder of 3 layers")


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
