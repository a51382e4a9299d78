"""A teacher: value and gradient against NumPy in float64, the tests of a step, and a student that collapses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import SgdConfig, TeacherConfig
from pretrain.learn.layers import apply
from pretrain.learn.methods import teacher
from pretrain.learn.stage import Layout
from tests.learn.conftest import PIXELS, run, walk
from tests.learn.formulas import check_gradient, double
from tests.small_sweep import make_plan, of_kind, path, run_all

RNG = np.random.default_rng(5)
PREDICTED, TARGETS = (RNG.normal(size=(2, 7, 4)).astype(np.float32) for _ in range(2))
CODES = RNG.normal(size=(6, 5)).astype(np.float32)
GOLDEN = (77.28682, 1.32778)  # as those of tests/learn/test_train.py
SMALL = {"projector": (6, 3), "predictor": (4,), "views": ("noise",)}


def distance(predicted, targets):
    """As its paper writes it: view by view, row by row."""
    found = []
    for view in range(2):
        for ours, theirs in zip(predicted[view], targets[1 - view], strict=True):
            found.append(((ours / np.linalg.norm(ours) - theirs / np.linalg.norm(theirs)) ** 2).sum())
    return np.mean(found)


def perceptron(params, codes):
    """Two dense layers, the first normalised over the batch."""
    sums = codes @ params["layers_0"]["kernel"]
    sums = (sums - sums.mean(0)) / np.sqrt(sums.var(0) + 1e-5) * params["norms_0"]["scale"] + params["norms_0"]["bias"]
    return np.maximum(sums, 0) @ params["layers_1"]["kernel"] + params["layers_1"]["bias"]


def test_the_distance_and_its_gradient_are_the_formulas():
    def value(given):
        return teacher.byol(given["predicted"], given["targets"], given["targets"], TeacherConfig())[0]

    given = {"predicted": PREDICTED, "targets": TARGETS + PREDICTED[::-1]}
    found, gradient = jax.value_and_grad(value)(given)
    np.testing.assert_allclose(found, distance(*double(given).values()), rtol=1e-5)
    check_gradient(gradient, lambda given: distance(given["predicted"], given["targets"]), given)


def test_the_deviation_is_that_of_normalised_projections_and_0_where_all_are_alike():
    found = teacher.byol(PREDICTED, TARGETS, TARGETS, TeacherConfig())[1]["output_deviation"]
    normalised = double(TARGETS) / np.linalg.norm(double(TARGETS), axis=2, keepdims=True)
    np.testing.assert_allclose(found, normalised.std(axis=1).mean(), rtol=1e-5)
    alike = jnp.ones((2, 7, 4))
    assert teacher.byol(alike, alike, alike, TeacherConfig())[1]["output_deviation"] == pytest.approx(0, abs=1e-6)
    spread = jnp.asarray(np.random.default_rng(0).normal(size=(2, 20_000, 16)), jnp.float32)
    healthy = teacher.byol(spread, spread, spread, TeacherConfig())[1]["output_deviation"]
    assert healthy == pytest.approx(1 / np.sqrt(16), rel=0.01)
    zeros = jax.grad(lambda given: teacher.byol(given, given, given, TeacherConfig())[0])(jnp.zeros((2, 7, 4)))
    assert np.isfinite(zeros).all()


def test_projector_and_predictor_are_normalised_over_the_batch_and_so_is_their_gradient():
    module = teacher.Perceptron((8, 3))
    params = module.init(jax.random.key(0), CODES)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape).astype(np.float32), params)
    outputs = jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32)

    def value(params):
        return jnp.sum(apply(module, params, CODES) * outputs)

    def exact(params):
        return (perceptron(params, double(CODES)) * double(outputs)).sum()

    found, gradient = jax.value_and_grad(value)(params)
    np.testing.assert_allclose(apply(module, params, CODES), perceptron(double(params), double(CODES)), rtol=1e-4)
    np.testing.assert_allclose(found, exact(double(params)), rtol=1e-4)
    check_gradient(gradient, exact, params, scale=50.0, size=50.0)


@pytest.mark.parametrize(
    ("momentum", "fraction", "kept"),
    [(0.99, 0.0, 0.99), (0.99, 0.5, 0.995), (0.99, 1.0, 1.0), (0.5, 1 / 3, 0.625), (0.0, 0.0, 0.0), (0.0, 0.7, 0.0)],
)
def test_momentum_rises_to_1_by_half_a_cosine_but_stays_at_0(momentum, fraction, kept):
    assert teacher._kept(jnp.float32(momentum), jnp.float32(fraction)) == pytest.approx(kept, abs=1e-6)


@pytest.fixture
def stage_of(phase):
    """Returns a function from a method's fields to a stage of the topmost layer, or of all at once."""

    def make(widths=(9, 5), lowest=None, epochs=2, optimizer=None, **fields):
        method, given = TeacherConfig(**{**SMALL, **fields}), {"optimizer": optimizer} if optimizer else {}
        stage, config = phase(widths, method=method, lowest=lowest, epochs=epochs, cache_codes=False, **given)
        static = stage.static._replace(layout=Layout((PIXELS,), tuple(range(PIXELS))))
        return dataclasses.replace(stage, static=static), config

    return make


