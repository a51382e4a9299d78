"""Early stopping: the rule against plain Python, whatever the chunks; nothing changes for training that runs out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.config import AdamConfig
from pretrain.learn import stopping
from pretrain.learn.methods import METHODS
from tests.learn.conftest import results_of, run
from tests.small_sweep import of_kind

LOSSES = st.one_of(st.floats(0, 4, width=32, allow_subnormal=False), st.sampled_from([1.0, 2.0, np.inf, np.nan]))
EARLY = {"stop": "validation", "patience": 2, "validate_every": 1, "epochs": 8}
# So fast that a held-out loss soon rises.
FAST = {**EARLY, "optimizer": AdamConfig(learning_rate=0.3)}


def reference(measurements, patience):
    """The rule in plain Python: the updates made, and the best of them, of losses by update (None: not measured)."""
    best, best_update, since = np.inf, 0, 0
    for update, loss in enumerate(measurements, 1):
        if loss is None:
            continue
        if loss < best:
            best, best_update, since = loss, update, 0
        else:
            since += 1
        if since == patience:
            return update, best_update
    return len(measurements), best_update


@jax.jit
def followed(losses, is_measured, patience):
    """What the rule makes of measurements: the state at the end, and whether each update was made."""

    def step(state, given):
        update, loss, is_measured = given

        def advance(state):
            return stopping.noted(state, {"w": update}, loss, is_measured), {"update": update}

        state, values = stopping.unless(stopping.has_stopped(state, patience), advance, state)
        return state, jnp.isfinite(values["update"])

    updates = jnp.arange(1.0, len(losses) + 1)
    return jax.lax.scan(step, stopping.at_start({"w": jnp.float32(0)}), (updates, losses, is_measured))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.none(), LOSSES), min_size=12, max_size=12), st.integers(1, 4))
def test_the_rule_is_that_of_plain_python(measurements, patience):
    losses = np.array([np.nan if loss is None else loss for loss in measurements], np.float32)
    is_measured = np.array([loss is not None for loss in measurements])
    state, made = followed(losses, is_measured, patience)
    updates, best = reference(measurements, patience)
    assert (int(state.updates), int(state.best_update), int(state.params["w"])) == (updates, best, best)
    assert made.tolist() == [update <= updates for update in range(1, len(measurements) + 1)]


def test_training_ends_where_the_rule_says_and_keeps_the_best_parameters(finetune, images):
    stage, config = finetune(**FAST)
    ran = run((stage, config), images)
    losses = np.asarray(ran.curves["validation_loss"])
    whole = run(finetune(**{**FAST, "stop": "none"}), images)
    updates, best = reference(np.asarray(whole.curves["validation_loss"]).tolist(), 2)
    assert best < updates < stage.n_updates  # or nothing would be seen here
    assert (int(ran.state.stopping.updates), int(ran.state.stopping.best_update)) == (updates, best)
    assert np.isfinite(losses[:updates]).all() and np.isnan(losses[updates:]).all()
    assert losses[best - 1] == np.nanmin(losses)
    short = run(finetune(**{**FAST, "stop": "none"}), images, stops=[best])
    kept, there = ((state, results_of(stage, state, images)) for state in (ran.state.kept, short.state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), kept, there)


def test_updates_after_the_stop_leave_all_as_it_is_wherever_chunks_end(finetune, images):
    stage_and_config = finetune(**FAST)
    whole, stepwise = (
        run(stage_and_config, images, stops=stops) for stops in (None, range(1, stage_and_config[0].n_updates + 1))
    )
    jax.tree.map(np.testing.assert_array_equal, (whole.state, whole.curves), (stepwise.state, stepwise.curves))
    made = int(whole.state.stopping.updates)
    stopped = run(stage_and_config, images, stops=[made])
    jax.tree.map(np.testing.assert_array_equal, whole.state, stopped.state)


def test_a_trial_that_diverges_keeps_what_it_had_before(finetune, images):
    stage, config = finetune(**{**EARLY, "optimizer": AdamConfig(learning_rate=1e30)})
    ran = run((stage, config), images)
    assert int(ran.state.stopping.updates) < stage.n_updates
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ran.state.kept))


def test_a_trial_that_never_stops_is_trained_as_one_that_may_not(finetune, images):
    patient, plain = (run(finetune(**{**EARLY, **own}), images) for own in ({"patience": 40}, {"stop": "none"}))
    for ours, theirs in ((patient.curves, plain.curves), (patient.state.params, plain.state.params)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), ours, theirs)


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"epochs": 2}, [1, 2, 5, 10]),
        ({"epochs": 2, "validate_every": 3}, [1, 2, 3, 5, 6, 9, 10]),
        ({"updates": 7}, [1, 2, 5, 7]),
        ({"updates": 7, "validate_every": 2}, [1, 2, 4, 5, 6, 7]),
    ],
)
def test_validation_is_measured_early_then_evenly_and_at_the_end(settings, measured, finetune):
    stage, _ = finetune(**settings)
    assert (np.flatnonzero(stage.mask("validation_loss")) + 1).tolist() == measured


@pytest.mark.parametrize("kind", ["autoencoder", "rbm", "supervised"])
def test_pretraining_ends_by_its_error_on_validation_rows_and_keeps_the_best(kind, phase, images):
    held_out, method = METHODS[kind].held_out, of_kind(kind)
    optimizer = AdamConfig(learning_rate={"autoencoder": 4.0}.get(kind, 0.5))  # so fast that the error soon rises
    common = {"activation": "sigmoid", "updates": 40, "validate_every": 2, "optimizer": optimizer, **method}
    stage, config = phase(**common, stop="validation", patience=3)
    ran, whole = (run(made, images) for made in ((stage, config), phase(**common)))
    errors = np.asarray(whole.curves[f"validation_{held_out}"])
    measured = [None if np.isnan(error) else float(error) for error in errors]
    updates, best = reference(measured, 3)
    assert stage.n_updates == 40 and best < updates < 40  # or nothing would be seen here
    assert (int(ran.state.stopping.updates), int(ran.state.stopping.best_update)) == (updates, best)
    short = run(phase(**common), images, stops=[best])
    kept, there = ran.state.kept, short.state.params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), kept, there)
