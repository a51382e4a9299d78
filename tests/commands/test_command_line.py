"""Every field can be set from the command line, and whatever cannot be read is refused in one line."""

import ast
import dataclasses
import inspect
import itertools
import re
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain.commands.command_line import Command, parse
from pretrain.config import (
    AdamConfig,
    AdamWConfig,
    AutoencoderConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    SgdConfig,
    SupervisedConfig,
)
from pretrain.config.fields import ConfigError, fields, get, inert_because, replace, replace_all
from tests.experiments import KINDS, LEAVES, with_field

SWEPT = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (2, 0)}
DEFAULT = Experiment(sweep=(SWEPT,))

OTHER_OPTIMIZER = {
    "kind": "sgd",
    "learning_rate": 0.125,
    "momentum": 0.5,
    "beta1": 0.75,
    "beta2": 0.25,
    "epsilon": 1e-4,
    "epsilon_inside": True,
    "weight_decay": 0.0625,
    "schedule": "cosine",
    "warmup_steps": 7,
}
# For each field a value that is not its default, and that fits the other defaults.
OTHER = {
    "data.name": "cifar10",
    "data.dir": "/data/tfds",
    "data.target": "income",
    "data.drop": ("name", "address"),
    "data.group": "household",
    "data.validation": 77,
    "data.test": 0.25,
    "data.splits": "fresh",
    "data.cut": 3,
    "data.scaling": "unit",
    "data.unlabelled": 500,
    "data.pretrain_on": "unlabelled",
    "data.greyscale": True,
    "data.shuffled_pixels": True,
    "encoder.layers": (64, 32, 16),
    "encoder.activation": "sigmoid",
    "pretrain.training": "end_to_end",
    "pretrain.epochs": 9,
    "pretrain.end_to_end_epochs": 11,
    "pretrain.batch_size": 33,
    "pretrain.sampling": "fresh",
    "pretrain.l2": 0.5,
    "pretrain.cache_codes": False,
    "pretrain.carry_step_count": True,
    "pretrain.wrong_data": "fashion_mnist",
    "pretrain.method.kind": "pca",
    "pretrain.method.loss": "cross_entropy",
    "pretrain.method.output": "sigmoid",
    "pretrain.method.tied": True,
    "pretrain.method.corruption": "gaussian",
    "pretrain.method.corruption_level": 0.75,
    "pretrain.method.corruption_schedule": "linear",
    "pretrain.method.sparsity": "l1",
    "pretrain.method.sparsity_weight": 0.25,
    "pretrain.method.sparsity_target": 0.5,
    "pretrain.method.contractive": True,
    "pretrain.method.contraction_weight": 0.125,
    "pretrain.method.variational": True,
    "pretrain.method.kl_weight": 0.5,
    "pretrain.method.visible": "gaussian",
    "pretrain.method.visible_deviation": 0.25,
    "pretrain.method.gibbs_steps": 5,
    "pretrain.method.persistent": True,
    **{f"pretrain.optimizer.{name}": value for name, value in OTHER_OPTIMIZER.items()},
    "finetune.encoder_init": "he",
    "finetune.fresh_layers": 1,
    "finetune.head_init": "ridge",
    "finetune.ridge_penalty": 0.375,
    "finetune.codes": "standardised",
    "finetune.readout": "knn",
    "finetune.unfreeze_at": 40,
    "finetune.rate_factor": 0.75,
    "finetune.first_logit_change": 1.5,
    "finetune.diagnose_at": (2, 4),
    "finetune.frozen_layers": 1,
    "finetune.labels": 333,
    "finetune.label_subset": "balanced",
    "finetune.epochs": 6,
    "finetune.updates": 7,
    "finetune.batch_size": 21,
    "finetune.sampling": "epoch",
    "finetune.l2": 0.0,
    "finetune.cache_codes": False,
    "finetune.validate_at": (3, 9),
    **{f"finetune.optimizer.{name}": value for name, value in OTHER_OPTIMIZER.items()},
    "seeds": 3,
    "run_dir": "somewhere/else",
    "repeats": 4,
    "code": "ignore",
    "store": "a store",
    "engine.name": "ray",
    "engine.address": "auto",
    "engine.distributed": True,
    "engine.cpus": 3,
    "engine.gpus": 0.25,
    "engine.memory": 1.5,
    "engine.retries": 0,
    "engine.time_limit": 30,
    "engine.partition": "gpu",
    "engine.parallel": 8,
    "engine.flags": ("account=mine", "exclusive"),
    "study.compare": "finetune.labels",
    "study.metric": "validation_accuracy",
    "study.smallest_effect": 0.01,
    "study.until_conclusive": True,
    "study.most_seeds": 12,
    "save_every": 5.5,
}

