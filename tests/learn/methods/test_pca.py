"""A stage of principal components against the singular vectors of its inputs, in NumPy."""

import jax
import numpy as np
import pytest

from pretrain.config import PcaConfig
from tests.learn.conftest import run


@pytest.mark.parametrize("activation", ["identity", "elu"])
def test_a_phase_of_components_leaves_what_they_do_not_hold(activation, phase, images):
    stage = phase((6,), activation, method=PcaConfig())
    ran = run(stage, images)
    assert stage[0].n_updates == 0 and ran.curves.keys() == {"mse", "validation_mse"}
    x, held_out = (np.asarray(split.inputs, np.float64) / 255 for split in (images.train, images.validation))
    mean = x.mean(0)
    lengths, directions = np.linalg.svd(x - mean, full_matrices=False)[1:]
    kernel = np.asarray(ran.state.params["encoder"]["layers_0"]["kernel"], np.float64)
    np.testing.assert_allclose(np.linalg.svd(directions[:6] @ kernel, compute_uv=False), 1, rtol=1e-4)
    if activation == "identity":
        np.testing.assert_allclose(ran.curves["mse"], [np.sum(lengths[6:] ** 2) / x.size], rtol=1e-3)
        rest = (held_out - mean) @ directions[6:].T
        np.testing.assert_allclose(ran.curves["validation_mse"], [np.sum(rest**2) / held_out.size], rtol=1e-3)
    else:
        # The layer above takes components of the codes, not of the sums.
        above = run(phase((6, 3), activation, method=PcaConfig()), images, parent=ran.state.params).state.params
        sums = (x - mean) @ kernel
        exact = np.where(sums > 0, sums, np.expm1(np.minimum(sums, 0)))
        axes = np.linalg.svd(exact - exact.mean(0), full_matrices=False)[2][:3]
        found = np.asarray(above["encoder"]["layers_1"]["kernel"], np.float64)
        np.testing.assert_allclose(np.linalg.svd(axes @ found, compute_uv=False), 1, rtol=1e-3)
        np.testing.assert_allclose(above["decoder"]["layers_1"]["bias"], exact.mean(0), rtol=1e-3, atol=1e-5)
        jax.tree.map(
            np.testing.assert_array_equal, above["encoder"]["layers_0"], ran.state.params["encoder"]["layers_0"]
        )
