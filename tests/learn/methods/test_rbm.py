"""Restricted Boltzmann machines against full enumeration in float64, and stages that train them."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from pretrain.config import AdamConfig, PretrainConfig, RbmConfig
from pretrain.learn.methods import rbm
from pretrain.learn.metrics import Batch, divided
from pretrain.learn.randomness import Purpose, key_for
from tests.learn.conftest import dense, pretraining, results_of, run, walk
from tests.learn.formulas import ROUNDINGS, check_gradient, double, pixels

CHAINS = 40_000
SIGMAS = 5  # sampling errors that a mean may be off by
sizes = st.sampled_from([(4, 3), (1, 5), (6, 1)])  # visible and hidden units
seeds = st.integers(0, 2**32 - 1)


def states(units):
    """All states of binary units: [2^units, units]."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def drawn(size, seed, variance=None, scale=0.8):
    """A machine of float32 values as float64, and as it is."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": size, "hidden": size[1:], "visible": size[:1]}
    single = {name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}
    if variance:
        single["variance"] = np.float32(variance)
    return {name: leaf.astype(np.float64) for name, leaf in single.items()}, jax.tree.map(jnp.asarray, single)


def energies(machine, visible):
    """Energies of visible units [N, D] with every state of the hidden ones: [N, 2^units]."""
    hidden = states(machine["hidden"].size)
    interaction = visible @ machine["kernel"] @ hidden.T + (hidden @ machine["hidden"])[None]
    if "variance" in machine:
        return ((visible - machine["visible"]) ** 2).sum(1)[:, None] / (2 * machine["variance"]) - interaction
    return -(visible @ machine["visible"])[:, None] - interaction


def free_energy(machine, visible):
    return -special.logsumexp(-energies(machine, visible), axis=1)


def transitions(machine):
    """One step of Gibbs sampling from any visible state to any other, over all hidden states: [2^D, 2^D]."""
    visible, hidden = states(machine["visible"].size), states(machine["hidden"].size)
    up = special.softmax(-energies(machine, visible), axis=1)  # p(h|v)
    sums = hidden @ machine["kernel"].T + machine["visible"]
    down = np.prod(special.expit(np.where(visible[None] == 1, 1, -1) * sums[:, None]), axis=2)  # p(v'|h)
    return up @ down


def numbered(visible):
    """The places of binary visible units [N, D] among all states."""
    return (np.asarray(visible) @ 2 ** np.arange(visible.shape[1])[::-1]).astype(int)


gibbs = jax.jit(rbm.gibbs, static_argnums=3)


@pytest.mark.parametrize("variance", [None, 0.3, 2.0])
@settings(deadline=None, max_examples=6)
@given(sizes, seeds, st.integers(1, 3))
def test_the_free_energy_sums_all_hidden_states_out(variance, size, seed, n):
    exact, single = drawn(size, seed, variance)
    visible = np.random.default_rng(seed).normal(0.5, 1, (n, size[0])).astype(np.float32)
    if variance is None:
        visible = np.clip(visible, 0, 1)
    found = jax.jit(rbm.free_energy)(single, visible)
    np.testing.assert_allclose(found, free_energy(exact, visible.astype(np.float64)), rtol=1e-4, atol=1e-4)


def test_large_energies_stay_finite():
    _, single = drawn((4, 3), 0)
    huge = {**single, "hidden": jnp.asarray([500.0, -500.0, 0.0])}
    found, slopes = jax.value_and_grad(lambda machine: rbm.free_energy(machine, jnp.ones((1, 4)))[0])(huge)
    assert np.isfinite(found) and all(np.isfinite(leaf).all() for leaf in slopes.values())


def parameters(machine):
    decoder = {"bias": machine["visible"], **({"variance": machine["variance"]} if "variance" in machine else {})}
    return {
        "encoder": {"layers_0": {"kernel": machine["kernel"], "bias": machine["hidden"]}},
        "decoder": {"layers_0": decoder},
    }


def stack_of(sizes, cache_codes=False):
    """The stack of the topmost machine's stage, which reads images or the codes below it."""
    config = PretrainConfig(method=RbmConfig(), cache_codes=cache_codes)
    return pretraining(config, sizes[:1], dense(sizes[1:], "sigmoid"), 100)[0].stack


