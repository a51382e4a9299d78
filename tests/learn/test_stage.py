"""What stages promise: live equals cached, any depth, pairing, transfer."""

import functools

import jax
import numpy as np
import pytest

from pretrain.config import AdamConfig, AdamWConfig, AutoencoderConfig, RbmConfig, SupervisedConfig
from pretrain.learn.program import finishing, program_of
from pretrain.learn.transfer import TransferError
from tests.learn.conftest import begun, run

NUMBERS = {"l2": 0.5, "optimizer": AdamConfig(learning_rate=0.3, beta1=0.5), "method": AutoencoderConfig(kl_weight=2.0)}


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def close(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), first, second)


def test_a_live_phase_equals_a_cached_one(phase, pretrained, images):
    parent = pretrained((9,))
    cached, live = (run(phase((9, 5), cache_codes=cache), images, parent=parent) for cache in (True, False))
    close(cached.state, live.state)
    close(cached.curves, live.curves)


@pytest.mark.parametrize("frozen_layers", [1, 2])
def test_fine_tuning_on_cached_codes_equals_fine_tuning_on_images(frozen_layers, finetune, pretrained, images):
    parent = pretrained((9, 5))
    settings = {"frozen_layers": frozen_layers}
    cached, live = (run(finetune(**settings, cache_codes=cache), images, parent=parent) for cache in (True, False))
    close(cached.state.params, live.state.params)
    close(cached.curves["loss"], live.curves["loss"])
    close(cached.curves["validation_loss"], live.curves["validation_loss"])


def test_a_stack_of_three_trains_each_layer_in_turn_and_keeps_the_ones_below(phase, finetune, images):
    widths, parent = (9, 5, 3), None
    for depth in (1, 2, 3):
        ran = run(phase(widths[:depth]), images, parent=parent)
        layers = [f"layers_{index}" for index in range(depth)]
        assert list(ran.state.params["encoder"]) == list(ran.state.params["decoder"]) == layers
        if parent:
            same({side: {name: ran.state.params[side][name] for name in layers[:-1]} for side in parent}, parent)
        curve = ran.curves["mse"]
        assert np.mean(curve[-8:]) < np.mean(curve[:1])
        parent = ran.state.params
    tuned = run(finetune(widths, frozen_layers=2, epochs=30), images, parent=parent)
    for frozen in layers[:2]:
        same(tuned.state.params["encoder"][frozen], parent["encoder"][frozen])
    assert tuned.curves["validation_accuracy"][-1] > 0.5


def test_a_depth_3_stack_starts_its_lower_phases_as_a_depth_1_stack_does(phase, images):
    lowest = run(phase((9,)), images)
    parent = run(phase((9, 5)), images, parent=lowest.state.params).state.params
    top = begun(phase((9, 5, 3)), images, parent=parent).state.params
    same(top["encoder"]["layers_0"], parent["encoder"]["layers_0"])
    assert lowest.before.params["encoder"]["layers_0"]["kernel"].shape == (20, 9)


def test_arms_of_a_seed_share_head_and_labelled_subset_and_differ_in_the_encoder(finetune, pretrained, images):
    stage, parent = finetune(frozen_layers=2, label_subset="random"), pretrained((9, 5))
    arms = [begun(stage, images, 4, encoder) for encoder in (parent, None)]
    params = [arm.state.params for arm in arms]
    same(params[0]["head"], params[1]["head"])
    same(arms[0].train.labels, arms[1].train.labels)
    same(params[0]["encoder"], parent["encoder"])
    kernels = [arm["encoder"]["layers_0"]["kernel"] for arm in params]
    assert not np.array_equal(*kernels)


def test_the_he_encoder_is_the_one_that_pretraining_starts_from(phase, finetune, images):
    fresh, start = (begun(stage, images, 4).state.params["encoder"] for stage in (finetune(), phase((9,))))
    same(fresh["layers_0"], start["layers_0"])


def test_seeds_differ_in_every_draw(finetune, images):
    first, second = (begun(finetune(label_subset="random"), images, seed) for seed in (0, 1))
    differ = jax.tree.map(lambda a, b: not np.array_equal(a, b), first.state.params, second.state.params)
    assert all(differ["encoder"][layer]["kernel"] for layer in differ["encoder"]) and differ["head"]["kernel"]
    assert not np.array_equal(first.labelled, second.labelled)
    assert not np.array_equal(first.train.labels, second.train.labels)


def test_a_phase_without_its_parent_fails(phase, images):
    with pytest.raises(TransferError, match="encoder/layers_0/kernel is missing"):
        begun(phase((9, 5)), images)


def test_fine_tuning_from_an_encoder_of_other_widths_fails(finetune, pretrained, images):
    with pytest.raises(TransferError, match=r"layers_1/kernel is float32\[9, 5\], wanted float32\[9, 6\]"):
        begun(finetune((9, 6)), images, parent=pretrained((9, 5)))