# What a field needs beside it, to have an effect or to fit.
BESIDE = {
    "pretrain.end_to_end_epochs": {"pretrain.training": "end_to_end"},
    "pretrain.method.loss": {"encoder.activation": "sigmoid"},
    "pretrain.method.corruption_level": {"pretrain.method.corruption": "masking"},
    "pretrain.method.corruption_schedule": {"pretrain.method.corruption": "masking"},
    "pretrain.method.sparsity_weight": {"pretrain.method.sparsity": "l1"},
    "pretrain.method.sparsity_target": {"pretrain.method.sparsity": "kl", "encoder.activation": "sigmoid"},
    "pretrain.method.contraction_weight": {"pretrain.method.contractive": True},
    "pretrain.method.kl_weight": {"pretrain.method.variational": True},
    "pretrain.method.visible_deviation": {"pretrain.method.visible": "gaussian"},
    "finetune.ridge_penalty": {"finetune.head_init": "ridge"},
}


def with_beside(name, default=DEFAULT):
    """The default with what a field needs beside it, of a kind that has the field."""
    sweep = ({"finetune.encoder_init": SWEPT["finetune.encoder_init"]},)  # a read-out is refused beside swept freezing
    default = dataclasses.replace(default, sweep=sweep) if name == "finetune.readout" else default
    default = with_field(name, default)
    if default.pretrain.method.kind == "rbm":
        default = replace(default, "encoder.activation", "sigmoid")
    return dataclasses.replace(replace_all(default, BESIDE.get(name, {})))


def together(kind, rule):
    """As many other values as fit one another and have an effect, of a kind of method and a rule for it."""
    fit = {"pretrain.training": "greedy", "pretrain.method.loss": "mse", "pretrain.method.sparsity": "kl"}
    fit |= {"pretrain.method.kind": kind, "pretrain.optimizer.kind": rule, "finetune.updates": 0, "finetune.epochs": 6}
    fit |= {"data.splits": "fixed"}
    values = {**OTHER, **fit, "finetune.readout": "none", "finetune.encoder_init": "permuted"}
    experiment = replace_all(Experiment(), {name: values[name] for name in KINDS})
    own = {name: value for name, value in values.items() if name in fields(experiment)}
    found = replace_all(experiment, own)
    return {name: value for name, value in own.items() if inert_because(found, name) is None}


TOGETHER = [together(*kinds) for kinds in (("autoencoder", "sgd"), ("rbm", "adamw"), ("pca", "adam"))]
TOGETHER += [together("supervised", "adamw")]
SWITCHES = {name for beside in BESIDE.values() for name in beside}  # by which others have an effect
SIGMOID = dataclasses.replace(DEFAULT, encoder=EncoderConfig(activation="sigmoid"))  # as cross-entropy of codes needs


def read(*argv, default=DEFAULT):
    return parse(argv, default, "launch.py test", "A test.")


def option(name):
    return f"--{name.replace('_', '-')}"


def words(value):
    return [str(part) for part in value] if isinstance(value, tuple) else [str(value)]


