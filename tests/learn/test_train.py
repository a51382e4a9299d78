"""A train step, four ways, for every kind of stage; evaluation; schedules; the optimizers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pretrain.config import ObjectiveConfig, OptimizerConfig
from pretrain.learn import train
from pretrain.learn.objectives import Batch
from tests.learn.conftest import run

KINDS = [
    *("phase 0", "phase 1", "phase 1 live", "frozen", "frozen live", "half frozen", "trainable"),
    *("handed over", "handed over frozen"),
    *("rbm", "persistent rbm", "variational", "supervised", "end to end", "unfrozen by step"),
]
HANDED_OVER = {"first_logit_change": 0.3, "diagnose_at": (1, 3)}
RBM = ObjectiveConfig(kind="rbm", visible="gaussian", visible_deviation=0.5)
PERSISTENT = ObjectiveConfig(kind="rbm", persistent=True, gibbs_steps=2)
VARIATIONAL = ObjectiveConfig(variational=True, corruption="masking")
END_TO_END = ObjectiveConfig(variational=True, tied=True)
UNFROZEN = {"unfreeze_at": 2, "rate_factor": 0.5}


@pytest.fixture
def stage_of(phase, finetune, pretrained):
    """Returns a function from a kind of stage to the stage with its numbers, and its parent's parameters."""

    def make(kind):
        return {
            "phase 0": lambda: (phase((9,)), None),
            "phase 1": lambda: (phase((9, 5)), pretrained((9,))),
            "phase 1 live": lambda: (phase((9, 5), cache_codes=False), pretrained((9,))),
            "frozen": lambda: (finetune(frozen_layers=2), pretrained((9, 5))),
            "frozen live": lambda: (finetune(frozen_layers=2, cache_codes=False), pretrained((9, 5))),
            "half frozen": lambda: (finetune(frozen_layers=1), pretrained((9, 5))),
            "trainable": lambda: (finetune(frozen_layers=0), None),
            "handed over": lambda: (finetune(**HANDED_OVER), pretrained((9, 5))),
            "handed over frozen": lambda: (finetune(**HANDED_OVER, frozen_layers=2), pretrained((9, 5))),
            "rbm": lambda: (phase((9,), "sigmoid", objective=RBM), None),
            "persistent rbm": lambda: (phase((9,), "sigmoid", objective=PERSISTENT), None),
            "variational": lambda: (phase((9,), objective=VARIATIONAL), None),
            "supervised": lambda: (phase((9,), objective=ObjectiveConfig(kind="supervised"), epochs=4), None),
            "end to end": lambda: (phase((9, 5), frozen_layers=0, objective=END_TO_END), None),
            "unfrozen by step": lambda: (finetune(**UNFROZEN), pretrained((9, 5))),
        }[kind]()

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_leaf_moves_and_no_frozen_leaf_does(kind, stage_of, images):
    stage, parent = stage_of(kind)
    ran = run(stage, images, parent=parent, stops=[3])
    before = ran.before
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), before.trainable, ran.state.trainable)
    still = jax.tree.map(lambda old, new: np.array_equal(old, new), before.frozen, ran.state.frozen)
    assert all(jax.tree.leaves(moved)) and all(jax.tree.leaves(still))
    assert len(jax.tree.leaves(ran.state.params)) == len(jax.tree.leaves(ran.start.params))


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters_have_no_optimizer_state(kind, stage_of, images):
    stage, parent = stage_of(kind)
    state = run(stage, images, parent=parent, stops=[1]).state
    adam = next(part for part in state.opt_state if isinstance(part, optax.ScaleByAdamState))
    assert jax.tree.structure(adam.mu) == jax.tree.structure(state.trainable)


# Sums over the trained parameters after three updates, and the first training metric of the third. They change with any
# change of arithmetic, initialisation or batch order: where that is meant, take over the new numbers from the failure,
# say so in the commit, and raise stages.FORMAT.
GOLDEN = {
    "phase 0": (124.345525, 0.30594),
    "phase 1": (50.844583, 0.17069),
    "phase 1 live": (50.844583, 0.17069),
    "frozen": (8.855318, 1.866058),
    "frozen live": (8.855318, 1.866058),
    "half frozen": (30.971837, 1.774115),
    "trainable": (81.465069, 1.869731),
    "handed over": (78.641118, 1.40059),
    "handed over frozen": (9.182202, 1.557638),
    "rbm": (51.279087, 0.194481),
    "persistent rbm": (49.25696, 0.0780924),
    "variational": (126.858072, 1.915684),
    "supervised": (62.072549, 2.065415),
    "end to end": (72.870248, 0.825083),
    "unfrozen by step": (79.065972, 1.866058),
}


