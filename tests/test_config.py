"""An experiment is valid or refused in one line; it survives JSON; and it knows what its trials may share."""

import dataclasses
import itertools
import json
import math

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from pretrain.config import (
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    from_json,
    to_json,
)
from pretrain.fields import ConfigError, fields, get, join_traced, nearest, replace, split_traced, start_values

LEAVES = {name: kind for name, kind in fields(Experiment).items() if name not in ("sweep", "per_layer")}
# These must fit one another, so the strategy below draws them together.
BOUND = (
    *("encoder.widths", "finetune.frozen_layers", "finetune.labels", "finetune.batch_size"),
    *("encoder.activation", "pretrain.objective.loss", "pretrain.objective.sparsity", "pretrain.objective.kind"),
    *("pretrain.training", "pretrain.objective.contractive", "finetune.fresh_layers"),
    *("pretrain.objective.variational", "pretrain.objective.visible"),
)
FREELY_SWEPT = [name for name in LEAVES if name.startswith(("encoder", "pretrain", "finetune")) and name not in BOUND]
OF_LAYERS_AT_ONCE = {"finetune.unfreeze_at", "finetune.rate_factor"}
OF_LAYERS = OF_LAYERS_AT_ONCE | {
    *("pretrain.epochs", "pretrain.batch_size", "pretrain.sampling", "pretrain.l2", "pretrain.cache_codes"),
    *(f"pretrain.objective.{name}" for name in ("output", "tied", "corruption", "corruption_level", "gibbs_steps")),
    *(name for name in LEAVES if name.startswith("pretrain.optimizer.")),
}

OPTIMIZER_NUMBERS = {"learning_rate", "momentum", "beta1", "beta2", "epsilon", "weight_decay"}
TRACED = {"l2", *(f"optimizer.{name}" for name in OPTIMIZER_NUMBERS)}
FINETUNE_TRACED = TRACED | {"ridge_penalty", "first_logit_change", "unfreeze_at", "rate_factor"}
OBJECTIVE_NUMBERS = {"corruption_level", "sparsity_weight", "sparsity_target", "contraction_weight"}
OBJECTIVE_NUMBERS |= {"kl_weight", "visible_deviation"}
PRETRAIN_TRACED = TRACED | {f"objective.{name}" for name in OBJECTIVE_NUMBERS}
ALL_TRACED = FINETUNE_TRACED | PRETRAIN_TRACED
START = {"encoder_init", "fresh_layers", "head_init", "codes", "label_subset"}

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

# Loaded machines draw slowly, which is no fault of what is drawn.
thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
brief = settings(thorough, max_examples=50)


def values_of(name):
    """Any value that the field declares valid."""
    return st.from_type(LEAVES[name]).filter(lambda value: not isinstance(value, float) or math.isfinite(value))


def some(values):
    return st.lists(values, min_size=1, max_size=3).map(tuple)


@st.composite
def bound(draw):
    """Values of the fields that must fit one another."""
    widths = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
    batch_size = draw(st.integers(1, 1000))
    depths = st.integers(0, len(widths))
    activation = draw(values_of("encoder.activation"))
    bounded, deep = activation == "sigmoid", len(widths) > 1  # bounded codes
    training = draw(st.sampled_from(["greedy", "end_to_end", *(["greedy_then_end_to_end"] if deep else [])]))
    kinds = {"greedy": ["pca", "supervised"], "greedy_then_end_to_end": ["pca"], "end_to_end": []}[training]
    kinds += ["rbm"] if bounded and training != "end_to_end" else []
    values = {
        "encoder.widths": tuple(widths),
        "finetune.frozen_layers": draw(depths),
        "finetune.fresh_layers": draw(depths),
        "finetune.labels": draw(st.integers(batch_size, 10**6)),
        "finetune.batch_size": batch_size,
        "encoder.activation": activation,
        "pretrain.training": training,
        "pretrain.objective.kind": draw(st.sampled_from(["reconstruction", *kinds])),
        "pretrain.objective.loss": draw(st.sampled_from(["mse", *(["cross_entropy"] if bounded or not deep else [])])),
        "pretrain.objective.sparsity": draw(st.sampled_from(["none", "l1", *(["kl"] if bounded else [])])),
        "pretrain.objective.contractive": training == "greedy" and draw(st.booleans()),
        "pretrain.objective.variational": False,
    }
    if training != "greedy_then_end_to_end" or values["pretrain.objective.kind"] == "reconstruction":
        values["pretrain.objective.variational"] = draw(st.booleans())
    elif values["pretrain.objective.kind"] == "pca":
        values["pretrain.objective.loss"] = "mse"
    values["pretrain.objective.visible"] = draw(
        st.sampled_from(["bernoulli", *(["gaussian"] if values["pretrain.objective.loss"] == "mse" else [])])
    )
    assert values.keys() == set(BOUND)
    return values


