"""Autoencoders of every kind against NumPy in float64: value, gradient, and what an update does with it."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from pretrain.config import AdamConfig, AutoencoderConfig, PretrainConfig, SgdConfig
from pretrain.learn import results, train
from pretrain.learn.layers import Convolution
from pretrain.learn.methods import autoencoder
from pretrain.learn.methods.autoencoder import companions, reconstruction
from pretrain.learn.metrics import Batch, divided
from pretrain.learn.optimizers import make_optimizer
from pretrain.learn.randomness import Purpose, batch_rows, key_for, normal
from pretrain.learn.stack import Stack
from pretrain.learn.tasks import NO_TASK
from tests.learn.conftest import dense, pretraining, results_of, run
from tests.learn.formulas import (
    ACTIVATION_OF,
    SLOPE_OF,
    check_gradient,
    double,
    drawn_inputs,
    drawn_layers,
    pixels,
    vector,
)

CONFIGS = {
    "mse": AutoencoderConfig(),
    "sigmoid output": AutoencoderConfig(output="sigmoid"),
    "cross-entropy": AutoencoderConfig(loss="cross_entropy"),
    "tied": AutoencoderConfig(tied=True),
    "tied cross-entropy": AutoencoderConfig(loss="cross_entropy", tied=True),
    "sparse, kl": AutoencoderConfig(sparsity="kl", sparsity_weight=0.3, sparsity_target=0.1),
    "sparse, l1": AutoencoderConfig(sparsity="l1", sparsity_weight=0.2),
    "contractive": AutoencoderConfig(contractive=True, contraction_weight=0.4),
    "variational": AutoencoderConfig(variational=True),
    "tied variational cross-entropy": AutoencoderConfig(loss="cross_entropy", tied=True, variational=True),
    "all": AutoencoderConfig(loss="cross_entropy", tied=True, sparsity="kl", contractive=True),
}

plainly = jax.jit(reconstruction, static_argnames="stack")
mse = jax.jit(autoencoder.mse, static_argnums=0)
whole_reconstruction = jax.jit(results.whole_reconstruction, static_argnums=0)


def value(config, params, clean, noisy, noise, activation):
    """The loss of a stack by its formulas, in float64."""
    values = noisy
    for layer in params["encoder"].values():
        read, z = values, values @ layer["kernel"] + layer["bias"]
        values = ACTIVATION_OF[activation](z)
    codes = given_ = values
    if config.variational:
        (spreads,) = params["log_variance"].values()
        spreads = np.exp((read @ spreads["kernel"] + spreads["bias"]) / 2)
        given_ = codes + spreads * noise
    for name in reversed(params["encoder"]):
        sums = given_ @ params["decoder"][name].get("kernel", params["encoder"][name]["kernel"].T)
        sums = sums + params["decoder"][name]["bias"]
        given_ = ACTIVATION_OF[activation](sums)
    if config.loss == "cross_entropy":
        p = special.expit(sums)
        loss = -np.mean(np.sum(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=1))
    else:
        outputs = special.expit(sums) if config.output == "sigmoid" else sums
        loss = np.mean((outputs - clean) ** 2)
    if config.variational:
        # What codes carry less than a standard normal variable does: cross-entropy less entropy.
        crossed = (np.log(2 * np.pi) + codes**2 + spreads**2) / 2
        divergences = crossed - stats.norm(codes, spreads).entropy()
        loss += config.kl_weight * divergences.sum() / len(codes)
    if config.sparsity == "kl":
        rho, rates = config.sparsity_target, codes.mean(0)
        divergences = [stats.entropy([rho, 1 - rho], [rate, 1 - rate]) for rate in rates]
        loss += config.sparsity_weight * sum(divergences)
    if config.sparsity == "l1":
        loss += config.sparsity_weight * np.abs(codes).sum() / len(codes)
    if config.contractive:
        # The whole Jacobian of every example, no shortcut.
        jacobians = SLOPE_OF[activation](z)[:, :, None] * layer["kernel"].T[None]
        loss += config.contraction_weight * np.mean([np.linalg.norm(jacobian) ** 2 for jacobian in jacobians])
    return loss


class Case(NamedTuple):
    """Parameters of a stack, float32, and what it is given."""

    params: dict
    inputs: np.ndarray  # uint8 images or float32 codes
    noisy: np.ndarray  # what the lowest layer reads
    noise: np.ndarray  # of variational codes


def drawn(config, seed, sizes, n, dtype="float32"):
    rng = np.random.default_rng(seed)
    top = f"layers_{len(sizes) - 2}"
    params = {"encoder": drawn_layers(rng, sizes)}
    back = drawn_layers(rng, sizes[::-1])
    params["decoder"] = dict(zip(params["encoder"], reversed(back.values()), strict=True))
    if config.tied:
        params["decoder"] = {name: {"bias": layer["bias"]} for name, layer in params["decoder"].items()}
    if config.variational:
        params["log_variance"] = {top: drawn_layers(rng, sizes[-2:])["layers_0"]}
    noise = rng.normal(size=(n, sizes[-1])).astype(np.float32)
    inputs = drawn_inputs(rng, n, sizes[0], dtype)
    return Case(params, inputs, rng.random((n, sizes[0]), np.float32), noise)


def stack_of(config, sizes, activation):
    """All layers between some sizes, trained at once."""
    layers = dense(sizes[1:], activation)
    return pretraining(PretrainConfig(method=config), sizes[:1], layers, 100, lowest=0)[0].stack


@functools.partial(jax.jit, static_argnums=0)
def measured(stack, config, case):
    """The loss with its metrics, and the gradient; the config's numbers are tracers, as in training."""

    def loss(params):
        noise = {"corrupt": lambda _: case.noisy, "draw": lambda _: case.noise}
        found, metrics = reconstruction(params, Batch(case.inputs), stack=stack, config=config, **noise)
        return found, divided(metrics)

    return jax.value_and_grad(loss, has_aux=True)(case.params)


