"""Names that may be meant: near ones, aliases that people type, and none where nothing is near."""

import pytest

from pretrain.commands.command_line import parse
from pretrain.config import Experiment
from pretrain.config.fields import ConfigError
from pretrain.config.suggestions import nearest, suggestion
from tests.experiments import LEAVES


@pytest.mark.parametrize("name", sorted(LEAVES.keys() - {"code", "finetune.codes"}))  # each near the other
def test_a_field_without_a_letter_or_its_section_and_with_one_more_is_found(name):
    last = name.rpartition(".")[2]
    assert nearest(last, LEAVES).rpartition(".")[2] == last
    assert len(last) < 4 or nearest(f"{name}s", LEAVES) == name
    assert len(last) < 4 or nearest(name[:-1], LEAVES).startswith(name[:-1])


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("class-weight", ["pretrain.method.kl_weight"]),
        ("predict", ["protocols", "geron"]),
        ("lr", ["encoder.layers"]),
        ("version", ["epsilon", "finetune.optimizer.epsilon"]),
        ("finetune.labels", ["finetune.frozen_layers"]),  # a section in common is no likeness
        ("x", []),
    ],
)
def test_nothing_is_meant_where_nothing_is_near(name, names):
    assert nearest(name, names) is None
    assert suggestion(name, [*names, "abcdefgh"], "or leave it out") == "or leave it out"


RATES = "--finetune.optimizer.learning-rate or --pretrain.optimizer.learning-rate?"
TYPED = {
    "--lr": RATES,
    "--learning-rate": RATES,
    "--learning_rate": RATES,
    "--lr-schedule": "--finetune.optimizer.schedule or --pretrain.optimizer.schedule?",
    "--lr-scheduler": "--finetune.optimizer.schedule or --pretrain.optimizer.schedule?",
    "--lr-warmup": "--finetune.optimizer.warmup-steps or --pretrain.optimizer.warmup-steps?",
    "--epochs": "--finetune.epochs or --pretrain.epochs?",
    "--batch-size": "--finetune.batch-size or --pretrain.batch-size?",
    "--optimizer": "--finetune.optimizer.kind or --pretrain.optimizer.kind?",
    "--seed": "did you mean --seeds?",
    "--n-seeds": "did you mean --seeds?",
    "--num_seeds": "did you mean --seeds?",
    "--output": "did you mean --run-dir?",
    "--out": "did you mean --run-dir?",
    "--output-dir": "did you mean --run-dir?",
    "--dataset": "did you mean --data.name?",
    "--target": "did you mean --data.target?",
    "--finetune.lr": "did you mean --finetune.optimizer.learning-rate?",
    "--pretrain.lr-schedule": "did you mean --pretrain.optimizer.schedule?",
    "--finetune.epoch": "did you mean --finetune.epochs?",
    "--encoder.lr": "--help lists them",
    "--model": "did you mean --encoder.layers?",
    "--class-weight": "did you mean --finetune.class-weights?",
    "--device": "JAX_PLATFORMS=cpu",
    "--gpu": "JAX uses the accelerator that it finds",
    "--gpus": "engine.gpus is of ray and slurm",
    "--version": "pip show pretrain",
    "--verbose": "--help lists them",
    "--frobnicate": "--help lists them",
}


@pytest.mark.parametrize("option", TYPED)
def test_what_people_type_is_answered_with_the_field(option):
    with pytest.raises(ConfigError) as error:
        parse([option, "3"], Experiment(), "geron", "")
    line = str(error.value)
    assert line.startswith(f"option: {option!r} is no field; ") and TYPED[option] in line
    assert len(line.splitlines()) == 1 and line.count("did you mean") == TYPED[option].endswith("?")


def test_an_alias_is_answered_in_a_sweep_too():
    with pytest.raises(ConfigError, match=r"sweep: 'lr' is no field; did you mean 'finetune.optimizer.learning_rate'"):
        parse(["--sweep", "lr=0.1,0.2"], Experiment(), "geron", "")


def test_what_no_program_knows_as_a_column_is_no_option():
    assert suggestion("device", ["devices", "age"], "") == "did you mean 'devices'?"
    assert suggestion("target", ["label", "age"], "it has label, age") == "it has label, age"