@st.composite
def experiments(draw):
    """Any valid experiment, swept or not, its layers alike or not."""
    experiment = Experiment()
    for name in draw(st.sets(st.sampled_from(sorted(set(LEAVES) - set(BOUND))))):
        experiment = replace(experiment, name, draw(values_of(name)))
    most = max(experiment.seeds, experiment.study.most_seeds)
    experiment = replace(experiment, "study.most_seeds", most)
    for name, value in draw(bound()).items():
        experiment = replace(experiment, name, value)
    depth, batch_size = len(experiment.encoder.widths), experiment.finetune.batch_size
    names = draw(st.sets(st.sampled_from(FREELY_SWEPT), max_size=2))
    ways = {name: some(values_of(name)) for name in names}
    if experiment.finetune.readout == "none" and "finetune.readout" not in names:  # nothing else freezes layers
        ways |= {"finetune.frozen_layers": some(st.integers(0, depth))}
    ways |= {"finetune.labels": some(st.integers(batch_size, 10**6))}
    grids = draw(st.lists(st.fixed_dictionaries({}, optional=ways), max_size=2))
    of_layers = OF_LAYERS_AT_ONCE if experiment.pretrain.training == "end_to_end" else OF_LAYERS
    layered = draw(st.sets(st.sampled_from(sorted(of_layers - names)), max_size=2))
    per_layer = {name: draw(st.tuples(*[values_of(name)] * depth)) for name in layered}
    unchecked = join_traced(experiment, {"sweep": tuple(grids), "per_layer": per_layer})
    for at in map(unchecked.at, unchecked.points()):
        assume(at.finetune.encoder_init != "wrong_data" or at.pretraining_data != at.data)
    return dataclasses.replace(unchecked)


def one_line(error, *parts):
    """Returns an error's text after checking that it is one line and holds the parts."""
    text = str(error.value)
    assert text.splitlines() == [text]
    for part in parts:
        assert part in text
    return text


def refused(call, *parts):
    with pytest.raises(ConfigError) as error:
        call()
    return one_line(error, *parts)