@jax.jit
def contrast(params, inputs, samples):
    """The loss with its metrics, and its gradient, of a machine as the lowest layer."""
    stack = stack_of(params["encoder"]["layers_0"]["kernel"].shape)

    def loss(params):
        found, metrics = rbm.contrastive_divergence(params, Batch(inputs), stack=stack, samples=samples)
        return found, divided(metrics)

    return jax.value_and_grad(loss, has_aux=True)(params)


@jax.jit
def of_each(params, inputs, samples):
    """The metric of every example alone."""
    stack = stack_of(params["encoder"]["layers_0"]["kernel"].shape)

    def of_one(weights):
        batch = Batch(inputs, weights=weights)
        return divided(rbm.contrastive_divergence(params, batch, stack=stack, samples=samples)[1])["loss"]

    return jax.vmap(of_one)(jnp.eye(len(inputs)))


@pytest.mark.parametrize("variance", [None, 0.4])
@settings(deadline=None, max_examples=8)
@given(seeds, st.sampled_from(["uint8", "float32"]), st.sampled_from([1, 3]))
def test_the_loss_and_its_gradient_contrast_inputs_with_samples(variance, seed, dtype, n):
    exact, single = drawn((4, 3), seed, variance)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 256, (n, 4)).astype(np.uint8) if dtype == "uint8" else rng.random((n, 4), np.float32)
    samples = rng.integers(0, 2, (n, 4)).astype(np.float32)
    (found, metrics), gradient = contrast(parameters(single), inputs, samples)
    each = of_each(parameters(single), inputs, samples)
    visible, samples = pixels(inputs), double(samples)
    differences = free_energy(exact, visible) - free_energy(exact, samples)
    terms = max(abs(energies(exact, values)).max() for values in (visible, samples))
    rounding = ROUNDINGS * np.finfo(np.float32).eps * terms
    np.testing.assert_allclose(found, differences.mean(), atol=rounding)
    np.testing.assert_allclose(metrics["loss"], found, rtol=1e-6)
    np.testing.assert_allclose(each, differences, atol=rounding)
    # By the formula: what inputs and the hidden units' probabilities have in common, less the same of the samples.
    rates = [special.expit(values @ exact["kernel"] + exact["hidden"]) for values in (visible, samples)]
    scale = 1 if variance is None else exact["variance"]
    formulas = {
        "kernel": samples.T @ rates[1] / n - visible.T @ rates[0] / n,
        "hidden": rates[1].mean(0) - rates[0].mean(0),
        "visible": (samples.mean(0) - visible.mean(0)) / scale,
    }
    ours = {name: rbm.machine(gradient, 0)[name] for name in formulas}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), ours, formulas)

    def contrasted(moved):
        machine = {**exact, **moved}
        return np.mean(free_energy(machine, visible) - free_energy(machine, samples))

    check_gradient(formulas, contrasted, {name: exact[name] for name in formulas}, scale=terms)


def test_a_machine_above_others_reads_their_codes():
    rng = np.random.default_rng(0)
    below = {"kernel": rng.normal(size=(5, 4)).astype(np.float32), "bias": rng.normal(size=4).astype(np.float32)}
    exact, single = drawn((4, 3), 1)
    own = parameters(single)
    params = {
        "encoder": {"layers_0": below, "layers_1": own["encoder"]["layers_0"]},
        "decoder": {"layers_1": own["decoder"]["layers_0"]},
    }
    images, samples = rng.integers(0, 256, (6, 5)).astype(np.uint8), rng.integers(0, 2, (6, 4)).astype(np.float32)
    codes = special.expit(images / 255 @ below["kernel"].astype(np.float64) + below["bias"])
    for inputs, reads_codes in ((images, False), (codes.astype(np.float32), True)):
        loss = partial(rbm.contrastive_divergence, stack=stack_of((5, 4, 3), reads_codes), samples=samples)
        found = loss(params, Batch(jnp.asarray(inputs)))[0]
        np.testing.assert_allclose(found, np.mean(free_energy(exact, codes) - free_energy(exact, samples)), rtol=1e-4)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_expected_update_is_that_of_the_enumerated_chain(n_steps):
    # Weights so large that chains take their time; as many hidden units as visible ones, so that a draw for the ones
    # that served the others as well would show.
    exact, single = drawn((4, 4), 3, scale=2.0)
    data = np.array([[0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 0, 0]], np.float32)
    inputs = jnp.asarray(np.repeat(data, CHAINS, axis=0))
    samples = gibbs(single, inputs, jax.random.key(0), n_steps)
    _, gradient = contrast(parameters(single), inputs, samples)
    visible = states(4)
    reached = np.linalg.matrix_power(transitions(exact), n_steps)[numbered(data)]  # [data, 2^4]
    rates = special.expit(visible @ exact["kernel"] + exact["hidden"])
    terms = {
        "kernel": visible[:, :, None] * rates[:, None],
        "hidden": rates,
        "visible": visible,
    }
    ours = rbm.machine(gradient, 0)
    for name, values in terms.items():
        means = np.tensordot(reached, values, axes=1)
        errors = np.tensordot(reached, values**2, axes=1) - means**2  # variances of one chain's term
        expected = (means - values[numbered(data)]).mean(0)
        allowed = SIGMAS * np.sqrt(errors.mean(0) / len(inputs)) + 1e-5
        assert (np.abs(np.asarray(ours[name]) - expected) < allowed).all(), name
    # The test could see a difference: what other numbers of steps give is many sampling errors away.
    others = np.linalg.matrix_power(transitions(exact), n_steps + 1)[numbered(data)]
    assert np.abs(np.tensordot(others - reached, visible, axes=1).mean(0)).max() > 4 * allowed.max()


