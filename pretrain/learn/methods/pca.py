"""Principal components of a layer's inputs, in the place of training it."""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax

from pretrain.config import AutoencoderConfig, PcaConfig
from pretrain.learn import results, start
from pretrain.learn.codes import principal_components
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods.autoencoder import mse
from pretrain.learn.metrics import Batch, Splits, evaluate
from pretrain.learn.stack import Companion, Companions, mirror
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import TrainState, state_of


def companions(config: PcaConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the transposed map, with the mean as its bias."""
    return (("decoder", Companion(mirror(layers[-1], example), "codes", "identity", "tied")),)


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Fits the layer whose sums are components of its inputs, and reports ``mse`` on both splits."""
    stack, name = static.stack, f"layers_{static.stack.top}"
    params = start.inherited(static, seed, parent)
    train, validation = (
        start.as_drawn(static, params, Batch(split.inputs)) for split in (examples.train, examples.validation)
    )
    components = principal_components(partial(stack.read, params), train.inputs, stack.n_codes)
    layer = {"kernel": components["kernel"], "bias": components["bias"]}
    params["encoder"] = {**params["encoder"], name: layer}
    params["decoder"] = {**params["decoder"], name: {"bias": components["mean"]}}
    measure = partial(mse, stack, AutoencoderConfig(), params)
    values = {"mse": evaluate(measure, train)["mse"], "validation_mse": evaluate(measure, validation)["mse"]}
    return state_of(static, config, params, values)


METHOD = Method(init, results.of_pretraining, companions=companions)