def nested(name, value):
    """The JSON of an experiment in which only one field is given."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return json.dumps(value)


@brief
@given(experiments())
def test_every_experiment_survives_json(experiment):
    again = from_json(to_json(experiment))
    assert again == experiment
    assert to_json(again) == to_json(experiment)
    assert list(again.points()) == list(experiment.points())


def test_sweeps_of_every_type_survive_json_with_their_types():
    sweep = (
        {"encoder.widths": ((30, 12), (7,)), "finetune.validate_at": ((), (3,))},
        {"pretrain.cache_codes": (True, False), "finetune.l2": (1, 0.5), "finetune.encoder_init": ("he",)},
    )
    again = from_json(to_json(Experiment(sweep=sweep))).sweep
    assert again == sweep
    assert repr(again) == repr(sweep)  # 1 == True == 1.0, but they are written differently


def test_json_leaves_fields_that_are_not_given_at_their_defaults():
    assert from_json("{}") == Experiment()
    assert from_json('{"finetune": {"labels": 100}}') == replace(Experiment(), "finetune.labels", 100)


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


def test_more_frozen_layers_than_layers_are_refused():
    parts = "finetune.frozen_layers: 3 ", "at most 2", "encoder.widths (300, 150)"
    refused(lambda: Experiment(finetune=FinetuneConfig(frozen_layers=3)), *parts)
    refused(lambda: from_json('{"finetune": {"frozen_layers": 3}}'), *parts)
    assert Experiment(finetune=FinetuneConfig(frozen_layers=2))


def test_batches_larger_than_the_labelled_subset_are_refused():
    too_few = replace(replace(Experiment(), "finetune.labels", 40), "finetune.batch_size", 41)
    refused(lambda: dataclasses.replace(too_few), "finetune.batch_size: 41 ", "finetune.labels 40")
    assert dataclasses.replace(replace(too_few, "finetune.batch_size", 40))


def test_every_point_of_a_sweep_is_checked():
    refused(lambda: Experiment(sweep=({"finetune.frozen_layers": (0, 3)},)), "finetune.frozen_layers: 3 ")
    refused(lambda: Experiment(sweep=({"finetune.labels": (2000, 20)},)), "finetune.batch_size: 50 ")
    refused(
        lambda: Experiment(
            sweep=(
                {"finetune.labels": (100,)},
                {"encoder.widths": ((9,), ())},
            )
        ),
        "encoder.widths",
    )
    # A field that does not fit on its own may fit in every point.
    assert Experiment(sweep=({"encoder.widths": ((9, 9, 9),), "finetune.frozen_layers": (3,)},))


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


def parsed_or_refused(text):
    """Text is an experiment or a ConfigError of one line, and nothing else."""
    try:
        experiment = from_json(text)
    except ConfigError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert from_json(to_json(experiment)) == experiment


@thorough
@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists).map(json.dumps)
)
@example("")
@example("\x00")
@example("\ud800")
@example('{"run_dir": "\\ud800"}')
@example('{"a\\nb": 1}')
@example('{"finetune": {"l2": NaN}}')
@example('{"seeds": 1e400}')
@example('{"seeds": ' + "9" * 5000 + "}")
@example('{"sweep": [{"finetune.labels": "100"}]}')
@example('{"sweep": [{"finetune.labels": []}]}')
@example("[" * 100_000)
@example('{"data":' * 5000)
def test_any_text_is_an_experiment_or_refused(text):
    parsed_or_refused(text)


PLAIN = Experiment(
    sweep=({"finetune.labels": (100, 200), "encoder.widths": ((9, 4),)},), per_layer={"pretrain.epochs": (1, 2)}
)
KEYS = sorted({part for name in LEAVES for part in name.split(".")} | set(LEAVES) | {"sweep", "per_layer", "__class__"})
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(KEYS) | st.text(max_size=3)


def containers(values):
    return st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(KEYS), values, max_size=3)


@thorough
@given(data=st.data())
def test_json_with_one_part_replaced_is_an_experiment_or_refused(data):
    content = json.loads(to_json(PLAIN))
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (place[key] and isinstance(place[key], dict | list)) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(st.recursive(SCALARS, containers, max_leaves=8))
    parsed_or_refused(json.dumps(content))


@thorough
@given(
    place=st.integers(0, len(to_json(PLAIN)) - 1),
    length=st.integers(0, 5),
    patch=st.text('{}[]",:.0-e \\u', max_size=5),
)
def test_damaged_json_is_an_experiment_or_refused(place, length, patch):
    text = to_json(PLAIN)
    parsed_or_refused(text[:place] + patch + text[place + length :])


def test_json_is_data_and_runs_nothing(tmp_path):
    payload = f"__import__('pathlib').Path({str(tmp_path / 'made')!r}).touch()"
    for name in ("run_dir", "data.name", "encoder.activation", "seeds"):
        parsed_or_refused(nested(name, payload))
    parsed_or_refused(json.dumps({payload: 1}))
    assert not list(tmp_path.iterdir())


def objective(activation="elu", widths=(9, 4), per_layer=None, training="greedy", **settings):
    """An experiment with an objective."""
    pretrain = PretrainConfig(objective=ObjectiveConfig(**settings), training=training)
    encoder = EncoderConfig(widths=widths, activation=activation)
    return Experiment(encoder=encoder, pretrain=pretrain, per_layer=per_layer or {})


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"loss": "cross_entropy"}, "pretrain.objective.loss: 'cross_entropy'"),
        ({"sparsity": "kl"}, "pretrain.objective.sparsity: 'kl'"),
        ({"sparsity": "kl", "training": "end_to_end"}, "pretrain.objective.sparsity: 'kl'"),
        ({"kind": "rbm"}, "pretrain.objective.kind: 'rbm'"),
        ({"kind": "rbm", "visible": "gaussian"}, "pretrain.objective.kind: 'rbm'"),
    ],
)
def test_objectives_that_need_codes_between_0_and_1_are_refused_without_them(settings, field):
    activations = {"encoder.activation": ("elu", "elu")}
    refused(lambda: objective(**settings), field, "sigmoid", "'elu'")
    objective("sigmoid", **settings)
    # What an encoder's layers have in common does not count where each has its own.
    refused(lambda: objective("sigmoid", per_layer=activations, **settings), field, "sigmoid", "'elu'")
    objective("elu", per_layer={"encoder.activation": ("sigmoid", "sigmoid")}, **settings)


def test_layers_are_checked_with_the_activation_of_what_they_read_and_of_their_own():
    def layered(*activations, **settings):
        objective("tanh", (9, 8, 7), {"encoder.activation": activations}, **settings)

    # Images lie between 0 and 1 whatever codes do, and nothing reconstructs the topmost codes.
    objective(widths=(9,), loss="cross_entropy")
    layered("sigmoid", "sigmoid", "elu", loss="cross_entropy")
    refused(lambda: layered("sigmoid", "elu", "sigmoid", loss="cross_entropy"), "objective.loss", "'elu'")
    # A machine's codes are probabilities, its visible units probabilities unless they are Gaussian.
    layered("sigmoid", "sigmoid", "sigmoid", kind="rbm")
    refused(lambda: layered("sigmoid", "sigmoid", "elu", kind="rbm"), "objective.kind: 'rbm'", "'elu'")
    kinds = {"pretrain.objective.kind": ("reconstruction", "rbm")}
    mixed = {**kinds, "encoder.activation": ("elu", "sigmoid")}
    refused(lambda: objective(per_layer=mixed), "pretrain.objective.visible: 'bernoulli'", "'elu'")
    objective(per_layer=mixed, visible="gaussian")
    # Every layer's codes are to be sparse.
    layered("sigmoid", "sigmoid", "sigmoid", sparsity="kl")
    refused(lambda: layered("elu", "sigmoid", "sigmoid", sparsity="kl"), "objective.sparsity: 'kl'", "'elu'", "l1")
    objective(per_layer={"pretrain.objective.sparsity": ("none", "kl"), "encoder.activation": ("elu", "sigmoid")})
    # Trained all at once, the topmost alone.
    layered("elu", "tanh", "sigmoid", sparsity="kl", training="end_to_end")
    layered("elu", "elu", "sigmoid", loss="cross_entropy", training="end_to_end")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"kind": "pca"}, ["pretrain.objective.kind: 'pca'", "one layer at a time"]),
        ({"kind": "rbm", "activation": "sigmoid"}, ["pretrain.objective.kind: 'rbm'", "one layer at a time"]),
        ({"kind": "supervised"}, ["pretrain.objective.kind: 'supervised'", "one layer at a time"]),
        ({"contractive": True}, ["pretrain.objective.contractive: True", "no closed form"]),
        *(
            ({"per_layer": {name: values}}, [f"per_layer: {name!r}", "all are trained at once"])
            for name, values in {"pretrain.epochs": (1, 2), "pretrain.optimizer.learning_rate": (0.1, 0.2)}.items()
        ),
    ],
)
def test_what_cannot_be_trained_all_at_once_is_refused(settings, parts):
    refused(lambda: objective(training="end_to_end", **settings), *parts, "set pretrain.training to greedy")
    objective(training="greedy", **settings)


def test_one_layer_may_be_contractive_and_layers_may_differ_in_fine_tuning_where_all_are_trained_at_once():
    objective(widths=(9,), contractive=True, training="end_to_end")
    objective(per_layer={"finetune.rate_factor": (0.5, 1.0)}, training="end_to_end")
    objective(per_layer={"encoder.activation": ("elu", "tanh")}, training="end_to_end")


def test_layers_that_can_be_decoded_may_be_trained_all_at_once_after_one_by_one():
    then = "greedy_then_end_to_end"
    objective("sigmoid", kind="rbm", training=then)
    objective(kind="pca", training=then)
    objective(
        per_layer={"pretrain.epochs": (1, 2), "pretrain.objective.kind": ("pca", "reconstruction")}, training=then
    )
    remedy = "set pretrain.training to greedy"
    refused(lambda: objective(kind="supervised", training=then), "kind: 'supervised'", "decodes", remedy)
    mixed = {"pretrain.objective.kind": ("reconstruction", "supervised")}
    refused(lambda: objective(per_layer=mixed, training=then), "kind: 'supervised'", "decodes", remedy)
    refused(lambda: objective(contractive=True, training=then), "pretrain.objective.contractive: True", remedy)
    # What is asked of all layers at once is asked of components, too.
    refused(lambda: objective(kind="pca", sparsity="kl", training=then), "pretrain.objective.sparsity: 'kl'")
    refused(lambda: objective(widths=(9,), training=then), f"pretrain.training: {then!r}", "one layer twice")


def test_phases_must_leave_what_training_all_at_once_starts_from():
    then = "greedy_then_end_to_end"
    variational = {"variational": True, "training": then}
    objective(**variational)
    objective(per_layer={"pretrain.objective.variational": (False, True)}, **variational)
    parts = "pretrain.objective.variational: True", "topmost layer"
    refused(lambda: objective(per_layer={"pretrain.objective.variational": (True, False)}, **variational), *parts)
    refused(lambda: objective(kind="pca", **variational), *parts)
    refused(lambda: objective("sigmoid", kind="rbm", **variational), *parts)
    # Components decode to any number, as do machines of Gaussian units; cross-entropy is of numbers between 0 and 1.
    entropy = {"activation": "sigmoid", "loss": "cross_entropy", "training": then}
    objective(**entropy)
    objective(kind="rbm", **entropy)
    parts = "pretrain.objective.loss: 'cross_entropy'", "set it to mse"
    refused(lambda: objective(kind="pca", **entropy), *parts)
    refused(lambda: objective(kind="rbm", visible="gaussian", **entropy), *parts)
    losses = {"pretrain.objective.loss": ("mse", "cross_entropy")}
    refused(lambda: objective(per_layer=losses, **entropy), *parts)
    objective(per_layer=losses, output="sigmoid", **entropy)


def test_more_fresh_layers_than_layers_are_refused():
    refused(lambda: Experiment(finetune=FinetuneConfig(fresh_layers=3)), "finetune.fresh_layers: 3 ", "at most 2")
    assert Experiment(finetune=FinetuneConfig(fresh_layers=2))


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


def test_values_of_layers_survive_json_with_their_types():
    per_layer = {
        "pretrain.epochs": (1, 2),
        "pretrain.l2": (1, 0.5),
        "pretrain.cache_codes": (True, False),
        "pretrain.objective.kind": ("pca", "supervised"),
    }
    again = from_json(to_json(Experiment(per_layer=per_layer))).per_layer
    assert again == per_layer
    assert repr(again) == repr(per_layer)  # 1 == True == 1.0, but they are written differently


@pytest.mark.parametrize(
    ("per_layer", "parts"),
    [
        ({"pretrain.epochs": (1,)}, ["per_layer pretrain.epochs: (1,)", "1 values", "encoder of 2 layers"]),
        ({"pretrain.epochs": (1, 2, 3)}, ["per_layer pretrain.epochs: (1, 2, 3)", "3 values", "2 layers"]),
        ({"pretrain.epochs": ()}, ["per_layer pretrain.epochs: ()", "0 values"]),
        ({"pretrain.epoch": (1, 2)}, ["per_layer: 'pretrain.epoch'", "did you mean 'pretrain.epochs'?"]),
        ({"activation": ("elu", "elu")}, ["per_layer: 'activation'", "did you mean 'encoder.activation'?"]),
        ({"pretrain": (1, 2)}, ["per_layer: 'pretrain'", "is not a layer's"]),
        ({"a\nb": (1, 2)}, ["per_layer: 'a\\nb'", "is not a layer's"]),
        *(
            ({name: (1, 2)}, [f"per_layer: {name!r}", "is not a layer's"])
            for name in ("encoder.widths", "finetune.epochs", "pretrain.training", "pretrain.end_to_end_epochs")
        ),
        *(
            ({name: (1, 2)}, [f"per_layer: {name!r}", "is not a layer's"])
            for name in ("pretrain.carry_step_count", "pretrain.wrong_data", "finetune.frozen_layers", "seeds", "sweep")
        ),
        # one value a layer, and of the field's own type
        ({"pretrain.epochs": (1, 0)}, ["pretrain.epochs: 0 should be greater than 0"]),
        ({"pretrain.epochs": (1, 2.5)}, ["pretrain.epochs: 2.5 "]),
        ({"encoder.activation": ("elu", "swish")}, ["encoder.activation: 'swish' should be 'elu'"]),
        ({"finetune.unfreeze_at": (-1, 2)}, ["finetune.unfreeze_at: -1 "]),
        ({"pretrain.objective.tied": (True, 1)}, ["pretrain.objective.tied: 1 "]),
    ],
)
def test_values_of_layers_that_cannot_be_are_refused(per_layer, parts):
    refused(lambda: Experiment(per_layer=per_layer), *parts)
    refused(lambda: from_json(json.dumps({"per_layer": per_layer})), *parts)


def test_a_field_that_differs_by_layer_cannot_be_swept_too():
    both = {"per_layer": {"pretrain.epochs": (1, 2)}, "sweep": ({"pretrain.epochs": (3, 4)},)}
    refused(lambda: Experiment(**both), "sweep: 'pretrain.epochs' ", "per layer", "leave one of the two out")
    assert Experiment(**{**both, "sweep": ({"pretrain.l2": (0.0, 0.5)},)})


def test_every_point_is_checked_with_its_layers():
    activations = {"encoder.activation": ("sigmoid", "elu")}
    losses = ({"pretrain.objective.loss": ("mse", "cross_entropy")},)
    deeper = ({**losses[0], "encoder.widths": ((9, 8, 7),)},)
    assert Experiment(sweep=losses, per_layer=activations)
    activations = {"encoder.activation": ("sigmoid", "elu", "sigmoid")}
    refused(lambda: Experiment(sweep=deeper, per_layer=activations), "pretrain.objective.loss: 'cross_entropy'")


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
