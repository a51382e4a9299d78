"""Two views of each input: their embeddings, and an update and a measurement of a method that compares them."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key, Shaped

from pretrain.config.views import TwoViews
from pretrain.learn import results, start
from pretrain.learn.annotations import Array, Codes, Scalar
from pretrain.learn.layers import Dense, Params, apply, encode, flat, scaled
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Mean, Metrics
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stack import Companion, Companions
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, optimizer_of, train_step
from pretrain.learn.views import changed

# From what is compared, as the embeddings of both views [B, units], and a config to the loss, and metrics of the batch.
Loss = Callable[..., tuple[Scalar, Values]]
Compared = Callable[..., tuple[Array, ...]]  # of the arguments of ``embeddings``
_LEAST = 1e-5  # added to variances


class Projector(nn.Module):
    """Dense layers with ReLU between them, none after the last: [B, ...], flattened, to [B, units]."""

    units: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: Float[Array, "rows ..."]) -> Float[Array, "rows units"]:
        outputs = flat(codes)
        for number, units in enumerate(self.units):
            outputs = Dense(units, name=f"layers_{number}")(nn.relu(outputs) if number else outputs)
        return outputs


def companions(config: TwoViews, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the projector of the topmost layer's codes, where there is one."""
    if not config.projector:
        return ()
    return (("projector", Companion(Projector(config.projector), joins_deep=False)),)


def embeddings(
    params: Params, inputs: Shaped[Array, "rows ..."], static: Static, config: TwoViews, keys: Key[Array, "2"]
) -> tuple[Codes, Codes]:
    """Returns embeddings of two views of examples [B, ...]: projected codes of the topmost layer, [B, units] each."""
    stack = static.stack
    codes = encode(stack.layers, params.get("encoder", {}), views(inputs, static, config, keys))
    if config.projector:
        projector = stack.companion("projector", stack.top).module
        codes = apply(projector, params["projector"][f"layers_{stack.top}"], codes)
    first, second = jnp.split(flat(codes), 2)
    return first, second


def views(
    inputs: Shaped[Array, "rows ..."], static: Static, config: TwoViews, keys: Key[Array, "2"]
) -> Float[Array, "twice ..."]:
    """Returns two views of examples [B, ...] as one batch [2B, ...], whose products take less than twice the time."""
    rows = scaled(inputs)
    assert static.layout
    made = [changed(rows, key, config.views, config, static.layout) for key in keys]
    if config.anchor == "clean":
        made[0] = rows
    return jnp.concatenate(made)


def standardised(embeddings: Codes) -> Codes:
    """Returns embeddings [B, units] of mean 0 and deviation 1 over the batch, unit by unit."""
    centred = embeddings - jnp.broadcast_to(jnp.mean(embeddings, axis=0, keepdims=True), embeddings.shape)
    scale = 1 / jnp.sqrt(jnp.mean(jnp.square(centred), axis=0, keepdims=True) + _LEAST)
    return centred * jnp.broadcast_to(scale, centred.shape)


def update(
    loss: Loss,
    static: Static,
    config: StageConfig,
    state: TrainState,
    batch: Batch,
    seed: jax.Array,
    step: Step,
    compared: Compared = embeddings,
) -> tuple[TrainState, Values]:
    """Makes one update, by views that differ from update to update."""
    keys = jax.random.split(update_key(seed, Purpose.VIEWS, static.place, step.number))

    def objective(params: Params, batch: Batch) -> tuple[Scalar, Metrics]:
        value, metrics = loss(*compared(params, batch.inputs, static, config.method, keys), config.method)
        return value, {name: Mean(each, 1.0) for name, each in metrics.items()}

    return train_step(state, batch, objective, optimizer_of(static, config))


def measure(
    loss: Loss,
    static: Static,
    config: StageConfig,
    state: TrainState,
    batch: Batch,
    compared: Compared = embeddings,
) -> Metrics:
    """Returns the metrics of held-out examples that are compared as in training: among as many as an update reads.

    Each batch has the same views. The last may overlap the one before it, and counts by its other rows.
    """
    n_rows = len(batch.inputs)
    size = min(static.rows.batch_size, n_rows)
    firsts = np.arange(-(-n_rows // size)) * size
    starts = np.minimum(firsts, n_rows - size)
    weights = jnp.ones(n_rows) if batch.weights is None else batch.weights
    keys = jax.random.split(jax.random.key(0))

    def of_batch(place: tuple[jax.Array, jax.Array]) -> Metrics:
        first, start = place
        rows, counted = (jax.lax.dynamic_slice_in_dim(each, start, size) for each in (batch.inputs, weights))
        count = jnp.sum(jnp.where(start + jnp.arange(size) >= first, counted, 0.0))
        values = loss(*compared(state.params, rows, static, config.method, keys), config.method)[1]
        return {name: Mean(value * count, count) for name, value in values.items()}

    return jax.tree.map(partial(jnp.sum, axis=0), jax.lax.map(of_batch, (jnp.asarray(firsts), jnp.asarray(starts))))


def method(loss: Loss) -> Method:
    """Returns the method that compares embeddings of two views by a loss."""

    def of_rows(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
        return measure(loss, static, config, state, batch)

    return Method(start.pretraining, results.of_pretraining, partial(update, loss), of_rows, companions)