NUMBERS = st.integers(0, 2**31), st.floats(0, 2), st.floats(0.02, 0.9)  # seed, weight, target
SHAPES = [((5, 4, 3), 5, "elu", "uint8"), ((3, 4), 2, "tanh", "float32"), ((6, 1), 5, "sigmoid", "uint8")]


@pytest.mark.parametrize(
    ("name", "shape"), [(name, SHAPES[number % len(SHAPES)]) for number, name in enumerate(CONFIGS)], ids=CONFIGS
)
@settings(deadline=None, max_examples=5)
@given(*NUMBERS)
def test_value_and_gradient_are_the_formulas(name, shape, seed, weight, target):
    check_value_and_gradient(name, seed, *shape, weight, target)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([(3, 4), (6, 1), (5, 4, 3), (2, 3, 5)]),
    st.sampled_from([2, 5]),
    st.sampled_from(["sigmoid", "tanh", "elu"]),
    st.sampled_from(["uint8", "float32"]),
    *NUMBERS,
)
def test_value_and_gradient_of_any_shape_are_the_formulas(name, sizes, n, activation, dtype, seed, weight, target):
    check_value_and_gradient(name, seed, sizes, n, activation, dtype, weight, target)


def check_value_and_gradient(name, seed, sizes, n, activation, dtype, weight, target):
    rates = dict.fromkeys(("sparsity_weight", "contraction_weight", "kl_weight"), weight)
    config = dataclasses.replace(CONFIGS[name], **rates, sparsity_target=target)
    activation = "sigmoid" if config.sparsity == "kl" else activation
    sizes = sizes[:2] if config.contractive else sizes
    case = drawn(config, seed, sizes, n, dtype)
    (found, metrics), gradient = measured(stack_of(config, sizes, activation), config, case)
    given_ = pixels(case.inputs), double(case.noisy), double(case.noise), activation
    exact = lambda params: value(config, params, *given_)
    np.testing.assert_allclose(found, exact(double(case.params)), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], found, rtol=1e-6)
    check_gradient(gradient, exact, case.params)


