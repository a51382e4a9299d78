"""The tests pass on any number of cores and devices and with any draws: run again, in processes of their own."""

import os
import random
import subprocess
import sys

import pytest

from tests.launching import ROOT

ON_CORES = "import os, sys, pytest; os.sched_setaffinity(0, {}); sys.exit(pytest.main(sys.argv[1:]))"
MACHINES = pytest.mark.parametrize(("n_cores", "n_devices"), [(1, 1), (2, 4)])
FEW = "tests/execute/test_stopping.py::test_a_launch_that_stops_early_says_so_in_its_files"


def check(*options, n_cores=None, n_devices=2):
    """Runs tests on some of the cores, by default all, and checks that they pass."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "XLA_FLAGS"))}
    environment |= {"JAX_NUM_CPU_DEVICES": str(n_devices)}
    cores = sorted(os.sched_getaffinity(0))[:n_cores]
    command = [sys.executable, "-c", ON_CORES.format(cores), "-q", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{options}\n{done.stdout}"


@MACHINES
def test_a_launch_passes_on_any_number_of_cores_and_devices(n_cores, n_devices):
    check(FEW, n_cores=n_cores, n_devices=n_devices)


@pytest.mark.slow
@MACHINES
def test_tests_pass_on_any_number_of_cores_and_devices(n_cores, n_devices):
    folders = [f"tests/{name}" for name in ("plan", "store", "execute", "engines", "runs", "commands")]
    check(*folders, n_cores=n_cores, n_devices=n_devices)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(1, 11), pytest.param(random.getrandbits(32), id="random")])
def test_property_tests_pass_with_other_draws(seed):
    check("-m", "hypothesis and not slow", "--hypothesis-profile", "random", "--hypothesis-seed", str(seed))
