"""The trial axis ``T``, added here and nowhere else.

Trials run one after another on a CPU, where ``vmap`` gains nothing, and side by side on an accelerator, where it pays.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def over_trials(function: Callable[[Any], Any], n_trials: jax.Array, trials: Any, platform: str = "cpu") -> Any:
    """Maps a function of one trial over the leading axis of ``trials``, which has ``n_trials``."""
    if platform == "cpu":
        return _one_by_one(function, n_trials, trials)
    return jax.vmap(function)(trials)


def _one_by_one(function: Callable[[Any], Any], n_trials: jax.Array, trials: Any) -> Any:
    """Maps a function over the leading axis, so that a trial is rounded alike in packs of any length.

    The compiler unrolls a loop of known length 1 and fuses across its ends, so the length is an argument; and it moves
    work on an axis of length 1 out of the loop, so the trial is tied to the index by a barrier. Slices, since
    ``leaf[index]`` is a gather, which takes longer to compile.
    """

    def taken(leaf: jax.Array, index: jax.Array) -> jax.Array:
        return jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False, allow_negative_indices=False)

    def put(result: jax.Array, value: jax.Array, index: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(result, value, index, 0, allow_negative_indices=False)

    def one(index: jax.Array) -> Any:
        _, trial = jax.lax.optimization_barrier((index, jax.tree.map(partial(taken, index=index), trials)))
        return function(trial)

    def body(index: jax.Array, results: Any) -> Any:
        return jax.tree.map(partial(put, index=index), results, one(index))

    length = len(jax.tree.leaves(trials)[0])
    blank = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), jax.eval_shape(one, 0))
    return jax.lax.fori_loop(0, n_trials, body, blank)
