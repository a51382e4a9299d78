"""Every objective of a phase against NumPy in float64: value, gradient, and what a step does with it."""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from pretrain.config import ObjectiveConfig, OptimizerConfig
from pretrain.config.fields import join_traced, split_traced
from pretrain.learn import objectives, train
from pretrain.learn.model import Decoder, Encoder, Layer
from pretrain.learn.objectives import Batch
from pretrain.learn.randomness import Purpose, batch_rows, key_for, normal
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
    "variational": ObjectiveConfig(variational=True),
    "tied variational cross-entropy": ObjectiveConfig(loss="cross_entropy", tied=True, variational=True),
    "all": ObjectiveConfig(loss="cross_entropy", tied=True, sparsity="kl", contractive=True),
}


def value(objective, params, clean, noisy, noise, activation):
    """The loss of a stack by its formulas, in float64."""
    values = noisy
    for layer in params["encoder"].values():
        read, z = values, values @ layer["kernel"] + layer["bias"]
        values = ACTIVATION_OF[activation](z)
    codes = given_ = values
    if objective.variational:
        spreads = np.exp((read @ params["log_variance"]["kernel"] + params["log_variance"]["bias"]) / 2)
        given_ = codes + spreads * noise
    for name in reversed(params["encoder"]):
        sums = given_ @ params["decoder"][name].get("kernel", params["encoder"][name]["kernel"].T)
        sums = sums + params["decoder"][name]["bias"]
        given_ = ACTIVATION_OF[activation](sums)
    if objective.loss == "cross_entropy":
        p = special.expit(sums)
        loss = -np.mean(np.sum(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=1))
    else:
        outputs = special.expit(sums) if objective.output == "sigmoid" else sums
        loss = np.mean((outputs - clean) ** 2)
    if objective.variational:
        # What codes tell less than a standard normal variable does: cross-entropy less entropy.
        crossed = (np.log(2 * np.pi) + codes**2 + spreads**2) / 2
        divergences = crossed - stats.norm(codes, spreads).entropy()
        loss += objective.kl_weight * divergences.sum() / len(codes)
    if objective.sparsity == "kl":
        rho, rates = objective.sparsity_target, codes.mean(0)
        divergences = [stats.entropy([rho, 1 - rho], [rate, 1 - rate]) for rate in rates]
        loss += objective.sparsity_weight * sum(divergences)
    if objective.sparsity == "l1":
        loss += objective.sparsity_weight * np.abs(codes).sum() / len(codes)
    if objective.contractive:
        # The whole Jacobian of every example, no shortcut.
        jacobians = SLOPE_OF[activation](z)[:, :, None] * layer["kernel"].T[None]
        loss += objective.contraction_weight * np.mean([np.linalg.norm(jacobian) ** 2 for jacobian in jacobians])
    return loss


class Case(NamedTuple):
    """Parameters of a stack, float32, and what it is given."""

    params: dict
    inputs: np.ndarray  # uint8 images or float32 codes
    noisy: np.ndarray  # what the lowest layer reads
    noise: np.ndarray  # of variational codes


def drawn(objective, seed, sizes, n, dtype="float32"):
    rng = np.random.default_rng(seed)

    def layer(below, above):
        kernel, bias = rng.normal(0, 0.5, (below, above)), rng.normal(0, 0.2, above)
        return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}

    pairs = {f"layers_{number}": pair for number, pair in enumerate(itertools.pairwise(sizes))}
    params = {"encoder": {name: layer(*pair) for name, pair in pairs.items()}}
    params["decoder"] = {name: layer(*reversed(pair)) for name, pair in pairs.items()}
    if objective.tied:
        params["decoder"] = {name: {"bias": back["bias"]} for name, back in params["decoder"].items()}
    if objective.variational:
        params["log_variance"] = layer(*sizes[-2:])
    images = rng.integers(0, 256, (n, sizes[0])).astype(np.uint8)
    inputs = images if dtype == "uint8" else rng.random((n, sizes[0]), np.float32)
    noise = rng.normal(size=(n, sizes[-1])).astype(np.float32)
    return Case(params, inputs, rng.random((n, sizes[0]), np.float32), noise)


