"""Principal components of a layer's inputs, in the place of training it."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn

from pretrain.config import AutoencoderConfig, PcaConfig
from pretrain.learn.codes import principal_components
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods import autoencoder
from pretrain.learn.metrics import Batch, Metrics, evaluate
from pretrain.learn.stack import Companion, Companions, Stack, mirror
from pretrain.learn.tasks import Task
from pretrain.learn.train import Values


def companions(config: PcaConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the transposed map, with the mean as its bias."""
    return (("decoder", Companion(mirror(layers[-1], example), "codes", "identity", "tied")),)


def fit(stack: Stack, config: PcaConfig, params: Params, examples: Batch, held_out: Batch) -> tuple[Params, Values]:
    """Returns the layer whose sums are components of its inputs, and ``mse`` on both splits."""
    name = f"layers_{stack.top}"
    found = principal_components(partial(stack.read, params), examples.inputs, stack.n_codes)
    changed = {
        "encoder": {**params["encoder"], name: {"kernel": found["kernel"], "bias": found["bias"]}},
        "decoder": {**params["decoder"], name: {"bias": found["mean"]}},
    }
    params = {**params, **changed}
    measured = [
        evaluate(partial(measure, stack, config, params), Batch(split.inputs))["mse"] for split in (examples, held_out)
    ]
    return params, dict(zip(("mse", "validation_mse"), measured, strict=True))


def measure(stack: Stack, config: PcaConfig, params: Params, batch: Batch) -> Metrics:
    """Returns the ``mse`` of reconstructions from the codes, mean over units."""
    return autoencoder.measure(stack, AutoencoderConfig(), params, batch)


METHOD = Method(measure=measure, fit=fit, companions=companions)
