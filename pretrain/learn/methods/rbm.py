"""Restricted Boltzmann machines, trained by contrastive divergence (Hinton, 2002; Hinton et al., 2006).

Hidden units are Bernoulli variables. Visible units are Bernoulli variables, too, or Gaussian ones, which have a
``variance``. The codes that a machine hands on are its hidden units' probabilities, a sigmoid layer's codes.
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from pretrain.config import AutoencoderConfig, RbmConfig
from pretrain.learn import results, start
from pretrain.learn.annotations import Array, Codes, Scalar
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods.autoencoder import mse
from pretrain.learn.metrics import Batch, Metrics, Splits, divided, mean_of
from pretrain.learn.randomness import Purpose, normal, uniform, update_key
from pretrain.learn.stack import Companion, Companions, Stack, mirror
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, optimizer_of, state_of, train_step


def companions(config: RbmConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the visible units, which the encoder's kernel, transposed, turns codes back into."""
    decoder = mirror(layers[-1], example)
    if config.visible == "gaussian":
        return (("decoder", Companion(decoder, "codes", "identity", "scaled")),)
    return (("decoder", Companion(decoder, "codes", "sigmoid", "tied")),)


def machine(params: Params, layer: int) -> Params:
    """Returns a layer's machine: ``kernel`` [D, units], ``hidden`` [units] and ``visible`` [D] biases, ``variance``."""
    name = f"layers_{layer}"
    encoder, decoder = params["encoder"][name], params["decoder"][name]
    variance = {"variance": decoder["variance"]} if "variance" in decoder else {}
    return {"kernel": encoder["kernel"], "hidden": encoder["bias"], "visible": decoder["bias"], **variance}


def free_energy(rbm: Params, visible: Float[Array, "rows inputs"]) -> Float[Array, " rows"]:
    """Returns minus the logarithm of the unnormalised probability of visible units [B, D], hidden ones summed out: [B].

    With Gaussian units the weights that ``kernel`` holds are those over the variance, so that the hidden units'
    probabilities are the same sigmoid layer for both kinds.
    """
    hidden = jnp.sum(jax.nn.softplus(_hidden_sums(rbm, visible)), axis=-1)
    bias = jnp.broadcast_to(rbm["visible"], visible.shape)
    if "variance" in rbm:
        return jnp.sum(jnp.square(visible - bias), axis=-1) / (2 * rbm["variance"]) - hidden
    return -jnp.sum(visible * bias, axis=-1) - hidden


def gibbs(
    rbm: Params, visible: Float[Array, "rows inputs"], key: Key[Array, ""], n_steps: int
) -> Float[Array, "rows inputs"]:
    """Returns visible units [B, D] after ``n_steps`` of block Gibbs sampling, each of hidden and then visible units."""

    def step(index: jax.Array | int, visible: jax.Array) -> jax.Array:
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
    params: Params, batch: Batch, *, stack: Stack, samples: Float[Array, "samples ..."]
) -> tuple[Scalar, Metrics]:
    """Returns how much likelier the topmost layer's machine finds its inputs than samples of its own.

    Args:
      params: ``encoder`` parameters from layer ``stack.encoded`` up, and the topmost layer's ``decoder``.
      batch: inputs [B, ...]: images, or codes of encoder layer ``stack.encoded - 1``.
      stack: the layers.
      samples: of the machine's Markov chain [B, units].

    Returns:
      The free energy of the inputs less that of the samples (nats), mean over the batch, whose gradient is contrastive
      divergence; and the same as ``loss``.
    """
    rbm = machine(params, stack.top)
    differences = free_energy(rbm, stack.read(params, batch.inputs)) - free_energy(rbm, samples)
    return jnp.mean(differences), {"loss": mean_of(differences, batch)}


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the state, with the variance of Gaussian visible units, and persistent chains from the first rows on."""
    stack, method = static.stack, config.method
    params = start.inherited(static, seed, parent)
    if method.visible == "gaussian":
        params["decoder"][f"layers_{stack.top}"]["variance"] = jnp.square(method.visible_deviation)
    chains = None
    if method.persistent:
        first = start.as_drawn(static, params, Batch(examples.train.inputs[: static.rows.batch_size]))
        chains = stack.read(params, first.inputs)
    return state_of(static, config, params, chains)


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes an update of contrastive divergence, by samples that start at the batch or go on where they were."""
    stack, params, method = static.stack, state.params, config.method
    before = divided(measure(static, config, state, batch, seed))
    chains = state.carry if method.persistent else stack.read(params, batch.inputs)
    key = update_key(seed, Purpose.SAMPLING, static.place, step.number)
    samples = gibbs(machine(params, stack.top), chains, key, method.gibbs_steps)
    objective = partial(contrastive_divergence, stack=stack, samples=samples)
    state, values = train_step(state, batch, objective, optimizer_of(static, config))
    return state._replace(carry=samples if method.persistent else None), {"mse": before["mse"], **values}


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns the ``mse`` of reconstructions by the hidden units' probabilities, mean over units."""
    return mse(static.stack, AutoencoderConfig(), state.params, batch)


def _hidden_sums(rbm: Params, visible: Float[Array, "rows inputs"]) -> Codes:
    sums = visible @ rbm["kernel"]
    return sums + jnp.broadcast_to(rbm["hidden"], sums.shape)


def _bernoulli(key: jax.Array, sums: jax.Array) -> jax.Array:
    """Returns 1 with the probability whose logit is given, else 0."""
    return (uniform(key, sums.shape) < jax.nn.sigmoid(sums)).astype(jnp.float32)


METHOD = Method(init, results.of_pretraining, update, measure, companions, held_out="mse")
