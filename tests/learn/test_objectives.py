"""Every objective of a phase against NumPy in float64: value, gradient, and what a step does with it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from pretrain.config import ObjectiveConfig, OptimizerConfig
from pretrain.learn import objectives, penalties
from pretrain.learn.corruption import corrupted
from pretrain.learn.model import ACTIVATIONS, Decoder, Encoder
from pretrain.learn.objectives import Batch
from pretrain.learn.randomness import uniform
from tests.learn.conftest import run

ACTIVATION_OF = {
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "identity": lambda z: z,
}
SLOPE_OF = {
    "sigmoid": lambda z: special.expit(z) * special.expit(-z),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "elu": lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "identity": np.ones_like,
}
OBJECTIVES = {
    "mse": ObjectiveConfig(),
    "sigmoid output": ObjectiveConfig(output="sigmoid"),
    "cross-entropy": ObjectiveConfig(loss="cross_entropy"),
    "tied": ObjectiveConfig(tied=True),
    "tied cross-entropy": ObjectiveConfig(loss="cross_entropy", tied=True),
    "sparse, kl": ObjectiveConfig(sparsity="kl", sparsity_weight=0.3, sparsity_target=0.1),
    "sparse, l1": ObjectiveConfig(sparsity="l1", sparsity_weight=0.2),
    "contractive": ObjectiveConfig(contractive=True, contraction_weight=0.4),
    "all": ObjectiveConfig(loss="cross_entropy", tied=True, sparsity="kl", contractive=True),
}


def value(objective, w, b, v, c, clean, noisy, activation):
    """The loss by its formulas, in float64."""
    z = noisy @ w + b
    codes = ACTIVATION_OF[activation](z)
    sums = codes @ v + c
    if objective.loss == "cross_entropy":
        p = special.expit(sums)
        loss = -np.mean(np.sum(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=1))
    else:
        outputs = special.expit(sums) if objective.output == "sigmoid" else sums
        loss = np.mean((outputs - clean) ** 2)
    if objective.sparsity == "kl":
        rho, rates = objective.sparsity_target, codes.mean(0)
        divergences = [stats.entropy([rho, 1 - rho], [rate, 1 - rate]) for rate in rates]
        loss += objective.sparsity_weight * sum(divergences)
    if objective.sparsity == "l1":
        loss += objective.sparsity_weight * np.abs(codes).sum() / len(codes)
    if objective.contractive:
        # The whole Jacobian of every example, no shortcut.
        jacobians = SLOPE_OF[activation](z)[:, :, None] * w.T[None]
        loss += objective.contraction_weight * np.mean([np.linalg.norm(jacobian) ** 2 for jacobian in jacobians])
    return loss


def drawn(objective, seed, size, width, n):
    rng = np.random.default_rng(seed)
    layer = {"kernel": rng.normal(0, 0.5, (size, width)), "bias": rng.normal(0, 0.2, width)}
    back = {"bias": rng.normal(0, 0.2, size)}
    if not objective.tied:
        back["kernel"] = rng.normal(0, 0.5, (width, size))
    return {"encoder": {"layers_0": layer}, "decoder": {"layers_0": back}}, rng.random((n, size)), rng.random((n, size))


def ours(objective, activation, noisy):
    output = "sigmoid" if objective.loss == "cross_entropy" or objective.output == "sigmoid" else "identity"

    def loss(params, clean):
        width = params["encoder"]["layers_0"]["bias"].size
        stack = {"encoder": Encoder((width,), (activation,)), "decoder": Decoder((clean.shape[1],), (output,))}
        corrupt = lambda inputs: noisy
        return objectives.reconstruction(
            params, Batch(clean), **stack, layer=0, encoded=0, objective=objective, corrupt=corrupt
        )

    return loss


def flat(params):
    leaves, structure = jax.tree.flatten(params)
    vector = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float64)
    return vector, structure, [leaf.shape for leaf in leaves]


def unflat(vector, structure, shapes):
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return jax.tree.unflatten(
        structure, [part.reshape(s) for part, s in zip(np.split(vector, ends), shapes, strict=False)]
    )


def of_vector(objective, activation, clean, noisy, structure, shapes):
    def loss(vector):
        p = unflat(vector, structure, shapes)
        layer, back = p["encoder"]["layers_0"], p["decoder"]["layers_0"]
        kernel = back.get("kernel", layer["kernel"].T)
        return value(objective, layer["kernel"], layer["bias"], kernel, back["bias"], clean, noisy, activation)

    return loss


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(deadline=None, max_examples=6)
@given(
    st.integers(0, 2**31),
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(2, 7),
    st.sampled_from(["sigmoid", "tanh", "elu"]),
)
def test_value_and_gradient_are_the_formulas(name, seed, size, width, n, activation):
    objective = OBJECTIVES[name]
    if objective.sparsity == "kl":
        activation = "sigmoid"
    params, clean, noisy = drawn(objective, seed, size, width, n)
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, clean, noisy))
    loss = ours(objective, activation, single[2])
    (found, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(single[0], single[1])
    vector, structure, shapes = flat(params)
    exact = of_vector(objective, activation, clean, noisy, structure, shapes)
    np.testing.assert_allclose(found, exact(vector), rtol=2e-4)
    np.testing.assert_allclose(metrics["loss"], np.full(n, found), rtol=1e-6)
    slopes = optimize.approx_fprime(vector, exact, 1e-6)  # finite differences, of the float64 formulas
    np.testing.assert_allclose(flat(gradient)[0], slopes, rtol=5e-3, atol=2e-3)


def test_mse_is_of_the_reconstruction_whatever_the_loss():
    objective = OBJECTIVES["tied cross-entropy"]
    params, clean, noisy = drawn(objective, 0, 5, 3, 4)
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (params, clean, noisy))
    _, metrics = ours(objective, "sigmoid", single[2])(single[0], single[1])
    layer = params["encoder"]["layers_0"]
    codes = special.expit(noisy @ layer["kernel"] + layer["bias"])
    outputs = special.expit(codes @ layer["kernel"].T + params["decoder"]["layers_0"]["bias"])
    np.testing.assert_allclose(metrics["mse"], np.mean((outputs - clean) ** 2, axis=1), rtol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "elu", "relu", "gelu", "identity"])
def test_the_contraction_is_the_norm_of_the_whole_jacobian(activation):
    rng = np.random.default_rng(0)
    kernel, inputs = (
        jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
        jnp.asarray(rng.normal(size=(6, 5)), jnp.float32),
    )
    layer = lambda x: ACTIVATIONS[activation](x @ kernel)
    jacobians = jax.vmap(jax.jacobian(layer))(inputs)
    expected = jnp.mean(jnp.sum(jnp.square(jacobians), axis=(1, 2)))
    found = penalties.contraction(inputs @ kernel, kernel, ACTIVATIONS[activation])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@given(st.floats(0.01, 0.99), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
@settings(deadline=None, max_examples=30)
def test_the_kl_term_is_scipys_and_nothing_at_its_target(target, rates):
    codes = jnp.asarray([rates, rates], jnp.float32)
    expected = sum(stats.entropy([target, 1 - target], [rate, 1 - rate]) for rate in rates)
    np.testing.assert_allclose(penalties.sparsity(codes, "kl", target), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(penalties.sparsity(jnp.full((2, 3), target), "kl", target), 0, atol=1e-5)


def test_dead_and_saturated_units_have_a_finite_kl_term_and_gradient():
    for codes in (jnp.zeros((3, 2)), jnp.ones((3, 2))):
        found, gradient = jax.value_and_grad(lambda codes: penalties.sparsity(codes, "kl", 0.05))(codes)
        assert np.isfinite(found) and found > 0 and np.isfinite(gradient).all()


# Corruption.


@given(st.floats(0.0, 1.0), st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_masking_loses_as_many_values_as_its_level_says_and_leaves_the_others(level, seed):
    inputs = jnp.full((200, 100), 0.7)
    noisy = np.asarray(corrupted(inputs, jax.random.key(seed), "masking", level))
    assert set(np.unique(noisy)) <= {np.float32(0), np.float32(0.7)}
    assert abs(np.mean(noisy == 0) - level) < 5 * np.sqrt(level * (1 - level) / noisy.size) + 1e-9


def test_salt_and_pepper_are_as_likely():
    noisy = np.asarray(corrupted(jnp.full((400, 100), 0.7), jax.random.key(0), "salt_and_pepper", 0.4))
    shares = [np.mean(noisy == kept) for kept in (0.0, 1.0, np.float32(0.7))]
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.6], atol=0.01)


def test_gaussian_noise_is_normal_and_of_its_level():
    noise = np.asarray(corrupted(jnp.full((300, 100), 2.0), jax.random.key(1), "gaussian", 0.5)).ravel() - 2
    assert stats.kstest(noise / 0.5, "norm").pvalue > 1e-3


def test_no_corruption_changes_no_bit():
    inputs = jnp.asarray(np.random.default_rng(0).random((4, 5)), jnp.float32)
    np.testing.assert_array_equal(corrupted(inputs, None, "none", 0.5), inputs)


def test_uniform_numbers_are_even_independent_and_of_their_key():
    first, second = (np.asarray(uniform(jax.random.key(seed), (300, 200))) for seed in (0, 1))
    assert first.min() > 0 and first.max() < 1
    for values in (first, first[:, ::7], first.T.copy()):
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    pairs = [(first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
    for left, right in pairs:
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 5 / np.sqrt(left.size)
    np.testing.assert_array_equal(first, uniform(jax.random.key(0), (300, 200)))


# Phases.


def settings_of(name, **changes):
    objective = dataclasses.replace(OBJECTIVES[name], **changes)
    return {"objective": objective, "activation": "sigmoid", "epochs": 20}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_learnt(name, phase, images):
    stage, numbers = phase((9,), **settings_of(name, corruption="masking", corruption_level=0.1))
    ran = run((stage, numbers), images)
    loss = np.asarray(ran.curves["loss"])
    assert np.isfinite(loss).all() and loss[-16:].mean() < loss[:4].mean()
    assert stage.curve_names == ("mse", "validation_mse", "loss")
    still = jax.tree.map(np.array_equal, ran.before.frozen, ran.state.frozen)
    assert all(jax.tree.leaves(still))
    assert ("kernel" in ran.state.params["decoder"]["layers_0"]) != OBJECTIVES[name].tied


def test_a_tied_stack_trains_its_upper_phase_and_hands_its_encoder_over(phase, finetune, images):
    first = run(phase((9,), **settings_of("tied")), images).state.params
    second = run(phase((9, 5), **settings_of("tied")), images, parent=first).state.params
    assert list(second["decoder"]["layers_1"]) == ["bias"]
    np.testing.assert_array_equal(second["encoder"]["layers_0"]["kernel"], first["encoder"]["layers_0"]["kernel"])
    stage, numbers = finetune((9, 5), "sigmoid")
    tuned = run((stage, numbers), images, parent=second, stops=[1])
    np.testing.assert_array_equal(
        tuned.before.params["encoder"]["layers_1"]["kernel"], second["encoder"]["layers_1"]["kernel"]
    )


def test_results_decode_tied_layers_by_the_encoders_transpose(phase, images):
    stage, numbers = phase((9,), **settings_of("tied cross-entropy"))
    params = run((stage, numbers), images, stops=[5]).state.params
    found = stage.results(params, images)["pretrain_test_mse"]
    x = np.asarray(images.test.inputs, np.float64) / 255
    layer = {name: np.asarray(leaf, np.float64) for name, leaf in params["encoder"]["layers_0"].items()}
    codes = special.expit(x @ layer["kernel"] + layer["bias"])
    outputs = special.expit(codes @ layer["kernel"].T + np.asarray(params["decoder"]["layers_0"]["bias"], np.float64))
    np.testing.assert_allclose(found, np.mean((outputs - x) ** 2), rtol=1e-4)


def test_noise_is_anew_at_every_update_and_never_on_held_out_images(phase, images):
    noisy, clean = (
        run(phase((9,), objective=ObjectiveConfig(corruption=kind, corruption_level=level)), images, stops=[1])
        for kind, level in (("gaussian", 1e-30), ("none", 0.3))
    )
    np.testing.assert_allclose(noisy.curves["mse"][0], clean.curves["mse"][0], rtol=1e-6)
    much = run(phase((9,), objective=ObjectiveConfig(corruption="gaussian", corruption_level=5.0)), images)
    assert much.curves["mse"][0] > 3 * much.curves["validation_mse"][-1]  # the reconstruction of noise is worse


def test_a_linear_schedule_ends_without_noise(phase, images):
    level = {"corruption": "gaussian", "corruption_level": 2.0}
    held, falling = (
        run(phase((9,), objective=ObjectiveConfig(**level, corruption_schedule=schedule)), images)
        for schedule in ("constant", "linear")
    )
    assert falling.curves["mse"][-1] < held.curves["mse"][-1]
    np.testing.assert_array_equal(falling.curves["mse"][0], held.curves["mse"][0])


def test_a_tied_linear_autoencoder_reaches_the_principal_subspace(phase, images):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(20, 2)))[0]
    pixels = 128 + (rng.normal(size=(120, 2)) * [120, 70]) @ axes.T + rng.normal(0, 4, (120, 20))
    x = np.clip(np.rint(pixels), 0, 255)
    flat = images._replace(train=Batch(jnp.asarray(x, jnp.uint8), images.train.labels))
    optimizer = OptimizerConfig(learning_rate=0.02, schedule="cosine")
    settings = {"objective": ObjectiveConfig(tied=True), "l2": 0.0, "epochs": 400, "optimizer": optimizer}
    params = run(phase((2,), "identity", **settings), flat).state.params
    _, _, principal = np.linalg.svd(x - x.mean(0))
    found = np.linalg.qr(np.asarray(params["encoder"]["layers_0"]["kernel"], np.float64))[0]
    cosines = np.linalg.svd(principal[:2] @ found, compute_uv=False)  # of the angles between the two planes
    assert cosines.min() > 0.999
