"""Restricted Boltzmann machines, trained by contrastive divergence (Hinton, 2002; Hinton et al., 2006).

Hidden units are Bernoulli variables. Visible units are Bernoulli variables, too, or Gaussian ones, which have a
``variance``. The codes that a machine hands on are its hidden units' probabilities, a sigmoid layer's codes.
"""

import jax
import jax.numpy as jnp

from pretrain.learn.model import Encoder, Params, scaled
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.randomness import normal, uniform


def machine(params: Params, layer: int) -> Params:
    """Returns a layer's machine: ``kernel`` [D, units], ``hidden`` [units] and ``visible`` [D] biases, ``variance``."""
    name = f"layers_{layer}"
    encoder, decoder = params["encoder"][name], params["decoder"][name]
    variance = {"variance": decoder["variance"]} if "variance" in decoder else {}
    return {"kernel": encoder["kernel"], "hidden": encoder["bias"], "visible": decoder["bias"], **variance}


def free_energy(rbm: Params, visible: jax.Array) -> jax.Array:
    """Returns minus the logarithm of the unnormalised probability of visible units [B, D], hidden ones summed out: [B].

    With Gaussian units the weights that ``kernel`` holds are those over the variance, so that the hidden units'
    probabilities are the same sigmoid layer for both kinds.
    """
    hidden = jnp.sum(jax.nn.softplus(_hidden_sums(rbm, visible)), axis=-1)
    bias = jnp.broadcast_to(rbm["visible"], visible.shape)
    if "variance" in rbm:
        return jnp.sum(jnp.square(visible - bias), axis=-1) / (2 * rbm["variance"]) - hidden
    return -jnp.sum(visible * bias, axis=-1) - hidden


def gibbs(rbm: Params, visible: jax.Array, key: jax.Array, n_steps: int) -> jax.Array:
    """Returns visible units [B, D] after ``n_steps`` of block Gibbs sampling, each of hidden and then visible units."""

    def step(index: int, visible: jax.Array) -> jax.Array:
        for_hidden, for_visible = jax.random.split(jax.random.fold_in(key, index))
        hidden = _bernoulli(for_hidden, _hidden_sums(rbm, visible))
        sums = hidden @ rbm["kernel"].T
        bias = jnp.broadcast_to(rbm["visible"], sums.shape)
        if "variance" in rbm:
            means = bias + rbm["variance"] * sums
            return means + jnp.sqrt(rbm["variance"]) * normal(for_visible, means.shape)
        return _bernoulli(for_visible, sums + bias)

    if n_steps == 1:
        return step(0, visible)
    return jax.lax.fori_loop(0, n_steps, step, visible)


def contrastive_divergence(
    params: Params, batch: Batch, *, encoder: Encoder, layer: int, encoded: int, samples: jax.Array
) -> tuple[jax.Array, Metrics]:
    """How much likelier a layer's machine finds what it reads than what it makes up.

    Args:
      params: ``encoder`` parameters from layer ``encoded`` up, and the ``decoder`` at ``layer``.
      batch: inputs [B, D]: images, or codes of encoder layer ``encoded - 1``.
      encoder: the stack to which ``layer`` belongs.
      layer: the layer in training.
      encoded: how many encoder layers the inputs have been through.
      samples: of the machine's Markov chain [B, units].

    Returns:
      The free energy of the inputs less that of the samples (nats), mean over the batch, whose gradient is contrastive
      divergence, and ``loss`` [B].
    """
    inputs = encoder.apply({"params": params["encoder"]}, scaled(batch.inputs), encoded, layer)
    rbm = machine(params, layer)
    differences = free_energy(rbm, inputs) - free_energy(rbm, samples)
    return jnp.mean(differences), {"loss": differences}


def _hidden_sums(rbm: Params, visible: jax.Array) -> jax.Array:
    sums = visible @ rbm["kernel"]
    return sums + jnp.broadcast_to(rbm["hidden"], sums.shape)


def _bernoulli(key: jax.Array, sums: jax.Array) -> jax.Array:
    """Returns 1 with the probability whose logit is given, else 0."""
    return (uniform(key, sums.shape) < jax.nn.sigmoid(sums)).astype(jnp.float32)
