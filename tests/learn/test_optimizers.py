"""Optimizers and schedules against their formulas."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pretrain.config import AdamConfig, AdamWConfig, SgdConfig
from pretrain.config.effects import trimmed
from pretrain.config.optimizers import OptimizerConfig
from pretrain.learn import train
from pretrain.learn.metrics import Batch
from pretrain.learn.optimizers import RULES, counted_from, make_optimizer, scaled_by_layer
from tests.learn import reference

ADAMS = {"adam": AdamConfig, "adamw": AdamWConfig}


def quadratic_steps(config: OptimizerConfig, n_steps: int, l2=0.0, total_steps=None, **settings) -> list[float]:
    """Returns the learning curve of one kernel weight on w²/2 from 1, with one bias beside it."""
    optimizer = make_optimizer(config, l2, total_steps or n_steps, **settings)
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
    path = quadratic_steps(SgdConfig(learning_rate=0.1, momentum=0.5), 4, l2=0.3)
    weights, speeds = {"kernel": 1.0, "bias": 1.0}, {"kernel": 0.0, "bias": 0.0}
    for step in path:
        for name, penalty in (("kernel", 0.3), ("bias", 0.0)):
            speeds[name] = 0.5 * speeds[name] + (1 + penalty) * weights[name]
            weights[name] -= 0.1 * speeds[name]
        assert step == pytest.approx(weights, rel=1e-5)


def test_adamw_decays_kernels_only_and_past_the_moments():
    plain = quadratic_steps(AdamConfig(learning_rate=0.1), 1)[0]
    decayed = quadratic_steps(AdamWConfig(learning_rate=0.1, weight_decay=0.5), 1)[0]
    assert decayed["kernel"] == pytest.approx(plain["kernel"] - 0.1 * 0.5, rel=1e-5)
    assert decayed["bias"] == plain["bias"]


@pytest.mark.parametrize("config", [SgdConfig(), SgdConfig(schedule="cosine", warmup_steps=2)], ids=["held", "cosine"])
def test_a_factor_is_on_the_rate(config):
    halved = quadratic_steps(config, 5, factor=jnp.float32(0.5))
    slower = quadratic_steps(dataclasses.replace(config, learning_rate=0.005), 5)
    assert [step["bias"] for step in halved] == pytest.approx([step["bias"] for step in slower], rel=1e-6)


@pytest.mark.parametrize("largest", [0.5, 1.6, 3.0])
def test_a_longer_gradient_is_shortened_to_the_norm_with_that_of_the_penalty(largest):
    plain, clipped = (
        quadratic_steps(SgdConfig(learning_rate=0.1, clip_norm=norm), 3, l2=0.3) for norm in (0.0, largest)
    )
    weights = {"kernel": 1.0, "bias": 1.0}
    for step in clipped:
        gradient = {"kernel": 1.3 * weights["kernel"], "bias": weights["bias"]}
        length = np.hypot(*gradient.values())
        weights = {name: each - 0.1 * gradient[name] * min(1, largest / length) for name, each in weights.items()}
        assert step == pytest.approx(weights, rel=1e-5)
    assert (plain == clipped) == (largest == 3.0)


def test_a_norm_may_be_a_tracer_and_of_0_is_no_part_of_an_optimizer():
    params, gradient = {"bias": jnp.ones(4)}, {"bias": jnp.full(4, 3.0)}

    def updates(config):
        optimizer = make_optimizer(config, 0.0, 1)
        return optimizer.update(gradient, optimizer.init(params), params)[0]["bias"]

    config = jax.tree.map(jnp.float32, trimmed(SgdConfig(learning_rate=1.0, clip_norm=2.0)))
    np.testing.assert_allclose(jax.jit(updates)(config), -np.ones(4), rtol=1e-6)
    for none in (SgdConfig(learning_rate=1.0), trimmed(SgdConfig(learning_rate=1.0))):
        np.testing.assert_array_equal(updates(none), -3 * np.ones(4))
        assert len(make_optimizer(none, 0.0, 1).init(params)) == 3


def test_every_config_class_has_a_rule():
    assert RULES.keys() == {AdamConfig, AdamWConfig, SgdConfig}


# Adam, and where it adds epsilon.


class Tf1Adam:
    """TensorFlow 1's Adam: lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps), in NumPy float64."""

    def __init__(self, config, steps_made):
        self.config, self.steps, self.mean, self.square = config, steps_made, 0.0, 0.0

    def update(self, gradient):
        own, self.steps = self.config, self.steps + 1
        self.mean = own.beta1 * self.mean + (1 - own.beta1) * gradient
        self.square = own.beta2 * self.square + (1 - own.beta2) * gradient**2
        rate = own.learning_rate * np.sqrt(1 - own.beta2**self.steps) / (1 - own.beta1**self.steps)
        return -rate * self.mean / (np.sqrt(self.square) + own.epsilon)


def gradients_of(n_steps):
    """Gradients of a few parameters, from far above to far below an epsilon of 1e-3."""
    rng = np.random.default_rng(0)
    return (rng.normal(0.2, 1, (n_steps, 6)) * np.logspace(-5, 1, 6)).astype(np.float32)