def double(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def clean(inputs):
    return inputs / 255 if inputs.dtype == np.uint8 else inputs.astype(np.float64)


@functools.partial(jax.jit, static_argnums=(0, 2))
def measured(objective, numbers, activation, case):
    """The loss with its metrics, and the gradient; the objective's numbers are tracers, as in training."""
    objective = join_traced(objective, numbers)
    is_sigmoid = objective.loss == "cross_entropy" or objective.output == "sigmoid"
    params, depth, size = dict(case.params), len(case.params["encoder"]), case.inputs.shape[1]
    widths = tuple(layer["bias"].size for layer in params["encoder"].values())
    outputs = ("sigmoid" if is_sigmoid else "identity", *[activation] * (depth - 1))
    stack = {
        "encoder": Encoder(widths, (activation,) * depth),
        "decoder": Decoder((size, *widths[:-1]), outputs),
        "layer": 0,
        "encoded": 0,
    }
    noise = {"corrupt": lambda _: case.noisy, "draw": lambda _: case.noise}

    def loss(params):
        if objective.variational:
            params = {**params, "log_variance": {f"layers_{depth - 1}": params["log_variance"]}}
        return objectives.reconstruction(params, Batch(case.inputs), **stack, objective=objective, **noise)

    return jax.value_and_grad(loss, has_aux=True)(params)


def slopes(function, tree):
    """The gradient of a function of parameters by finite differences, in float64, as one vector."""
    ends = np.cumsum([leaf.size for leaf in jax.tree.leaves(tree)])
    shapes, structure = [leaf.shape for leaf in jax.tree.leaves(tree)], jax.tree.structure(tree)

    def of_vector(values):
        parts = [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes, strict=False)]
        return function(jax.tree.unflatten(structure, parts))

    return optimize.approx_fprime(vector(double(tree)), of_vector, 1e-6)


def vector(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(deadline=None, max_examples=5)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(3, 4), (6, 1), (5, 4, 3), (2, 3, 5)]),
    st.sampled_from([2, 5]),
    st.sampled_from(["sigmoid", "tanh", "elu"]),
    st.sampled_from(["uint8", "float32"]),
    st.floats(0, 2),
    st.floats(0.02, 0.9),
)
def test_value_and_gradient_are_the_formulas(name, seed, sizes, n, activation, dtype, weight, target):
    rates = dict.fromkeys(("sparsity_weight", "contraction_weight", "kl_weight"), weight)
    objective = dataclasses.replace(OBJECTIVES[name], **rates, sparsity_target=target)
    activation = "sigmoid" if objective.sparsity == "kl" else activation
    sizes = sizes[:2] if objective.contractive else sizes
    case = drawn(objective, seed, sizes, n, dtype)
    static, numbers = split_traced(objective)
    (found, metrics), gradient = measured(static, numbers, activation, case)
    given_ = clean(case.inputs), double(case.noisy), double(case.noise), activation
    exact = lambda params: value(objective, params, *given_)
    np.testing.assert_allclose(found, exact(double(case.params)), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"], np.full(n, found), rtol=1e-6)
    np.testing.assert_allclose(vector(gradient), slopes(exact, case.params), rtol=5e-3, atol=2e-3)


@jax.jit
def one_step(case, rate, l2):
    """Parameters after one update of gradient descent on a tied elu layer."""
    optimizer = train.make_optimizer(join_traced(OptimizerConfig(name="sgd"), {"learning_rate": rate}), l2, 1)
    stack = {"encoder": Encoder((3,), ("elu",)), "decoder": Decoder((4,), ("identity",)), "layer": 0, "encoded": 0}
    objective = functools.partial(objectives.reconstruction, **stack, objective=OBJECTIVES["tied"])
    state = train.init_state(case.params, frozenset(case.params), optimizer)
    return train.train_step(state, Batch(case.inputs), objective, optimizer)[0].params


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31), st.floats(1e-4, 1), st.floats(0, 0.5))
def test_a_step_goes_down_the_gradient_of_loss_and_penalty_at_its_rate(seed, rate, l2):
    objective = OBJECTIVES["tied"]
    case = drawn(objective, seed, (4, 3), 5)
    x = clean(case.inputs)

    def penalised(params):
        kernel = params["encoder"]["layers_0"]["kernel"]
        return value(objective, params, x, x, case.noise, "elu") + l2 * np.sum(kernel**2) / 2

    moved = vector(one_step(case, rate, l2)) - vector(double(case.params))
    np.testing.assert_allclose(moved, -rate * slopes(penalised, case.params), rtol=1e-3, atol=1e-5)