@jax.jit
def one_step(case, config, l2):
    """Parameters after one update of gradient descent on a tied elu layer."""
    optimizer = make_optimizer(config, l2, 1)
    tied = {"stack": stack_of(CONFIGS["tied"], (4, 3), "elu"), "config": CONFIGS["tied"]}
    state = train.init_state(case.params, frozenset(case.params), optimizer)
    return train.train_step(state, Batch(case.inputs), functools.partial(reconstruction, **tied), optimizer)[0].params


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31), st.floats(1e-4, 1), st.floats(0, 0.5))
def test_a_step_goes_down_the_gradient_of_loss_and_penalty_at_its_rate(seed, rate, l2):
    config = CONFIGS["tied"]
    case = drawn(config, seed, (4, 3), 5)
    x = pixels(case.inputs)

    def descended(params):
        kernel = params["encoder"]["layers_0"]["kernel"]
        return -rate * (value(config, params, x, x, case.noise, "elu") + l2 * np.sum(kernel**2) / 2)

    moved = jax.tree.map(np.subtract, one_step(case, SgdConfig(learning_rate=rate), l2), case.params)
    check_gradient(moved, descended, case.params, size=abs(vector(case.params)).max())


def test_mse_is_of_the_reconstruction_whatever_the_loss():
    config = CONFIGS["tied cross-entropy"]
    case = drawn(config, 0, (5, 3), 4)
    stack = stack_of(config, (5, 3), "sigmoid")
    layer, back = (double(case.params[side]["layers_0"]) for side in ("encoder", "decoder"))
    codes = special.expit(case.noisy @ layer["kernel"] + layer["bias"])
    errors = np.mean((special.expit(codes @ layer["kernel"].T + back["bias"]) - case.inputs) ** 2, axis=1)
    np.testing.assert_allclose(measured(stack, config, case)[0][1]["mse"], errors.mean(), rtol=1e-4)

    def of_one(weights):
        batch = Batch(case.inputs, weights=weights)
        noisy = {"stack": stack, "config": config, "corrupt": lambda _: case.noisy}
        return divided(reconstruction(case.params, batch, **noisy)[1])["mse"]

    np.testing.assert_allclose(jax.jit(jax.vmap(of_one))(np.eye(4, dtype=np.float32)), errors, rtol=1e-4)


def sums_of(params, x):
    """What one tanh layer and its decoder make of inputs, before the last activation."""
    layer, back = params["encoder"]["layers_0"], params["decoder"]["layers_0"]
    return np.tanh(x @ layer["kernel"] + layer["bias"]) @ back["kernel"] + back["bias"]


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_images_are_reconstructed_pixel_by_pixel(loss):
    # The same numbers as images and as vectors: a convolution of window 1 is one dense layer at every pixel.
    rng = np.random.default_rng(0)
    config = AutoencoderConfig(loss=loss)
    layers = (Convolution(3, 1, activation="tanh"),)
    stack = Stack(layers, (4, 5, 2), (companions(config, layers, (4, 5, 2), NO_TASK),))
    up, down = (drawn_layers(rng, pair)["layers_0"] for pair in ((2, 3), (3, 2)))
    shaped = lambda layer: {**layer, "kernel": layer["kernel"][None, None]}
    params = {"encoder": {"layers_0": shaped(up)}, "decoder": {"layers_0": {"convolution": shaped(down)}}}
    images = rng.integers(0, 256, (6, 4, 5, 2)).astype(np.uint8)
    found, metrics = plainly(params, Batch(images), stack=stack, config=config)
    flat = {"encoder": {"layers_0": double(up)}, "decoder": {"layers_0": double(down)}}
    x = images.reshape(-1, 2) / 255
    exact = value(config, flat, x, x, 0.0, "tanh")
    # Cross-entropy is the sum over the units of an image, here of 20 pixels.
    np.testing.assert_allclose(found, exact * (20 if loss == "cross_entropy" else 1), rtol=1e-4)
    error = np.mean((ACTIVATION_OF["sigmoid" if loss == "cross_entropy" else "identity"](sums_of(flat, x)) - x) ** 2)
    np.testing.assert_allclose(divided(metrics)["mse"], error, rtol=1e-4)
    np.testing.assert_allclose(divided(whole_reconstruction(stack, params, Batch(images)))["mse"], error, rtol=1e-4)


