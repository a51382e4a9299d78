"""A field takes what its type says and is refused in one line otherwise; a sweep is its distinct points."""

import dataclasses
import itertools
import math
import pickle

import pytest
from hypothesis import given

from pretrain.config import (
    AdamConfig,
    AdamWConfig,
    AutoencoderConfig,
    ContrastiveConfig,
    DataConfig,
    EncoderConfig,
    EngineConfig,
    Experiment,
    FinetuneConfig,
    MaskedConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    RedundancyConfig,
    Settings,
    SgdConfig,
    StudyConfig,
    SupervisedConfig,
    TeacherConfig,
    VarianceConfig,
    VimeConfig,
    baselines,
    from_json,
    grids,
    to_json,
)
from pretrain.config.fields import ConfigError, fields, get, replace, with_values
from pretrain.config.suggestions import nearest
from tests.experiments import FREELY_SWEPT, LEAVES, brief, experiments, nested, refused, with_field

COUNTS, SIZES, TEXTS, SWITCHES = (
    [0, -1, 2.5, "3", True, None],
    [-1, 0.5, "3", False, None],
    [3, None, b"mnist"],
    [1, "no"],
)
RATES, PENALTIES = [0.0, -0.1, "0.1", True, None, math.nan, math.inf], [-0.1, "0", False, None, math.nan, math.inf]
SHARES, PROBABILITIES = [-0.1, 1.0, "0.5", True, math.nan], [-0.1, 1.5, "0.5", True, math.nan]
DECAYS, CHOICES = [-0.1, 1.0, 1.5, "0.9", True, math.nan], ["nonsense", "", 3, None, True]
WRONG_OPTIMIZER = {
    "kind": CHOICES,
    "learning_rate": RATES,
    "momentum": DECAYS,
    "beta1": DECAYS,
    "beta2": DECAYS,
    "epsilon": RATES,
    "epsilon_inside": SWITCHES,
    "weight_decay": PENALTIES,
    "schedule": CHOICES,
    "warmup_steps": SIZES,
    "clip_norm": PENALTIES,
}
WRONG_LEVELS = {
    "crop": SHARES,
    "flip": PROBABILITIES,
    "rotation": PENALTIES,
    "erasing": SHARES,
    "brightness": PENALTIES,
    "contrast": PENALTIES,
    "greyscale": PROBABILITIES,
    "hue": [-0.1, 0.6, "0.5", True, math.nan],
    "blur": PENALTIES,
    "solarise": PROBABILITIES,
    "noise": PENALTIES,
    "shift": PROBABILITIES,
    "slope": PENALTIES,
    "offset": PENALTIES,
    "scale": PENALTIES,
    "swap": PROBABILITIES,
}
WRONG = {
    "data.name": ["", *TEXTS],
    "data.dir": TEXTS,
    "data.target": TEXTS,
    "data.drop": [(1,), ("a", None), "a", 1, None],
    "data.missing": [(1,), ("a", None), "a", -999, None],
    "data.categories": [(1,), ("a", None), "a", 1, None],
    "data.group": TEXTS,
    "data.time": TEXTS,
    "data.scale_from": CHOICES,
    "data.validation": [*COUNTS, 0.0, 1.0, -0.1, math.nan],
    "data.test": [*COUNTS, 0.0, 1.0, -0.1, math.nan],
    "data.splits": CHOICES,
    "data.task": CHOICES,
    "data.cut": SIZES,
    "data.scaling": CHOICES,
    "data.unlabelled": [*SIZES, "none", "ALL"],
    "data.pretrain_on": CHOICES,
    "data.size": COUNTS,
    "data.inputs": CHOICES,
    "data.greyscale": SWITCHES,
    "data.shuffled_pixels": SWITCHES,
    "encoder.layers": [(), (0,), (3, -1), (3, 2.5), ("3",), ("32c5s0",), (3, "r"), (True,), 3, "300", None],
    "encoder.activation": CHOICES,
    "encoder.norm": CHOICES,
    "encoder.precision": CHOICES,
    "pretrain.training": CHOICES,
    "pretrain.encoder_init": CHOICES,
    "pretrain.epochs": COUNTS,
    "pretrain.end_to_end_epochs": COUNTS,
    "pretrain.updates": SIZES,
    "pretrain.validate_every": SIZES,
    "pretrain.watch": [("loss",), ("rank", 3), "rank", 3, None],
    "pretrain.stop": CHOICES,
    "pretrain.patience": COUNTS,
    "pretrain.batch_size": COUNTS,
    "pretrain.sampling": CHOICES,
    "pretrain.l2": PENALTIES,
    "pretrain.cache_codes": SWITCHES,
    "pretrain.carry_step_count": SWITCHES,
    "pretrain.wrong_data": ["", *TEXTS],
    **{f"pretrain.optimizer.{name}": values for name, values in WRONG_OPTIMIZER.items()},
    "pretrain.method.kind": CHOICES,
    "pretrain.method.loss": CHOICES,
    "pretrain.method.output": CHOICES,
    "pretrain.method.tied": SWITCHES,
    "pretrain.method.corruption": CHOICES,
    "pretrain.method.corruption_level": PENALTIES,
    "pretrain.method.corruption_schedule": CHOICES,
    "pretrain.method.sparsity": CHOICES,
    "pretrain.method.sparsity_weight": PENALTIES,
    "pretrain.method.sparsity_target": [0.0, 1.0, -0.1, "0.1", True, math.nan],
    "pretrain.method.contractive": SWITCHES,
    "pretrain.method.contraction_weight": PENALTIES,
    "pretrain.method.variational": SWITCHES,
    "pretrain.method.kl_weight": PENALTIES,
    "pretrain.method.visible": CHOICES,
    "pretrain.method.visible_deviation": RATES,
    "pretrain.method.gibbs_steps": COUNTS,
    "pretrain.method.persistent": SWITCHES,
    "pretrain.method.class_weights": CHOICES,
    "pretrain.method.views": [("zoom",), ("crop", 3), "crop", 3, None],
    "pretrain.method.anchor": CHOICES,
    "pretrain.method.projector": [(0,), (2.5,), 3, None],
    "pretrain.method.negatives": CHOICES,
    "pretrain.method.temperature": RATES,
    "pretrain.method.off_diagonal": PENALTIES,
    "pretrain.method.invariance_weight": PENALTIES,
    "pretrain.method.variance_weight": PENALTIES,
    "pretrain.method.covariance_weight": PENALTIES,
    "pretrain.method.predictor": [(0,), (2.5,), 3, None],
    "pretrain.method.momentum": PROBABILITIES,
    "pretrain.method.stops_gradient": SWITCHES,
    **{
        f"{section}.{name}": values
        for section in ("pretrain.method", "finetune")
        for name, values in WRONG_LEVELS.items()
    },
    "finetune.views": [("zoom",), ("crop", 3), "crop", 3, None],
    "pretrain.method.reconstruction_weight": PENALTIES,
    "pretrain.method.mask_weight": PENALTIES,
    "pretrain.method.share": [0.0, 1.0, -0.1, "0.1", True, math.nan],
    "pretrain.method.patch": COUNTS,
    "finetune.encoder_init": CHOICES,
    "finetune.weights": TEXTS,
    "finetune.reference": TEXTS,
    "finetune.weights_layout": CHOICES,
    "finetune.weights_names": [(1,), ("a", None), "a", 1, None],
    "finetune.fresh_layers": SIZES,
    "finetune.head_init": CHOICES,
    "finetune.ridge_penalty": RATES,
    "finetune.codes": CHOICES,
    "finetune.readout": CHOICES,
    "finetune.activation": CHOICES,
    "finetune.unfreeze_at": SIZES,
    "finetune.rate_factor": PENALTIES,
    "finetune.first_logit_change": PENALTIES,
    "finetune.diagnose_at": [(0,), (1, -1), (1.5,), 1, None],
    "finetune.frozen_layers": [*SIZES, "none", "ALL"],
    "finetune.labels": [-1, 1.0, 2.5, -0.5, "3", False, None],
    "finetune.label_subset": CHOICES,
    "finetune.epochs": COUNTS,
    "finetune.updates": SIZES,
    "finetune.batch_size": COUNTS,
    "finetune.sampling": CHOICES,
    "finetune.class_weights": CHOICES,
    "finetune.l2": PENALTIES,
    "finetune.cache_codes": SWITCHES,
    "finetune.validate_at": [(0,), (1, -1), (1.5,), ("1",), 1, None],
    "finetune.validate_every": SIZES,
    "finetune.stop": CHOICES,
    "finetune.patience": COUNTS,
    **{f"finetune.optimizer.{name}": values for name, values in WRONG_OPTIMIZER.items()},
    "seeds": COUNTS,
    "run_dir": ["", *TEXTS],
    "repeats": COUNTS,
    "tags": [(1,), ("a", None), ("",), "a", 1, None],
    "code": CHOICES,
    "defaults": CHOICES,
    "ways": SWITCHES,
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
    "engine.workers": COUNTS,
    "engine.detach": SWITCHES,
    "engine.flags": [(1,), ("a", None), "account=mine", 1, None],
    "study.compare": ["", *TEXTS],
    "study.metric": CHOICES,
    "study.smallest_effect": [0.0, 1.0, -0.1, "0.1", True, math.nan],
    "study.intervals": CHOICES,
    "study.until_conclusive": SWITCHES,
    "study.variation": SWITCHES,
    "study.baselines": SWITCHES,
    "study.family": [(1,), ("a", None), "a=1", 1, None],
    "study.tune": [(1,), ("a", None), "a", 1, None],
    "study.tune_labels": [*COUNTS, "some"],
    "study.most_seeds": [*COUNTS, (1 << 16) + 1],
    "study.keep_states": SWITCHES,
    "save_every": PENALTIES,
}
WRONG_VALUES = [pytest.param(name, value, id=f"{name}={value!r}") for name, values in WRONG.items() for value in values]


