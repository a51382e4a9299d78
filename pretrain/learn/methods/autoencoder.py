"""Autoencoders: a layer, or a whole stack, is trained so that its codes reconstruct its inputs."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from pretrain.config import AutoencoderConfig
from pretrain.config.effects import canonical
from pretrain.learn import penalties, results, start
from pretrain.learn.corruption import corrupted
from pretrain.learn.layers import ACTIVATIONS, Dense, Params, activation_of, apply, encode
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Mean, Metrics, mean_of
from pretrain.learn.padding import is_real, masked, squared_errors
from pretrain.learn.pytrees import skeleton
from pretrain.learn.randomness import Purpose, normal, update_key
from pretrain.learn.stack import Companion, Companions, Stack, below, decode, mirror
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, optimizer_of, train_step

_OUTPUTS = {"linear": "identity", "sigmoid": "sigmoid"}


def companions(
    config: AutoencoderConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task
) -> Companions:
    """Returns the decoder of the topmost layer, and of variational codes the layer of their log-variance."""
    output = below(layers, len(layers) - 1) or _OUTPUTS[config.output]
    output = "sigmoid" if config.loss == "cross_entropy" else output
    decoder = Companion(mirror(layers[-1], example), "codes", output, "tied" if config.tied else "own")
    if not config.variational:
        return (("decoder", decoder),)
    log_variance = Companion(Dense(layers[-1].features), "inputs", starts_at="zero", joins_deep=False)
    return ("decoder", decoder), ("log_variance", log_variance)


def reconstruction(
    params: Params,
    batch: Batch,
    *,
    stack: Stack,
    config: AutoencoderConfig,
    corrupt: Callable[[jax.Array], jax.Array] = lambda inputs: inputs,
    draw: Callable[[tuple[int, ...]], jax.Array] = jnp.zeros,
) -> tuple[jax.Array, Metrics]:
    """Returns how badly layers and their decoders reconstruct the inputs of the lowest of them (Bengio et al., 2007).

    In a greedy stage this is the topmost layer alone; trained end to end, the stack is one deep autoencoder.

    Args:
      params: ``encoder`` parameters from layer ``stack.encoded`` up, ``decoder`` parameters from ``stack.start`` up.
        Variational codes have a ``log_variance`` layer at the top.
      batch: inputs [B, ...]: images, or codes of encoder layer ``stack.encoded - 1``.
      stack: the layers.
      config: what is minimised; its numbers may be tracers.
      corrupt: puts noise on the inputs of the lowest layer in training [B, *in].
      draw: returns standard normal noise of a shape for variational codes; by default none.

    Returns:
      The loss: squared error, mean over batch and units, or cross-entropy (nats), mean over the batch and sum over
      units, and the penalties on codes. ``mse``, mean over units, of the reconstruction, and ``loss``.
    """
    targets = stack.read(params, batch.inputs)
    top, name = stack.layers[-1], f"layers_{stack.top}"
    padded = stack.padded and stack.start == 0
    given = corrupt(targets)
    if padded and given is not targets:
        given = jnp.where(is_real(targets), given, targets)
    inputs = encode(stack.layers, params.get("encoder", {}), given, stack.start, stack.top)
    if isinstance(top, Dense) and top.norm == "none":
        sums = apply(Dense(top.features), params["encoder"][name], inputs)
        codes = ACTIVATIONS[top.activation](sums)
    else:
        codes = encode(stack.layers, params.get("encoder", {}), inputs, stack.top)
    given = codes
    if config.variational:
        log_variances = apply(stack.companion("log_variance", stack.top).module, params["log_variance"][name], inputs)
        given = codes + jnp.exp(log_variances / 2) * draw(codes.shape)
    outputs, logits = decode(stack, params, given, stack.start)
    errors = squared_errors(outputs, targets, padded)
    loss = jnp.mean(errors)
    if config.loss == "cross_entropy":
        entropies = masked(optax.sigmoid_binary_cross_entropy(logits, targets), targets, padded)
        loss = jnp.mean(jnp.sum(entropies, axis=tuple(range(1, targets.ndim))))
    if config.variational:
        loss = loss + config.kl_weight * penalties.divergence(codes, log_variances)
    if config.sparsity != "none":
        loss = loss + config.sparsity_weight * penalties.sparsity(codes, config.sparsity, config.sparsity_target)
    if config.contractive:
        kernel, activation = params["encoder"][name]["kernel"], ACTIVATIONS[activation_of(top)]
        loss = loss + config.contraction_weight * penalties.contraction(sums, kernel, activation)
    return loss, {"mse": mean_of(errors, batch), "loss": Mean(loss, 1.0)}


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update; its values are ``mse``, and ``loss`` where that is another."""
    method, keys = config.method, partial(update_key, seed, place=static.place, index=step.number)
    level = method.corruption_level
    if method.corruption_schedule == "linear":
        level = level * (1 - step.fraction)
    noise = {"key": keys(Purpose.CORRUPTION), "kind": method.corruption, "level": level, "groups": static.groups}
    objective = partial(
        reconstruction,
        stack=static.stack,
        config=method,
        corrupt=partial(corrupted, **noise),
        draw=partial(normal, keys(Purpose.SAMPLING)),
    )
    state, values = train_step(state, batch, objective, optimizer_of(static, config))
    plain = skeleton(AutoencoderConfig(tied=method.tied))
    return state, {"mse": values["mse"]} if skeleton(canonical(method)) == plain else values


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns the ``mse`` of reconstructions without noise, mean over units."""
    return mse(static.stack, config.method, state.params, batch)


def mse(stack: Stack, config: AutoencoderConfig, params: Params, batch: Batch) -> Metrics:
    """Returns the ``mse`` of the reconstruction of what the lowest layer in training reads, mean over units."""
    return {"mse": reconstruction(params, batch, stack=stack, config=config)[1]["mse"]}


METHOD = Method(start.pretraining, results.of_pretraining, update, measure, companions, held_out="mse")
