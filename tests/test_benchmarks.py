"""Benchmarks time functions by name, which must be there, and launch as users do."""

import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.runs.measures import MEASURES, Predictions
from tests.bench import products, rows, same_arms
from tests.bench.seed_job import cold_command
from tests.bench.sweep import OVERHEAD
from tests.launching import call


@pytest.mark.parametrize(("path", "name"), [timed for part in OVERHEAD.values() for timed in part])
def test_what_a_benchmark_times_is_there(path, name):
    assert callable(getattr(pkgutil.resolve_name(path), name))


def test_the_seed_job_is_planned_as_the_benchmark_launches_it(tmp_path):
    _, _, *argv = cold_command("ours", tmp_path, 1)
    done = call([*argv, "--dry-run"], tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "4 of 4 stages would run: 4 new settings")


def test_products_are_those_of_both_passes_that_are_used():
    def loss(kernels, inputs):
        return jnp.sum(jnp.square(jax.jit(lambda values: jnp.tanh(values @ kernels[0]))(inputs) @ kernels[1]))

    traced = jax.make_jaxpr(jax.grad(loss))([jnp.ones((5, 4)), jnp.ones((4, 3))], jnp.ones((7, 5)))
    shapes = sorted(each.outvars[0].aval.shape for each in products.products(traced.jaxpr))
    assert sorted(map(sorted, shapes)) == [[3, 4], [3, 7], [4, 5], [4, 7], [4, 7]]  # and no gradient of inputs


@pytest.mark.slow
def test_arms_that_are_alike_differ_in_their_draws_alone(tmp_path):
    found = list(same_arms.answers(0, 8, tmp_path))
    assert [each.n for each in found] == [8] * 8
    pairs = [(each.treated, each.untreated) for each in found]
    treated, untreated = (np.stack(side) for side in zip(*pairs, strict=True))
    assert np.mean(treated != untreated) > 0.5, [each.both_at_chance for each in found]
    assert abs(np.mean(treated - untreated)) < 0.05


@pytest.mark.parametrize("measure", ["auroc", "average_precision", "balanced_accuracy", "r2", "rmse"])
def test_metrics_that_are_simulated_all_at_once_are_those_of_runs(measure):
    rng, is_number = np.random.default_rng(0), measure in ("r2", "rmse")
    n_outputs = 1 if is_number else 3 if measure == "balanced_accuracy" else 2
    targets = rng.normal(size=(50, 1)) if is_number else rng.choice(n_outputs, 50)
    scores = rng.normal(size=(2, 3, 50, n_outputs)) + (targets if is_number else 0)
    one_by_one = [
        [MEASURES[measure](Predictions(each, each.argmax(axis=-1), targets)) for each in of_arm] for of_arm in scores
    ]
    np.testing.assert_allclose(rows.measured(measure, scores, targets), one_by_one, rtol=1e-12)
