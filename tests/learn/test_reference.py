"""Every update against NumPy in float64, step by step, on the seed's own sizes and data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig, FinetuneConfig, PretrainConfig
from pretrain.config.fields import split_traced
from pretrain.learn.objectives import Batch
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stage import Images
from tests import stages
from tests.learn import reference
from tests.learn.conftest import FIRST, advance, begin

SEED, STEPS = 3, 6


@pytest.fixture(scope="module")
def mnist() -> Images:
    dataset = data.load(DataConfig())
    # 700 images are enough for a few steps; the arithmetic does not depend on how many there are.
    splits = (dataset.train, dataset.validation, dataset.test)
    return Images(*(Batch(jnp.asarray(split.images[:700]), jnp.asarray(split.labels[:700])) for split in splits))


def pixels(images: Images) -> np.ndarray:
    return np.asarray(images.train.inputs, np.float64) / 255


def double(params) -> dict[str, np.ndarray]:
    """Returns parameters under the reference's names, as float64."""
    names = {"encoder": ("W", "b"), "decoder": ("V", "c")}
    flat = {}
    for side, layers in params.items():
        if side == "codes":
            continue  # statistics, not trained
        for index, layer in enumerate([layers] if side == "head" else layers.values()):
            kernel, bias = names.get(side, ("W", "b"))
            number = 3 if side == "head" else index + 1
            flat[f"{kernel}{number}"] = np.asarray(layer["kernel"], np.float64)
            flat[f"{bias}{number}"] = np.asarray(layer["bias"], np.float64)
    return flat


def batches(stage, purpose: Purpose, index: int = 0):
    key = key_for(SEED, purpose, index)
    config = stage.config
    for step in range(STEPS):
        yield np.asarray(batch_rows(key, jnp.asarray(step), stage.n_examples, config.batch_size, config.sampling))


def check_each_step(stage, numbers, images, start, gradients_of, adam, rows_per_step, inputs, trained):
    """Steps both sides from the same start, and compares parameters and metric after every step."""
    state, own, curves = begin(stage, start, numbers, jnp.uint32(SEED), images)
    ours_before, theirs = double(start.params), double(start.params)
    for step, rows in enumerate(rows_per_step):
        state, curves = advance(stage, state, curves, own, numbers, jnp.uint32(SEED), images, step, step + 1)
        gradients, *metrics = gradients_of(theirs, inputs[rows], rows)
        adam.update(theirs, {name: gradients[name] for name in trained})
        ours = double(state.params)
        for name, value in theirs.items():
            # Adam divides by the gradient's own size: where a gradient is all rounding, its sign is chance, and a step
            # may differ by twice the learning rate. Those are few; all others agree to float32.
            agree = np.isclose(ours[name], value, rtol=1e-4, atol=1e-4)
            assert agree.mean() > 0.999, (step, name, np.abs(ours[name] - value).max())
            if name not in trained:
                np.testing.assert_array_equal(ours[name], ours_before[name])
        for name, metric in zip(stage.curve_names, metrics, strict=False):
            np.testing.assert_allclose(curves[name][step], metric, rtol=2e-4)


def phase_stage(images, widths, made_before=0, **settings):
    config, numbers = split_traced(PretrainConfig(epochs=2, l2=1e-2, **settings))
    shape = (784, widths, "elu", len(images.train.inputs))
    return stages.phase(config, *shape, made_before=made_before), numbers


def test_phase_1(mnist):
    stage, numbers = phase_stage(mnist, (300,))
    start = stage.start(SEED, None, mnist.train.labels, {})
    rows = batches(stage, Purpose.PRETRAIN_BATCHES)
    gradients = lambda params, x, _: reference.phase1_gradients(params, x, 1e-2)
    trained = ("W1", "b1", "V1", "c1")
    check_each_step(stage, numbers, mnist, start, gradients, reference.Adam(0.01), rows, pixels(mnist), trained)


