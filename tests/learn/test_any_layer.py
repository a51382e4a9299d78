"""Encoders of any layers go through every kind of stage: convolutions, residual blocks, modules of a user's own."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pretrain.config import AdamConfig, FinetuneConfig, PcaConfig, PretrainConfig, SupervisedConfig
from pretrain.learn import controls, diagnostics, start
from pretrain.learn.layers import Convolution, Dense, Residual, encode, flat, scaled
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.probes import ridge
from pretrain.learn.randomness import Purpose, key_for
from pretrain.learn.stack import DenseDecoder, Stack
from pretrain.learn.tasks import NO_TASK, Task
from pretrain.plan import builders
from tests.learn import conftest
from tests.learn.conftest import begun, companions, results_of, run

EXAMPLE, CLASSES, LABELS, UNITS = (6, 6, 1), 3, 60, 5


class Gated(nn.Module):
    """A module of a user's own: nested, with leaves of several names and no decoder."""

    features: int

    @nn.compact
    def __call__(self, inputs):
        values = nn.Conv(self.features, (3, 3), name="inner")(inputs)
        gates = nn.sigmoid(nn.Conv(self.features, (1, 1), use_bias=False, name="gates")(inputs))
        shift = self.param("shift", nn.initializers.constant(0.1), (self.features,))
        return values * gates + jnp.broadcast_to(shift, values.shape)


class Scales(nn.Module):
    """Another one, which has no kernel and brings its decoder."""

    @nn.compact
    def __call__(self, inputs):
        scale = self.param("scale", nn.initializers.ones, inputs.shape[1:])
        return inputs * jnp.broadcast_to(scale, inputs.shape)

    def decoder(self, shape):
        return Unscales(shape)