def refused(*argv, default=DEFAULT):
    """Returns the line in which a command line is refused."""
    with pytest.raises(ConfigError) as error:
        read(*argv, default=default)
    text = str(error.value)
    assert text.splitlines() == [text]
    return text


# Fine-tuning is by gradient descent in all of these.
OF_ADAM = [f"finetune.optimizer.{name}" for name in ("beta1", "beta2", "epsilon", "epsilon_inside", "weight_decay")]


def test_without_options_the_default_is_run():
    assert read() == Command(DEFAULT, dry_run=False)
    assert read(default=Experiment()) == Command(Experiment())


def test_the_table_of_other_values_covers_every_field():
    assert set(OTHER) == set(LEAVES)
    assert not [name for name, value in OTHER.items() if value == get(with_field(name, DEFAULT), name)]
    missing = LEAVES.keys() - {name for values in TOGETHER for name in values}
    assert missing == {"pretrain.end_to_end_epochs", *(name for name in LEAVES if name in OF_ADAM)}


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("form", ["spaced", "joined"])
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
    assert [point.values for point in experiment.points] == [{}]


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


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        # misspelt
        (["--seed", "3"], ["--seed", "did you mean --seeds?"]),
        (["--finetune.frozen", "1"], ["--finetune.frozen", "did you mean --finetune.frozen-layers?"]),
        (["--learning-rate", "1"], ["--learning-rate", ".optimizer.learning-rate?"]),
        (["--encoder.layer=3"], ["--encoder.layer", "did you mean --encoder.layers?"]),
        (["--finetune.optimizer.lr", "1"], ["--finetune.optimizer.lr"]),
        (["--finetune"], ["--finetune"]),
        (["--dryrun"], ["--dryrun", "did you mean --dry-run?"]),
        (["--no-dry-run"], ["--no-dry-run"]),
        (["--until-conclusiv"], ["--until-conclusiv", "did you mean --study.until-conclusive?"]),
        (["--SEEDS", "3"], ["--SEEDS"]),
        (["--"], ["'--'"]),
        # of the wrong type
        (["--seeds", "many"], ["seeds: 'many'", "integer"]),
        (["--seeds", "2.5"], ["seeds: '2.5'", "integer"]),
        (["--seeds="], ["seeds: ''"]),
        (["--encoder.layers", "12,6"], ["encoder.layers: '12,6'", "a number of units", "32c5s2", "FILE.py:FUNCTION"]),
        (["--encoder.layers", "12", "six"], ["encoder.layers: 'six'", "a number of units", "32c5s2"]),
        (["--encoder.layers", "32c5s0"], ["encoder.layers: '32c5s0'", "a number of units", "32c5s2"]),
        (["--encoder.layers", "12", "5.0"], ["encoder.layers: '5.0'"]),
        (["--finetune.frozen-layers", "most"], ["finetune.frozen_layers: 'most'", "integer", "'all'"]),
        (["--finetune.frozen-layers=-1"], ["finetune.frozen_layers: '-1'", "greater than or equal to 0"]),
        (["--finetune.l2", "small"], ["finetune.l2: 'small'", "number"]),
        (["--pretrain.cache-codes", "perhaps"], ["pretrain.cache_codes: 'perhaps'", "boolean"]),
        (["--dry-run", "True"], ["dry_run: 'True'", "leave it out"]),
        (["--dry-run=False"], ["dry_run: 'False'", "leave it out"]),
        (["--seeds", "2.0"], ["seeds: '2.0'", "whole number"]),
        (["--pretrain.cache-codes"], ["pretrain.cache_codes: ''", "give one"]),
        (["--pretrain.cache-codes", "true"], ["pretrain.cache_codes: 'true'", "True or False"]),
        # outside what the field takes
        (["--seeds", "0"], ["seeds: '0'", "greater than 0"]),
        (["--seeds", "-1"], ["seeds: '-1'", "greater than 0"]),
        (["--encoder.layers", "0"], ["encoder.layers: '0'", "greater than 0"]),
        (["--encoder.layers", "300", "-5"], ["encoder.layers: '-5'", "greater than 0"]),
        (
            ["--pretrain.optimizer.learning-rate", "-0.1"],
            ["pretrain.optimizer.learning_rate: '-0.1'", "greater than 0"],
        ),
        (["--finetune.optimizer.learning-rate=0"], ["finetune.optimizer.learning_rate: '0'", "greater than 0"]),
        (["--finetune.optimizer.momentum", "1"], ["finetune.optimizer.momentum: '1'", "less than 1"]),
        (["--finetune.l2", "nan"], ["finetune.l2: 'nan'", "finite"]),
        (["--finetune.l2", "inf"], ["finetune.l2: 'inf'", "finite"]),
        (["--finetune.l2", "1e999"], ["finetune.l2: '1e999'", "finite"]),
        (["--encoder.activation", "swish"], ["encoder.activation: 'swish'", "'elu'", "'tanh'"]),
        (["--finetune.encoder-init", "He"], ["finetune.encoder_init: 'He'", "'he'"]),
        (["--run-dir", ""], ["run_dir: ''"]),
        (["--data.name="], ["data.name: ''"]),
        (["--run-dir", "\udcff"], ["run_dir: "]),
        # missing, or too many
        (["--seeds"], ["seeds: ", "give one"]),
        (["--seeds", "--store", "s"], ["seeds: ", "give one"]),
        (["--encoder.layers"], ["encoder.layers: ", "at least 1"]),
        (["--seeds", "1", "2"], ["seeds: '1 2'", "give one"]),
        (["--until-conclusive", "soon"], ["study.until_conclusive: 'soon'", "boolean"]),
        (["--until-conclusive", "True", "2"], ["study.until_conclusive: 'True 2'", "give one"]),
        (["--run-dir", "a", "b"], ["run_dir: 'a b'", "give one"]),
        (["--seeds", "2", "-v"], ["seeds: '2 -v'"]),
        (["geron"], ["'geron'", "options start with --"]),
        (["-v"], ["'-v'", "options start with --"]),
        ([""], ["''", "options start with --"]),
        # each on its own, but not together
        (["--finetune.frozen-layers", "3"], ["finetune.frozen_layers: 3", "at most 2"]),
        (
            ["--encoder.layers", "300", "--sweep", "finetune.frozen_layers=0,2"],
            ["finetune.frozen_layers: 2", "at most 1", "encoder.layers more than (300,)"],
        ),
        (
            ["--finetune.labels", "49", "--finetune.batch-size", "50"],
            ["finetune.batch_size: 50", "finetune.labels 49"],
        ),
        (["--until-conclusive", "--seeds", "33"], ["study.most_seeds: 32", "seeds 33", "raise it"]),
        # by layer
        (["--per-layer"], ["per_layer: ''", "give one"]),
        (["--per-layer", "pretrain.epochs=1", "2"], ["per_layer: 'pretrain.epochs=1 2'", "give one"]),
        (["--per-layer", "pretrain.epochs"], ["per_layer: 'pretrain.epochs'", "field=value,value"]),
        (["--per-layer", "pretrain.epochs="], ["per_layer: 'pretrain.epochs='", "field=value,value"]),
        (["--per-layer", "pretrain.epochs=1"], ["per_layer pretrain.epochs: (1,)", "encoder of 2 layers"]),
        (["--per-layer", "pretrain.epochs=1,2,3"], ["per_layer pretrain.epochs: (1, 2, 3)", "encoder of 2 layers"]),
        (["--per-layer", "pretrain.epochs=1,0"], ["pretrain.epochs: '0'", "greater than 0"]),
        (["--per-layer", "pretrain.epochs=1,two"], ["pretrain.epochs: 'two'", "integer"]),
        (["--per-layer", "pretrain.epoch=1,2"], ["per_layer: 'pretrain.epoch'", "did you mean 'pretrain.epochs'?"]),
        (["--per-layer", "finetune.labels=100,200"], ["per_layer: 'finetune.labels'", "is not a layer's"]),
        (["--per-layer", "pretrain.l2=uniform:0:1"], ["per_layer: 'pretrain.l2'", "has no random values"]),
        (["--per-layer", "pretrain.l2=loguniform:1:2"], ["per_layer: 'pretrain.l2'", "has no random values"]),
        (
            ["--per-layer", "pretrain.epochs=1,2", "--pretrain.epochs", "3"],
            ["per_layer: 'pretrain.epochs'", "is set by an option too"],
        ),
        (
            ["--per-layer", "pretrain.epochs=1,2", "--sweep", "pretrain.epochs=3,4"],
            ["sweep: 'pretrain.epochs'", "is given per layer"],
        ),
        (["--encoder.layers", "9", "8", "7", "--per-layer", "pretrain.l2=0,1"], ["per_layer pretrain.l2", "3 layers"]),
        (
            ["--per-layer", "pretrain.method.gibbs_steps=1,2"],
            ["'pretrain.method.gibbs_steps'", "kind rbm, not of auto"],
        ),
        (["--per-layer", "pretrain.method.sparsity=none,kl"], ["pretrain.method.sparsity: 'kl'", "sigmoid"]),
        # what the command line cannot set
        (["--sweep", "{}"], ["sweep"]),
        (["--experiment.seeds", "3"], ["--experiment.seeds", "--seeds"]),
        (["--tyro-print-completion", "bash"], ["--tyro-print-completion"]),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode() if isinstance(value, list) else None,
)
def test_a_mistake_is_reported_in_one_line(argv, parts, capfd):
    text = refused(*argv)
    for part in parts:
        assert part in text
    assert capfd.readouterr() == ("", "")