@pytest.mark.parametrize("cache_codes", [True, False])
@pytest.mark.parametrize("carries", [True, False])
def test_phase_2(mnist, cache_codes, carries):
    below, _ = phase_stage(mnist, (300,))
    parent = below.start(SEED, None, mnist.train.labels, {}).params
    made_before = below.total_steps if carries else 0
    stage, numbers = phase_stage(mnist, (300, 150), made_before, cache_codes=cache_codes)
    start = stage.start(SEED, parent, mnist.train.labels, {})
    params = double(parent)
    codes = reference.elu(pixels(mnist) @ params["W1"] + params["b1"])
    adam = reference.Adam(0.01, steps_made=made_before)
    rows = batches(stage, Purpose.PRETRAIN_BATCHES, 1)
    gradients = lambda params, h, _: reference.phase2_gradients(params, h, 1e-2)
    check_each_step(stage, numbers, mnist, start, gradients, adam, rows, codes, ("W2", "b2", "V2", "c2"))


@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
@pytest.mark.parametrize("cache_codes", [True, False])
def test_finetuning(mnist, frozen_layers, cache_codes):
    settings = {"labels": 500, "frozen_layers": frozen_layers, "cache_codes": cache_codes, "l2": 1e-2}
    config, numbers = split_traced(FinetuneConfig(encoder_init="he", **settings))
    stage = stages.finetune(config, 784, (300, 150), "elu", 10)
    start = stage.start(SEED, None, mnist.train.labels, FIRST)
    labels = np.asarray(mnist.train.labels)

    def gradients(params, x, rows):
        return reference.classifier_gradients(params, x, labels[rows], 1e-2, frozen_layers)

    trained = [f"{kind}{layer}" for layer in range(frozen_layers + 1, 4) for kind in "Wb"]
    rows = batches(stage, Purpose.FINETUNE_BATCHES)
    check_each_step(stage, numbers, mnist, start, gradients, reference.Adam(0.01), rows, pixels(mnist), trained)


def test_finetuning_measures_the_batch_after_the_step_and_the_held_out_images(mnist):
    config, numbers = split_traced(FinetuneConfig(encoder_init="he", labels=500, validate_at=(1, 2)))
    stage = stages.finetune(config, 784, (300, 150), "elu", 10)
    start = stage.start(SEED, None, mnist.train.labels, FIRST)
    state, own, curves = begin(stage, start, numbers, jnp.uint32(SEED), mnist)
    rows = next(batches(stage, Purpose.FINETUNE_BATCHES))
    state, curves = advance(stage, state, curves, own, numbers, jnp.uint32(SEED), mnist, 0, 1)
    params = double(state.params)
    logits = reference.classifier(params, pixels(mnist)[rows])[2]
    labels = np.asarray(mnist.train.labels)[rows]
    np.testing.assert_allclose(curves["post_update_accuracy"][0], np.mean(logits.argmax(1) == labels), rtol=1e-6)
    held_out = np.asarray(mnist.validation.inputs, np.float64) / 255
    log_probabilities = reference.classifier(params, held_out)[3]
    labels = np.asarray(mnist.validation.labels)
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    np.testing.assert_allclose(curves["validation_loss"][0], loss, rtol=1e-5)
    accuracy = np.mean(log_probabilities.argmax(1) == labels)
    np.testing.assert_allclose(curves["validation_accuracy"][0], accuracy, rtol=1e-6)


def test_results_are_measured_end_to_end(mnist):
    stage, _ = phase_stage(mnist, (300, 150))
    below, _ = phase_stage(mnist, (300,))
    parent = below.start(SEED, None, mnist.train.labels, {}).params
    params = stage.start(SEED, parent, mnist.train.labels, {}).params
    measured = jax.jit(stage.results)(params, mnist)
    p, x = double(params), np.asarray(mnist.test.inputs, np.float64) / 255
    h1 = reference.elu(x @ p["W1"] + p["b1"])
    h3 = reference.elu(reference.elu(h1 @ p["W2"] + p["b2"]) @ p["V2"] + p["c2"])
    error = np.mean((h3 @ p["V1"] + p["c1"] - x) ** 2)
    np.testing.assert_allclose(measured["pretrain_test_mse"], error, rtol=1e-5)
