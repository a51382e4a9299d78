"""Whatever cannot be read from a command line, or has no effect, is refused in one line."""

import dataclasses
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pretrain.config import (
    AutoencoderConfig,
    Experiment,
    PretrainConfig,
)
from pretrain.config.fields import ConfigError
from tests.commands.lines import OTHER, SWEPT, option, read, refused, words
from tests.experiments import KINDS, LEAVES


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
        (["--per-layer", "pretrain.epochs=1", "2"], ["per_layer: 'pretrain.epochs=1 2'", "give each a --per-layer of"]),
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
            ["pretrain.method.kind: 'knn'", "'autoencoder', 'rbm', 'supervised', 'pca', 'contrastive', "],
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
        lines = str(error).splitlines()
        assert 1 <= len(lines) <= len(argv) and all(": " in line for line in lines)
    else:
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


def test_all_mistakes_are_named_at_once():
    argv = ["--lr", "3", "--epoch", "4", "--finetune.labels", "x", "--finetune.l2", "-1", "--seeds", "2"]
    with pytest.raises(ConfigError) as error:
        read(*argv)
    lines = str(error.value).splitlines()
    starts = ["option: '--lr' is no field", "option: '--epoch' is", "finetune.labels: 'x'", "finetune.l2: '-1'"]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 4
    together = ["--finetune.labels", "30", "--finetune.batch-size", "50", "--study.compare", "nothing"]
    with pytest.raises(ConfigError) as error:
        read(*together, "--study.family", "data.name=a")
    lines = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["study.compare", "study.family", "finetune.batch_size"]
    with pytest.raises(ConfigError) as error:
        read("--finetune.patience", "3", "--finetune.ridge-penalty", "0.5")
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == [
        "finetune.patience",
        "finetune.ridge_penalty",
    ]