def test_a_mistake_is_found_wherever_it_stands():
    sound = ["--store", "s", "--encoder.layers", "9", "8"]
    for at in (0, 2, len(sound)):
        assert refused(*sound[:at], "--seeds", "x", *sound[at:]).startswith("seeds: 'x'")


def documented(config, prefix=""):
    """Yields the dotted name and the docstring of every leaf field of a config, as they stand in the source."""
    classes = [each for each in type(config).__mro__ if dataclasses.is_dataclass(each)]
    texts = {}
    for each in reversed(classes):
        body = ast.parse(inspect.getsource(each)).body[0].body
        for field, text in itertools.pairwise([*body, None]):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[field.target.id] = ast.literal_eval(text.value)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from documented(value, f"{prefix}{field.name}.")
        elif prefix or field.name not in ("sweep", "per_layer"):
            yield prefix + field.name, texts[field.name]


def squeezed(text):
    """Text without what lays it out: white space, and the lines of a box."""
    return re.sub(r"[\s│]+", "", text)


def helped(argv, default, capsys, monkeypatch):
    """The page that ``--help`` prints, without its layout."""
    monkeypatch.setenv("COLUMNS", "80")  # a wide page has columns of boxes
    with pytest.raises(SystemExit) as end:
        read(*argv, default=default)
    out, err = capsys.readouterr()
    assert end.value.code == 0 and not err
    return squeezed(out)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    ("method", "rule"),
    [(AutoencoderConfig, AdamConfig), (RbmConfig, AdamWConfig), (SupervisedConfig, SgdConfig), (PcaConfig, AdamConfig)],
)
def test_help_gives_every_field_its_meaning_and_its_default(flag, method, rule, capsys, monkeypatch):
    pretrain, finetune = PretrainConfig(method=method()), FinetuneConfig(optimizer=rule())
    encoder = EncoderConfig(activation="sigmoid")
    default = Experiment(encoder=encoder, pretrain=pretrain, finetune=finetune, seeds=5, run_dir="runs/test")
    page = helped(["--seeds", "not read", flag], default, capsys, monkeypatch)
    assert squeezed("launch.py test") in page and squeezed("A test.") in page
    docs = dict(documented(default))
    own = [name for name in fields(default) if name not in ("sweep", "per_layer")]
    assert set(docs) == set(own)
    for name in own:
        value = get(default, name)
        forms = {" ".join(words(value)), f"'{value}'"}
        after = page.partition(f"{option(name)}")[2]
        assert after, name
        assert any(f"{squeezed(docs[name])}(default:{squeezed(form)})" in after for form in forms), name
    for name in LEAVES.keys() - set(own):
        assert option(name) not in page
    for name, kinds in KINDS.items():
        about = page.partition(f"{option(name)}{{")[2].partition("(default:")[0]
        assert all(kind in about.lower() or _LONG[kind] in about.lower() for kind in kinds), name
    assert "--dry-run" in page and "--sweep" in page and "--per-layer" in page