# Stages.


def settings_of(name, **changes):
    method = dataclasses.replace(CONFIGS[name], **changes)
    return {"method": method, "activation": "sigmoid", "epochs": 20}


LEARNT = {"cross-entropy", "contractive", "tied variational cross-entropy"}  # the others in the slow tests


@pytest.mark.parametrize(
    "name", [name if name in LEARNT else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS]
)
def test_every_objective_is_learnt(name, phase, images):
    ran = run(phase((9,), **settings_of(name, corruption="masking", corruption_level=0.1)), images)
    loss = np.asarray(ran.curves["loss"])
    assert np.isfinite(loss).all() and loss[-16:].mean() < loss[:4].mean()
    assert ran.curves.keys() == {"mse", "validation_mse", "loss"}
    still = jax.tree.map(np.array_equal, ran.before.frozen, ran.state.frozen)
    assert all(jax.tree.leaves(still))
    assert ("kernel" in ran.state.params["decoder"]["layers_0"]) != CONFIGS[name].tied


@pytest.mark.parametrize("name", ["mse", "tied", "sigmoid output", "sparse, l1"])
def test_a_loss_that_is_the_error_is_reported_once(name, phase, images):
    ran = run(phase((9,), **settings_of(name)), images, stops=[1])
    reported = {"mse", "validation_mse"} | ({"loss"} if name in ("sigmoid output", "sparse, l1") else set())
    assert ran.curves.keys() == reported


def test_a_tied_stack_trains_its_upper_phase_and_hands_its_encoder_over(phase, finetune, images):
    first = run(phase((9,), **settings_of("tied")), images).state.params
    second = run(phase((9, 5), **settings_of("tied")), images, parent=first).state.params
    assert list(second["decoder"]["layers_1"]) == ["bias"]
    np.testing.assert_array_equal(second["encoder"]["layers_0"]["kernel"], first["encoder"]["layers_0"]["kernel"])
    tuned = run(finetune((9, 5), "sigmoid"), images, parent=second, stops=[1])
    np.testing.assert_array_equal(
        tuned.before.params["encoder"]["layers_1"]["kernel"], second["encoder"]["layers_1"]["kernel"]
    )


def test_results_decode_tied_layers_by_the_encoders_transpose(phase, images):
    stage, config = phase((9,), **settings_of("tied cross-entropy"))
    params = run((stage, config), images, stops=[5]).state.params
    x = pixels(images.test.inputs)
    layer = double(params["encoder"]["layers_0"])
    codes = special.expit(x @ layer["kernel"] + layer["bias"])
    outputs = special.expit(codes @ layer["kernel"].T + double(params["decoder"]["layers_0"]["bias"]))
    found = results_of(stage, params, images)["pretrain_test_mse"]
    np.testing.assert_allclose(found, np.mean((outputs - x) ** 2), rtol=1e-4)


def test_noise_is_anew_at_every_update_and_never_on_held_out_images(phase, images):
    noisy, clean = (
        run(phase((9,), method=AutoencoderConfig(corruption=kind, corruption_level=level)), images, stops=[1])
        for kind, level in (("gaussian", 1e-30), ("none", 0.3))
    )
    np.testing.assert_allclose(noisy.curves["mse"][0], clean.curves["mse"][0], rtol=1e-6)
    much = run(phase((9,), method=AutoencoderConfig(corruption="gaussian", corruption_level=5.0)), images)
    assert much.curves["mse"][0] > 3 * much.curves["validation_mse"][-1]  # the reconstruction of noise is worse


def test_a_linear_schedule_ends_without_noise(phase, images):
    level = {"corruption": "gaussian", "corruption_level": 2.0}
    held, falling = (
        run(phase((9,), method=AutoencoderConfig(**level, corruption_schedule=schedule)), images)
        for schedule in ("constant", "linear")
    )
    assert falling.curves["mse"][-1] < held.curves["mse"][-1]
    np.testing.assert_array_equal(falling.curves["mse"][0], held.curves["mse"][0])


