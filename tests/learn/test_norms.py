"""Normalisation within layers, against NumPy in float64; and encoders that have it, as they train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from pretrain.config.fields import ConfigError
from pretrain.learn import modes
from pretrain.learn.layers import Convolution, Dense, PaddedConvolution, Residual, apply, fresh
from pretrain.learn.modes import STATISTICS
from pretrain.learn.norms import MOMENTUM, NORMS
from tests.small_sweep import of_kind, path, run_all

LAYERS = {
    "dense": (lambda norm: Dense(6, "relu", norm), (5,)),
    "convolution": (lambda norm: Convolution(6, 3, 2, "relu", norm=norm), (7, 5, 2)),
    "padded": (lambda norm: PaddedConvolution(6, 3, 1, 1, "relu", norm=norm), (7, 5, 2)),
    "series": (lambda norm: Convolution(6, 3, 1, "relu", norm=norm), (9, 1, 2)),
}


def normal(sums, norm, scale, bias, epsilon=1e-6, moments=None):
    """Sums [B, ..., features], normalised as the papers have it."""
    grouped = sums.reshape(*sums.shape[:-1], 2, 3)  # two groups of six features
    match norm:
        case "none":
            return sums
        case "group":
            axes = (*range(1, grouped.ndim - 2), grouped.ndim - 1)
            mean, var = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
            made = ((grouped - mean) / np.sqrt(var + epsilon)).reshape(sums.shape)
        case "layer":
            made = (sums - sums.mean(-1, keepdims=True)) / np.sqrt(sums.var(-1, keepdims=True) + epsilon)
        case "batch":
            made = (sums - moments[0]) / np.sqrt(moments[1] + 1e-5)
    return made * scale + bias


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("case", LAYERS)
def test_layers_are_normalised_before_their_activation(case, norm):
    make, shape = LAYERS[case]
    layer, plain = make(norm), make("none").clone(activation="identity")
    rng = np.random.default_rng(0)
    params = fresh(layer, shape, jax.random.key(1))
    params = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.uniform(0, 0.5, leaf.shape), jnp.float32), params)
    inputs = jnp.asarray(rng.normal(size=(20, *shape)), jnp.float32)
    sums = np.asarray(apply(plain, {name: params[name] for name in ("kernel", "bias")}, inputs), np.float64)
    own = [np.asarray(params.get("norm", {}).get(name, 0), np.float64) for name in ("scale", "bias")]
    held = [np.asarray(each, np.float64) for each in params.get(STATISTICS, {}).get("norm", {}).values()]
    expected = normal(sums, norm, *own, moments=held)
    np.testing.assert_allclose(apply(layer, params, inputs), np.maximum(expected, 0), rtol=1e-4, atol=1e-4)
    if norm == "batch":
        axes = tuple(range(sums.ndim - 1))
        moments = sums.mean(axes), sums.var(axes)
        found, after = modes.trained(layer, params, inputs, jax.random.key(0))
        expected = np.maximum(normal(sums, norm, *own, moments=moments), 0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for name, old, new in zip(("mean", "var"), held, moments, strict=True):
            np.testing.assert_allclose(after["norm"][name], MOMENTUM * old + (1 - MOMENTUM) * new, rtol=1e-4, atol=1e-5)
    else:
        assert modes.switch_of(layer) is None and STATISTICS not in params


@pytest.mark.parametrize("norm", NORMS)
def test_residual_blocks_have_one_after_each_convolution(norm):
    shapes = jax.eval_shape(lambda: fresh(Residual(6, 2, "relu", norm=norm), (7, 5, 2), jax.random.key(0)))
    held = {path[-2] for path in traverse_util.flatten_dict(shapes) if path[-1] in ("scale", "mean")}
    assert held == (set() if norm == "none" else {"lower_norm", "upper_norm"})
    assert (STATISTICS in shapes) == (norm == "batch")


@pytest.mark.slow
def test_encoders_with_batch_normalisation_train_end_and_leave_frozen_layers_alone(planned, dataset):
    settings = {"encoder": {"layers": (12, 6), "norm": "batch"}, "finetune": {"frozen_layers": 1}}
    plan = planned(**settings, pretrain={"epochs": 2, **of_kind("contrastive")})
    ran = run_all(plan, dataset)
    lower, upper, last = (ran[job.id][0]["encoder"] for job in path(plan))
    for other in (upper, last):
        jax.tree.map(np.testing.assert_array_equal, lower["layers_0"], other["layers_0"])
    means = [np.asarray(each["layers_1"][STATISTICS]["norm"]["mean"]) for each in (upper, last)]
    assert means[0].any() and not np.array_equal(*means)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))


def test_auto_is_what_layers_have_by_default_and_others_name_their_stages(planned):
    ids = {norm: planned(encoder={"layers": (5,), "norm": norm}).jobs.keys() for norm in ("auto", "none", "layer")}
    assert ids["auto"] == ids["none"] and not ids["auto"] & ids["layer"]


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (of_kind("pca"), "kind"),
        (of_kind("autoencoder", tied=True), "tied"),
        (of_kind("autoencoder", variational=True), "variational"),
    ],
)
def test_methods_of_plain_dense_layers_refuse_others(method, field, experiment):
    encoder = {"layers": (5,), "norm": "batch"}
    text = f"pretrain.method.{field}: .*needs layers that are not normalised; set encoder.norm to none, not 'batch'"
    with pytest.raises(ConfigError, match=text):
        experiment(sweep=({"finetune.encoder_init": ("pretrained",)},), encoder=encoder, pretrain=method)
