"""VIME: of rows with values of other rows, what they were, and which values changed (Yoon et al., 2020).

The rows are masked, or above other layers the codes below; layers that are trained at once share a decoder up to two
linear maps from the lowest layer's codes, of values and of changes.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Key

from pretrain.config.methods import VimeConfig
from pretrain.learn import results, start
from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.corruption import corrupted
from pretrain.learn.layers import Params, apply, encode, flat
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Metrics, mean_of
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stack import Companion, Companions, DenseDecoder, below, decode, mirror
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, optimizer_of, train_step


def companions(config: VimeConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the decoder of the topmost layer, and the linear map to the logits of its inputs' changes."""
    decoder = Companion(mirror(layers[-1], example), activation=below(layers, len(layers) - 1) or "identity")
    return ("decoder", decoder), ("mask", Companion(DenseDecoder(example), joins_deep=len(layers) == 1))


def estimation(
    params: Params, batch: Batch, *, static: Static, config: VimeConfig, key: Key[Array, ""]
) -> tuple[Scalar, Metrics]:
    """Returns the weighted sum of the errors of values and of changes.

    Args:
      params: of ``encoder``, ``decoder`` and ``mask``.
      batch: inputs [B, ...]: rows, or codes of encoder layer ``stack.encoded - 1``.
      static: of the stage.
      config: probability of a swap, and weights, which may be tracers.
      key: of the swaps.

    Returns:
      The loss. ``loss``; ``mse`` of all values, mean over them; and ``mask_loss``, the binary cross-entropy (nats) of
      which of them the swaps changed, mean over them.
    """
    stack = static.stack
    targets = stack.read(params, batch.inputs)
    given = corrupted(targets, key, "swap", config.swap, static.groups)
    codes = encode(stack.layers, params.get("encoder", {}), given, stack.start)
    codes = decode(stack, params, codes, stack.start + 1)[0]  # of the lowest layer in training
    lowest = dataclasses.replace(stack, layers=stack.layers[: stack.start + 1])
    outputs = decode(lowest, params, codes, stack.start)[0]
    name, linear = f"layers_{stack.start}", stack.companion("mask", stack.start).module
    logits = apply(linear, params["mask"][name], codes)
    errors = jnp.mean(flat(jnp.square(outputs - targets)), axis=1)
    is_changed = (given != targets).astype(jnp.float32)
    entropies = jnp.mean(flat(optax.sigmoid_binary_cross_entropy(logits, is_changed)), axis=1)
    losses = config.reconstruction_weight * errors + config.mask_weight * entropies
    rows = {"loss": losses, "mse": errors, "mask_loss": entropies}
    return jnp.mean(losses), {name: mean_of(each, batch) for name, each in rows.items()}


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update, by swaps that differ from update to update."""
    key = update_key(seed, Purpose.CORRUPTION, static.place, step.number)
    objective = partial(estimation, static=static, config=config.method, key=key)
    return train_step(state, batch, objective, optimizer_of(static, config))


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns the metrics of held-out examples, with the same swaps whenever they are measured."""
    return estimation(state.params, batch, static=static, config=config.method, key=jax.random.key(0))[1]


METHOD = Method(start.pretraining, results.of_pretraining, update, measure, companions)
