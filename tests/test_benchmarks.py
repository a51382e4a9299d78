"""Benchmarks time functions by name, which must be there, and launch as users do."""

import pkgutil

import numpy as np
import pytest

from tests.bench import same_arms
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


@pytest.mark.slow
def test_arms_that_are_alike_differ_in_their_draws_alone(tmp_path):
    found = list(same_arms.answers(0, 8, tmp_path))
    assert [each.n for each in found] == [8] * 8
    pairs = [(each.treated, each.untreated) for each in found]
    treated, untreated = (np.stack(side) for side in zip(*pairs, strict=True))
    assert np.mean(treated != untreated) > 0.5, [each.both_at_chance for each in found]
    assert abs(np.mean(treated - untreated)) < 0.05
