"""What fine-tuning starts from, and what its updates are told to say of themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import OptimizerConfig
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from tests.learn import reference
from tests.learn.conftest import FIRST, run

STANDARDISED = {**FIRST, "codes": "standardised"}
FITTED = {**FIRST, "head_init": "ridge"}
BOTH = {**STANDARDISED, "head_init": "ridge"}


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
    key = key_for(seed, Purpose.FINETUNE_BATCHES)
    config = stage.config
    return np.asarray(batch_rows(key, jnp.int32(0), stage.n_examples, config.batch_size, config.sampling))


@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
@pytest.mark.parametrize("cache_codes", [True, False])
def test_standardised_codes_are_those_of_all_unlabelled_images(
    frozen_layers, cache_codes, finetune, pretrained, images
):
    stage = finetune(frozen_layers=frozen_layers, cache_codes=cache_codes)
    ran = run(stage, images, parent=pretrained((9, 5)), choices=STANDARDISED, stops=[10])
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


@pytest.mark.parametrize("choices", [FITTED, BOTH], ids=["raw", "standardised"])
def test_a_fitted_head_is_the_ridge_regression_of_the_labelled_subset(choices, finetune, pretrained, images):
    stage, numbers = finetune(frozen_layers=1, ridge_penalty=0.1)
    ran = run((stage, numbers), images, parent=pretrained((9, 5)), choices=choices, stops=[1])
    params, rows = ran.before.params, np.asarray(ran.start.labelled)
    codes = encoded(params, images.train.inputs[rows])
    if choices == BOTH:
        codes = (codes - np.asarray(params["codes"]["mean"])) * np.asarray(params["codes"]["scale"])
    centred = codes - codes.mean(0)
    targets = np.eye(4)[np.asarray(images.train.labels)[rows]]
    normal = centred.T @ centred / len(rows)
    normal += 0.1 * np.trace(normal) / 5 * np.eye(5)
    kernel = np.linalg.solve(normal, centred.T @ (targets - targets.mean(0)) / len(rows))
    np.testing.assert_allclose(params["head"]["kernel"], kernel, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(params["head"]["bias"], targets.mean(0) - codes.mean(0) @ kernel, rtol=1e-3, atol=1e-4)


def test_choices_change_what_they_are_about_and_nothing_else(finetune, pretrained, images):
    ways = {"plain": FIRST, "standardised": STANDARDISED, "fitted": FITTED}
    arms = {
        name: run(finetune(), images, parent=pretrained((9, 5)), choices=choices, stops=[1]).before.params
        for name, choices in ways.items()
    }
    same(arms["plain"]["encoder"], arms["standardised"]["encoder"])
    same(arms["plain"]["head"], arms["standardised"]["head"])
    same(arms["plain"]["codes"], arms["fitted"]["codes"])
    same(arms["plain"]["encoder"], arms["fitted"]["encoder"])
    assert not np.array_equal(arms["plain"]["head"]["kernel"], arms["fitted"]["head"]["kernel"])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
@pytest.mark.parametrize("target", [0.05, 1.0])
def test_the_first_update_changes_the_logits_by_what_it_is_told_to(
    target, frozen_layers, optimizer, finetune, pretrained, images
):
    settings = {"frozen_layers": frozen_layers, "optimizer": OptimizerConfig(name=optimizer), "cache_codes": False}
    parent = pretrained((9, 5))
    matched = run(finetune(**settings, first_logit_change=target), images, parent=parent, stops=[1])
    plain = run(finetune(**settings), images, parent=parent, stops=[1])
    stage = finetune(**settings)[0]
    inputs = images.train.inputs[matched.start.labelled][first_batch(stage)]
    before, after = (stage.logits(state.params, inputs) for state in (matched.before, matched.state))
    np.testing.assert_allclose(np.sqrt(np.mean((after - before) ** 2)), target, rtol=1e-3)
    # The update has another length, and the same direction.
    steps = [
        np.concatenate([(new - old).ravel() for new, old in zip(*map(jax.tree.leaves, sides), strict=True)])
        for sides in ((ran.state.trainable, ran.before.trainable) for ran in (matched, plain))
    ]
    cosine = steps[0] @ steps[1] / np.linalg.norm(steps[0]) / np.linalg.norm(steps[1])
    np.testing.assert_allclose(cosine, 1, atol=1e-3)


def test_updates_after_the_first_have_their_own_length(finetune, pretrained, images):
    stage, numbers = finetune(first_logit_change=0.02)
    parent = pretrained((9, 5))
    lengths = []
    for stops in ([1], [1, 2]):
        ran = run((stage, numbers), images, parent=parent, stops=stops)
        lengths.append(ran.state.trainable["head"]["bias"])
    step = np.abs(np.asarray(lengths[1]) - np.asarray(lengths[0]))
    assert 0.001 < np.median(step) < 0.02  # Adam's rate is 0.01, and the first update was far smaller
    first = np.abs(np.asarray(lengths[0]) - np.asarray(ran.before.trainable["head"]["bias"]))
    assert np.median(first) < 0.001


def test_a_change_that_no_length_makes_ends_at_the_longest(finetune, images):
    # Nothing but the optimizer moves the logits, and a learning rate this small moves them by too little.
    settings = {"optimizer": OptimizerConfig(learning_rate=1e-9), "first_logit_change": 100.0}
    ran = run(finetune(**settings), images, stops=[1])
    step = np.abs(ran.state.trainable["head"]["kernel"] - ran.before.trainable["head"]["kernel"])
    np.testing.assert_allclose(np.median(step), 2.0**12 * 1e-9, rtol=1e-2)


DIAGNOSED = {"diagnose_at": (1, 3), "l2": 1e-2}


@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
def test_diagnosing_changes_no_bit_of_training(frozen_layers, finetune, pretrained, images):
    settings = {"frozen_layers": frozen_layers, "l2": 1e-2}
    with_it, without = (
        run(finetune(**settings, diagnose_at=at), images, parent=pretrained((9, 5)), stops=[4]) for at in ((1, 3), ())
    )
    same(with_it.state, without.state)
    same({name: with_it.curves[name] for name in without.curves}, without.curves)
    assert set(with_it.curves) > set(without.curves)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
def test_diagnostics_are_those_of_the_formulas(step, frozen_layers, finetune, pretrained, images):
    stage, numbers = finetune(frozen_layers=frozen_layers, **DIAGNOSED, cache_codes=frozen_layers == 2)
    parent = pretrained((9, 5))
    initial = run((stage, numbers), images, parent=parent, stops=[1]).before.params
    earlier = run((stage, numbers), images, parent=parent, stops=[step - 1])
    reached = run((stage, numbers), images, parent=parent, stops=[step])
    key, config = key_for(0, Purpose.FINETUNE_BATCHES), stage.config
    rows = np.asarray(batch_rows(key, jnp.int32(step - 1), stage.n_examples, config.batch_size, config.sampling))
    rows = np.asarray(reached.start.labelled)[rows]
    x, y = np.asarray(images.train.inputs, np.float64)[rows] / 255, np.asarray(images.train.labels)[rows]

    def named(params):
        layers = [*params["encoder"].values(), params["head"]]
        return {
            f"{kind}{i + 1}": np.asarray(layer[name], np.float64)
            for i, layer in enumerate(layers)
            for kind, name in (("W", "kernel"), ("b", "bias"))
        }

    old, new = named(earlier.state.params), named(reached.state.params)
    gradients = reference.classifier_gradients(old, x, y, 0.0, frozen_layers)[0]
    change = reference.classifier(new, x)[2] - reference.classifier(old, x)[2]
    expected = {"logit_change": np.sqrt(np.mean(change**2))}
    for number, layer in ((1, "layers_0"), (2, "layers_1"), (3, "head")):
        if number > frozen_layers:
            kernels = new[f"W{number}"], old[f"W{number}"]
            expected[f"update_size/{layer}"] = np.linalg.norm(kernels[0] - kernels[1]) / np.linalg.norm(kernels[1])
            expected[f"gradient_norm/{layer}"] = np.linalg.norm(gradients[f"W{number}"])
    codes, first = (encoded(params, images.validation.inputs) for params in (reached.state.params, initial))
    a, b = codes - codes.mean(0), first - first.mean(0)
    lengths = np.linalg.svd(a, compute_uv=False)
    shares = lengths / lengths.sum()
    expected["effective_rank"] = np.exp(-np.sum(shares * np.log(shares)))
    expected["condition_number"] = lengths[0] / lengths[-1]
    expected["initial_alignment"] = np.linalg.norm(a.T @ b) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    found = {name: float(reached.curves[name][step - 1]) for name in stage.curve_names[5:]}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=5e-3, err_msg=name)
    assert np.isnan(reached.curves["logit_change"][1])  # the second update is not on the schedule
