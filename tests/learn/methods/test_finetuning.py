"""What fine-tuning's updates do: matched first ones, diagnosed ones, and those of layers at paces of their own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import AdamConfig, SgdConfig
from pretrain.config.fields import with_values
from pretrain.learn import diagnostics
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stack import Stack
from tests.learn import reference
from tests.learn.conftest import run, walk
from tests.learn.test_start import encoded, first_batch, same

logits = jax.jit(Stack.logits, static_argnums=0)

MEASURED = {"loss", "pre_update_accuracy", "post_update_accuracy", "validation_accuracy", "validation_loss"}
DIAGNOSED = {"diagnose_at": (1, 3), "l2": 1e-2}


QUICK = [(0, AdamConfig()), (1, SgdConfig()), (2, AdamConfig())]
OTHERS = [(0, SgdConfig()), (1, AdamConfig()), (2, SgdConfig())]


@pytest.mark.parametrize(
    ("frozen_layers", "optimizer"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
    ids=lambda value: str(value) if isinstance(value, int) else value.kind,
)
@pytest.mark.parametrize("target", [0.05, 1.0])
def test_the_first_update_changes_the_logits_by_what_is_asked_for(
    target, frozen_layers, optimizer, finetune, pretrained, images
):
    settings = {"frozen_layers": frozen_layers, "optimizer": optimizer, "cache_codes": False}
    parent = pretrained((9, 5))
    matched = run(finetune(**settings, first_logit_change=target), images, parent=parent, stops=[1])
    plain = run(finetune(**settings), images, parent=parent, stops=[1])
    stage = finetune(**settings)[0]
    inputs = images.train.inputs[matched.labelled][first_batch(stage)]
    before, after = (logits(stage.stack, state.params, inputs) for state in (matched.before, matched.state))
    np.testing.assert_allclose(np.sqrt(np.mean((after - before) ** 2)), target, rtol=1e-3)
    # The update has another length, and the same direction.
    steps = [
        np.concatenate([(new - old).ravel() for new, old in zip(*map(jax.tree.leaves, sides), strict=True)])
        for sides in ((ran.state.trainable, ran.before.trainable) for ran in (matched, plain))
    ]
    cosine = steps[0] @ steps[1] / np.linalg.norm(steps[0]) / np.linalg.norm(steps[1])
    np.testing.assert_allclose(cosine, 1, atol=1e-3)


def test_updates_after_the_first_have_their_own_length(finetune, pretrained, images):
    stage = finetune(first_logit_change=0.02)
    parent = pretrained((9, 5))
    lengths = []
    for stops in ([1], [1, 2]):
        ran = run(stage, images, parent=parent, stops=stops)
        lengths.append(ran.state.trainable["head"]["bias"])
    step = np.abs(np.asarray(lengths[1]) - np.asarray(lengths[0]))
    assert 0.001 < np.median(step) < 0.02  # Adam's rate is 0.01, and the first update was far smaller
    first = np.abs(np.asarray(lengths[0]) - np.asarray(ran.before.trainable["head"]["bias"]))
    assert np.median(first) < 0.001


def test_a_change_that_no_length_makes_ends_at_the_longest(finetune, images):
    # Nothing but the optimizer moves the logits, and a learning rate this small moves them by too little.
    settings = {"optimizer": AdamConfig(learning_rate=1e-9), "first_logit_change": 100.0}
    ran = run(finetune(**settings), images, stops=[1])
    step = np.abs(ran.state.trainable["head"]["kernel"] - ran.before.trainable["head"]["kernel"])
    np.testing.assert_allclose(np.median(step), 2.0**12 * 1e-9, rtol=1e-2)


@pytest.mark.parametrize(
    "frozen_layers", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_diagnosing_changes_no_bit_of_training(frozen_layers, finetune, pretrained, images):
    settings = {"frozen_layers": frozen_layers, "l2": 1e-2}
    with_it, without = (
        run(finetune(**settings, diagnose_at=at), images, parent=pretrained((9, 5)), stops=[4]) for at in ((1, 3), ())
    )
    same(*(ran.state._replace(carry=ran.state.carry.first_scale) for ran in (with_it, without)))
    same({name: with_it.curves[name] for name in without.curves}, without.curves)
    assert set(with_it.curves) > set(without.curves) == MEASURED


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("frozen_layers", [0, 1, 2])
def test_diagnostics_are_those_of_the_formulas(step, frozen_layers, finetune, pretrained, images):
    stage, config = finetune(frozen_layers=frozen_layers, **DIAGNOSED, cache_codes=frozen_layers == 2)
    parent = pretrained((9, 5))
    earlier, reached = list(walk((stage, config), images, parent=parent, stops=range(1, step + 1)))[-2:]
    initial = reached.before.params
    key, own = key_for(0, Purpose.FINETUNE_BATCHES), stage.rows
    rows = np.asarray(batch_rows(key, jnp.int32(step - 1), own.n, own.batch_size, own.sampling))
    rows = np.asarray(reached.labelled)[rows]
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
    found = {name: float(reached.curves[name][step - 1]) for name in reached.curves.keys() - MEASURED}
    assert found.keys() == expected.keys() == set(diagnostics.names(stage.static.trained))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=5e-3, err_msg=name)
    assert np.isnan(reached.curves["logit_change"][1])  # the second update is not on the schedule


# Layers that join in later, or at rates of their own.


def layer_settings(stage_and_config, **per_layer):
    """Returns a stage whose config has numbers of its own for each layer, as the plan gives them."""
    stage, config = stage_and_config
    of_layers = {name: tuple(map(float, values)) for name, values in per_layer.items()}
    return stage, config._replace(method=with_values(config.method, of_layers))


def paths(stage_and_config, images, parent, n_updates):
    """Returns the parameters before the first update and after each."""
    return [ran.state.params for ran in walk(stage_and_config, images, parent=parent, stops=range(1, n_updates + 1))]


def moves(path, name):
    """Returns whether all of an encoder layer moved, or none of it did, at each update."""
    found = []
    for old, new in itertools.pairwise(path):
        moved = [not np.array_equal(old["encoder"][name][leaf], new["encoder"][name][leaf]) for leaf in old["head"]]
        assert len(set(moved)) == 1
        found.append(moved[0])
    return found


def test_layers_are_held_until_their_update_and_move_from_it_on(finetune, pretrained, images):
    parent = pretrained((9, 5))
    together = paths(finetune(unfreeze_at=2), images, parent, 4)
    assert moves(together, "layers_0") == moves(together, "layers_1") == [False, False, True, True]
    heads = [params["head"]["kernel"] for params in together]
    assert not any(np.array_equal(old, new) for old, new in itertools.pairwise(heads))
    gradual = paths(layer_settings(finetune(), unfreeze_at=(3, 1)), images, parent, 4)
    assert moves(gradual, "layers_0") == [False, False, False, True]
    assert moves(gradual, "layers_1") == [False, True, True, True]


def test_a_head_alone_trains_as_over_a_frozen_encoder(finetune, pretrained, images):
    parent = pretrained((9, 5))
    held, frozen = (
        run(finetune(**settings), images, parent=parent, stops=[5])
        for settings in ({"unfreeze_at": 100}, {"frozen_layers": 2, "cache_codes": False})
    )
    same(held.state.params["encoder"], parent["encoder"])
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6),
        held.state.params["head"],
        frozen.state.params["head"],
    )


def test_a_rate_of_zero_holds_a_layer_for_good(finetune, pretrained, images):
    parent = pretrained((9, 5))
    ran = run(layer_settings(finetune(), rate_factor=(0, 1)), images, parent=parent)
    same(ran.state.params["encoder"]["layers_0"], parent["encoder"]["layers_0"])
    assert not np.array_equal(ran.state.params["encoder"]["layers_1"]["bias"], parent["encoder"]["layers_1"]["bias"])


def test_factors_scale_a_layers_updates_and_no_others(finetune, images):
    stage = finetune(optimizer=SgdConfig(learning_rate=0.25))
    plain, scaled = (
        run(layer_settings(stage, rate_factor=factors), images, stops=[1]) for factors in ((1, 1), (0.5, 4))
    )
    for name, factor in (("layers_0", 0.5), ("layers_1", 4)):
        ours, theirs, before = (
            params["encoder"][name] for params in (scaled.state.params, plain.state.params, plain.before.params)
        )
        # Biases start at zero, so that after one update they are the update, to the last bit.
        np.testing.assert_array_equal(ours["bias"], factor * theirs["bias"])
        steps = [np.asarray(side["kernel"], np.float64) - before["kernel"] for side in (ours, theirs)]
        np.testing.assert_allclose(steps[0], factor * steps[1], atol=1e-6)
        assert np.abs(steps[1]).max() > 1e-4
    same(scaled.state.params["head"], plain.state.params["head"])


@pytest.mark.parametrize("target", [0.0, 0.05])
def test_the_first_update_is_matched_though_layers_are_held(target, finetune, pretrained, images):
    settings = {"unfreeze_at": 1, "optimizer": AdamConfig(learning_rate=0.001)}
    stage = finetune(**settings, first_logit_change=target)
    ran = run(stage, images, parent=pretrained((9, 5)), stops=[1])
    inputs = images.train.inputs[ran.labelled][first_batch(stage[0])]
    before, after = (logits(stage[0].stack, state.params, inputs) for state in (ran.before, ran.state))
    change = np.sqrt(np.mean((after - before) ** 2))
    assert change < 0.01 if target == 0 else change == pytest.approx(target, rel=1e-3)
    same(ran.state.params["encoder"], ran.before.params["encoder"])