def test_the_table_of_wrong_values_covers_every_field():
    assert set(WRONG) == set(LEAVES)


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(name, value):
    experiment = with_field(name, Experiment())
    text = refused(lambda: replace(experiment, name, value))
    assert text.startswith(f"{name}: {value!r} ")
    remedy = text.removeprefix(f"{name}: {value!r} ")
    assert len(remedy.split()) >= 3


@pytest.mark.parametrize(("name", "value"), [wrong for wrong in WRONG_VALUES if not isinstance(wrong.values[1], bytes)])
def test_a_wrong_value_in_json_is_refused_by_the_name_of_its_field(name, value):
    refused(lambda: from_json(nested(name, value)), name)


@pytest.mark.parametrize(("name", "value"), [wrong for wrong in WRONG_VALUES if wrong.values[0] in FREELY_SWEPT])
def test_a_wrong_value_in_a_sweep_is_refused(name, value):
    experiment = with_field(name, Experiment())
    # Some are no values at all, and fail before the sweep is looked through.
    with pytest.raises((ConfigError, ValueError), match=name.replace(".", r"\.")):
        Experiment(pretrain=experiment.pretrain, finetune=experiment.finetune, sweep=({name: (value,)},))


@pytest.mark.parametrize(
    "kind",
    [
        *(DataConfig, EncoderConfig, PretrainConfig, FinetuneConfig, Settings, EngineConfig, StudyConfig, Experiment),
        *(AutoencoderConfig, RbmConfig, SupervisedConfig, PcaConfig, AdamConfig, AdamWConfig, SgdConfig),
        *(ContrastiveConfig, RedundancyConfig, VarianceConfig, TeacherConfig, MaskedConfig, VimeConfig),
    ],
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
        ("encoder.layer", "encoder.layers"),
        ("pretrain.method.los", "pretrain.method.loss"),
        ("batchsize", "pretrain.batch_size"),
    ],
)
def test_a_misspelt_sweep_is_refused_with_the_nearest_name(misspelt, meant):
    refused(lambda: Experiment(sweep=({misspelt: (1,)},)), f"sweep: {misspelt!r} ", f"did you mean {meant!r}?")
    assert nearest(misspelt, LEAVES) == meant


