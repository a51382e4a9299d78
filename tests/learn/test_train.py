"""A train step, for every kind of stage: what moves, what is measured, and the golden numbers."""

import jax
import numpy as np
import optax
import pytest

from pretrain.config import AutoencoderConfig, RbmConfig, SupervisedConfig
from tests.learn.conftest import run

KINDS = [
    *("phase 0", "phase 1", "phase 1 live", "frozen", "frozen live", "half frozen", "trainable"),
    *("handed over", "handed over frozen"),
    *("rbm", "persistent rbm", "variational", "supervised", "end to end", "unfrozen by step"),
]
HANDED_OVER = {"first_logit_change": 0.3, "diagnose_at": (1, 3)}
RBM = RbmConfig(visible="gaussian", visible_deviation=0.5)
PERSISTENT = RbmConfig(persistent=True, gibbs_steps=2)
VARIATIONAL = AutoencoderConfig(variational=True, corruption="masking")
END_TO_END = AutoencoderConfig(variational=True, tied=True)
UNFROZEN = {"unfreeze_at": 2, "rate_factor": 0.5}


@pytest.fixture
def stage_of(phase, finetune, pretrained):
    """Returns a function from a kind of stage to the stage with its config, and its parent's parameters."""

    def make(kind):
        return {
            "phase 0": lambda: (phase((9,)), None),
            "phase 1": lambda: (phase((9, 5)), pretrained((9,))),
            "phase 1 live": lambda: (phase((9, 5), cache_codes=False), pretrained((9,))),
            "frozen": lambda: (finetune(frozen_layers=2), pretrained((9, 5))),
            "frozen live": lambda: (finetune(frozen_layers=2, cache_codes=False), pretrained((9, 5))),
            "half frozen": lambda: (finetune(frozen_layers=1), pretrained((9, 5))),
            "trainable": lambda: (finetune(frozen_layers=0), None),
            "handed over": lambda: (finetune(**HANDED_OVER), pretrained((9, 5))),
            "handed over frozen": lambda: (finetune(**HANDED_OVER, frozen_layers=2), pretrained((9, 5))),
            "rbm": lambda: (phase((9,), "sigmoid", method=RBM), None),
            "persistent rbm": lambda: (phase((9,), "sigmoid", method=PERSISTENT), None),
            "variational": lambda: (phase((9,), method=VARIATIONAL), None),
            "supervised": lambda: (phase((9,), method=SupervisedConfig(), epochs=4), None),
            "end to end": lambda: (phase((9, 5), lowest=0, method=END_TO_END), None),
            "unfrozen by step": lambda: (finetune(**UNFROZEN), pretrained((9, 5))),
        }[kind]()

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainable_leaf_moves_and_no_frozen_leaf_does(kind, stage_of, images):
    stage, parent = stage_of(kind)
    ran = run(stage, images, parent=parent, stops=[3])
    before = ran.before
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), before.trainable, ran.state.trainable)
    still = jax.tree.map(lambda old, new: np.array_equal(old, new), before.frozen, ran.state.frozen)
    assert all(jax.tree.leaves(moved)) and all(jax.tree.leaves(still))
    assert len(jax.tree.leaves(ran.state.params)) == len(jax.tree.leaves(ran.before.params))


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_parameters_have_no_optimizer_state(kind, stage_of, images):
    stage, parent = stage_of(kind)
    state = run(stage, images, parent=parent, stops=[1]).state
    adam = next(part for part in state.opt_state if isinstance(part, optax.ScaleByAdamState))
    assert jax.tree.structure(adam.mu) == jax.tree.structure(state.trainable)


# Sums over the trained parameters after three updates, and a training metric of the third: the error of reconstruction,
# or else the loss. They change with any change of arithmetic, initialisation or batch order: where that is meant, take
# over the new numbers from the failure, and say so in the commit.
GOLDEN = {
    "phase 0": (124.345525, 0.30594),
    "phase 1": (50.844583, 0.17069),
    "phase 1 live": (50.844583, 0.17069),
    "frozen": (8.855318, 1.866058),
    "frozen live": (8.855318, 1.866058),
    "half frozen": (30.971837, 1.774115),
    "trainable": (81.465069, 1.869731),
    "handed over": (78.641118, 1.40059),
    "handed over frozen": (9.182202, 1.557638),
    "rbm": (51.279087, 0.194481),
    "persistent rbm": (49.25696, 0.0780924),
    "variational": (126.858072, 1.915684),
    "supervised": (62.072549, 2.065415),
    "end to end": (72.870248, 0.825083),
    "unfrozen by step": (79.065972, 1.866058),
}


@pytest.mark.parametrize("kind", KINDS)
def test_three_updates_give_the_golden_numbers(kind, stage_of, images):
    stage, parent = stage_of(kind)
    ran = run(stage, images, parent=parent, stops=[3])
    total = sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(ran.state.trainable))
    metric = ran.curves["mse" if "mse" in ran.curves else "loss"][2]
    np.testing.assert_allclose((total, metric), GOLDEN[kind], rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_curves_are_filled_where_measured_and_nan_elsewhere(kind, stage_of, images):
    stage, parent = stage_of(kind)
    ran = run(stage, images, parent=parent)
    masks = {name: stage[0].mask(name) for name in ran.curves}
    for name, measured in masks.items():
        np.testing.assert_array_equal(np.isfinite(ran.curves[name]), measured)
    assert any(name.startswith("validation_") and not mask.all() for name, mask in masks.items())
    for curve in run(stage, images, parent=parent, stops=[1]).curves.values():
        assert not np.isfinite(curve[1:]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_in_chunks_equals_a_run_in_one(kind, stage_of, images):
    stage, parent = stage_of(kind)
    whole, chunked = (run(stage, images, parent=parent, stops=stops) for stops in ([8], [1, 7, 8]))
    jax.tree.map(np.testing.assert_array_equal, chunked.state, whole.state)
    jax.tree.map(np.testing.assert_array_equal, chunked.curves, whole.curves)
