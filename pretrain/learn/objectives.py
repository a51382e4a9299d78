"""What a stage minimises: the loss of a batch and, beside it, metrics example by example.

An objective is a free function ``(params, batch, …) -> (loss, metrics)``: ``loss`` a scalar to differentiate,
``metrics`` values [B] by name, so that a metric over many batches is a sum divided once. L2 penalties are the
optimizer's (``train.make_optimizer``): the same gradient without a reduction over all weights in every step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pretrain.config import ObjectiveConfig
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
    corrupt: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, Metrics]:
    """How well one encoder layer and its decoder reconstruct what the layer reads (Bengio et al., 2007).

    Args:
      params: ``encoder`` and ``decoder`` parameters; of the layers between ``encoded`` and ``layer`` and of both at
        ``layer``. A tied decoder layer has a bias only.
      batch: inputs [B, D]: images, or codes of encoder layer ``encoded - 1``.
      encoder: the stack to which ``layer`` belongs.
      decoder: its mirror.
      layer: the layer in training.
      encoded: how many encoder layers the inputs have been through.
      objective: what is minimised; its numbers may be tracers.
      corrupt: puts noise on what the layer reads [B, units].

    Returns:
      The loss: squared error, mean over batch and units, or cross-entropy (nats), mean over the batch and sum over
      units, and the penalties on codes. ``mse`` [B], mean over units, of the reconstruction, and ``loss`` [B], the same
      for all.
    """
    targets = encoder.apply({"params": params["encoder"]}, scaled(batch.inputs), encoded, layer)
    name, activation = f"layers_{layer}", ACTIVATIONS[encoder.activation]
    inputs = corrupt(targets)
    sums = Layer(encoder.widths[layer]).apply({"params": params["encoder"][name]}, inputs)
    codes = activation(sums)
    logits = Layer(decoder.widths[layer]).apply({"params": untied(params)[name]}, codes)
    outputs = ACTIVATIONS[decoder.activations[layer]](logits)
    errors = jnp.mean(jnp.square(outputs - targets), axis=-1)
    loss = jnp.mean(errors)
    if objective.loss == "cross_entropy":
        loss = jnp.mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits, targets), axis=-1))
    if objective.sparsity != "none":
        loss = loss + objective.sparsity_weight * penalties.sparsity(
            codes, objective.sparsity, objective.sparsity_target
        )
    if objective.contractive:
        kernel = params["encoder"][name]["kernel"]
        loss = loss + objective.contraction_weight * penalties.contraction(sums, kernel, activation)
    return loss, {"mse": errors, "loss": jnp.broadcast_to(loss, errors.shape)}


def end_to_end_reconstruction(
    params: Params, batch: Batch, *, encoder: Encoder, decoder: Decoder
) -> tuple[jax.Array, Metrics]:
    """How well the whole stack reconstructs images [B, D]: up through every encoder layer, down through every decoder.

    Returns:
      The squared error, mean over batch and pixels, and ``mse`` [B], mean over pixels.
    """
    images = scaled(batch.inputs)
    codes = encoder.apply({"params": params["encoder"]}, images)
    outputs = decoder.apply({"params": untied(params)}, codes)
    errors = jnp.mean(jnp.square(outputs - images), axis=-1)
    return jnp.mean(errors), {"mse": errors}


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
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    correct = jnp.argmax(logits, axis=-1) == batch.labels
    return jnp.mean(losses), {"loss": losses, "accuracy": correct.astype(jnp.float32)}
