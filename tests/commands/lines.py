"""Command lines as tests write them: a value for every field, and what it takes beside it."""

import dataclasses

import pytest

from pretrain.commands.command_line import parse
from pretrain.config import (
    EncoderConfig,
    Experiment,
    FinetuneConfig,
)
from pretrain.config.effects import inert_because
from pretrain.config.fields import ConfigError, fields, replace, replace_all
from pretrain.config.views import VIEWS
from tests.experiments import KINDS, with_field

OF_WEIGHTS = {"finetune.reference", *(f"finetune.weights{end}" for end in ("", "_layout", "_names"))}
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
    "clip_norm": 1.5,
}
LEVELS = {
    "crop": 0.25,
    "flip": 0.25,
    "rotation": 5.0,
    "erasing": 0.125,
    "brightness": 0.5,
    "contrast": 0.5,
    "greyscale": 0.5,
    "hue": 0.25,
    "blur": 0.5,
    "solarise": 0.5,
    "noise": 0.25,
    "shift": 0.5,
    "slope": 0.25,
    "offset": 0.25,
    "scale": 0.5,
    "swap": 0.25,
}
# For each field a value that is not its default, and that fits the other defaults.
OTHER = {
    "data.name": "cifar10",
    "data.dir": "/data/tfds",
    "data.target": "income",
    "data.drop": ("name", "address"),
    "data.group": "household",
    "data.time": "day",
    "data.missing": ("-999", "unknown"),
    "data.categories": ("district", "zip"),
    "data.inputs": "columns",
    "data.size": 48,
    "data.scale_from": "train",
    "data.validation": 77,
    "data.test": 0.25,
    "data.splits": "fresh",
    "data.task": "regression",
    "data.cut": 3,
    "data.scaling": "unit",
    "data.unlabelled": 500,
    "data.pretrain_on": "unlabelled",
    "data.greyscale": True,
    "data.shuffled_pixels": True,
    "encoder.layers": (64, 32, 16),
    "encoder.activation": "sigmoid",
    "encoder.norm": "none",
    "encoder.precision": "bfloat16",
    "pretrain.training": "end_to_end",
    "pretrain.epochs": 9,
    "pretrain.end_to_end_epochs": 11,
    "pretrain.updates": 70,
    "pretrain.validate_every": 6,
    "pretrain.watch": ("rank",),
    "pretrain.stop": "validation",
    "pretrain.patience": 8,
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
    "pretrain.method.class_weights": "balanced",
    "pretrain.method.views": ("noise",),
    "pretrain.method.anchor": "clean",
    "pretrain.method.projector": (9, 4),
    **{f"pretrain.method.{name}": value for name, value in LEVELS.items()},
    "pretrain.method.share": 0.5,
    "pretrain.method.patch": 2,
    "pretrain.method.reconstruction_weight": 4.0,
    "pretrain.method.mask_weight": 0.25,
    "pretrain.method.negatives": "other_view",
    "pretrain.method.temperature": 0.25,
    "pretrain.method.off_diagonal": 0.125,
    "pretrain.method.invariance_weight": 2.0,
    "pretrain.method.variance_weight": 3.0,
    "pretrain.method.covariance_weight": 0.5,
    "pretrain.method.predictor": (7,),
    "pretrain.method.momentum": 0.5,
    "pretrain.method.stops_gradient": False,
    **{f"pretrain.optimizer.{name}": value for name, value in OTHER_OPTIMIZER.items()},
    "pretrain.encoder_init": "weights",
    "finetune.views": ("noise",),
    **{f"finetune.{name}": value for name, value in LEVELS.items()},
    "finetune.encoder_init": "he",
    "finetune.weights": "encoder.pt",
    "finetune.weights_layout": "torch",
    "finetune.weights_names": ("layers_0=0", "=decoder"),
    "finetune.reference": "codes.npz",
    "finetune.fresh_layers": 1,
    "finetune.head_init": "ridge",
    "finetune.ridge_penalty": 0.375,
    "finetune.codes": "standardised",
    "finetune.readout": "knn",
    "finetune.activation": "tanh",
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
    "finetune.class_weights": "balanced",
    "finetune.l2": 0.0,
    "finetune.cache_codes": False,
    "finetune.validate_at": (3, 9),
    "finetune.validate_every": 2,
    "finetune.stop": "validation",
    "finetune.patience": 3,
    **{f"finetune.optimizer.{name}": value for name, value in OTHER_OPTIMIZER.items()},
    "seeds": 3,
    "run_dir": "somewhere/else",
    "repeats": 4,
    "tags": ("first", "for the talk"),
    "code": "ignore",
    "defaults": "data",
    "ways": True,
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
    "engine.workers": 4,
    "engine.detach": True,
    "engine.flags": ("account=mine", "exclusive"),
    "study.compare": "finetune.labels",
    "study.metric": "validation_accuracy",
    "study.smallest_effect": 0.01,
    "study.family": ("finetune.encoder_init=pretrained",),
    "study.tune": ("finetune.frozen_layers",),
    "study.tune_labels": "all",
    "study.intervals": "simultaneous",
    "study.until_conclusive": True,
    "study.variation": True,
    "study.baselines": True,
    "study.most_seeds": 12,
    "study.keep_states": True,
    "save_every": 5.5,
}

