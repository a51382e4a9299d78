"""Every update against NumPy in float64, step by step, on the seed's own sizes and data."""

import jax.numpy as jnp
import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig, FinetuneConfig, PretrainConfig
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from tests.learn import reference
from tests.learn.conftest import begun, dense, last, pretraining, results_of, run, walk

SEED, STEPS = 3, 6


@pytest.fixture(scope="module")
def mnist() -> Splits:
    dataset = data.load(DataConfig())
    # 700 images are enough for a few steps; the arithmetic does not depend on how many there are.
    splits = (dataset.train, dataset.validation, dataset.test)
    return Splits(*(Batch(jnp.asarray(split.inputs[:700]), jnp.asarray(split.labels[:700])) for split in splits))


def pixels(images: Splits) -> np.ndarray:
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
    key, rows = key_for(SEED, purpose, index), stage.rows
    for step in range(STEPS):
        yield np.asarray(batch_rows(key, jnp.asarray(step), rows.n, rows.batch_size, rows.sampling))


def check_each_step(stage, images, parent, gradients_of, adam, rows_per_step, inputs, trained, metrics):
    """Steps both sides from the same start, and compares parameters and metrics after every step."""
    start, *path = walk(stage, images, SEED, parent, range(1, STEPS + 1))
    ours_before, theirs = double(start.state.params), double(start.state.params)
    for step, (rows, ran) in enumerate(zip(rows_per_step, path, strict=True)):
        gradients, *values = gradients_of(theirs, inputs[rows], rows)
        adam.update(theirs, {name: gradients[name] for name in trained})
        ours = double(ran.state.params)
        for name, value in theirs.items():
            # Adam divides by the gradient's own size: where a gradient is all rounding, its sign is chance, and a step
            # may differ by twice the learning rate. Those are few; all others agree to float32.
            agree = np.isclose(ours[name], value, rtol=1e-4, atol=1e-4)
            assert agree.mean() > 0.999, (step, name, np.abs(ours[name] - value).max())
            if name not in trained:
                np.testing.assert_array_equal(ours[name], ours_before[name])
        for name, metric in zip(metrics, values, strict=True):
            np.testing.assert_allclose(ran.curves[name][step], metric, rtol=2e-4)


def phase_stage(images, widths, steps_before=0, **settings):
    config = PretrainConfig(epochs=2, l2=1e-2, **settings)
    n_images = len(images.train.inputs)
    return pretraining(config, (784,), dense(widths, "elu"), n_images, steps_before=steps_before)


def finetune_stage(**settings):
    config = FinetuneConfig(encoder_init="he", labels=500, label_subset="first", **settings)
    return last(config, (784,), dense((300, 150), "elu"), 10)


def test_phase_1(mnist):
    stage = phase_stage(mnist, (300,))
    rows = batches(stage[0], Purpose.PRETRAIN_BATCHES)
    gradients = lambda params, x, _: reference.phase1_gradients(params, x, 1e-2)
    trained = ("W1", "b1", "V1", "c1")
    adam = reference.Adam(0.01)
    check_each_step(stage, mnist, None, gradients, adam, rows, pixels(mnist), trained, ("mse",))


@pytest.mark.parametrize(
    ("carries", "cache_codes"),
    [
        *((True, True), (False, False)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(True, False), (False, True)]),
    ],
)
def test_phase_2(mnist, cache_codes, carries):
    below = phase_stage(mnist, (300,))
    parent = begun(below, mnist, SEED).state.params
    steps_before = below[0].n_updates if carries else 0
    stage = phase_stage(mnist, (300, 150), steps_before, cache_codes=cache_codes)
    params = double(parent)
    codes = reference.elu(pixels(mnist) @ params["W1"] + params["b1"])
    adam = reference.Adam(0.01, steps_made=steps_before)
    rows = batches(stage[0], Purpose.PRETRAIN_BATCHES, 1)
    gradients = lambda params, h, _: reference.phase2_gradients(params, h, 1e-2)
    trained = ("W2", "b2", "V2", "c2")
    check_each_step(stage, mnist, parent, gradients, adam, rows, codes, trained, ("mse",))


@pytest.mark.parametrize(
    ("cache_codes", "frozen_layers"),
    [
        *((True, 0), (False, 1), (True, 2)),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(False, 0), (True, 1), (False, 2)]),
    ],
)
def test_finetuning(mnist, frozen_layers, cache_codes):
    stage = finetune_stage(frozen_layers=frozen_layers, cache_codes=cache_codes, l2=1e-2)
    labels = np.asarray(mnist.train.labels)

    def gradients(params, x, rows):
        return reference.classifier_gradients(params, x, labels[rows], 1e-2, frozen_layers)

    trained = [f"{kind}{layer}" for layer in range(frozen_layers + 1, 4) for kind in "Wb"]
    rows = batches(stage[0], Purpose.FINETUNE_BATCHES)
    adam, metrics = reference.Adam(0.01), ("loss", "pre_update_accuracy")
    check_each_step(stage, mnist, None, gradients, adam, rows, pixels(mnist), trained, metrics)


def test_finetuning_measures_the_batch_after_the_step_and_the_held_out_images(mnist):
    stage = finetune_stage(validate_at=(1, 2))
    rows = next(batches(stage[0], Purpose.FINETUNE_BATCHES))
    ran = run(stage, mnist, SEED, stops=[1])
    params, curves = double(ran.state.params), ran.curves
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
    stage, parent = phase_stage(mnist, (300, 150)), begun(phase_stage(mnist, (300,)), mnist, SEED).state.params
    params = begun(stage, mnist, SEED, parent).state.params
    measured = results_of(stage[0], params, mnist)
    p, x = double(params), np.asarray(mnist.test.inputs, np.float64) / 255
    h1 = reference.elu(x @ p["W1"] + p["b1"])
    h3 = reference.elu(reference.elu(h1 @ p["W2"] + p["b2"]) @ p["V2"] + p["c2"])
    error = np.mean((h3 @ p["V1"] + p["c1"] - x) ** 2)
    np.testing.assert_allclose(measured["pretrain_test_mse"], error, rtol=1e-5)
