"""Masked autoencoding: hidden parts of inputs are predicted from the others (He et al., 2022).

The lowest layer's inputs are masked, whether it is trained alone or with the layers above it. A layer that is trained
alone above others has the codes below it masked, as stacked denoising autoencoders have (Vincent et al., 2010). Hidden
values are zero; but hidden tokens, of layers that take any number of them, are left out until these are through.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Key

from pretrain.config.fields import ConfigError
from pretrain.config.methods import MaskedConfig
from pretrain.learn import padding, results, start, tokens
from pretrain.learn.annotations import Array, Scalar
from pretrain.learn.layers import Params, encode, flat
from pretrain.learn.masks import hidden
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Mean, Metrics, Splits, evaluate, mean_of
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stack import Companion, Companions, Stack, below, decode, mirror
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values, optimizer_of, state_of, train_step

_SIDE = "predictor"  # and no decoder, as what is not hidden does not come back
_PIVOTS = 100  # rows


def companions(config: MaskedConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the predictor of the topmost layer's inputs: its mirror image, or of tokens, one that attends to them.

    Tokens that are trained together with those below have the predictor of the lowest.

    Raises:
      ConfigError: a size of patches is asked for besides the encoder's own.
    """
    output = below(layers, len(layers) - 1) or "identity"
    if not tokens.n_layers(layers[-1:], example):
        return ((_SIDE, Companion(mirror(layers[-1], example), activation=output)),)
    window = getattr(layers[-1], "window", config.patch)
    if config.patch not in (window, MaskedConfig.patch):
        remedy = f"has no effect on an encoder that cuts patches of {window}, which are hidden whole; leave it out"
        raise ConfigError("pretrain.method.patch", config.patch, remedy)
    is_alone = 1 < len(layers) == tokens.n_layers(layers, example)
    return ((_SIDE, Companion(tokens.predictor(layers[-1], example), activation=output, is_alone=is_alone)),)


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the state at the start, with the variance of training rows, by which errors are measured."""
    params = start.inherited(static, seed, parent)
    return state_of(static, config, params, variance(static, params, Batch(examples.train.inputs)))


def variance(static: Static, params: Params, examples: Batch) -> Scalar:
    """Returns the variance of what the lowest layer in training reads, mean over its values; padding is none.

    It is of all training rows, so that it is one number for all updates and measurements: a batch's own is noisy, and
    zero for a row. Where nothing varies it is 1.
    """
    stack = static.stack
    read, padded = stack.encoding(params, stack.start), _is_padded(static)
    # Values are counted from a point among them: squares of what lies far from zero would not leave a variance.
    pivot = jnp.mean(flat(read(examples.inputs[:_PIVOTS])), axis=0)

    def moments(block: Batch) -> Metrics:
        values = flat(read(block.inputs))
        offsets = padding.masked(values - jnp.broadcast_to(pivot, values.shape), values, padded)
        ones = padding.masked(jnp.ones_like(values), values, padded)
        powers = {"zeroth": ones, "first": offsets, "second": jnp.square(offsets)}
        return {name: mean_of(power, block) for name, power in powers.items()}

    means = evaluate(moments, examples)
    squares = means["second"] - jnp.square(means["first"]) / jnp.where(means["zeroth"] > 0, means["zeroth"], 1)
    found = jnp.sum(squares) / jnp.sum(means["zeroth"])
    return jnp.where(found > 0, found, 1)


def prediction(
    params: Params, batch: Batch, *, static: Static, config: MaskedConfig, scale: Scalar, key: Key[Array, ""]
) -> tuple[Scalar, Metrics]:
    """Returns how badly hidden values are predicted, which 1 is as badly as by their means.

    Args:
      params: ``encoder`` parameters from layer ``stack.encoded`` up, ``predictor`` parameters from ``stack.start`` up.
      batch: inputs [B, ...]: rows, or codes of encoder layer ``stack.encoded - 1``.
      static: of the stage.
      config: share and size of what is hidden.
      scale: the variance of values.
      key: of the masks.

    Returns:
      The squared error of hidden values, mean over all of the batch, relative to the variance; and it as ``loss``,
      beside ``chance_loss``, that of predicting the mean.
    """
    stack, encoder = static.stack, params.get("encoder", {})
    targets, first, above = stack.read(params, batch.inputs), stack.start, stack.start + n_visible(stack)
    if above > first:
        found = tokens.visible(key, stack.layers[first], len(targets), stack.shapes[first].inputs, config.share)
        is_hidden, lowest = found.hidden, dataclasses.replace(stack, layers=stack.layers[: first + 1])
        codes = encode(stack.layers, encoder, tokens.encoded(stack, encoder, targets, found, above), above)
        outputs = decode(lowest, params, decode(stack, params, codes, above, _SIDE)[0], first, _SIDE)[0]
    else:
        is_hidden = mask(static, config, targets, key)
        hides = is_hidden & padding.is_real(targets) if _is_padded(static) else is_hidden  # padding stays padding
        codes = encode(stack.layers, encoder, jnp.where(hides, 0.0, targets), first)
        outputs = decode(stack, params, codes, first, _SIDE)[0]
    counted = padding.masked(is_hidden.astype(jnp.float32), targets, _is_padded(static))
    squares = jnp.square(outputs - targets) * counted
    total, count = (mean_of(jnp.sum(flat(each), axis=1), batch).total for each in (squares, counted))
    loss = Mean(total / scale, count)
    metrics = {"loss": loss._replace(count=jnp.maximum(count, 1)), "chance_loss": Mean(jnp.ones(()), 1.0)}
    return loss.total / jnp.maximum(count, 1), metrics


def n_visible(stack: Stack) -> int:
    """Returns how many layers, from the lowest in training up, read visible tokens alone."""
    return tokens.n_layers(stack.layers[stack.start :], stack.shapes[stack.start].inputs)


def mask(static: Static, config: MaskedConfig, targets: jax.Array, key: Key[Array, ""]) -> Bool[Array, "rows ..."]:
    """Returns which values are hidden of what the lowest layer in training reads [B, ...]: rows in their own shape."""
    stack, layout = static.stack, static.layout
    assert layout
    shape = stack.shapes[stack.start].inputs if stack.start else layout.shape
    return hidden(key, len(targets), shape, config.share, config.patch, static.groups).reshape(targets.shape)


def _is_padded(static: Static) -> bool:
    return static.stack.padded and static.stack.start == 0


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update, by masks that differ from update to update."""
    key = update_key(seed, Purpose.MASKS, static.place, step.number)
    objective = partial(prediction, static=static, config=config.method, scale=state.carry, key=key)
    return train_step(state, batch, objective, optimizer_of(static, config))


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns the metrics of held-out examples, whose masks are the same whenever they are measured."""
    key = jax.random.key(0)
    return prediction(state.params, batch, static=static, config=config.method, scale=state.carry, key=key)[1]


METHOD = Method(init, results.of_pretraining, update, measure, companions)
