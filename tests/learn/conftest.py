"""Small stages of every kind, and how to run one trial of them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import FinetuneConfig, PretrainConfig
from pretrain.config.fields import split_traced, start_values
from pretrain.learn import train
from pretrain.learn.objectives import Batch
from pretrain.learn.stage import Images, Stage, Start
from tests import stages

PIXELS, CLASSES, LABELS = 20, 4, 60
FIRST = start_values(FinetuneConfig())  # of the start fields


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
    """Returns a function that makes a phase and its numbers."""

    def make(widths=(9,), activation="elu", frozen_layers=None, made_before=0, **settings) -> tuple[Stage, dict]:
        config, numbers = split_traced(PretrainConfig(**{"epochs": 2, "batch_size": 15, **settings}))
        n_examples = LABELS if config.objective.kind == "supervised" else len(images.train.inputs)
        shape = (PIXELS, widths, activation, n_examples, CLASSES, frozen_layers, made_before)
        return stages.phase(config, *shape), numbers

    return make


@pytest.fixture(scope="session")
def finetune():
    """Returns a function that makes a fine-tuning and its numbers."""

    def make(widths=(9, 5), activation="elu", whitens=False, **settings) -> tuple[Stage, dict]:
        config, numbers = split_traced(FinetuneConfig(**{"labels": LABELS, "batch_size": 12, "epochs": 2, **settings}))
        return stages.finetune(config, PIXELS, widths, activation, CLASSES, whitens), numbers

    return make


@pytest.fixture(scope="session")
def readout():
    """Returns a function that makes a read-out and its numbers."""

    def make(kind, widths=(9, 5), activation="elu", whitens=False, **settings) -> tuple[Stage, dict]:
        config, numbers = split_traced(FinetuneConfig(readout=kind, **{"labels": LABELS, **settings}))
        return stages.readout(config, PIXELS, widths, activation, CLASSES, whitens), numbers

    return make


@pytest.fixture(scope="session")
def pretrained(phase, images):
    """Returns a function that gives the parameters after phases of some widths."""

    def make(widths, seed=0):
        parent = None
        for depth in range(1, len(widths) + 1):
            parent = run(phase(widths[:depth]), images, seed, parent).state.params
        return parent

    return make


@functools.partial(jax.jit, static_argnums=0)
def begin(stage, start, numbers, seed, images):
    """The stage's beginning, compiled."""
    return *stage.begin(start, numbers, seed, images), stage.blank_curves()


@functools.partial(jax.jit, static_argnums=0)
def advance(stage, state, curves, own, numbers, seed, images, first, stop):
    """Updates ``first`` to ``stop``, compiled once a stage."""
    return train.run_steps(state, curves, first, stop, stage.step(numbers, seed, images, own))


def run(stage_and_numbers, images, seed=0, parent=None, choices=FIRST, stops=None) -> Run:
    """Runs one trial's stage from its start, in chunks that end at ``stops``; to its end by default."""
    stage, numbers = stage_and_numbers
    start = stage.start(seed, parent, images.train.labels, choices)
    state, own, curves = begin(stage, start, numbers, jnp.uint32(seed), images)
    before, done = state, 0
    for stop in stops or [stage.total_steps]:
        state, curves = advance(stage, state, curves, own, numbers, jnp.uint32(seed), images, done, stop)
        done = stop
    return Run(start, before, state, curves)
