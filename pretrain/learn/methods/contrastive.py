"""Contrast: two views of an input have codes more alike than those of other inputs (Chen et al., 2020, "SimCLR")."""

import jax.numpy as jnp
import numpy as np
import optax

from pretrain.config.methods import ContrastiveConfig
from pretrain.learn import two_views
from pretrain.learn.annotations import Codes, Scalar
from pretrain.learn.train import Values

_LEAST = 1e-12  # squared norm of an embedding that is taken for zero


def nt_xent(first: Codes, second: Codes, config: ContrastiveConfig) -> tuple[Scalar, Values]:
    """Returns the cross-entropy (nats) of telling each view's counterpart from other inputs, mean over both views.

    Under ``negatives`` all, a view has 2B - 1 candidates (NT-Xent; Sohn, 2016); under other_view, the B of the other
    view (InfoNCE; van den Oord et al., 2018).

    Args:
      first: embeddings of one view [B, units].
      second: of the other.
      config: with the temperature, which may be a tracer.

    Returns:
      The loss. ``loss``; ``chance_loss``, that of equal embeddings; and ``accuracy``, the fraction of views
      of which the counterpart is the likeliest candidate.
    """
    n_rows = len(first)
    both = jnp.concatenate([first, second])
    both *= jnp.broadcast_to(1 / jnp.sqrt(jnp.maximum(jnp.sum(both**2, 1, keepdims=True), _LEAST)), both.shape)
    if config.negatives == "all":
        logits = jnp.where(np.eye(2 * n_rows, dtype=bool), -jnp.inf, both @ both.T / config.temperature)
        pairs, chance = (jnp.arange(2 * n_rows) + n_rows) % (2 * n_rows), np.log(2 * n_rows - 1)
    else:
        across = both[:n_rows] @ both[n_rows:].T / config.temperature
        logits, pairs = jnp.concatenate([across, across.T]), jnp.arange(2 * n_rows) % n_rows
        chance = np.log(n_rows)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, pairs)
    correct = (jnp.argmax(logits, axis=1) == pairs).astype(jnp.float32)
    loss = jnp.mean(losses)
    return loss, {"loss": loss, "chance_loss": jnp.float32(chance), "accuracy": jnp.mean(correct)}


METHOD = two_views.method(nt_xent)