_LONG = {"pca": "principalcomponents", "rbm": "restrictedboltzmannmachine", "supervised": "classifier"}
_LONG |= {"autoencoder": "autoencoder", "adam": "adam", "adamw": "adamw", "sgd": "sgd"}


@pytest.mark.parametrize(
    ("place", "form", "flag"), [(0, "spaced", "-h"), (1, "spaced", "--help"), (1, "joined", "-h"), (2, "spaced", "-h")]
)
def test_help_shows_the_fields_of_the_kinds_that_options_choose(place, form, flag, capsys, monkeypatch):
    kinds = {"pretrain.method.kind": "rbm", "finetune.optimizer.kind": "sgd"}
    chosen = [[option(name), kind] if form == "spaced" else [f"{option(name)}={kind}"] for name, kind in kinds.items()]
    argv = [word for words in [*chosen[:place], [flag], *chosen[place:]] for word in words]
    page = helped(argv, DEFAULT, capsys, monkeypatch)
    shown = ("pretrain.method.gibbs-steps", "finetune.optimizer.momentum", "pretrain.optimizer.beta1")
    hidden = ("pretrain.method.corruption", "finetune.optimizer.beta1", "pretrain.optimizer.momentum")
    assert all(f"--{name}" in page for name in shown) and not any(f"--{name}" in page for name in hidden)
    assert "(default:rbm)" in page and "autoencoder" in page and "supervised" in page


