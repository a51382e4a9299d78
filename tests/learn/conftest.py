"""Small stages of every kind, and how to run one trial of them."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import FinetuneConfig, PretrainConfig
from pretrain.config.effects import canonical
from pretrain.learn import program, start, train
from pretrain.learn.layers import Dense
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.program import Inputs
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Subset
from pretrain.learn.tasks import NO_TASK, Task
from pretrain.plan import builders

PIXELS, CLASSES, LABELS = 20, 4, 60


class Run(NamedTuple):
    """One trial's stage, before and after its updates."""

    labelled: jax.Array | None  # rows of its labelled subset
    train: Batch | None  # examples that its updates read; None where they are all images
    before: train.TrainState
    state: train.TrainState
    curves: dict


@pytest.fixture(scope="session")
def images() -> Splits:
    rng = np.random.default_rng(0)

    def split(size):
        labels = rng.integers(0, CLASSES, size)
        pixels = np.clip(rng.normal(40 + 50 * labels[:, None], 30, (size, PIXELS)), 0, 255)
        return Batch(jnp.asarray(pixels, jnp.uint8), jnp.asarray(labels, jnp.int32))

    return Splits(split(120), split(30), split(40))


def dense(widths, activation):
    """Dense layers of some widths, all of one activation."""
    return tuple(Dense(width, activation) for width in widths)


def companions(method, layers, example, task=NO_TASK):
    """All that is trained beside each of some layers by greedy stages."""
    return tuple(builders.companions(method, layers[:depth], example, task) for depth in range(1, len(layers) + 1))


def pretraining(
    section, example, layers, n_examples, n_classes=0, lowest=None, steps_before=0, label_subset="first"
) -> builders.Made:
    """A stage of pretraining by a PretrainConfig: greedy of the topmost layer; or of all from ``lowest`` up."""
    method, top = canonical(section.method), len(layers) - 1
    task = Task(n_outputs=n_classes)
    subset = Subset(n_examples, label_subset, n_classes) if method.reads_labels else None
    beside = companions(method, layers, example, task)
    if lowest not in (None, top):
        each = [method.of_deep_layer(number, len(layers)) for number in range(len(layers))]
        beside = tuple(companions(one, layers[: number + 1], example)[-1] for number, one in enumerate(each))
    begins = top if lowest is None else lowest
    encoded = begins if section.cache_codes else 0
    stack = Stack(layers, example, beside, begins, encoded, task=task if subset else NO_TASK)
    return builders.pretraining(section, method, stack, section.epochs, n_examples, subset, steps_before)


def last(section, example, layers, n_classes) -> builders.Made:
    """The fine-tuning or read-out of a FinetuneConfig, all layers at its rate."""
    depth, own = len(layers), canonical(section)
    frozen = {"all": depth}.get(own.frozen_layers, own.frozen_layers) if own.makes_updates else depth
    return builders.last(own, [own] * depth, layers, example, Task(n_outputs=n_classes), frozen, own.labels)


@pytest.fixture(scope="session")
def phase(images):
    """Returns a function that makes a stage of pretraining, with its config."""

    def make(widths=(9,), activation="elu", lowest=None, steps_before=0, label_subset="first", **settings):
        section = PretrainConfig(**{"epochs": 2, "batch_size": 15, **settings})
        n_examples = LABELS if section.method.reads_labels else len(images.train.inputs)
        layers = dense(widths, activation)
        return pretraining(section, (PIXELS,), layers, n_examples, CLASSES, lowest, steps_before, label_subset)

    return make


@pytest.fixture(scope="session")
def finetune():
    """Returns a function that makes a fine-tuning, with its config."""

    def make(widths=(9, 5), activation="elu", **settings):
        fields = {"labels": LABELS, "label_subset": "first", "batch_size": 12, "epochs": 2, **settings}
        section = FinetuneConfig(**fields)
        return last(section, (PIXELS,), dense(widths, activation), CLASSES)

    return make


@pytest.fixture(scope="session")
def readout():
    """Returns a function that makes a read-out, with its config."""

    def make(kind, widths=(9, 5), activation="elu", **settings):
        section = FinetuneConfig(readout=kind, **{"labels": LABELS, "label_subset": "first", **settings})
        return last(section, (PIXELS,), dense(widths, activation), CLASSES)

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


def walk(stage_and_config, images, seed=0, parent=None, stops=()) -> Iterator[Run]:
    """Runs one trial's stage in chunks that end at ``stops``; yields it before its first update, and after each."""
    stage, config = stage_and_config
    inherited = parent and {side: parent[side] for side in stage.inherits}
    trial = Inputs(jnp.uint32(seed), jax.tree.map(jnp.float32, config), inherited)
    labelled = stage.rows.subset and start.labelled_rows(seed, images, stage.rows.subset)
    carry, source = program.begin(stage, trial, images)
    before = carry.state
    if stage.method.fit:
        carry = program.fitted(stage.method.fit, stage.static, (carry, source, trial))
    for first, stop in itertools.pairwise((0, 0, *stops)):
        if stop:
            bounds = images, jnp.int32(first), jnp.int32(stop)
            carry = program.advance(stage.updating, (carry, source, trial._replace(parent=None)), bounds)
        yield Run(labelled, source.train, before, carry.state, carry.curves)


def begun(stage_and_config, images, seed=0, parent=None) -> Run:
    """One trial's stage before its first update."""
    return next(walk(stage_and_config, images, seed, parent))


def run(stage_and_config, images, seed=0, parent=None, stops=None) -> Run:
    """Runs one trial's stage from its start, in chunks that end at ``stops``; to its end by default."""
    stops = [stage_and_config[0].n_updates] if stops is None else stops
    *_, ran = walk(stage_and_config, images, seed, parent, stops)
    return ran


def results_of(stage, params, images) -> dict:
    """What a stage's parameters come to on whole splits, by the names of columns."""
    return program.finish(program.finishing(stage), params, images).values