@pytest.mark.parametrize(
    ("experiment", "name", "reported"),
    [
        (Experiment(), "pretrain.method.gibbs_steps", "pretrain.method.kind rbm, not of autoencoder"),
        (Experiment(), "finetune.optimizer.momentum", "finetune.optimizer.kind sgd, not of adam"),
        (Experiment(), "pretrain.optimizer.weight_decay", "pretrain.optimizer.kind adamw, not of adam"),
        (
            Experiment(pretrain=PretrainConfig(method=PcaConfig(), optimizer=SgdConfig())),
            "pretrain.optimizer.beta1",
            "pretrain.optimizer.kind adam or adamw, not of sgd",
        ),
        (
            Experiment(pretrain=PretrainConfig(method=PcaConfig())),
            "pretrain.method.loss",
            "pretrain.method.kind autoencoder, not of pca",
        ),
    ],
)
def test_a_field_of_another_kind_cannot_be_swept_and_the_refusal_names_its_kind(experiment, name, reported):
    experiment = dataclasses.replace(experiment, encoder=EncoderConfig(activation="sigmoid"))  # as machines need
    value = get(with_field(name, experiment), name)
    kind = f"{name.rpartition('.')[0]}.kind"
    sweep = ({name: (value,)},)
    refused(lambda: dataclasses.replace(experiment, sweep=sweep), f"sweep: {name!r} is of {reported}; set {kind}")
    # Beside its kind it can, in whatever order the two are named.
    for names in ((name, kind), (kind, name)):
        values = {name: value, kind: get(with_field(name, experiment), kind)}
        (point,) = dataclasses.replace(experiment, sweep=({each: (values[each],) for each in names},)).points
        assert {each: get(point.settings, each) for each in names} == {each: values[each] for each in names}