def test_help_of_a_kind_that_is_not_there_is_refused():
    assert "'autoencoder', 'rbm', 'supervised' or 'pca'" in refused("--pretrain.method.kind", "knn", "--help")


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


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (
            ["--pretrain.method.gibbs-steps", "3"],
            ["--pretrain.method.gibbs-steps", "method.kind rbm, not of autoencoder"],
        ),
        (["--pretrain.method.gibbs_steps=3"], ["method.kind rbm, not of autoencoder", "set pretrain.method.kind"]),
        (["--finetune.optimizer.momentum", "0.5"], ["optimizer.kind sgd, not of adam", "set finetune.optimizer.kind"]),
        (["--pretrain.optimizer.weight-decay", "0.5"], ["pretrain.optimizer.kind adamw, not of adam"]),
        (
            ["--pretrain.optimizer.kind", "sgd", "--pretrain.optimizer.beta1", "0.5"],
            ["--pretrain.optimizer.beta1", "pretrain.optimizer.kind adam or adamw, not of sgd"],
        ),
        (
            ["--pretrain.method.loss", "mse", "--pretrain.method.kind", "pca"],
            ["--pretrain.method.loss", "pretrain.method.kind autoencoder, not of pca"],
        ),
        (
            ["--sweep", "pretrain.method.gibbs_steps=1,5"],
            ["'pretrain.method.gibbs_steps'", "kind rbm, not of autoencoder"],
        ),
        (
            ["--pretrain.method.kind", "knn"],
            ["pretrain.method.kind: 'knn'", "'autoencoder', 'rbm', 'supervised' or 'pca'"],
        ),
        (["--pretrain.method.kind"], ["pretrain.method.kind: ''", "give one"]),
        (["--pretrain.method.kind", "pca", "rbm"], ["pretrain.method.kind: 'pca rbm'", "give one"]),
        (["--pretrain.method", "rbm"], ["--pretrain.method", "did you mean"]),
        (["--pretrain.method.kind", "rbm"], ["pretrain.method.kind: 'rbm'", "set encoder.activation to sigmoid"]),
        (
            ["--pretrain.method.kind", "pca", "--sweep", "pretrain.method.kind=pca,supervised"],
            ["sweep: 'pretrain.method.kind'", "is set by an option too"],
        ),
    ],
)
def test_an_option_of_another_kind_is_refused_naming_the_kind(argv, parts):
    text = refused(*argv)
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("argv", "reported"),
    [
        (["--pretrain.method.corruption-level", "0.5"], "pretrain.method.corruption is 'none'"),
        (["--pretrain.method.corruption-schedule", "linear"], "pretrain.method.corruption is 'none'"),
        (["--pretrain.method.sparsity-weight", "0.5"], "pretrain.method.sparsity is 'none'"),
        (
            ["--pretrain.method.sparsity", "l1", "--pretrain.method.sparsity-target", "0.5"],
            "pretrain.method.sparsity is 'l1'",
        ),
        (["--pretrain.method.contraction-weight", "0.5"], "pretrain.method.contractive is False"),
        (["--pretrain.method.kl-weight", "0.5"], "pretrain.method.variational is False"),
        (
            [
                *("--pretrain.method.loss", "cross_entropy", "--encoder.activation", "sigmoid"),
                *("--pretrain.method.output", "sigmoid"),
            ],
            "pretrain.method.loss is 'cross_entropy'",
        ),
        (
            [
                *("--pretrain.method.kind", "rbm", "--encoder.activation", "sigmoid"),
                *("--pretrain.method.visible-deviation", "0.5"),
            ],
            "pretrain.method.visible is 'bernoulli'",
        ),
        (["--pretrain.end-to-end-epochs", "9"], "pretrain.training is 'greedy'"),
        (["--finetune.ridge-penalty", "0.5"], "finetune.head_init is 'random'"),
        (["--finetune.updates", "9", "--finetune.epochs", "9"], "finetune.updates is 9"),
        (["--finetune.encoder-init", "he", "--finetune.fresh-layers", "1"], "finetune.encoder_init is 'he'"),
        *(
            (["--finetune.readout", "knn", "--finetune.frozen-layers", "0", *more], "finetune.readout is 'knn'")
            for more in (
                ["--finetune.epochs", "9"],
                ["--finetune.l2", "0.5"],
                ["--finetune.head-init", "zero"],
                ["--finetune.optimizer.learning-rate", "0.5"],
                ["--finetune.optimizer.kind", "sgd"],
            )
        ),
        # swept, or by layer
        (["--sweep", "pretrain.method.corruption_level=0.1,0.5"], "pretrain.method.corruption is 'none'"),
        (["--per-layer", "pretrain.method.corruption_level=0.1,0.5"], "pretrain.method.corruption is 'none'"),
        (
            [
                *("--sweep", "pretrain.method.kind=rbm", "--encoder.activation", "sigmoid"),
                *("--sweep", "pretrain.method.visible_deviation=0.1,0.5"),
            ],
            "pretrain.method.visible is 'bernoulli'",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_without_effect_is_refused_naming_what_keeps_it_from_having_one(argv, reported):
    text = refused(*argv)
    last = [word.removeprefix("--") for word in argv if word.startswith("--") or "=" in word][-1]
    name = last.partition("=")[0].replace("-", "_")
    assert text.startswith(f"{name}: ") and f"has no effect where {reported}; leave it out, or set that" in text


def test_an_option_has_an_effect_if_it_has_one_on_some_trial_or_some_layer():
    level = ["--pretrain.method.corruption-level", "0.5"]
    swept = read(*level, "--sweep", "pretrain.method.corruption=none,masking").experiment
    assert [point.settings.pretrain.method.corruption_level for point in swept.points] == [0.5] * 8
    layered = read(*level, "--per-layer", "pretrain.method.corruption=none,masking").experiment
    assert layered.at_layer(1).pretrain.method == AutoencoderConfig(corruption="masking", corruption_level=0.5)
    levels = read("--per-layer", "pretrain.method.corruption_level=0.1,0.5", "--pretrain.method.corruption", "masking")
    assert [levels.experiment.at_layer(layer).pretrain.method.corruption_level for layer in range(2)] == [0.1, 0.5]
    readouts = read("--finetune.epochs", "9", "--sweep", "finetune.readout=none,knn", default=Experiment()).experiment
    assert [point.settings.finetune.epochs for point in readouts.points] == [9, 9]
    # One of a kind that no trial, or no layer, has.
    kinds = ["--pretrain.method.tied", "True", "--sweep", "pretrain.method.kind=pca,supervised"]
    parts = "pretrain.method.tied: True has no effect, for no trial has the pretrain.method.kind that it is of"
    assert parts in refused(*kinds)
    assert read(*kinds[:2], "--sweep", "pretrain.method.kind=pca,autoencoder")
    layers = ["--pretrain.method.tied", "True", "--per-layer", "pretrain.method.kind=pca,supervised"]
    assert parts in refused(*layers)
    assert read(*layers[:2], "--per-layer", "pretrain.method.kind=pca,autoencoder")


def test_what_a_config_gives_may_be_without_effect():
    method = AutoencoderConfig(corruption_level=0.5)
    default = Experiment(pretrain=PretrainConfig(method=method, end_to_end_epochs=9))
    assert read("--seeds", "2", default=default).experiment.pretrain == default.pretrain


ALPHABET = string.ascii_lowercase + string.digits + "-.=_ ,'\"[]{}\n\\é\x00\udcff"
WORDS = (
    st.sampled_from(
        ["True", "False", "he", "relu", "mnist", "0", "1", "2", "12", "-1", "1e-3", "nan", "-", "--", "---"]
    )
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(ALPHABET, max_size=8)
)
OPTIONS = st.sampled_from(
    [*map(option, LEAVES), *(f"--{name}" for name in LEAVES), "--dry-run", "--sweep", "--per-layer"]
)
SOUND = st.sampled_from([[option(name), *words(value)] for name, value in OTHER.items()])
SOUND |= st.sampled_from([[option(name), kind] for name, kinds in KINDS.items() for kind in kinds])
DOUBTFUL = OPTIONS | WORDS | st.builds("{}={}".format, OPTIONS, WORDS) | WORDS.map("--{}".format)
# A help flag prints and exits, which is success of another kind.
ARGUMENTS = st.lists(SOUND | SOUND | DOUBTFUL.map(lambda word: [word]) | st.tuples(OPTIONS, WORDS), max_size=5).map(
    lambda parts: [word for part in parts for word in part if word not in ("-h", "--help")]
)


def read_or_refused(argv):
    try:
        command = read(*argv)
    except ConfigError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert isinstance(command, Command)
        dataclasses.replace(command.experiment)  # checks it once more
        assert not {name for grid in command.experiment.sweep for name in grid} - set(SWEPT)


@settings(max_examples=200, deadline=None)
@given(ARGUMENTS)
@example(["--run-dir", "a\nb"])
@example(["--\n", "x"])
@example(["--seeds", "9" * 5000])
@example(["--data.name=--data.name=", "--data.name"])
def test_any_arguments_are_read_or_refused(argv):
    read_or_refused(argv)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(ARGUMENTS)
def test_any_arguments_are_read_or_refused_at_length(argv):
    read_or_refused(argv)


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
