"""What a stage minimises: the loss of a batch and, beside it, metrics example by example.

An objective is a free function ``(params, batch, …) -> (loss, metrics)``: ``loss`` a scalar to differentiate,
``metrics`` values [B] by name, so that a metric over many batches is a sum divided once. L2 penalties are the
optimizer's (``train.make_optimizer``): the same gradient without a reduction over all weights in every step.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pretrain.config.settings import ObjectiveConfig
from pretrain.learn import penalties
from pretrain.learn.model import ACTIVATIONS, Decoder, Encoder, Layer, Params, scaled, standardised, untied

Metrics = dict[str, jax.Array]


class Batch(NamedTuple):
    """Examples of one step."""

    inputs: jax.Array  # [B, D] uint8 images, or float32 codes
    labels: jax.Array | None = None  # [B] int32


def reconstruction(
    params: Params,
    batch: Batch,
    *,
    encoder: Encoder,
    decoder: Decoder,
    layer: int,
    encoded: int,
    objective: ObjectiveConfig,
    corrupt: Callable[[jax.Array], jax.Array] = lambda inputs: inputs,
    draw: Callable[[tuple[int, ...]], jax.Array] = jnp.zeros,
) -> tuple[jax.Array, Metrics]:
    """How well encoder layers and their decoders reconstruct what the lowest of them reads (Bengio et al., 2007).

    In a greedy phase this is the topmost layer alone; trained end to end, the stack is one deep autoencoder.

    Args:
      params: ``encoder`` parameters from layer ``encoded`` up, ``decoder`` parameters from ``layer`` up; tied decoder
        layers have a bias only. Variational codes have a ``log_variance`` layer at the top.
      batch: inputs [B, D]: images, or codes of encoder layer ``encoded - 1``.
      encoder: the stack, up to the topmost layer in training.
      decoder: its mirror.
      layer: the lowest layer in training.
      encoded: how many encoder layers the inputs have been through.
      objective: what is minimised; its numbers may be tracers.
      corrupt: puts noise on what the layer reads [B, units].
      draw: returns standard normal noise of a shape, which variational codes have; by default none.

    Returns:
      The loss: squared error, mean over batch and units, or cross-entropy (nats), mean over the batch and sum over
      units, and the penalties on codes. ``mse`` [B], mean over units, of the reconstruction, and ``loss`` [B], the same
      for all.
    """
    encode = partial(encoder.apply, {"params": params["encoder"]})
    targets = encode(scaled(batch.inputs), encoded, layer)
    top = len(encoder.widths) - 1
    name, activation = f"layers_{top}", ACTIVATIONS[encoder.activations[top]]
    read = encode(corrupt(targets), layer, top)
    sums = Layer(encoder.widths[top]).apply({"params": params["encoder"][name]}, read)
    codes = activation(sums)
    given = codes
    if objective.variational:
        log_variances = Layer(encoder.widths[top]).apply({"params": params["log_variance"][name]}, read)
        given = codes + jnp.exp(log_variances / 2) * draw(codes.shape)
    decoders = untied(params)
    logits = Layer(decoder.widths[layer]).apply(
        {"params": decoders[f"layers_{layer}"]}, decoder.apply({"params": decoders}, given, layer + 1)
    )
    outputs = ACTIVATIONS[decoder.activations[layer]](logits)
    errors = jnp.mean(jnp.square(outputs - targets), axis=-1)
    loss = jnp.mean(errors)
    if objective.loss == "cross_entropy":
        loss = jnp.mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1))
    if objective.variational:
        loss = loss + objective.kl_weight * penalties.divergence(codes, log_variances)
    if objective.sparsity != "none":
        kind, target = objective.sparsity, objective.sparsity_target
        loss = loss + objective.sparsity_weight * penalties.sparsity(codes, kind, target)
    if objective.contractive:
        kernel = params["encoder"][name]["kernel"]
        loss = loss + objective.contraction_weight * penalties.contraction(sums, kernel, activation)
    return loss, {"mse": errors, "loss": jnp.broadcast_to(loss, errors.shape)}


def classifier_logits(params: Params, inputs: jax.Array, *, encoder: Encoder, head: Layer, encoded: int) -> jax.Array:
    """Returns what a classifier makes of its inputs: logits [B, classes].

    Args:
      params: ``encoder`` parameters from layer ``encoded`` up, ``head`` parameters, and under ``codes`` the ``mean``
        and ``scale`` [units] by which the encoder's codes are standardised before the head reads them.
      inputs: images or codes of encoder layer ``encoded - 1`` [B, D].
      encoder: the encoder.
      head: the layer that turns its codes into logits.
      encoded: how many encoder layers the inputs have been through.
    """
    codes = encoder.apply({"params": params["encoder"]}, scaled(inputs), encoded)
    return head.apply({"params": params["head"]}, standardised(codes, params["codes"]))


def classification(
    params: Params, batch: Batch, *, encoder: Encoder, head: Layer, encoded: int
) -> tuple[jax.Array, Metrics]:
    """How well a classifier tells the classes of inputs [B, D] with labels [B]; see ``classifier_logits``.

    Returns:
      The softmax cross-entropy (nats), mean over the batch, ``loss`` [B] (nats) and ``accuracy`` [B] (1 or 0).
    """
    logits = classifier_logits(params, batch.inputs, encoder=encoder, head=head, encoded=encoded)
    return softmax_cross_entropy(logits, batch.labels)


def supervised_layer(
    params: Params, batch: Batch, *, encoder: Encoder, classifier: Layer, layer: int, encoded: int
) -> tuple[jax.Array, Metrics]:
    """How well a linear classifier on one layer's codes tells the classes (Bengio et al., 2007, "supervised greedy").

    Args:
      params: ``encoder`` parameters from layer ``encoded`` up, and the ``classifier`` of ``layer``.
      batch: inputs [B, D]: images, or codes of encoder layer ``encoded - 1``; labels [B].
      encoder: the stack, of which ``layer`` is the topmost.
      classifier: the layer that turns its codes into logits.
      layer: the layer in training.
      encoded: how many encoder layers the inputs have been through.

    Returns:
      As ``classification``.
    """
    codes = encoder.apply({"params": params["encoder"]}, scaled(batch.inputs), encoded)
    logits = classifier.apply({"params": params["classifier"][f"layers_{layer}"]}, codes)
    return softmax_cross_entropy(logits, batch.labels)


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, Metrics]:
    """Returns the loss of logits [B, classes] with labels [B], and its metrics, as ``classification`` does."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = jnp.argmax(logits, axis=-1) == labels
    return jnp.mean(losses), {"loss": losses, "accuracy": correct.astype(jnp.float32)}
