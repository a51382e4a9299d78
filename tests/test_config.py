"""An experiment is valid or refused in one line; it survives JSON; and it knows what its trials may share."""

import dataclasses
import itertools
import json
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
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

LEAVES = {name: kind for name, kind in fields(Experiment).items() if name != "sweep"}
# These must fit one another, so the strategy below draws them together.
BOUND = (
    *("encoder.widths", "finetune.frozen_layers", "finetune.labels", "finetune.batch_size"),
    *("encoder.activation", "pretrain.objective.loss", "pretrain.objective.sparsity"),
)
FREELY_SWEPT = [name for name in LEAVES if name.startswith(("encoder", "pretrain", "finetune")) and name not in BOUND]

OPTIMIZER_NUMBERS = {"learning_rate", "momentum", "beta1", "beta2", "epsilon", "weight_decay"}
TRACED = {"l2", *(f"optimizer.{name}" for name in OPTIMIZER_NUMBERS)}
FINETUNE_TRACED = TRACED | {"ridge_penalty", "first_logit_change"}
PRETRAIN_TRACED = TRACED | {
    f"objective.{name}" for name in ("corruption_level", "sparsity_weight", "sparsity_target", "contraction_weight")
}
ALL_TRACED = FINETUNE_TRACED | PRETRAIN_TRACED
START = {"encoder_init", "head_init", "codes", "label_subset"}

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
    "encoder.widths": [(), (0,), (3, -1), (3, 2.5), ("3",), 3, "300", None],
    "encoder.activation": CHOICES,
    "pretrain.epochs": COUNTS,
    "pretrain.batch_size": COUNTS,
    "pretrain.sampling": CHOICES,
    "pretrain.l2": PENALTIES,
    "pretrain.cache_codes": SWITCHES,
    "pretrain.carry_step_count": SWITCHES,
    **{f"pretrain.optimizer.{name}": values for name, values in WRONG_OPTIMIZER.items()},
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
    "finetune.encoder_init": CHOICES,
    "finetune.head_init": CHOICES,
    "finetune.ridge_penalty": RATES,
    "finetune.codes": CHOICES,
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
def experiments(draw):
    """Any valid experiment, swept or not."""
    experiment = Experiment()
    for name in draw(st.sets(st.sampled_from(sorted(set(LEAVES) - set(BOUND))))):
        experiment = replace(experiment, name, draw(values_of(name)))
    most = max(experiment.seeds, experiment.study.most_seeds)
    experiment = replace(experiment, "study.most_seeds", most)
    widths = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
    batch_size = draw(st.integers(1, 1000))
    depths, labels = st.integers(0, len(widths)), st.integers(batch_size, 10**6)
    activation = draw(values_of("encoder.activation"))
    bounded = activation == "sigmoid"  # codes
    losses = ["mse", "cross_entropy"] if bounded or len(widths) == 1 else ["mse"]
    kinds = st.sampled_from(["none", "l1", "kl"] if bounded else ["none", "l1"])
    chosen = (activation, draw(st.sampled_from(losses)), draw(kinds))
    for name, value in zip(BOUND, (tuple(widths), draw(depths), draw(labels), batch_size, *chosen), strict=True):
        experiment = replace(experiment, name, value)
    ways = {name: some(values_of(name)) for name in draw(st.sets(st.sampled_from(FREELY_SWEPT), max_size=2))}
    ways |= {"finetune.frozen_layers": some(depths), "finetune.labels": some(labels)}
    grids = draw(st.lists(st.fixed_dictionaries({}, optional=ways), max_size=2))
    return dataclasses.replace(experiment, sweep=tuple(grids))


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
        # Every float is a number that a program can take as an argument; no other field is one.
        assert {name for name in fields(type(config)) if isinstance(get(config, name), float)} == traced


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


PLAIN = Experiment(sweep=({"finetune.labels": (100, 200), "encoder.widths": ((9, 4),)},))
KEYS = sorted({part for name in LEAVES for part in name.split(".")} | set(LEAVES) | {"sweep", "__class__"})
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


@pytest.mark.parametrize(
    ("objective", "field"),
    [({"loss": "cross_entropy"}, "pretrain.objective.loss"), ({"sparsity": "kl"}, "pretrain.objective.sparsity")],
)
def test_objectives_that_need_codes_between_0_and_1_are_refused_without_them(objective, field):
    pretrain = PretrainConfig(objective=ObjectiveConfig(**objective))
    refused(lambda: Experiment(pretrain=pretrain), field, "sigmoid", "'elu'")
    Experiment(pretrain=pretrain, encoder=EncoderConfig(activation="sigmoid"))
    if field.endswith("loss"):  # images lie between 0 and 1 whatever codes do
        Experiment(pretrain=pretrain, encoder=EncoderConfig(widths=(9,)))
