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
from pretrain.config import EncoderConfig, Experiment
from pretrain.config.fields import ConfigError, get
from tests.experiments import LEAVES

SWEPT = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (2, 0)}
DEFAULT = Experiment(sweep=(SWEPT,))

OTHER_OPTIMIZER = {
    "name": "sgd",
    "learning_rate": 0.125,
    "momentum": 0.5,
    "beta1": 0.75,
    "beta2": 0.25,
    "epsilon": 1e-4,
    "weight_decay": 0.0625,
    "schedule": "cosine",
    "warmup_steps": 7,
}
# For each field a value that is not its default, and that fits the other defaults.
OTHER = {
    "data.name": "cifar10",
    "data.dir": "/data/tfds",
    "data.validation": 77,
    "data.greyscale": True,
    "data.shuffled_pixels": True,
    "encoder.widths": (64, 32, 16),
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
    "pretrain.objective.kind": "pca",
    "pretrain.objective.loss": "cross_entropy",
    "pretrain.objective.output": "sigmoid",
    "pretrain.objective.tied": True,
    "pretrain.objective.corruption": "gaussian",
    "pretrain.objective.corruption_level": 0.75,
    "pretrain.objective.corruption_schedule": "linear",
    "pretrain.objective.sparsity": "l1",
    "pretrain.objective.sparsity_weight": 0.25,
    "pretrain.objective.sparsity_target": 0.5,
    "pretrain.objective.contractive": True,
    "pretrain.objective.contraction_weight": 0.125,
    "pretrain.objective.variational": True,
    "pretrain.objective.kl_weight": 0.5,
    "pretrain.objective.visible": "gaussian",
    "pretrain.objective.visible_deviation": 0.25,
    "pretrain.objective.gibbs_steps": 5,
    "pretrain.objective.persistent": True,
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

TOGETHER = {**OTHER, "pretrain.training": "greedy"}  # not all of them fit each other

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


def test_without_options_the_default_is_run():
    assert read() == Command(DEFAULT, dry_run=False)
    assert read(default=Experiment()) == Command(Experiment())


def test_the_table_of_other_values_covers_every_field():
    assert set(OTHER) == set(LEAVES)
    assert not [name for name, value in OTHER.items() if value == get(DEFAULT, name)]


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("form", ["spaced", "joined"])
def test_every_field_is_set_by_its_name_and_no_other_changes(name, form):
    first, *rest = words(OTHER[name])
    given_as = [option(name), first] if form == "spaced" else [f"{option(name)}={first}"]
    apart = {"finetune.encoder_init": SWEPT["finetune.encoder_init"]}  # a read-out is refused where freezing is swept
    unfrozen = dataclasses.replace(DEFAULT, sweep=(apart,))
    default = {"pretrain.objective.loss": SIGMOID, "finetune.readout": unfrozen}.get(name, DEFAULT)
    experiment = read(*given_as, *rest, default=default).experiment
    assert {other: get(experiment, other) for other in LEAVES} == {
        other: get(default, other) if other != name else OTHER[name] for other in LEAVES
    }
    assert type(get(experiment, name)) is type(OTHER[name])


def test_names_may_be_written_as_in_python():
    experiment = read("--finetune.frozen_layers", "1", "--run_dir=x").experiment
    assert (experiment.finetune.frozen_layers, experiment.run_dir) == (1, "x")


def test_all_fields_are_set_at_once():
    argv = [word for name, value in TOGETHER.items() for word in (option(name), *words(value))]
    experiment = read(*argv).experiment
    assert {name: get(experiment, name) for name in LEAVES} == TOGETHER
    assert list(experiment.points()) == [{}]


@pytest.mark.parametrize("widths", [(12,), (12, 6), (9, 8, 7, 6)])
def test_a_tuple_takes_any_number_of_values(widths):
    argv = ["--encoder.widths", *words(widths), "--finetune.frozen-layers", "1", "--seeds", "3"]
    assert read(*argv).experiment.encoder.widths == widths


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
    experiment = read("--seeds", "2", "--store", "s", "--encoder.widths", "4", "3", "--seeds", "5").experiment
    assert (experiment.seeds, experiment.store, experiment.encoder.widths) == (5, "s", (4, 3))
    assert read(
        "--encoder.widths", "4", "3", "2", "--seeds", "5", "--encoder.widths", "6", "5"
    ).experiment.encoder.widths == (6, 5)


def test_an_option_for_a_swept_field_takes_the_place_of_its_sweep():
    experiment = read("--finetune.frozen-layers", "1").experiment
    assert experiment.sweep == ({"finetune.encoder_init": ("pretrained", "he")},)
    assert [experiment.at(point).finetune.frozen_layers for point in experiment.points()] == [1, 1]

    experiment = read("--finetune.frozen-layers", "1", "--finetune.encoder-init=he").experiment
    assert [experiment.at(point) for point in experiment.points()] == [dataclasses.replace(experiment, sweep=())]


def test_an_option_takes_its_field_out_of_every_grid_and_leaves_the_rest():
    grids = ({"finetune.labels": (100, 200), "finetune.l2": (0.0, 0.5)}, {"finetune.labels": (300,)})
    experiment = read("--finetune.labels", "400", default=Experiment(sweep=grids)).experiment
    assert list(experiment.points()) == [{"finetune.l2": 0.0}, {"finetune.l2": 0.5}, {}]
    assert experiment.finetune.labels == 400


def test_values_by_layer_are_read_in_the_types_of_their_fields():
    argv = ["--per-layer", "pretrain.epochs=2,3", "--per_layer=pretrain.l2=0,1e-3", "--per-layer"]
    experiment = read(*argv, "pretrain.objective.kind=rbm,pca", "--encoder.activation", "sigmoid").experiment
    per_layer = {"pretrain.epochs": (2, 3), "pretrain.l2": (0.0, 0.001), "pretrain.objective.kind": ("rbm", "pca")}
    assert repr(experiment.per_layer) == repr(per_layer)
    assert experiment.sweep == DEFAULT.sweep
    # The sweep is checked with the layers in place, and the layers with the options.
    deeper = read("--per-layer", "pretrain.batch-size=10,20,30", "--encoder.widths", "9", "8", "7").experiment
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
        (["--encoder.width=3"], ["--encoder.width", "did you mean --encoder.widths?"]),
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
        (["--encoder.widths", "12,6"], ["encoder.widths: '12,6'", "integer"]),
        (["--encoder.widths", "12", "six"], ["encoder.widths: 'six'", "integer"]),
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
        (["--encoder.widths", "0"], ["encoder.widths: '0'", "greater than 0"]),
        (["--encoder.widths", "300", "-5"], ["encoder.widths: '300 -5'", "greater than 0"]),
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
        (["--encoder.widths"], ["encoder.widths: ", "at least 1"]),
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
        (["--encoder.widths", "300"], ["finetune.frozen_layers: 2", "at most 1", "encoder.widths (300,)"]),
        (["--finetune.labels", "49"], ["finetune.batch_size: 50", "finetune.labels 49"]),
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
        (["--encoder.widths", "9", "8", "7", "--per-layer", "pretrain.l2=0,1"], ["per_layer pretrain.l2", "3 layers"]),
        (["--per-layer", "pretrain.objective.sparsity=none,kl"], ["pretrain.objective.sparsity: 'kl'", "sigmoid"]),
        # what the command line cannot set
        (["--sweep", "{}"], ["sweep"]),
        (["--experiment.seeds", "3"], ["--experiment.seeds", "--seeds"]),
        (["--tyro-print-completion", "bash"], ["--tyro-print-completion"]),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode() if isinstance(value, list) else None,
)
def test_a_mistake_is_told_in_one_line(argv, parts, capfd):
    text = refused(*argv)
    for part in parts:
        assert part in text
    assert capfd.readouterr() == ("", "")