def updates_of(config, gradients, step_count):
    """The update that every gradient in a row leads to, the config's numbers being tracers as in training."""

    @jax.jit
    def run(config, gradients):
        optimizer = make_optimizer(config, 0.0, len(gradients))
        params = {"layer": {"bias": jnp.zeros(6)}}
        state = train.init_state(params, frozenset({"layer"}), optimizer, step_count)

        def step(opt_state, gradient):
            updates, opt_state = optimizer.update({"layer": {"bias": gradient}}, opt_state, params)
            return opt_state, updates["layer"]["bias"]

        return jax.lax.scan(step, state.opt_state, gradients)[1]

    return np.asarray(run(config, gradients), np.float64)


@pytest.mark.parametrize("step_count", [0, 1, 2000])
@pytest.mark.parametrize("kind", ADAMS)
def test_epsilon_inside_is_tensorflow_1s_adam(kind, step_count):
    config = ADAMS[kind](epsilon=1e-3, epsilon_inside=True)
    gradients = gradients_of(100)
    rule = Tf1Adam(config, step_count)
    expected = np.array([rule.update(gradient) for gradient in gradients.astype(np.float64)])
    found = updates_of(config, gradients, step_count)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    # The test could see a difference: elsewhere, epsilon changes the first updates of small gradients by far more.
    outside = updates_of(dataclasses.replace(config, epsilon_inside=False), gradients, step_count)
    assert np.abs(outside[0] / expected[0] - 1).max() > 0.05


@pytest.mark.parametrize("step_count", [0, 1, 2000])
@pytest.mark.parametrize("kind", ADAMS)
def test_epsilon_outside_is_algorithm_1_of_kingma_and_ba(kind, step_count):
    config = ADAMS[kind](epsilon=1e-3)
    gradients = gradients_of(100)
    rule, params, expected = reference.Adam(0.01, step_count, epsilon=1e-3), {"bias": np.zeros(6)}, []
    for gradient in gradients.astype(np.float64):
        before = params["bias"]
        rule.update(params, {"bias": gradient})
        expected.append(params["bias"] - before)
    np.testing.assert_allclose(updates_of(config, gradients, step_count), expected, rtol=1e-4, atol=1e-9)


def test_epsilon_inside_leaves_what_a_gradient_of_nothing_meets_finite():
    gradients = np.zeros((3, 6), np.float32)
    np.testing.assert_array_equal(updates_of(AdamConfig(epsilon_inside=True), gradients, 0), 0)


def test_counting_updates_as_made_changes_bias_corrections_only():
    optimizer = make_optimizer(AdamConfig(schedule="cosine", warmup_steps=3), 0.0, 10)
    state = optimizer.init({"layer": {"kernel": jnp.ones(2)}})
    adams = 0
    for before, after in zip(state, counted_from(state, 7), strict=True):
        if isinstance(before, optax.ScaleByAdamState):
            assert (before.count, after.count) == (0, 7)
            before, adams = before._replace(count=after.count), adams + 1
        jax.tree.map(np.testing.assert_array_equal, before, after)  # of the schedule, too, which starts where it does
    assert adams == 1


# Layers at rates of their own.


def test_layers_are_scaled_each_by_its_own_factor_and_moments_go_on():
    factors = {"layers_0": jnp.float32(0), "layers_1": jnp.float32(0.5)}
    params = {
        "encoder": {name: {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for name in factors},
        "head": {"kernel": jnp.ones((2, 3))},
    }
    gradients = jax.tree.map(lambda leaf: 0.3 * leaf, params)
    plain = make_optimizer(AdamConfig(), 0.0, 5)
    scaled = scaled_by_layer(plain, factors)
    (expected, state), (found, same) = (rule.update(gradients, rule.init(params), params) for rule in (plain, scaled))
    jax.tree.map(np.testing.assert_array_equal, same, state)
    jax.tree.map(np.testing.assert_array_equal, found["head"], expected["head"])
    for name, factor in factors.items():
        halve = functools.partial(jax.tree.map, lambda leaf, factor=factor: factor * leaf)
        jax.tree.map(np.testing.assert_array_equal, found["encoder"][name], halve(expected["encoder"][name]))


def test_a_head_alone_is_not_scaled():
    params = {"head": {"kernel": jnp.ones((2, 3))}}
    plain = make_optimizer(SgdConfig(), 0.0, 5)
    scaled = scaled_by_layer(plain, {"layers_0": jnp.float32(0)})
    found, expected = (rule.update(params, rule.init(params), params)[0] for rule in (scaled, plain))
    assert found.keys() == {"head"}
    np.testing.assert_array_equal(found["head"]["kernel"], expected["head"]["kernel"])


# Schedules.


def rates(n_steps: int, **settings) -> np.ndarray:
    """Returns the learning rate at every update, read off sgd's steps."""
    path = [1.0, *(step["bias"] for step in quadratic_steps(SgdConfig(**settings), n_steps))]
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