@pytest.fixture
def parent(stage_of, images):
    return run(stage_of((9,)), images, stops=[3]).state.params


def test_what_is_trained_moves_and_nothing_else_does(stage_of, parent, images):
    ran = run(stage_of(), images, parent=parent, stops=[3])
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), ran.before.trainable, ran.state.trainable)
    assert all(jax.tree.leaves(moved)) and {*moved} == {"encoder", "beside"}
    jax.tree.map(np.testing.assert_array_equal, ran.state.frozen, ran.before.frozen)
    jax.tree.map(np.testing.assert_array_equal, ran.state.params["encoder"]["layers_0"], parent["encoder"]["layers_0"])


def test_three_updates_give_the_golden_numbers(stage_of, images):
    # Adam would make steps of what rounding leaves of gradients that norms cancel, which differ from CPU to CPU.
    descent = SgdConfig(learning_rate=0.1)
    parent = run(stage_of((9,), optimizer=descent), images, stops=[3]).state.params
    ran = run(stage_of(optimizer=descent), images, parent=parent, stops=[3])
    total = sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(ran.state.trainable))
    np.testing.assert_allclose((total, ran.curves["loss"][2]), GOLDEN, rtol=2e-3)  # XLA's versions differ by 4e-4


@pytest.mark.parametrize("lowest", [None, 0])
def test_a_run_in_chunks_equals_a_run_in_one_teacher_included(lowest, stage_of, parent, images):
    stage, before = stage_of(lowest=lowest), None if lowest == 0 else parent
    whole, chunked = (run(stage, images, parent=before, stops=stops) for stops in ([8], [1, 7, 8]))
    jax.tree.map(np.testing.assert_array_equal, chunked.state, whole.state)
    jax.tree.map(np.testing.assert_array_equal, chunked.curves, whole.curves)


def test_the_teacher_is_the_average_of_students(stage_of, parent, images):
    stage, n_updates = stage_of(momentum=0.9), 5
    first, *ran = walk(stage, images, parent=parent, stops=range(1, n_updates + 1))
    states, expected = [each.state for each in ran], double(first.before.carry)
    assert {*expected["beside"]["layers_1"]} == {"projector"} and {*expected["encoder"]} == {"layers_1"}
    for number, state in enumerate(states):
        kept = 1 - 0.1 * (np.cos(np.pi * number / stage[0].n_updates) + 1) / 2
        student = double(teacher._taught(state.trainable))
        expected = jax.tree.map(lambda old, new, kept=kept: kept * old + (1 - kept) * new, expected, student)
    jax.tree.map(
        lambda ours, found: np.testing.assert_allclose(found, ours, rtol=1e-4, atol=1e-6), expected, states[-1].carry
    )


def test_at_momentum_0_the_teacher_is_the_student(stage_of, parent, images):
    state = run(stage_of(momentum=0.0), images, parent=parent, stops=[3]).state
    jax.tree.map(np.testing.assert_array_equal, state.carry, teacher._taught(state.trainable))


@pytest.mark.parametrize(
    ("fields", "collapses"),
    [
        ({}, False),
        ({"stops_gradient": False}, True),
        pytest.param({"momentum": 0.9}, False, marks=pytest.mark.slow),
        pytest.param({"predictor": ()}, True, marks=pytest.mark.slow),
    ],
)
def test_outputs_collapse_without_stop_gradient_or_predictor_alone(fields, collapses, stage_of, images):
    usual = {"projector": (16, 8), "predictor": (8,), "noise": 0.3, "momentum": 0.0}
    ran = run(stage_of((9,), epochs=20, **{**usual, **fields}), images)
    deviation = ran.curves["output_deviation"] * np.sqrt(8)
    assert deviation[0] > 0.7 and (deviation[-1] < 0.25 if collapses else deviation[-1] > 0.6)


@pytest.mark.slow
def test_a_trial_of_a_pack_equals_the_trial_alone(experiment, dataset):
    sweep = ({"finetune.encoder_init": ("pretrained",), "pretrain.method.momentum": (0.0, 0.9)},)
    found = make_plan(experiment(sweep=sweep, seeds=2, encoder={"layers": (9,)}, pretrain=of_kind("teacher")), dataset)
    packed, alone = (run_all(found, dataset, memory=memory) for memory in (1 << 30, 1))
    jax.tree.map(np.testing.assert_array_equal, packed, alone)
    ours = [packed[path(found, trial)[0].id][1] for trial in range(4)]
    assert len({float(curves["loss"][-1]) for curves in ours}) == 4
    assert all({"output_deviation", "validation_output_deviation"} < curves.keys() for curves in ours)