class Unscales(nn.Module):
    """The decoder of the other one."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, codes):
        shift = self.param("shift", nn.initializers.constant(0.3), self.shape)
        return codes + jnp.broadcast_to(shift, codes.shape)


ENCODERS = {
    "convolution": (Convolution(4, 3, 2, "elu"), Dense(UNITS, "elu")),
    "residual": (Residual(4, 2, "relu"), Dense(UNITS)),
    "own": (Gated(3), Dense(UNITS, "elu")),
    "own with a decoder": (Scales(), Convolution(2, 3, 2, "tanh")),  # whose topmost codes are images
    "own, of both kinds": (Scales(), Gated(2)),
}


class Trained(NamedTuple):
    """Greedy stages of an encoder, from the images up."""

    layers: tuple[nn.Module, ...]
    stages: list  # each with its config
    runs: list

    @property
    def params(self):
        return self.runs[-1].state.params


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (CLASSES, *EXAMPLE))

    def split(size):
        labels = rng.integers(0, CLASSES, size)
        pixels = np.clip(rng.normal(patterns[labels], 20), 0, 255)
        return Batch(jnp.asarray(pixels, jnp.uint8), jnp.asarray(labels, jnp.int32))

    return Splits(split(120), split(30), split(40))


def pretraining(layers, images, depth, lowest=None, **settings):
    """A stage of the layer at some depth, or of all from ``lowest`` up."""
    config = PretrainConfig(**{"epochs": 4, "batch_size": 15, **settings})
    n_examples = LABELS if config.method.reads_labels else len(images.train.inputs)
    return conftest.pretraining(config, EXAMPLE, layers[:depth], n_examples, CLASSES, lowest)


def greedy(layers, images, depth, parent, **settings):
    """A greedy stage of the layer at some depth, and its run."""
    stage = pretraining(layers, images, depth, **settings)
    return stage, run(stage, images, parent=parent)


# It reads images and codes, mirrors and brings decoders, nests modules and convolves.
QUICK = {"own, of both kinds"}


@pytest.fixture(
    scope="module", params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ENCODERS]
)
def trained(request, images):
    """Every encoder, pretrained layer by layer."""
    layers, parent = ENCODERS[request.param], None
    found = Trained(layers, [], [])
    for depth in range(1, len(layers) + 1):
        stage, ran = greedy(layers, images, depth, parent)
        found.stages.append(stage)
        found.runs.append(ran)
        parent = ran.state.params
    return found


def finetuning(layers, **settings):
    """The stage that ends a trial, with its config."""
    settings = {
        "labels": LABELS,
        "batch_size": 12,
        "epochs": 30,
        "optimizer": AdamConfig(learning_rate=0.03),
        **settings,
    }
    return conftest.last(FinetuneConfig(**settings), EXAMPLE, layers, CLASSES)


def last(trained, images, stops=None, **settings):
    """The stage that ends a trial, its run, and its results."""
    stage = finetuning(trained.layers, **settings)
    ran = run(stage, images, parent=trained.params, stops=stops)
    return stage[0], ran, results_of(stage[0], ran.state.params, images)


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def differ(first, second):
    assert not all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(second)))


def close(first, second, rtol=1e-4, atol=1e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), first, second)


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def by_path(tree):
    return traverse_util.flatten_dict(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree), sep="/")


encoded = jax.jit(lambda layers, params, images: flat(encode(layers, params, scaled(images))), static_argnums=0)
outputs = jax.jit(Stack.logits, static_argnums=0)


def codes_of(layers, params, images):
    return np.asarray(encoded(layers, params["encoder"], images), np.float64)


def falls(curve):
    """Whether the last quarter of a curve lies well below its first."""
    quarter = max(1, len(curve) // 4)
    return np.mean(curve[-quarter:]) < 0.9 * np.mean(curve[:quarter])


# Pretraining.


def test_greedy_stages_lower_their_loss_and_leave_the_layers_below_alone(trained):
    for number, ((stage, _), ran) in enumerate(zip(trained.stages, trained.runs, strict=True)):
        assert stage.name == f"pretrain/{number}" and ran.curves.keys() == {"mse", "validation_mse"}
        assert falls(ran.curves["mse"]) and all_finite(ran.state.params)
        assert np.isfinite(ran.curves["validation_mse"]).sum() == 4
        for side, layers in ran.state.params.items():
            for name, layer in layers.items():
                (differ if name == f"layers_{number}" else same)(layer, ran.before.params[side][name])
        if number:
            below = trained.runs[number - 1].state.params
            same({side: {name: ran.state.params[side][name] for name in below[side]} for side in below}, below)


def test_live_codes_train_as_cached_ones_do(trained, images):
    live, ran = greedy(trained.layers, images, 2, trained.runs[0].state.params, cache_codes=False)
    assert live[0].stack.encoded == 0 and trained.stages[1][0].stack.encoded == 1
    close(ran.state.params, trained.params, rtol=2e-3, atol=1e-4)
    close(ran.curves, trained.runs[-1].curves, rtol=1e-3)


def test_a_stack_reconstructs_images_of_their_shape(trained, images):
    for (stage, _), ran in zip(trained.stages, trained.runs, strict=True):
        found = results_of(stage, ran.state.params, images)
        assert found.keys() == {"pretrain_validation_mse", "pretrain_test_mse"} and all_finite(found)
        assert all(value.shape == () for value in found.values())
    # Better than the same pixel everywhere, after all greedy stages.
    assert found["pretrain_test_mse"] < 2 * np.var(np.asarray(images.test.inputs, np.float64) / 255)


def test_all_layers_at_once_lower_the_loss_from_the_start_and_after_greedy_stages(trained, images):
    stage = pretraining(trained.layers, images, 2, lowest=0)
    afresh, after = (run(stage, images, parent=parent) for parent in (None, trained.params))
    for ran in (afresh, after):
        assert stage[0].name == "pretrain/all" and all_finite(ran.state.params)
        for side, layers in ran.state.params.items():
            for name, layer in layers.items():
                differ(layer, ran.before.params[side][name])
    assert falls(afresh.curves["mse"]) and after.curves["mse"][-1] < after.curves["mse"][0]
    same(after.before.params, trained.params)


def test_layers_learn_under_a_classifier(trained, images):
    (stage, _), ran = greedy(trained.layers, images, 1, None, method=SupervisedConfig(), epochs=8)
    assert falls(ran.curves["loss"]) and ran.curves.keys() >= {"accuracy", "validation_accuracy"}
    assert not stage.stack.reconstructs and results_of(stage, ran.state.params, images) == {}


@pytest.mark.parametrize("name", ["convolution", pytest.param("residual", marks=pytest.mark.slow)])
def test_noise_on_images_and_sparse_codes_are_for_any_layer(name, images):
    layers = ENCODERS[name][:1]
    settings = {"corruption": "masking", "corruption_level": 0.4, "sparsity": "l1"}
    method = replace(PretrainConfig().method, **settings)
    (stage, _), ran = greedy(layers, images, 1, None, method=method)
    assert ran.curves.keys() == {"mse", "loss", "validation_mse"} and all_finite(ran.state.params)
    assert falls(ran.curves["loss"]) and (ran.curves["loss"] > ran.curves["mse"]).all()
    assert stage.stack == pretraining(layers, images, 1)[0].stack


TIED = replace(PretrainConfig().method, tied=True, contractive=True)


@pytest.mark.parametrize("method", [PcaConfig(), TIED], ids=["pca", "tied and contractive"])
def test_a_dense_layer_on_a_convolution_may_be_trained_by_what_needs_one(method, images):
    layers = ENCODERS["convolution"]
    (lowest, _), below = greedy(layers, images, 1, None)
    beside = (*lowest.stack.companions, builders.companions(method, layers, EXAMPLE, NO_TASK))
    stack, section = Stack(layers, EXAMPLE, beside, start=1, encoded=1), PretrainConfig(batch_size=15)
    stage, config = builders.pretraining(section, method, stack, epochs=4, n_examples=120)
    ran = run((stage, config), images, parent=below.state.params)
    codes = codes_of(layers[:1], below.state.params, images.train.inputs)
    kernel = np.asarray(ran.state.params["encoder"]["layers_1"]["kernel"], np.float64)
    assert ran.state.params["decoder"]["layers_1"].keys() == {"bias"} and kernel.shape == (36, UNITS)
    assert all_finite(results_of(stage, ran.state.params, images))
    if isinstance(method, PcaConfig):
        axes = np.linalg.svd(codes - codes.mean(0), full_matrices=False)[2][:UNITS]
        np.testing.assert_allclose(np.linalg.svd(axes @ kernel, compute_uv=False), 1, rtol=1e-3)
    else:
        assert falls(ran.curves["mse"])


def test_modules_bring_their_decoders_or_are_mirrored():
    decoders = {
        name: companions(PretrainConfig().method, layers, EXAMPLE)[0][0][1].module for name, layers in ENCODERS.items()
    }
    assert decoders["own"] == DenseDecoder(EXAMPLE) and decoders["own with a decoder"] == Unscales(EXAMPLE)
    assert {type(decoders[name]).__name__ for name in ("convolution", "residual")} == {"ConvolutionDecoder"}


# Fine-tuning.


@pytest.mark.parametrize("frozen", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in (0, 2))])
def test_frozen_layers_stay_to_the_bit_and_the_others_learn(frozen, trained, images):
    stage, ran, found = last(trained, images, frozen_layers=frozen)
    assert stage.stack.encoded == frozen
    for number, (name, layer) in enumerate(trained.params["encoder"].items()):
        (same if number < frozen else differ)(ran.state.params["encoder"][name], layer)
    differ(ran.state.params["head"], ran.before.params["head"])
    assert falls(ran.curves["loss"]) and all_finite((ran.state.params, found))
    assert found.keys() == {"test_loss", "test_accuracy", "constant_units"} and found["test_accuracy"] > 0.6
    if frozen:
        live = last(trained, images, frozen_layers=frozen, cache_codes=False)
        assert live[0].stack.encoded == 0
        for number in range(frozen):
            same(live[1].state.params["encoder"][f"layers_{number}"], trained.params["encoder"][f"layers_{number}"])
        close(live[1].state.params, ran.state.params, rtol=5e-3, atol=5e-4)
        close(live[2], found, rtol=1e-3)


@pytest.mark.parametrize("codes", ["standardised", "whitened"])
def test_heads_read_codes_of_mean_0_and_deviation_1(codes, trained, images):
    params = begun(finetuning(trained.layers, codes=codes), images, parent=trained.params).state.params
    statistics = {name: np.asarray(leaf, np.float64) for name, leaf in params["codes"].items()}
    raw = codes_of(trained.layers, params, images.train.inputs)
    offsets = raw - statistics["mean"]
    assert offsets.shape == (120, params["head"]["kernel"].shape[0])
    np.testing.assert_allclose(offsets.mean(0), 0, atol=1e-4)
    if codes == "standardised":
        varying = raw.std(0) > 1e-5 * raw.std(0).max()
        np.testing.assert_allclose((offsets * statistics["scale"]).std(0)[varying], 1, rtol=2e-3)
        return
    spread = np.cov((offsets @ statistics["kernel"]).T, bias=True)
    variances = np.linalg.eigvalsh(np.cov(raw.T, bias=True))
    well_conditioned = variances[0] > 1e-4 * variances[-1]
    if well_conditioned:
        np.testing.assert_allclose(spread, np.eye(len(spread)), atol=3e-2)
    # Rounding of covariances in float32 shows in directions of about a millionth of the largest variance.
    assert 0.95 < np.linalg.eigvalsh(spread)[-1] < (1.05 if well_conditioned else 1.5)


def test_a_fitted_head_is_the_ridge_regression_of_flattened_codes(trained, images):
    stage = finetuning(trained.layers, head_init="ridge", ridge_penalty=0.1)
    ran = begun(stage, images, parent=trained.params)
    params, rows = ran.state.params, np.asarray(ran.labelled)
    codes = codes_of(trained.layers, params, images.train.inputs[rows])
    head = jax.jit(ridge, static_argnums=2)(
        jnp.asarray(codes, jnp.float32), images.train.labels[rows], Task(n_outputs=CLASSES), 0.1
    )
    close(params["head"], head, rtol=2e-3, atol=2e-4)
    found = outputs(stage[0].stack, params, images.test.inputs)
    assert np.mean(found.argmax(1) == images.test.labels) > 0.7


def test_the_first_update_is_matched(trained, images):
    stage, ran, _ = last(trained, images, first_logit_change=0.05, stops=[1])
    batch = images.train.inputs[ran.labelled][stage.rows.of_update(jnp.uint32(0), jnp.int32(0))]
    before, after = (outputs(stage.stack, state.params, batch) for state in (ran.before, ran.state))
    np.testing.assert_allclose(np.sqrt(np.mean((after - before) ** 2)), 0.05, rtol=1e-3)


def test_held_layers_join_in_when_they_are_due(trained, images):
    held, joined = (last(trained, images, unfreeze_at=2, stops=[stop])[1].state.params for stop in (2, 3))
    same(held["encoder"], trained.params["encoder"])
    for name, layer in joined["encoder"].items():
        differ(layer, trained.params["encoder"][name])


@pytest.mark.optimised
def test_diagnostics_are_finite_and_of_every_layer_with_a_kernel(trained, images):
    stage, ran, _ = last(trained, images, diagnose_at=(1, 4), stops=[4])
    plain = last(trained, images, stops=[4])[1]
    same(ran.state._replace(carry=None), plain.state._replace(carry=None))
    kernels = {path.split("/")[0] for path in by_path(trained.params["encoder"]) if path.endswith("kernel")}
    trained_layers = [path for path in stage.static.trained if path == "head" or path.rsplit("/", 1)[-1] in kernels]
    found = ran.curves.keys() - plain.curves.keys()
    assert found == set(diagnostics.names(trained_layers))
    for name in found:
        curve = np.asarray(ran.curves[name])
        assert np.isfinite(curve[[0, 3]]).all() and np.isnan(curve[[1, 2]]).all(), name
        if name.startswith(("update_size", "gradient_norm")):
            assert (curve[[0, 3]] > 0).all(), name
    assert ran.curves["initial_alignment"][0] <= 1 + 1e-5


# Read-outs.


@pytest.mark.parametrize(("kind", "codes"), [("ridge", "standardised"), ("logistic", "whitened"), ("knn", "raw")])
def test_read_outs_predict_the_classes_and_train_no_layer(kind, codes, trained, images):
    stage, ran, found = last(trained, images, readout=kind, codes=codes)
    same(
        (ran.state.params["encoder"], ran.state.params["codes"]),
        (trained.params["encoder"], ran.before.params["codes"]),
    )
    assert found.keys() >= {"validation_accuracy", "test_accuracy"}
    assert all_finite((ran.state.params, found, ran.curves))
    assert min(found["validation_accuracy"], found["test_accuracy"]) > 0.6
    chosen = {"ridge": "chosen_penalty", "logistic": "gradient_norm", "knn": "chosen_neighbours"}[kind]
    assert ran.curves.keys() == {chosen} and stage.n_updates == 0


# Controls.


@pytest.mark.parametrize("kind", controls.KINDS)
def test_controls_keep_their_property_leaf_by_leaf(kind, trained, images):
    stage, ran, found = last(trained, images, encoder_init=kind, stops=[2])
    made = start.encoder(stage.stack, stage.static.choices, 0, trained.params)
    close(ran.before.params["encoder"], made, 1e-5, 1e-6)  # a whole program is rounded otherwise
    for number, (name, layer) in enumerate(trained.params["encoder"].items()):
        same(made[name], controls.control(layer, key_for(0, Purpose.CONTROL, number), kind))
        drawn, leaves = by_path(made[name]), by_path(layer)
        assert drawn.keys() == leaves.keys()
        for path, leaf in leaves.items():
            assert drawn[path].shape == leaf.shape
            if kind == "permuted":
                np.testing.assert_array_equal(np.sort(drawn[path], axis=None), np.sort(leaf, axis=None))
            elif kind == "matched":
                allowed = 5 * leaf.std() / np.sqrt(leaf.size)
                assert abs(drawn[path].mean() - leaf.mean()) <= allowed + 1e-6
            elif path.endswith("kernel"):
                spectra = [
                    np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
                    for kernel in (drawn[path], leaf)
                ]
                np.testing.assert_allclose(*spectra, atol=1e-5 * spectra[1][0])
            else:
                np.testing.assert_array_equal(drawn[path], leaf)
            is_kept = kind == "rotated" and not path.endswith("kernel")
            if leaf.size > 5 and leaf.std() > 0:  # a few may come to stand where they stood
                assert np.array_equal(drawn[path], leaf) == is_kept, path
    assert all_finite((ran.state.params, found))


def test_fresh_layers_are_those_of_an_encoder_without_pretraining(trained, images):
    he = begun(finetuning(trained.layers), images).state.params
    mixed = begun(finetuning(trained.layers, fresh_layers=1), images, parent=trained.params).state.params
    same(mixed["encoder"], {**trained.params["encoder"], "layers_1": he["encoder"]["layers_1"]})
    same(mixed["head"], he["head"])
