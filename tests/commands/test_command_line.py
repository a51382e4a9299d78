"""Every field can be set from the command line."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.commands.command_line import Arguments
from pretrain.config import (
    AdamConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    SgdConfig,
    SupervisedConfig,
    fitting,
)
from pretrain.config.fields import fields, get, replace_all
from tests.commands.lines import (
    DEFAULT,
    OF_ADAM,
    OF_WEIGHTS,
    OTHER,
    SIGMOID,
    SWITCHES,
    TOGETHER,
    option,
    read,
    with_beside,
    words,
)
from tests.experiments import KINDS, LEAVES, with_field


def test_without_options_the_default_is_run():
    for default in (DEFAULT, Experiment()):
        assert read(default=default) == Arguments(default, False, False, fitting.chosen(default, ()), ())


def test_the_table_of_other_values_covers_every_field():
    assert set(OTHER) == set(LEAVES)
    assert not [name for name, value in OTHER.items() if value == get(with_field(name, DEFAULT), name)]
    missing = LEAVES.keys() - {name for values in TOGETHER for name in values}
    assert missing == {
        "pretrain.end_to_end_epochs",
        "study.tune",
        "study.family",
        *(name for name in LEAVES if name in OF_ADAM or name in OF_WEIGHTS),
    }


# Each in one form, in turn; the other combinations are slow.
FORMS = [
    pytest.param(name, form, marks=[pytest.mark.slow] if (number + place) % 2 else [])
    for number, name in enumerate(LEAVES)
    for place, form in enumerate(("spaced", "joined"))
]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_field_is_set_by_its_name_and_no_other_changes(name, form):
    first, *rest = words(OTHER[name])
    given_as = [option(name), first] if form == "spaced" else [f"{option(name)}={first}"]
    default = with_beside(name)
    experiment = read(*given_as, *rest, default=default).experiment
    section = f"{name.removesuffix('kind')}" if name in KINDS else name
    others = [other for other in fields(experiment) if not other.startswith(section) and other != "sweep"]
    assert {other: get(experiment, other) for other in others} == {other: get(default, other) for other in others}
    assert get(experiment, name) == OTHER[name] and type(get(experiment, name)) is type(OTHER[name])
    assert experiment.sweep == tuple(
        {swept: values for swept, values in grid.items() if swept != name} for grid in default.sweep
    )


def test_names_may_be_written_as_in_python():
    experiment = read("--finetune.frozen_layers", "1", "--run_dir=x").experiment
    assert (experiment.finetune.frozen_layers, experiment.run_dir) == (1, "x")


@pytest.mark.parametrize("values", TOGETHER, ids=lambda values: values["pretrain.method.kind"])
@pytest.mark.parametrize("backwards", [False, True])
def test_all_fields_of_a_kind_are_set_at_once_in_any_order(values, backwards):
    options = [[option(name), *words(value)] for name, value in values.items()]
    experiment = read(*itertools.chain(*(options[::-1] if backwards else options))).experiment
    assert {name: get(experiment, name) for name in values} == values
    assert experiment.sweep == ({},)


@pytest.mark.parametrize("layers", [(12,), (12, 6), (9, 8, 7, 6), ("32c5s2", "r64s2", 10), ("my own/x.py:make",)])
def test_a_tuple_takes_any_number_of_values(layers):
    argv = ["--encoder.layers", *words(layers), "--finetune.frozen-layers", "1", "--seeds", "3"]
    assert read(*argv).experiment.encoder.layers == layers


def test_a_tuple_that_may_be_empty_can_be_emptied():
    assert read("--finetune.validate-at").experiment.finetune.validate_at == ()


@pytest.mark.parametrize(("word", "value"), [("True", True), ("False", False)])
def test_switches_are_set_by_a_word(word, value):
    experiment = read("--data.greyscale", word, f"--pretrain.cache-codes={word}").experiment
    assert experiment.data.greyscale is value
    assert experiment.pretrain.cache_codes is value


def test_what_is_often_wanted_has_a_short_name():
    assert read("--engine", "ray").experiment.engine.name == read("--engine=ray").experiment.engine.name == "ray"
    for argv in (
        ["--until-conclusive"],
        ["--until-conclusive", "--seeds", "2"],
        ["--seeds", "2", "--until_conclusive"],
    ):
        assert read(*argv).experiment.study.until_conclusive is True
    assert read("--until-conclusive", "False").experiment.study.until_conclusive is False
    assert read().experiment.study.until_conclusive is False
    assert read("--variation", "--seeds", "2").experiment.study.variation is True
    assert read("--baselines").experiment.study.baselines is True
    assert read("--variation", "False").experiment.study.variation is read().experiment.study.variation is False


def test_a_dry_run_is_asked_for_by_a_flag_anywhere():
    for argv in (["--dry-run", "--seeds", "2"], ["--seeds", "2", "--dry-run"], ["--dry_run", "--seeds=2"]):
        command = read(*argv)
        assert command.dry_run is True and command.experiment.seeds == 2


@pytest.mark.parametrize("value", ["-dashed", "--dashed", "a=b", "=", "with space", "None", "π", "-1"])
def test_a_text_may_hold_anything_after_an_equals_sign(value):
    assert read(f"--run-dir={value}").experiment.run_dir == value


@pytest.mark.parametrize("number", ["1e-3", "0.001", ".001", "1E-3", "+0.001"])
def test_numbers_are_read_in_every_common_form(number):
    assert read("--pretrain.l2", number).experiment.pretrain.l2 == 0.001


def test_the_last_of_several_options_for_a_field_counts():
    experiment = read("--seeds", "2", "--store", "s", "--encoder.layers", "4", "3", "--seeds", "5").experiment
    assert (experiment.seeds, experiment.store, experiment.encoder.layers) == (5, "s", (4, 3))
    assert read(
        "--encoder.layers", "4", "3", "2", "--seeds", "5", "--encoder.layers", "6", "5"
    ).experiment.encoder.layers == (6, 5)


def test_an_option_for_a_swept_field_takes_the_place_of_its_sweep():
    experiment = read("--finetune.frozen-layers", "1").experiment
    assert experiment.sweep == ({"finetune.encoder_init": ("pretrained", "he")},)
    assert [point.settings.finetune.frozen_layers for point in experiment.points] == [1, 1]

    experiment = read("--finetune.frozen-layers", "1", "--finetune.encoder-init=he").experiment
    assert [point.settings for point in experiment.points] == [experiment.at({})]
    assert (experiment.finetune.frozen_layers, experiment.finetune.encoder_init) == (1, "he")


def test_an_option_takes_its_field_out_of_every_grid_and_leaves_the_rest():
    grids = ({"finetune.labels": (100, 200), "finetune.l2": (0.0, 0.5)}, {"finetune.labels": (300,)})
    experiment = read("--finetune.labels", "400", default=Experiment(sweep=grids)).experiment
    assert [point.values for point in experiment.points] == [{"finetune.l2": 0.0}, {"finetune.l2": 0.5}, {}]
    assert experiment.finetune.labels == 400


def test_values_by_layer_are_read_in_the_types_of_their_fields():
    argv = ["--per-layer", "pretrain.epochs=2,3", "--per_layer=pretrain.l2=0,1e-3", "--per-layer"]
    experiment = read(*argv, "pretrain.method.kind=rbm,pca", "--encoder.activation", "sigmoid").experiment
    per_layer = {"pretrain.epochs": (2, 3), "pretrain.l2": (0.0, 0.001), "pretrain.method.kind": ("rbm", "pca")}
    assert repr(experiment.per_layer) == repr(per_layer)
    assert experiment.sweep == DEFAULT.sweep
    # The sweep is checked with the layers in place, and the layers with the options.
    deeper = read("--per-layer", "pretrain.batch-size=10,20,30", "--encoder.layers", "9", "8", "7").experiment
    assert deeper.per_layer == {"pretrain.batch_size": (10, 20, 30)}


def test_values_by_layer_join_those_of_the_config_and_an_option_for_all_layers_takes_their_place():
    default = dataclasses.replace(DEFAULT, per_layer={"pretrain.epochs": (2, 3), "pretrain.l2": (0.5, 1.0)})
    assert read(default=default).experiment == default
    assert read("--seeds", "2", default=default).experiment.per_layer == default.per_layer
    joined = read("--per-layer", "pretrain.epochs=4,5", "--per-layer", "pretrain.batch_size=10,20", default=default)
    assert joined.experiment.per_layer == {
        "pretrain.epochs": (4, 5),
        "pretrain.l2": (0.5, 1.0),
        "pretrain.batch_size": (10, 20),
    }
    uniform = read("--pretrain.epochs", "7", default=default).experiment
    assert uniform.per_layer == {"pretrain.l2": (0.5, 1.0)}
    assert [uniform.at_layer(layer).pretrain.epochs for layer in range(2)] == [7, 7]


def test_an_option_for_another_field_leaves_the_sweep_alone():
    assert read("--seeds", "2").experiment.sweep == DEFAULT.sweep


def test_an_option_chooses_a_kind_and_others_its_fields():
    sigmoid = ["--encoder.activation", "sigmoid"]
    argv = ["--pretrain.method.kind", "rbm", "--pretrain.method.gibbs-steps", "3", *sigmoid]
    assert read(*argv).experiment.pretrain.method == RbmConfig(gibbs_steps=3)
    assert read(*argv[2:], *argv[:2]).experiment.pretrain.method == RbmConfig(gibbs_steps=3)
    assert read("--pretrain.method.kind=pca").experiment.pretrain == PretrainConfig(method=PcaConfig())
    optimizer = ["--finetune.optimizer.kind", "sgd", "--finetune.optimizer.momentum", "0.5"]
    assert read(*optimizer).experiment.finetune == FinetuneConfig(optimizer=SgdConfig(momentum=0.5))
    assert read(*optimizer).experiment.pretrain == PretrainConfig()


def test_another_kind_starts_from_its_defaults_and_the_configs_own_keeps_its_fields():
    own = PretrainConfig(method=RbmConfig(gibbs_steps=3), optimizer=AdamConfig(learning_rate=0.5))
    default = Experiment(encoder=EncoderConfig(activation="sigmoid"), pretrain=own)
    assert read("--pretrain.method.kind", "rbm", default=default).experiment.pretrain == own
    other = read("--pretrain.method.kind", "autoencoder", "--pretrain.optimizer.kind", "sgd", default=default)
    assert other.experiment.pretrain == PretrainConfig(optimizer=SgdConfig())
    # The last of several options for a kind counts, as for any field.
    argv = ["--pretrain.method.kind", "pca", "--pretrain.method.kind", "supervised"]
    assert read(*argv, default=default).experiment.pretrain.method == SupervisedConfig()
    assert read(*argv, argv[0], "rbm", default=default).experiment.pretrain == own


def test_an_option_for_a_kind_takes_the_place_of_its_sweep():
    default = Experiment(sweep=({"pretrain.method.kind": ("autoencoder", "pca"), "finetune.labels": (100, 200)},))
    experiment = read("--pretrain.method.kind", "supervised", default=default).experiment
    assert experiment.sweep == ({"finetune.labels": (100, 200)},)
    assert {point.settings.pretrain.method for point in experiment.points} == {SupervisedConfig()}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_values_written_to_a_command_line_are_read_back(data):
    values = data.draw(st.sampled_from(TOGETHER))
    names = data.draw(st.lists(st.sampled_from(list(values)), unique=True))
    default = dataclasses.replace(
        replace_all(
            SIGMOID,
            {**{name: values[name] for name in KINDS}, **{name: values[name] for name in SWITCHES if name in values}},
        )
    )
    argv = [word for name in names for word in (option(name), *words(values[name]))]
    experiment = read(*argv, default=default).experiment
    assert {name: get(experiment, name) for name in names} == {name: values[name] for name in names}