def test_long_chains_reach_the_machines_distribution():
    exact, single = drawn((4, 3), 6)
    samples = gibbs(single, jnp.zeros((CHAINS, 4)), jax.random.key(1), 80)
    model = special.softmax(-free_energy(exact, states(4)))
    np.testing.assert_allclose(np.linalg.matrix_power(transitions(exact), 80)[0], model, atol=1e-6)
    counts = np.bincount(numbered(samples), minlength=16)
    assert stats.chisquare(counts, CHAINS * model).pvalue > 1e-3
    # Chains are independent: the next one in the batch says nothing of a chain.
    pairs = np.histogram2d(numbered(samples)[::2], numbered(samples)[1::2], bins=np.arange(17) - 0.5)[0]
    assert stats.chi2_contingency(pairs[counts > 500][:, counts > 500]).pvalue > 1e-3


def test_gaussian_units_are_normal_given_the_hidden_ones():
    exact, single = drawn((3, 4), 7, variance=0.49)
    single["hidden"] = jnp.asarray([200.0, -200.0, 200.0, -200.0])  # so that their states are certain
    samples = np.asarray(gibbs(single, jnp.zeros((CHAINS, 3)), jax.random.key(2), 1), np.float64)
    means = exact["visible"] + 0.49 * exact["kernel"] @ [1, 0, 1, 0]
    noise = (samples - means) / 0.7
    for unit in noise.T:
        assert stats.kstest(unit, "norm").pvalue > 1e-3
    np.testing.assert_allclose(noise.T @ noise / CHAINS, np.eye(3), atol=SIGMAS * np.sqrt(2 / CHAINS))


@pytest.mark.parametrize("n_steps", [1, 60])
def test_gaussian_chains_have_the_enumerated_moments(n_steps):
    exact, single = drawn((3, 2), 8, variance=0.64)
    start = np.array([[0.3, -1.0, 2.0]], np.float32)
    chains = jnp.asarray(np.repeat(start, CHAINS, axis=0))
    samples = np.asarray(gibbs(single, chains, jax.random.key(3), n_steps), np.float64)
    hidden = states(2)
    means = exact["visible"] + 0.64 * hidden @ exact["kernel"].T
    if n_steps == 1:
        weights = special.softmax(-energies(exact, start.astype(np.float64)), axis=1)[0]
    else:
        # The visible units integrated out, by completing the square.
        weights = special.softmax(hidden @ exact["hidden"] + (means**2).sum(1) / 1.28)
    expected = weights @ means
    spread = 0.64 * np.eye(3) + (weights * (means - expected).T) @ (means - expected)
    assert (np.abs(samples.mean(0) - expected) < SIGMAS * np.sqrt(np.diag(spread) / CHAINS)).all()
    scales = np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    np.testing.assert_allclose(np.cov(samples.T) / scales, spread / scales, atol=SIGMAS * np.sqrt(2 / CHAINS))


# Stages.

RATE = {"activation": "sigmoid", "optimizer": AdamConfig(learning_rate=0.02), "l2": 0.0}
BERNOULLI = RbmConfig()
PERSISTENT = RbmConfig(persistent=True, gibbs_steps=2)
GAUSSIAN = RbmConfig(visible="gaussian", visible_deviation=0.3)