def test_a_tied_linear_autoencoder_reaches_the_principal_subspace(phase, images):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 2)))[0]
    values = 128 + (rng.normal(size=(120, 2)) * [120, 70]) @ axes.T + rng.normal(0, 4, (120, 20))
    x = np.clip(np.rint(values), 0, 255)
    flat = images._replace(train=Batch(jnp.asarray(x, jnp.uint8), images.train.labels))
    optimizer = AdamConfig(learning_rate=0.02, schedule="cosine")
    settings = {"method": AutoencoderConfig(tied=True), "l2": 0.0, "epochs": 400, "optimizer": optimizer}
    params = run(phase((2,), "identity", **settings), flat).state.params
    _, _, principal = np.linalg.svd(x - x.mean(0))
    found = np.linalg.qr(np.asarray(params["encoder"]["layers_0"]["kernel"], np.float64))[0]
    cosines = np.linalg.svd(principal[:2] @ found, compute_uv=False)  # of the angles between the two planes
    assert cosines.min() > 0.999


# Of all layers at once, and of variational codes.

TOGETHER = {
    "untied": AutoencoderConfig(),
    "tied, variational, cross-entropy": AutoencoderConfig(
        loss="cross_entropy", tied=True, variational=True, kl_weight=1.0
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_a_phase_of_all_layers_measures_the_formula_on_batches_and_held_out_images(name, phase, images):
    method = TOGETHER[name]
    stage, config = phase((9, 5), "tanh", lowest=0, method=method, epochs=1)
    ran = run((stage, config), images)
    assert stage.name == "pretrain/all"

    def reference(params, inputs, noise):
        x = pixels(inputs)
        return value(method, double(params), x, x, noise, "tanh")

    # The phase after those of two layers has draws of its own.
    rows = batch_rows(key_for(0, Purpose.PRETRAIN_BATCHES, 2), jnp.int32(0), 120, 15, "epoch")
    noise = np.asarray(normal(jax.random.fold_in(key_for(0, Purpose.SAMPLING, 2), 0), (15, 5)), np.float64)
    losses = ran.curves["loss" if method.variational else "mse"]
    np.testing.assert_allclose(losses[0], reference(ran.before.params, images.train.inputs[rows], noise), rtol=1e-4)
    # Without keys, codes are their means.
    held_out = Batch(images.validation.inputs)
    found = plainly(ran.state.params, held_out, stack=stage.stack, config=config.method)[0]
    np.testing.assert_allclose(found, reference(ran.state.params, held_out.inputs, 0.0), rtol=1e-4)
    error = divided(mse(stage.stack, config.method, ran.state.params, held_out))["mse"]
    np.testing.assert_allclose(error, ran.curves["validation_mse"][-1], rtol=1e-4)


def test_all_layers_learn_at_once_from_where_the_phases_left_them(phase, images):
    method, parent = CONFIGS["tied cross-entropy"], None
    for widths in ((9,), (9, 5)):
        parent = run(phase(widths, "sigmoid", method=method), images, parent=parent).state.params
    stage, config = phase((9, 5), "sigmoid", lowest=0, method=method, epochs=20)
    ran = run((stage, config), images, parent=parent)
    jax.tree.map(np.testing.assert_array_equal, ran.before.params, parent)
    assert not jax.tree.leaves(ran.before.frozen)
    before, after = (results_of(stage, params, images) for params in (parent, ran.state.params))
    assert after["pretrain_test_mse"] < 0.9 * before["pretrain_test_mse"]
    # What is measured on held-out images in training is the error end to end.
    np.testing.assert_allclose(after["pretrain_validation_mse"], ran.curves["validation_mse"][-1], rtol=1e-5)


def test_variational_codes_come_nearer_to_noise_the_more_it_weighs(phase, images):
    distances = []
    for weight in (1e-4, 1.0):
        stage, config = phase((9,), method=AutoencoderConfig(variational=True, kl_weight=weight), epochs=20)
        params = run((stage, config), images).state.params
        codes = stage.stack.encoding(params)(images.test.inputs)
        distances.append(float(jnp.mean(jnp.square(codes))))
    assert distances[1] < 0.1 * distances[0]