@pytest.mark.parametrize("name", ["finetune", "encoder", "pretrain.optimizer", "", ".", "finetune.", "a\nb"])
def test_what_is_no_field_cannot_be_swept(name):
    refused(lambda: Experiment(sweep=({name: (1,)},)), f"sweep: {name!r} ")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seeds", (2, 3)),
        ("run_dir", ("a", "b")),
        ("store", ("a", "b")),
        ("code", ("match", "ignore")),
        ("repeats", (1, 2)),
        ("engine.name", ("local", "ray")),
        ("study.compare", ("a", "b")),
        ("save_every", (1.0, 2.0)),
        ("sweep", ((),)),
        ("per_layer", ((),)),
    ],
)
def test_what_all_trials_of_a_run_share_cannot_be_swept(name, values):
    parts = f"sweep: {name!r} ", "the same for all trials", "start a run for each value"
    refused(lambda: Experiment(sweep=({name: values},)), *parts)
    refused(lambda: Experiment().at({name: values[0]}), *parts)


def test_a_swept_field_without_values_is_refused():
    refused(lambda: Experiment(sweep=({"finetune.labels": ()},)), "sweep: 'finetune.labels' ")


def values_at(experiment):
    return [point.values for point in experiment.points]


def test_an_experiment_without_a_sweep_is_one_point():
    for sweep in ((), ({},), ({}, {})):
        experiment = Experiment(sweep=sweep)
        assert values_at(experiment) == [{}]
        assert experiment.at({}) == experiment.points[0].settings == Settings()