# What a field needs beside it, to have an effect or to fit.
BESIDE = {
    "pretrain.encoder_init": {"finetune.weights": "encoder.pt"},
    "pretrain.end_to_end_epochs": {"pretrain.training": "end_to_end"},
    "pretrain.method.loss": {"encoder.activation": "sigmoid"},
    "pretrain.patience": {"pretrain.stop": "validation"},
    "finetune.patience": {"finetune.stop": "validation"},
    "pretrain.method.corruption_level": {"pretrain.method.corruption": "masking"},
    "pretrain.method.corruption_schedule": {"pretrain.method.corruption": "masking"},
    "pretrain.method.sparsity_weight": {"pretrain.method.sparsity": "l1"},
    "pretrain.method.sparsity_target": {"pretrain.method.sparsity": "kl", "encoder.activation": "sigmoid"},
    "pretrain.method.contraction_weight": {"pretrain.method.contractive": True},
    "pretrain.method.kl_weight": {"pretrain.method.variational": True},
    "pretrain.method.visible_deviation": {"pretrain.method.visible": "gaussian"},
    "finetune.ridge_penalty": {"finetune.head_init": "ridge"},
    **{f"finetune.{name}": {"finetune.views": (name,)} for name in LEVELS},
}


def with_beside(name, default=DEFAULT):
    """The default with what a field needs beside it, of a kind that has the field."""
    sweep = ({"finetune.encoder_init": SWEPT["finetune.encoder_init"]},)  # a read-out is refused beside swept freezing
    default = dataclasses.replace(default, sweep=sweep) if name == "finetune.readout" else default
    if name in OF_WEIGHTS:
        default = dataclasses.replace(default, sweep=(), finetune=FinetuneConfig(weights="a", encoder_init="weights"))
    default = with_field(name, default)
    if default.pretrain.method.kind == "rbm":
        default = replace(default, "encoder.activation", "sigmoid")
    return dataclasses.replace(replace_all(default, BESIDE.get(name, {})))


def together(kind, rule):
    """As many other values as fit one another and have an effect, of a kind of method and a rule for it."""
    fit = {"pretrain.training": "greedy", "pretrain.method.loss": "mse", "pretrain.method.sparsity": "kl"}
    fit |= {"pretrain.method.kind": kind, "pretrain.optimizer.kind": rule, "finetune.updates": 0, "finetune.epochs": 6}
    fit |= {"pretrain.updates": 0, "pretrain.encoder_init": "he"}
    fit |= {"pretrain.method.views": ()}  # all by default, and so all levels
    fit |= {"finetune.views": VIEWS, "pretrain.method.stops_gradient": True, "data.splits": "fixed"}
    values = {**OTHER, **fit, "finetune.readout": "none", "finetune.encoder_init": "permuted"}
    for name in ("study.tune", "study.family"):  # of fields that are swept, and here all are set
        del values[name]
    experiment = replace_all(Experiment(), {name: values[name] for name in KINDS})
    own = {name: value for name, value in values.items() if name in fields(experiment)}
    found = replace_all(experiment, own)
    return {name: value for name, value in own.items() if inert_because(found, name) is None}


TOGETHER = [together(*kinds) for kinds in (("autoencoder", "sgd"), ("rbm", "adamw"), ("pca", "adam"))]
OF_TODAY = ("supervised", "contrastive", "redundancy", "variance", "teacher", "masked", "vime")
TOGETHER += [together(kind, "adamw") for kind in OF_TODAY]
SWITCHES = {name for beside in BESIDE.values() for name in beside}  # by which others have an effect
SIGMOID = dataclasses.replace(DEFAULT, encoder=EncoderConfig(activation="sigmoid"))  # as cross-entropy of codes needs


def read(*argv, default=DEFAULT):
    return parse(argv, default, "test", "A test.")


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
