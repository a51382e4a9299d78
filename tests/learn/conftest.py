"""Small stages of every kind, and how to run one trial of them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import FinetuneConfig, PretrainConfig
from pretrain.execute import execute
from pretrain.learn import train
from pretrain.learn.metrics import Batch
from pretrain.learn.results import results
from pretrain.learn.stage import Images, Stage
from pretrain.learn.start import Choices, Start, start
from tests import stages

PIXELS, CLASSES, LABELS = 20, 4, 60
FIRST = Choices(n_labels=LABELS, n_classes=CLASSES)  # of a fine-tuning's start
NONE = Choices()  # of pretraining without labels


class Run(NamedTuple):
    """One trial's stage, before and after its updates."""

    start: Start
    before: train.TrainState
    state: train.TrainState
    curves: dict


@pytest.fixture(scope="session")
def images() -> Images:
    rng = np.random.default_rng(0)

    def split(size):
        labels = rng.integers(0, CLASSES, size)
        pixels = np.clip(rng.normal(40 + 50 * labels[:, None], 30, (size, PIXELS)), 0, 255)
        return Batch(jnp.asarray(pixels, jnp.uint8), jnp.asarray(labels, jnp.int32))

    return Images(split(120), split(30), split(40))


@pytest.fixture(scope="session")
def phase(images):
    """Returns a function that makes a stage of pretraining, with its config."""

    def make(widths=(9,), activation="elu", start=None, steps_before=0, **settings) -> tuple[Stage, object]:
        config = PretrainConfig(**{"epochs": 2, "batch_size": 15, **settings})
        n_examples = LABELS if config.method.reads_labels else len(images.train.inputs)
        layers = stages.dense(widths, activation)
        return stages.pretraining(config, (PIXELS,), layers, n_examples, CLASSES, start, steps_before)

    return make


@pytest.fixture(scope="session")
def finetune():
    """Returns a function that makes a fine-tuning, with its config."""

    def make(widths=(9, 5), activation="elu", **settings) -> tuple[Stage, object]:
        config = FinetuneConfig(**{"labels": LABELS, "batch_size": 12, "epochs": 2, **settings})
        return stages.last(config, (PIXELS,), stages.dense(widths, activation), CLASSES)

    return make


@pytest.fixture(scope="session")
def readout():
    """Returns a function that makes a read-out, with its config."""

    def make(kind, widths=(9, 5), activation="elu", **settings) -> tuple[Stage, object]:
        config = FinetuneConfig(readout=kind, **{"labels": LABELS, **settings})
        return stages.last(config, (PIXELS,), stages.dense(widths, activation), CLASSES)

    return make


@pytest.fixture(scope="session")
def pretrained(phase, images):
    """Returns a function that gives the parameters after greedy stages of some widths."""

    def make(widths, seed=0):
        parent = None
        for depth in range(1, len(widths) + 1):
            parent = run(phase(widths[:depth]), images, seed, parent).state.params
        return parent

    return make


begin = functools.partial(jax.jit, static_argnums=(0, 1))(execute.begin_one)


@functools.partial(jax.jit, static_argnums=0)
def advance(stage, state, curves, own, config, seed, images, first, stop):
    """Updates ``first`` to ``stop``, compiled once a stage."""
    step = functools.partial(execute.step_one, stage, config, seed, own, images)
    return train.run_steps(state, curves, first, stop, step)


def started(stage, seed, parent, images, choices):
    """Where a trial's stage starts."""
    return start(*stage.as_started(), choices, seed, parent, images.train.labels)


def run(stage_and_config, images, seed=0, parent=None, choices=None, stops=None) -> Run:
    """Runs one trial's stage from its start, in chunks that end at ``stops``; to its end by default."""
    stage, config = stage_and_config
    if choices is None:
        choices = Choices(n_labels=stage.n_examples, n_classes=CLASSES) if config.method.reads_labels else NONE
    begun = started(stage, seed, parent, images, choices)
    extras = execute.extras_of(choices, config)
    numbers = jax.tree.map(jnp.float32, config)
    state, own, curves = begin(stage, extras, numbers, begun, jnp.uint32(seed), images)
    before, done = state, 0
    for stop in stops or [stage.total_steps]:
        state, curves = advance(stage, state, curves, own, numbers, jnp.uint32(seed), images, done, stop)
        done = stop
    return Run(begun, before, state, curves)


def results_of(stage, params, images) -> dict:
    """What a stage's parameters come to on whole splits, by the names that its job gives the results."""
    found = {}
    for split, prefix in stage.result_names.items():
        measured = results(*stage.as_left(), params, images.train, getattr(images, split))
        found |= {prefix + name: value for name, value in measured.items()}
    return found
