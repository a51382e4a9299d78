"""What targets mean: classes, predicted by logits."""

import jax
import jax.numpy as jnp
import optax

from pretrain.learn.metrics import Batch, Metrics, mean_of


def classification(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Returns the softmax cross-entropy of logits [B, classes] with a batch's labels (nats), mean over the batch.

    Beside it, ``loss`` (nats) and ``accuracy`` (fraction).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    correct = (jnp.argmax(logits, axis=-1) == batch.labels).astype(jnp.float32)
    return jnp.mean(losses), {"loss": mean_of(losses, batch), "accuracy": mean_of(correct, batch)}
