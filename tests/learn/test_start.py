"""What stages start from: the encoder that pretraining left, fresh layers, statistics of codes, a head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from pretrain.config import SgdConfig, SupervisedConfig
from pretrain.learn.metrics import Batch
from pretrain.learn.randomness import Purpose, batch_rows, key_for, label_subset
from pretrain.learn.stack import fresh_layer
from pretrain.learn.transfer import TransferError
from tests.learn import reference
from tests.learn.conftest import CLASSES, LABELS, begun, run

STANDARDISED = {"codes": "standardised"}
FITTED = {"head_init": "ridge"}
BOTH = STANDARDISED | FITTED


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def encoded(params, images):
    """Codes of two elu layers, in float64."""
    values = np.asarray(images, np.float64) / 255
    for layer in params["encoder"].values():
        kernel, bias = (np.asarray(layer[name], np.float64) for name in ("kernel", "bias"))
        values = reference.elu(values @ kernel + bias)
    return values


def first_batch(stage, seed=0):
    key, rows = key_for(seed, Purpose.FINETUNE_BATCHES), stage.rows
    return np.asarray(batch_rows(key, jnp.int32(0), rows.n, rows.batch_size, rows.sampling))


@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
@pytest.mark.parametrize("cache_codes", [True, False])
def test_standardised_codes_are_those_of_all_unlabelled_images(
    frozen_layers, cache_codes, finetune, pretrained, images
):
    stage = finetune(frozen_layers=frozen_layers, cache_codes=cache_codes, **STANDARDISED)
    ran = run(stage, images, parent=pretrained((9, 5)), stops=[10])
    codes = encoded(ran.before.params, images.train.inputs)
    found = ran.before.params["codes"]
    np.testing.assert_allclose(found["mean"], codes.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["scale"], 1 / codes.std(0), rtol=1e-3)
    same(ran.state.params["codes"], found)  # fine-tuning leaves them as they are
    # And the head reads them: what is measured on held-out images follows from the parameters by the formula.
    params = ran.state.params
    read = (encoded(params, images.validation.inputs) - np.asarray(found["mean"])) * np.asarray(found["scale"])
    logits = read @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])
    accuracy = np.mean(logits.argmax(1) == np.asarray(images.validation.labels))
    np.testing.assert_allclose(ran.curves["validation_accuracy"][9], accuracy, rtol=1e-6)


@pytest.mark.parametrize("settings", [FITTED, BOTH], ids=["raw", "standardised"])
def test_a_fitted_head_is_the_ridge_regression_of_the_labelled_subset(settings, finetune, pretrained, images):
    ran = begun(finetune(frozen_layers=1, ridge_penalty=0.1, **settings), images, parent=pretrained((9, 5)))
    params, rows = ran.before.params, np.asarray(ran.labelled)
    codes = encoded(params, images.train.inputs[rows])
    if settings == BOTH:
        codes = (codes - np.asarray(params["codes"]["mean"])) * np.asarray(params["codes"]["scale"])
    centred = codes - codes.mean(0)
    targets = np.eye(CLASSES)[np.asarray(images.train.labels)[rows]]
    normal = centred.T @ centred / len(rows)
    normal += 0.1 * np.trace(normal) / 5 * np.eye(5)
    kernel = np.linalg.solve(normal, centred.T @ (targets - targets.mean(0)) / len(rows))
    np.testing.assert_allclose(params["head"]["kernel"], kernel, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(params["head"]["bias"], targets.mean(0) - codes.mean(0) @ kernel, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_fitted_head_classifies_better_than_a_random_one(activation, finetune, images):
    tuned = [run(finetune((9,), activation, head_init=head), images, stops=[1]) for head in ("random", "ridge")]
    assert tuned[1].curves["pre_update_accuracy"][0] > tuned[0].curves["pre_update_accuracy"][0] + 0.2


def test_choices_change_what_they_are_about_and_nothing_else(finetune, pretrained, images):
    ways = {"plain": {}, "standardised": STANDARDISED, "fitted": FITTED}
    arms = {
        name: begun(finetune(**settings), images, parent=pretrained((9, 5))).state.params
        for name, settings in ways.items()
    }
    same(arms["plain"]["encoder"], arms["standardised"]["encoder"])
    same(arms["plain"]["head"], arms["standardised"]["head"])
    same(arms["plain"]["codes"], arms["fitted"]["codes"])
    same(arms["plain"]["encoder"], arms["fitted"]["encoder"])
    assert not np.array_equal(arms["plain"]["head"]["kernel"], arms["fitted"]["head"]["kernel"])


@pytest.mark.parametrize("n_fresh", [0, 1, 2])
def test_fresh_layers_are_the_topmost_and_those_of_an_encoder_without_pretraining(
    n_fresh, finetune, pretrained, images
):
    parent = pretrained((9, 5))
    he = begun(finetune(), images, 4).state.params
    found = begun(finetune(fresh_layers=n_fresh), images, 4, parent).state.params
    sources = [*[parent] * (2 - n_fresh), *[he] * n_fresh]
    for name, source in zip(("layers_0", "layers_1"), sources, strict=True):
        same(found["encoder"][name], source["encoder"][name])
    same(found["head"], he["head"])


def test_a_head_of_zeros_knows_nothing_and_sends_no_gradient_down_at_first(finetune, pretrained, images):
    stage = finetune(optimizer=SgdConfig(), l2=0.0, head_init="zero")
    ran = run(stage, images, parent=pretrained((9, 5)), stops=[1])
    assert not any(np.any(leaf) for leaf in ran.before.params["head"].values())
    np.testing.assert_allclose(ran.curves["loss"][0], np.log(4), rtol=1e-6)
    same(ran.state.params["encoder"], ran.before.params["encoder"])
    assert all(np.any(leaf) for leaf in ran.state.params["head"].values())


@pytest.mark.parametrize("head", ["random", "ridge"])
def test_whitened_codes_are_those_of_all_unlabelled_images_and_stay(head, finetune, pretrained, images):
    stage, config = finetune(codes="whitened", head_init=head, ridge_penalty=0.1)
    ran = run((stage, config), images, parent=pretrained((9, 5)), stops=[3])
    found = ran.before.params["codes"]
    same(ran.state.params["codes"], found)
    codes = encoded(ran.before.params, images.train.inputs)
    white = (codes - np.asarray(found["mean"], np.float64)) @ np.asarray(found["kernel"], np.float64)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(5), atol=2e-2)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-2)
    # The head reads them: its first loss, and the ridge regression, are of whitened codes.
    rows = np.asarray(ran.labelled)
    layer = {name: np.asarray(leaf, np.float64) for name, leaf in ran.before.params["head"].items()}
    batch = rows[first_batch(stage)]
    shifted = white[batch] @ layer["kernel"] + layer["bias"]
    losses = -special.log_softmax(shifted, axis=1)[range(len(batch)), np.asarray(images.train.labels)[batch]]
    np.testing.assert_allclose(ran.curves["loss"][0], losses.mean(), rtol=1e-3)
    if head == "ridge":
        known, targets = white[rows] - white[rows].mean(0), np.eye(CLASSES)[np.asarray(images.train.labels)[rows]]
        normal = known.T @ known / len(rows)
        normal += 0.1 * np.trace(normal) / 5 * np.eye(5)
        kernel = np.linalg.solve(normal, known.T @ (targets - targets.mean(0)) / len(rows))
        np.testing.assert_allclose(layer["kernel"], kernel, atol=2e-3)


def test_a_stage_of_pretraining_goes_on_from_its_parent_with_a_fresh_layer_on_top(phase, pretrained, images):
    (stage, config), parent = phase((9, 5)), pretrained((9,))
    found = begun((stage, config), images, 3, parent).state.params
    fresh = fresh_layer(stage.stack, 1, 3)
    assert found.keys() == fresh.keys() == {"encoder", "decoder"}
    for side, layers in found.items():
        same(layers["layers_0"], parent[side]["layers_0"])
        same(layers["layers_1"], fresh[side])


def test_all_layers_at_once_start_as_the_stages_before_left_them_or_afresh(phase, pretrained, images):
    stage, parent = phase((9, 5), lowest=0), pretrained((9, 5))
    same(begun(stage, images, 3, parent).state.params, parent)
    found = begun(stage, images, 3).state.params
    for number in (0, 1):
        for side, own in fresh_layer(stage[0].stack, number, 3).items():
            same(found[side][f"layers_{number}"], own)


def test_a_parent_of_other_layers_is_refused(phase, finetune, pretrained, images):
    parent = pretrained((9, 5))
    for stage in (phase((9, 6, 4)), finetune((9, 6))):
        with pytest.raises(TransferError, match="layers_1/kernel is float32"):
            begun(stage, images, parent=parent)


@pytest.mark.parametrize("subset", ["first", "random", "balanced"])
def test_a_stage_that_reads_labels_starts_with_its_labelled_subset(subset, phase, finetune, readout, images):
    key, labels = key_for(7, Purpose.LABEL_SUBSET), images.train.labels
    rows = np.asarray(label_subset(key, labels, LABELS, subset, CLASSES))
    for stage in (phase(method=SupervisedConfig(), label_subset=subset), finetune(label_subset=subset)):
        found = begun(stage, images, 7)
        same(found.labelled, rows)
        same(found.train, Batch(images.train.inputs[rows], labels[rows]))
    same(begun(readout("knn", label_subset=subset), images, 7).state.params["neighbours"]["rows"], rows)
    assert begun(phase(), images, 7).labelled is begun(phase(), images, 7).train is None