def labelled_value(params, inputs, labels):
    """Cross-entropy of a linear classifier on elu codes, in float64."""
    for layer in params["encoder"].values():
        inputs = ACTIVATION_OF["elu"](inputs @ layer["kernel"] + layer["bias"])
    logits = inputs @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    return -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels], logits.argmax(1) == labels


@functools.partial(jax.jit, static_argnums=(2, 3))
def supervised(params, batch, widths, encoded):
    layer, encoder = len(widths) - 1, Encoder(widths, ("elu",) * len(widths))
    stack = {"encoder": encoder, "classifier": Layer(4), "layer": layer, "encoded": encoded}

    def loss(params):
        named = {**params, "classifier": {f"layers_{layer}": params["classifier"]}}
        return objectives.supervised_layer(named, batch, **stack)

    return jax.value_and_grad(loss, has_aux=True)(params)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([(5, 3), (4, 6, 2)]), st.sampled_from(["uint8", "float32"]))
def test_a_supervised_layers_value_and_gradient_are_the_formulas(seed, sizes, dtype):
    rng = np.random.default_rng(seed)
    case = drawn(OBJECTIVES["mse"], seed, sizes, 6, dtype)
    own = {"kernel": rng.normal(size=(sizes[-1], 4)), "bias": rng.normal(size=4)}
    params = {"encoder": case.params["encoder"], "classifier": jax.tree.map(np.float32, own)}
    labels = rng.integers(0, 4, 6)
    (found, metrics), gradient = supervised(params, Batch(case.inputs, labels), sizes[1:], 0)
    losses, correct = labelled_value(double(params), clean(case.inputs), labels)
    np.testing.assert_allclose(found, losses.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(metrics["accuracy"], correct)
    exact = lambda params: labelled_value(params, clean(case.inputs), labels)[0].mean()
    np.testing.assert_allclose(vector(gradient), slopes(exact, params), rtol=5e-3, atol=1e-3)
    if len(sizes) == 3:  # the same from codes of the layer below
        layer = double(params["encoder"]["layers_0"])
        codes = ACTIVATION_OF["elu"](clean(case.inputs) @ layer["kernel"] + layer["bias"]).astype(np.float32)
        above = {**params, "encoder": {"layers_1": params["encoder"]["layers_1"]}}
        np.testing.assert_allclose(supervised(above, Batch(codes, labels), sizes[1:], 1)[0][0], found, rtol=1e-4)


def test_mse_is_of_the_reconstruction_whatever_the_loss():
    objective = OBJECTIVES["tied cross-entropy"]
    case = drawn(objective, 0, (5, 3), 4)
    static, numbers = split_traced(objective)
    metrics = measured(static, numbers, "sigmoid", case)[0][1]
    layer, back = (double(case.params[side]["layers_0"]) for side in ("encoder", "decoder"))
    codes = special.expit(case.noisy @ layer["kernel"] + layer["bias"])
    outputs = special.expit(codes @ layer["kernel"].T + back["bias"])
    np.testing.assert_allclose(metrics["mse"], np.mean((outputs - case.inputs) ** 2, axis=1), rtol=1e-4)


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


# Of all layers at once, of variational codes and of labels.

TOGETHER = {
    "untied": ObjectiveConfig(),
    "tied, variational, cross-entropy": ObjectiveConfig(
        loss="cross_entropy", tied=True, variational=True, kl_weight=1.0
    ),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_a_phase_of_all_layers_measures_the_formula_on_batches_and_held_out_images(name, phase, images):
    objective = TOGETHER[name]
    stage, numbers = phase((9, 5), "tanh", frozen_layers=0, objective=objective, epochs=1)
    ran = run((stage, numbers), images)
    assert stage.name == "pretrain/all"

    def reference(params, inputs, noise):
        params = double(params)
        if objective.variational:
            params["log_variance"] = params["log_variance"]["layers_1"]
        x = np.asarray(inputs, np.float64) / 255
        return value(objective, params, x, x, noise, "tanh")

    # The phase after those of two layers has draws of its own.
    rows = batch_rows(key_for(0, Purpose.PRETRAIN_BATCHES, 2), jnp.int32(0), 120, 15, "epoch")
    noise = np.asarray(normal(jax.random.fold_in(key_for(0, Purpose.SAMPLING, 2), 0), (15, 5)), np.float64)
    losses = ran.curves["loss" if objective.variational else "mse"]
    np.testing.assert_allclose(losses[0], reference(ran.before.params, images.train.inputs[rows], noise), rtol=1e-4)
    # Without keys, codes are their means.
    held_out = Batch(images.validation.inputs)
    found = stage.objective(numbers)(ran.state.params, held_out)
    np.testing.assert_allclose(found[0], reference(ran.state.params, held_out.inputs, 0.0), rtol=1e-4)
    np.testing.assert_allclose(np.mean(found[1]["mse"]), ran.curves["validation_mse"][-1], rtol=1e-4)


def test_all_layers_learn_at_once_from_where_the_phases_left_them(phase, images):
    objective, parent = OBJECTIVES["tied cross-entropy"], None
    for widths in ((9,), (9, 5)):
        parent = run(phase(widths, "sigmoid", objective=objective), images, parent=parent).state.params
    stage, numbers = phase((9, 5), "sigmoid", frozen_layers=0, objective=objective, epochs=20)
    ran = run((stage, numbers), images, parent=parent)
    jax.tree.map(np.testing.assert_array_equal, ran.before.params, parent)
    assert not jax.tree.leaves(ran.before.frozen)
    before, after = (stage.results(params, images)["pretrain_test_mse"] for params in (parent, ran.state.params))
    assert after < 0.9 * before
    # What is measured on held-out images in training is the error end to end.
    results = stage.results(ran.state.params, images)
    np.testing.assert_allclose(results["pretrain_validation_mse"], ran.curves["validation_mse"][-1], rtol=1e-5)


def test_variational_codes_come_nearer_to_noise_the_more_it_weighs(phase, images):
    distances = []
    for weight in (1e-4, 1.0):
        objective = ObjectiveConfig(variational=True, kl_weight=weight)
        stage, numbers = phase((9,), objective=objective, epochs=20)
        params = run((stage, numbers), images).state.params
        codes = stage.codes(params, images.test.inputs, 1)
        distances.append(float(jnp.mean(jnp.square(codes))))
    assert distances[1] < 0.1 * distances[0]


def test_a_supervised_phase_reads_its_labelled_subset_and_learns_its_classes(phase, images):
    stage, numbers = phase((9,), objective=ObjectiveConfig(kind="supervised"), epochs=20)
    choices = {"label_subset": "random"}
    ran = run((stage, numbers), images, choices=choices)
    assert len(ran.start.labelled) == stage.n_examples == 60
    rows = batch_rows(key_for(0, Purpose.PRETRAIN_BATCHES, 0), jnp.int32(0), 60, 15, "epoch")
    rows = np.asarray(ran.start.labelled)[rows]
    params = double(ran.before.params)
    params["classifier"] = params["classifier"]["layers_0"]
    x, labels = np.asarray(images.train.inputs, np.float64)[rows] / 255, np.asarray(images.train.labels)[rows]
    losses, correct = labelled_value(params, x, labels)
    np.testing.assert_allclose(ran.curves["loss"][0], losses.mean(), rtol=1e-4)
    np.testing.assert_allclose(ran.curves["accuracy"][0], correct.mean(), rtol=1e-6)
    assert ran.curves["validation_accuracy"][-1] > 0.6
    assert stage.results(ran.state.params, images) == {}