@pytest.mark.parametrize("kind", KINDS)
def test_three_updates_give_the_golden_numbers(kind, stage_of, images):
    stage, parent = stage_of(kind)
    ran = run(stage, images, parent=parent, stops=[3])
    total = sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(ran.state.trainable))
    np.testing.assert_allclose((total, ran.curves[stage[0].curve_names[0]][2]), GOLDEN[kind], rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_curves_are_filled_where_measured_and_nan_elsewhere(kind, stage_of, images):
    stage, parent = stage_of(kind)
    ran = run(stage, images, parent=parent)
    for name, measured in stage[0].measured().items():
        np.testing.assert_array_equal(np.isfinite(ran.curves[name]), measured)
    assert not np.isfinite(run(stage, images, parent=parent, stops=[1]).curves[stage[0].curve_names[0]][1:]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_chunks_equals_a_run_in_one(kind, stage_of, images):
    stage, parent = stage_of(kind)
    whole, chunked = (run(stage, images, parent=parent, stops=stops) for stops in ([8], [1, 7, 8]))
    jax.tree.map(np.testing.assert_array_equal, chunked.state, whole.state)
    jax.tree.map(np.testing.assert_array_equal, chunked.curves, whole.curves)


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 2500])
def test_evaluate_is_the_mean_over_all_examples_once(size):
    values = jnp.asarray(np.random.default_rng(size).normal(size=(size, 1)), jnp.float32)
    objective = lambda params, batch: (jnp.zeros(()), {"value": params * batch.inputs[:, 0]})
    measured = train.evaluate(jnp.float32(3), Batch(values), objective)["value"]
    np.testing.assert_allclose(measured, 3 * np.mean(np.asarray(values, np.float64)), rtol=1e-4, atol=1e-6)


def quadratic_steps(config: OptimizerConfig, n_steps: int, l2=0.0, total_steps=None) -> list[float]:
    """Returns the learning curve of one kernel weight on w²/2 from 1, with one bias beside it."""
    optimizer = train.make_optimizer(config, l2, total_steps or n_steps)
    objective = lambda params, _: (jnp.sum(params["kernel"] ** 2 + params["bias"] ** 2) / 2, {})
    state = train.init_state({"layer": {"kernel": jnp.ones(1), "bias": jnp.ones(1)}}, frozenset({"layer"}), optimizer)
    path = []
    for _ in range(n_steps):
        state, _ = train.train_step(
            state, Batch(jnp.zeros((1, 1))), lambda params, batch: objective(params["layer"], batch), optimizer
        )
        path.append(jax.tree.map(float, jax.tree.map(jnp.squeeze, state.trainable["layer"])))
    return path


def test_sgd_with_momentum_and_penalty_follows_its_formula():
    path = quadratic_steps(OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0.5), 4, l2=0.3)
    weights, speeds = {"kernel": 1.0, "bias": 1.0}, {"kernel": 0.0, "bias": 0.0}
    for step in path:
        for name, penalty in (("kernel", 0.3), ("bias", 0.0)):
            speeds[name] = 0.5 * speeds[name] + (1 + penalty) * weights[name]
            weights[name] -= 0.1 * speeds[name]
        assert step == pytest.approx(weights, rel=1e-5)


def test_adamw_decays_kernels_only_and_past_the_moments():
    plain = quadratic_steps(OptimizerConfig(name="adam", learning_rate=0.1), 1)[0]
    decayed = quadratic_steps(OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.5), 1)[0]
    assert decayed["kernel"] == pytest.approx(plain["kernel"] - 0.1 * 0.5, rel=1e-5)
    assert decayed["bias"] == plain["bias"]


def rates(n_steps: int, **settings) -> np.ndarray:
    """Returns the learning rate at every update, read off sgd's steps."""
    path = [1.0, *(step["bias"] for step in quadratic_steps(OptimizerConfig(name="sgd", **settings), n_steps))]
    return np.array([(old - new) / old for old, new in itertools.pairwise(path)])


def test_the_constant_schedule_is_constant():
    np.testing.assert_allclose(rates(4, learning_rate=0.1), 0.1, rtol=1e-5)


def test_warm_up_rises_linearly_to_the_peak():
    expected = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]
    np.testing.assert_allclose(rates(6, learning_rate=0.1, warmup_steps=4), expected, rtol=1e-5)
    np.testing.assert_allclose(rates(3, learning_rate=0.1, warmup_steps=1), 0.1, rtol=1e-5)


def test_the_cosine_falls_from_the_peak_over_the_updates_after_warm_up():
    fall = 0.1 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
    np.testing.assert_allclose(rates(6, learning_rate=0.1, schedule="cosine"), fall, rtol=1e-4, atol=1e-7)
    warmed = rates(8, learning_rate=0.1, schedule="cosine", warmup_steps=2)
    np.testing.assert_allclose(warmed, [0.05, 0.1, *fall], rtol=1e-4, atol=1e-7)
