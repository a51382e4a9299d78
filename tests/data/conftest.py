"""Variants of the tiny dataset."""

import numpy as np
import pytest


@pytest.fixture
def write(tiny_arrays, tmp_path):
    """A function that writes the tiny dataset with some arrays changed, or left out where they are None."""

    def write(**changes):
        path = tmp_path / "own.npz"
        arrays = {name: array for name, array in (tiny_arrays | changes).items() if array is not None}
        np.savez(path, **arrays)
        return path

    return write
