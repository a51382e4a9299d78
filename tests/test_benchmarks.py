"""Benchmarks time functions by name, which must be there."""

import pkgutil

import pytest

from tests.bench.sweep import OVERHEAD


@pytest.mark.parametrize(("path", "name"), [timed for part in OVERHEAD.values() for timed in part])
def test_what_a_benchmark_times_is_there(path, name):
    assert callable(getattr(pkgutil.resolve_name(path), name))
