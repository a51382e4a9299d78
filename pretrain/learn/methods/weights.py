"""An encoder's parameters as a checkpoint has them, in the place of training it."""

import jax
import jax.numpy as jnp

from pretrain.learn import results
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.metrics import Splits
from pretrain.learn.stack import stack_shapes
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.train import TrainState, state_of
from pretrain.learn.transfer import copied


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the parameters that are given in the place of a parent's, and reports ``weights_rms``, of all of them."""
    params = copied(stack_shapes(static.stack), parent or {})
    leaves = jax.tree.leaves(params)
    squares = sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)
    size = sum(leaf.size for leaf in leaves)
    return state_of(static, config, params, {"weights_rms": jnp.sqrt(squares / size)})


METHOD = Method(init, results.of_pretraining)
