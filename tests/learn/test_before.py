"""Errors before the first update are those of the initial parameters, whatever the method, the layer and the noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import AdamConfig, AutoencoderConfig, RbmConfig, SgdConfig, SupervisedConfig
from pretrain.learn import before as measured
from pretrain.learn.before import alike, before
from pretrain.learn.program import Inputs
from tests.learn.conftest import run

STILL = {"optimizer": SgdConfig(learning_rate=1e-12, momentum=0.0), "batch_size": 30, "epochs": 1}
KINDS = {
    "plain": {},
    "masked": {"method": AutoencoderConfig(corruption="masking", corruption_level=0.5)},
    "cross-entropy": {"method": AutoencoderConfig(loss="cross_entropy")},
    "machine": {"method": RbmConfig()},
    "persistent": {"method": RbmConfig(persistent=True)},
    "supervised": {"method": SupervisedConfig()},
    "balanced": {"method": SupervisedConfig(class_weights="balanced")},
    "upper": {"widths": (9, 5)},
    "upper, uncached": {"widths": (9, 5), "cache_codes": False},
    "upper, supervised": {"widths": (9, 5), "method": SupervisedConfig()},
    "end to end": {"widths": (9, 5), "lowest": 0},
}
QUICK = {"masked", "machine", "upper, supervised"}


@pytest.fixture(scope="module")
def start(images):
    """Returns a function that measures a stage before its first update."""

    def measure(made, parent=None, seed=0):
        stage, config = made
        inherited = parent and {side: parent[side] for side in stage.inherits}
        trial = Inputs(jnp.uint32(seed), jax.tree.map(jnp.float32, config), inherited)
        return jax.jit(before, static_argnums=0)(alike(stage), trial, images)

    return measure


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_errors_are_those_of_a_stage_whose_rate_is_almost_nothing(kind, phase, images, start, monkeypatch):
    settings = KINDS[kind]
    made = phase(activation="sigmoid", **{**STILL, **settings})
    is_upper = len(settings.get("widths", ())) > 1 and "lowest" not in settings
    below = {name: value for name, value in settings.items() if name == "method"}
    parent = run(phase((9,), "sigmoid", **below), images, stops=[4]).state.params if is_upper else None
    ran = run(made, images, parent=parent, stops=[made[0].n_updates])
    metric = "loss" if "supervised" in kind or kind == "balanced" else "mse"
    monkeypatch.setattr(measured, "_BATCHES", made[0].n_updates)  # an epoch, of the same batches
    found = start(made, parent)
    np.testing.assert_allclose(found.held_out, ran.curves[f"validation_{metric}"][-1], rtol=1e-5)
    if kind != "persistent":  # whose chains go on
        np.testing.assert_allclose(found.training, np.mean(ran.curves[metric]), rtol=1e-5)


def test_the_error_and_its_noise_are_those_of_rows(phase, images, start):
    made = phase((9,), "elu", optimizer=AdamConfig(learning_rate=0.01), validate_every=1)
    params = run(made, images).before.params
    inputs = np.asarray(images.validation.inputs, np.float64) / 255
    encoder, decoder = (
        {name: np.asarray(leaf, np.float64) for name, leaf in params[side]["layers_0"].items()}
        for side in ("encoder", "decoder")
    )
    sums = inputs @ encoder["kernel"] + encoder["bias"]
    outputs = np.where(sums > 0, sums, np.expm1(sums)) @ decoder["kernel"] + decoder["bias"]
    errors = np.square(outputs - inputs).mean(axis=1)
    found = start(made)
    np.testing.assert_allclose(found.held_out, errors.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.noise, errors.std() / np.sqrt(len(errors)), rtol=1e-4)


def test_length_and_measurements_of_a_stage_make_no_other_program(phase):
    stages = [phase(epochs=epochs, validate_every=every)[0] for epochs, every in ((1, 1), (3, 5))]
    assert stages[0] != stages[1] and alike(stages[0]) == alike(stages[1])