@pytest.mark.parametrize(
    "activation",
    ["relu", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gelu", "sigmoid", "tanh", "identity"))],
)
def test_every_activation_trains(activation, phase, finetune, images):
    ran = run(phase((9,), activation, epochs=6), images)
    assert np.mean(ran.curves["mse"][-8:]) < np.mean(ran.curves["mse"][:4])
    tuned = run(finetune((9,), activation, epochs=8), images, parent=ran.state.params)
    assert tuned.curves["validation_loss"][-1] < np.log(4)


def test_the_step_count_goes_on_from_the_updates_made_before(phase, pretrained, images):
    parent = pretrained((9, 5))
    carried, afresh = (
        run(phase((9, 5, 3), steps_before=made), images, parent=parent, stops=[1]) for made in (2 * 16, 0)
    )
    counts = [next(part.count for part in ran.before.opt_state if hasattr(part, "mu")) for ran in (carried, afresh)]
    assert counts == [32, 0]
    # Adam's first step is the learning rate; with 32 updates counted before it, its moments are corrected too little.
    uncorrected = 0.01 * (0.1 / (1 - 0.9**33)) / np.sqrt(0.001 / (1 - 0.999**33))
    for ran, length in ((carried, uncorrected), (afresh, 0.01)):
        kernels = [state.trainable["encoder"]["layers_2"]["kernel"] for state in (ran.before, ran.state)]
        np.testing.assert_allclose(np.median(np.abs(kernels[1] - kernels[0])), length, rtol=1e-3)


# What names a stage's programs, and what is measured.


def test_stages_that_differ_in_numbers_only_are_one(phase, finetune):
    pairs = [(phase((9,))[0], phase((9,), **NUMBERS)[0])]
    others = {"rate_factor": 0.5, "unfreeze_at": 3, "l2": 0.0, "first_logit_change": 1.0}
    pairs += [(finetune(first_logit_change=2.0)[0], finetune(**others)[0])]
    for first, second in pairs:
        assert first == second and hash(first) == hash(second)
        assert not jax.tree.leaves(first.config)


def test_stages_that_differ_elsewhere_are_not(phase, finetune):
    stages = [
        *(phase(widths)[0] for widths in ((9,), (9, 5), (8,))),
        *(
            phase((9,), **{name: value})[0]
            for name, value in (("epochs", 3), ("sampling", "fresh"), ("batch_size", 20))
        ),
        phase((9,), "tanh")[0],
        phase((9,), steps_before=1)[0],
        phase((9, 5), cache_codes=False)[0],
        phase((9, 5), lowest=0)[0],
        phase((9,), method=AutoencoderConfig(tied=True))[0],
        phase((9,), "sigmoid", method=RbmConfig())[0],
        phase((9,), method=SupervisedConfig())[0],
        finetune()[0],
        finetune(frozen_layers=1)[0],
        finetune(frozen_layers=1, cache_codes=False)[0],
        finetune(codes="whitened")[0],
        finetune(validate_at=(3,))[0],
    ]
    assert len(set(stages)) == len(stages)


def test_results_are_shared_by_stages_that_differ_in_training_only(phase, finetune, readout):
    stages = [finetune()[0], finetune(frozen_layers=2)[0], finetune(frozen_layers=1, epochs=7, batch_size=5)[0]]
    assert len(set(map(finishing, stages))) == 1
    assert finishing(readout("logistic")[0]) != finishing(stages[0])
    greedy = [phase((9, 5))[0], phase((9, 5), epochs=7, l2=0.5, cache_codes=False)[0]]
    assert len(set(map(finishing, greedy))) == 1
    assert finishing(phase((9, 5), lowest=0)[0]) == finishing(greedy[0])


STARTS = [
    *({"encoder_init": "he"}, {"encoder_init": "rotated"}, {"fresh_layers": 1}, {"head_init": "zero"}),
    *({"head_init": "ridge"}, {"codes": "whitened"}, {"label_subset": "random"}, {"first_logit_change": 1.0}),
]


def test_updates_are_shared_by_stages_that_differ_in_their_start_only(finetune):
    arms = [finetune(**settings)[0] for settings in STARTS]
    assert len({finetune()[0], *arms}) == len(arms) + 1
    assert {arm.updating for arm in arms} == {finetune()[0].updating}
    for settings in ({"frozen_layers": 1}, {"epochs": 3}, {"diagnose_at": (1,)}, {"optimizer": AdamWConfig()}):
        assert finetune(**settings)[0].updating != finetune()[0].updating


# Of 60 images in batches of 12: five updates an epoch.
@pytest.mark.parametrize(
    ("settings", "n_updates", "after"),
    [
        ({"epochs": 2, "validate_at": ()}, 10, {5, 10}),
        ({"epochs": 2, "validate_at": (1, 7, 400)}, 10, {1, 5, 7, 10}),
        ({"updates": 7, "validate_at": (2,)}, 7, {2, 7}),
        ({"updates": 12, "validate_at": ()}, 12, {12}),
    ],
)
def test_held_out_images_are_measured_where_asked_and_at_the_ends(settings, n_updates, after, finetune):
    stage, _ = finetune(**settings)
    training, held_out = stage.mask("loss"), stage.mask("validation_loss")
    assert stage.n_updates == n_updates and training.all() and len(training) == n_updates
    assert set(np.flatnonzero(held_out) + 1) == after
    assert stage.n_validations == len(after)


def test_names_of_results_distinguish_splits_and_stages(phase, finetune, readout, images):
    def names(stage, parent=None):
        piece = program_of(*stage, parent, images).finish
        found = jax.eval_shape(functools.partial(piece.function, piece.static), piece.trial, piece.shared)
        return set(found.values), set(found.predictions)

    parent = phase((9,))[0].shapes
    pretraining = {"pretrain_validation_mse", "pretrain_test_mse"}, set()
    assert names(phase((9, 5)), parent) == names(phase((9, 5), lowest=0)) == pretraining
    assert names(phase((9,), method=SupervisedConfig())) == (set(), set())
    predictions = {f"{split}_{part}" for split in ("validation", "test") for part in ("scores", "classes")}
    tuned = {"test_loss", "test_accuracy", "constant_units"}  # validation is the end of a curve
    assert names(finetune()) == (tuned, predictions)
    fitted = {"validation_accuracy", "test_accuracy", "constant_units"}
    assert names(readout("ridge")) == (fitted, predictions)
    assert names(readout("logistic")) == (fitted | {"validation_loss", "test_loss"}, predictions)
    assert names(readout("knn")) == (fitted - {"constant_units"}, predictions)
