"""What a batch's logits come to, against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from pretrain.learn.metrics import Batch, divided
from pretrain.learn.tasks import classification


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_classification_is_softmax_cross_entropy_and_the_share_of_largest_logits(scale):
    rng = np.random.default_rng(0)
    logits = (scale * rng.normal(size=(50, 4))).astype(np.float32)
    labels = np.where(rng.random(50) < 0.5, logits.argmax(axis=1), rng.integers(0, 4, 50))
    losses = -special.log_softmax(logits.astype(np.float64), axis=1)[np.arange(50), labels]
    correct = logits.argmax(axis=1) == labels
    loss, metrics = classification(jnp.asarray(logits), Batch(None, jnp.asarray(labels)))
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(divided(metrics)["loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(divided(metrics)["accuracy"], correct.mean(), rtol=1e-6)

    def of_one(weights):
        return divided(classification(jnp.asarray(logits), Batch(None, jnp.asarray(labels), weights))[1])

    each = jax.vmap(of_one)(jnp.eye(50))
    np.testing.assert_allclose(each["loss"], losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(each["accuracy"], correct)