def test_a_mistake_is_found_wherever_it_stands():
    sound = ["--store", "s", "--encoder.widths", "9", "8"]
    for at in (0, 2, len(sound)):
        assert refused(*sound[:at], "--seeds", "x", *sound[at:]).startswith("seeds: 'x'")


def documented(kind, prefix=""):
    """Yields the dotted name and the docstring of every leaf field, as they stand in the source."""
    body = ast.parse(inspect.getsource(kind)).body[0].body
    nested = {field.name: field.type for field in dataclasses.fields(kind) if dataclasses.is_dataclass(field.type)}
    for field, text in itertools.pairwise([*body, None]):
        if not isinstance(field, ast.AnnAssign):
            continue
        name = field.target.id
        if name in nested:
            yield from documented(nested[name], f"{prefix}{name}.")
        elif prefix or name not in ("sweep", "per_layer"):
            yield prefix + name, ast.literal_eval(text.value)


def squeezed(text):
    """Text without what lays it out: white space, and the lines of a box."""
    return re.sub(r"[\s│]+", "", text)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_tells_every_field_its_meaning_and_its_default(flag, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # a wide page has columns of boxes
    default = dataclasses.replace(DEFAULT, seeds=5, run_dir="runs/test")
    with pytest.raises(SystemExit) as end:
        read("--seeds", "not read", flag, default=default)
    out, err = capsys.readouterr()
    assert end.value.code == 0 and not err
    page = squeezed(out)
    assert squeezed("launch.py test") in page and squeezed("A test.") in page
    docs = dict(documented(Experiment))
    assert set(docs) == set(LEAVES)
    for name in LEAVES:
        value = get(default, name)
        forms = {" ".join(words(value)), f"'{value}'"}
        after = page.partition(f"{option(name)}")[2]
        assert after, name
        assert any(f"{squeezed(docs[name])}(default:{squeezed(form)})" in after for form in forms), name
    assert "--dry-run" in page and "--sweep" in page and "--per-layer" in page


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
    names = data.draw(st.lists(st.sampled_from(list(LEAVES)), unique=True))
    if "finetune.readout" in names and "finetune.frozen_layers" not in names:
        names.append("finetune.frozen_layers")  # which is swept otherwise, and that beside a read-out is refused
    argv = [word for name in names for word in (option(name), *words(TOGETHER[name]))]
    experiment = read(*argv, default=SIGMOID).experiment
    assert {name: get(experiment, name) for name in names} == {name: TOGETHER[name] for name in names}
