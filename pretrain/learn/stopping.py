"""Early stopping: training ends once held-out examples are no longer fitted better, and its best parameters are kept.

A trial that has stopped makes no more updates, in whatever pack or chunk its updates were to be made. So the best of
the measurements, and how many have followed it, are part of the state (Prechelt, 1998, "Early stopping – but when?").
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.layers import Params


class Stopping(NamedTuple):
    """The best measurement so far; before the first, the parameters at the start, at an infinite loss."""

    params: Params  # trainable ones, as they were measured
    loss: jax.Array  # validation loss, as the method measures it
    best_update: jax.Array  # updates made before it
    n_since: jax.Array  # measurements since
    updates: jax.Array  # made in all


def at_start(trainable: Params) -> Stopping:
    """Returns the state of a trial that has made no update."""
    zero = jnp.int32(0)
    return Stopping(trainable, jnp.float32(jnp.inf), zero, zero, zero)


def noted(before: Stopping, trainable: Params, loss: Scalar, is_measured: Bool[Array, ""]) -> Stopping:
    """Returns the state after an update, which may have been followed by a measurement.

    A loss that is not lower than the best, or is not a number, is no improvement.

    Args:
      before: the state before it.
      trainable: parameters after it.
      loss: validation loss after it; read only where it is measured.
      is_measured: whether it is.
    """
    updates, is_better = before.updates + 1, is_measured & (loss < before.loss)
    since = Stopping(before.params, before.loss, before.best_update, before.n_since + is_measured, updates)
    best = Stopping(trainable, loss, updates, jnp.int32(0), updates)
    return jax.lax.cond(is_better, lambda: best, lambda: since)


def has_stopped(state: Stopping, patience: Int[Array, ""] | int) -> Bool[Array, ""]:
    """Returns whether the best measurement has been followed by so many that are no better."""
    return state.n_since >= patience


def unless(stopped: jax.Array, advance: Callable[[Any], tuple[Any, Any]], state: Any) -> tuple[Any, Any]:
    """Returns ``advance(state)``, a state and its values; of a trial that has stopped, the state as it is and NaN."""
    blank = {
        name: jnp.full(value.shape, jnp.nan, value.dtype) for name, value in jax.eval_shape(advance, state)[1].items()
    }
    return jax.lax.cond(stopped, lambda: (state, blank), lambda: advance(state))
