"""Diagnostics of an update: the numbers that explain a learning curve."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from pretrain.learn import codes, train
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch
from pretrain.learn.train import Objective, TrainState, Values

_OF_CODES = ("effective_rank", "condition_number", "initial_alignment")


def names(layers: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of all diagnostics, where layers such as ``encoder/layers_1`` are trained."""
    each = [f"{kind}/{_short(layer)}" for kind in ("update_size", "gradient_norm") for layer in layers]
    return ("logit_change", *each, *_OF_CODES)


def diagnose(
    state: TrainState,
    batch: Batch,
    logits: Callable[[Params, jax.Array], jax.Array],
    objective: Objective,
    optimizer: optax.GradientTransformation,
    encode: Callable[[Params], jax.Array],
    initial_codes: jax.Array,
) -> Values:
    """Returns the diagnostics of the update that a state is about to make, and of the codes after it.

    Args:
      state: the state before the update.
      batch: the batch of the update.
      logits: of parameters and inputs.
      objective: what is trained.
      optimizer: what updates.
      encode: from parameters to the codes [N, units] of images that are the same at every call.
      initial_codes: their codes at the start of training [N, units].

    Returns:
      Scalars by name. ``logit_change``: root mean square over the batch and classes. For the kernel of each trained
      layer, ``update_size/…``: norm of the update relative to the kernel's, and ``gradient_norm/…``: norm of the
      objective's gradient, penalty left out. ``effective_rank``, ``condition_number`` and ``initial_alignment`` (with
      the initial codes) of the codes.
    """
    after, _ = train.train_step(state, batch, objective, optimizer)
    gradients, _ = train.slope(state, batch, objective)
    before, stepped, slopes = (kernels(tree) for tree in (state.trainable, after.trainable, gradients))
    values = {"logit_change": train.change(logits, batch.inputs, state.params, after.params)}
    for layer, own in before.items():
        moved = [new - old for new, old in zip(stepped[layer], own, strict=True)]
        values[f"update_size/{layer}"] = _norm(moved) / _norm(own)
        values[f"gradient_norm/{layer}"] = _norm(slopes[layer])
    reached = encode(after.params)
    spread = codes.spectrum(reached)
    of_codes = (codes.effective_rank(spread), codes.condition_number(spread), codes.alignment(reached, initial_codes))
    return values | dict(zip(_OF_CODES, of_codes, strict=True))


def kernels(params: Params) -> dict[str, list[jax.Array]]:
    """Returns the kernels of each layer, of which most have one, by the layer's name."""
    by_layer: dict[str, list[jax.Array]] = {}
    for path, leaf in traverse_util.flatten_dict(params).items():
        if path[-1] == "kernel":
            by_layer.setdefault(path[1] if path[0] == "encoder" else path[0], []).append(leaf)
    return by_layer


def _norm(arrays: Sequence[jax.Array]) -> jax.Array:
    """Returns the Frobenius norm of all arrays together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(array)) for array in arrays))


def _short(layer: str) -> str:
    return layer.rsplit("/", 1)[-1]
