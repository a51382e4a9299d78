"""What a stage minimises: the loss of a batch and, beside it, metrics example by example.

An objective is a free function ``(params, batch, …) -> (loss, metrics)``: ``loss`` a scalar to differentiate,
``metrics`` values [B] by name, so that a metric over many batches is a sum divided once. L2 penalties are the
optimizer's (``train.make_optimizer``): the same gradient without a reduction over all weights in every step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pretrain.learn.model import Decoder, Encoder, Layer, Params, scaled, standardised

Metrics = dict[str, jax.Array]


class Batch(NamedTuple):
    """Examples of one step."""

    inputs: jax.Array  # [B, D] uint8 images, or float32 codes
    labels: jax.Array | None = None  # [B] int32


def reconstruction(
    params: Params, batch: Batch, *, encoder: Encoder, decoder: Decoder, layer: int, encoded: int
) -> tuple[jax.Array, Metrics]:
    """How well one encoder layer and its decoder reconstruct what the layer reads.

    Args:
      params: ``encoder`` and ``decoder`` parameters; of the layers between ``encoded`` and ``layer`` and of both at
        ``layer``.
      batch: inputs [B, D]: images, or codes of encoder layer ``encoded - 1``.
      encoder: the stack to which ``layer`` belongs.
      decoder: its mirror.
      layer: the layer in training.
      encoded: how many encoder layers the inputs have been through.

    Returns:
      The squared error (Bengio et al., 2007), mean over batch and units, and ``mse`` [B], mean over units.
    """
    targets = encoder.apply({"params": params["encoder"]}, scaled(batch.inputs), encoded, layer)
    codes = encoder.apply({"params": params["encoder"]}, targets, layer, layer + 1)
    outputs = decoder.apply({"params": params["decoder"]}, codes, layer, layer + 1)
    errors = jnp.mean(jnp.square(outputs - targets), axis=-1)
    return jnp.mean(errors), {"mse": errors}


def end_to_end_reconstruction(
    params: Params, batch: Batch, *, encoder: Encoder, decoder: Decoder
) -> tuple[jax.Array, Metrics]:
    """How well the whole stack reconstructs images [B, D]: up through every encoder layer, down through every decoder.

    Returns:
      The squared error, mean over batch and pixels, and ``mse`` [B], mean over pixels.
    """
    images = scaled(batch.inputs)
    codes = encoder.apply({"params": params["encoder"]}, images)
    outputs = decoder.apply({"params": params["decoder"]}, codes)
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