def log_likelihood(machine, visible):
    """Mean logarithm of the probability of visible units in [0, 1], by enumeration of the hidden ones."""
    hidden = states(machine["hidden"].size)
    sums = hidden @ machine["kernel"].T + machine["visible"]
    partition = special.logsumexp(hidden @ machine["hidden"] + np.logaddexp(0, sums).sum(1))
    return -free_energy(machine, visible).mean() - partition


def machine_of(params):
    return {name: np.asarray(leaf, np.float64) for name, leaf in rbm.machine(params, 0).items()}


@pytest.mark.parametrize("method", [BERNOULLI, PERSISTENT, GAUSSIAN], ids=["bernoulli", "persistent", "gaussian"])
def test_a_phase_learns_to_reconstruct_and_makes_its_inputs_likelier(method, phase, images):
    ran = run(phase((6,), method=method, epochs=25, **RATE), images)
    assert ran.curves.keys() == {"mse", "validation_mse", "loss"}
    assert ran.curves["mse"][-8:].mean() < 0.7 * ran.curves["mse"][0]
    assert ran.curves["validation_mse"][-1] < 0.7 * ran.curves["validation_mse"][7]
    if method is not GAUSSIAN:
        visible = np.asarray(images.train.inputs, np.float64) / 255
        before, after = (log_likelihood(machine_of(state.params), visible) for state in (ran.before, ran.state))
        assert after > before + 1


def test_a_gaussian_machines_variance_stays_and_its_means_are_what_it_decodes(phase, images):
    stage, config = phase((6,), method=GAUSSIAN, epochs=25, **RATE)
    ran = run((stage, config), images, stops=[3])
    for state in (ran.before, ran.state):
        np.testing.assert_allclose(state.frozen["decoder"]["layers_0"]["variance"], 0.09, rtol=1e-6)
    params = ran.state.params
    machine, x = machine_of(params), np.asarray(images.test.inputs, np.float64) / 255
    codes = special.expit(x @ machine["kernel"] + machine["hidden"])
    outputs = machine["visible"] + 0.09 * codes @ machine["kernel"].T
    found = results_of(stage, params, images)["pretrain_test_mse"]
    np.testing.assert_allclose(found, np.mean((outputs - x) ** 2), rtol=1e-4)


def test_persistent_chains_go_on_from_update_to_update(phase, images):
    stage = phase((6,), method=PERSISTENT, **RATE)
    states_after = [ran.state for ran in walk(stage, images, stops=(1, 2, 3))]
    np.testing.assert_allclose(states_after[0].carry, np.asarray(images.train.inputs[:15]) / 255, rtol=1e-6)
    for number, (before, after) in enumerate(itertools.pairwise(states_after)):
        key = jax.random.fold_in(key_for(0, Purpose.SAMPLING), number)
        expected = gibbs(rbm.machine(before.params, 0), before.carry, key, 2)
        np.testing.assert_array_equal(after.carry, expected)
        assert not np.array_equal(after.carry, before.carry)


def test_chains_that_start_at_the_batch_are_not_kept_and_train_otherwise(phase, images):
    methods = (PERSISTENT, RbmConfig(gibbs_steps=2))
    persistent, afresh = (run(phase((6,), method=method, **RATE), images, stops=[2]) for method in methods)
    assert afresh.before.carry is None and afresh.state.carry is None
    jax.tree.map(np.testing.assert_array_equal, persistent.before.params, afresh.before.params)
    kernels = [ran.state.params["encoder"]["layers_0"]["kernel"] for ran in (persistent, afresh)]
    assert not np.array_equal(*kernels)


def test_a_machine_on_cached_codes_equals_one_on_images(phase, images):
    parent = run(phase((9,), method=BERNOULLI, **RATE), images, stops=[4]).state.params
    cached, live = (
        run(phase((9, 5), method=PERSISTENT, cache_codes=cache, **RATE), images, parent=parent, stops=[4]).state
        for cache in (True, False)
    )
    assert cached.carry.shape == (15, 9)
    np.testing.assert_allclose(np.mean(cached.carry == live.carry), 1, atol=0.02)  # a rounding may tip a unit
    close = partial(np.testing.assert_allclose, rtol=1e-2, atol=5e-3)
    jax.tree.map(close, cached.params["encoder"]["layers_0"], live.params["encoder"]["layers_0"])