def test_a_grid_is_the_product_of_its_fields_in_order():
    grid = {"finetune.labels": (100, 200), "finetune.l2": (0.0, 0.1), "finetune.epochs": (1, 2, 3)}
    expected = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert values_at(Experiment(sweep=(grid,))) == expected


def test_a_sweep_is_the_union_of_its_grids_without_duplicates():
    grids = ({"finetune.labels": (100, 200)}, {"finetune.labels": (200, 300, 300)}, {"finetune.l2": (0.1,)})
    points = values_at(Experiment(sweep=grids))
    assert points == [*({"finetune.labels": labels} for labels in (100, 200, 300)), {"finetune.l2": 0.1}]


@brief
@given(experiments())
def test_points_are_the_distinct_products_and_set_what_they_name(experiment):
    points = values_at(experiment)
    products = [
        dict(zip(grid, values, strict=True))
        for grid in experiment.sweep or ({},)
        for values in itertools.product(*grid.values())
    ]
    if experiment.study.baselines:
        products = list(baselines.with_baselines(products, experiment.finetune.encoder_init))
    assert all(point in products for point in points) and all(product in points for product in products)
    assert not any(first == second for first, second in itertools.combinations(points, 2))
    for point in experiment.points:
        assert type(point.settings) is Settings
        assert point.settings == experiment.at(point.values)
        unswept = experiment
        for name in sorted(point.values, key=lambda name: not name.endswith(".kind")):
            unswept = replace(unswept, name, point.values[name])
        assert point.values == {name: get(point.settings, name) for name in point.values}
        for name in fields(point.settings):
            # A kind that is swept has its own defaults; all else is as the experiment has it.
            assert get(point.settings, name) == point.values.get(name, get(unswept, name))
            section = name.rpartition(".")[0]
            if f"{section}.kind" not in point.values:
                assert get(unswept, name) == point.values.get(name, get(experiment, name))


def test_points_are_expanded_once_and_anew_for_another_experiment(monkeypatch):
    experiment = Experiment(sweep=({"finetune.labels": (100, 200)},))
    expansions = []
    monkeypatch.setattr(
        "pretrain.config.grids.points", lambda sweep, expand=grids.points: expansions.append(sweep) or expand(sweep)
    )
    assert experiment.points is experiment.points and not expansions  # they were expanded to be checked
    for other in (
        dataclasses.replace(experiment, sweep=({"finetune.labels": (300,)},)),
        with_values(experiment, {"sweep": ({"finetune.labels": (300,)},)}),
        replace(replace(experiment, "seeds", 3), "finetune.l2", 0.5),
    ):
        expansions.clear()
        assert other.points is other.points and len(expansions) <= 1
        assert values_at(other) == [
            {"finetune.labels": value} for grid in other.sweep for value in grid["finetune.labels"]
        ]
        assert {point.settings.finetune.l2 for point in other.points} == {other.finetune.l2}
    assert values_at(experiment) == [{"finetune.labels": 100}, {"finetune.labels": 200}]


def test_what_is_remembered_of_an_experiment_is_no_part_of_it():
    one, other = Experiment(seeds=3), with_values(Experiment(), {"seeds": 3})  # which has expanded no points yet
    assert one == other and repr(one) == repr(other) and to_json(one) == to_json(other)
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_swept_kind_starts_from_its_own_defaults_and_the_experiments_kind_keeps_its_fields():
    method, sigmoid = RbmConfig(gibbs_steps=3), EncoderConfig(activation="sigmoid")
    kinds = ("rbm", "pca", "autoencoder", "supervised")
    experiment = Experiment(
        encoder=sigmoid, pretrain=PretrainConfig(method=method), sweep=({"pretrain.method.kind": kinds},)
    )
    methods = [point.settings.pretrain.method for point in experiment.points]
    assert methods == [method, PcaConfig(), AutoencoderConfig(), SupervisedConfig()]
