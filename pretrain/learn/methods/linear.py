"""Read-out by a linear model of codes, its penalty chosen on validation examples: logistic regression, or ridge."""

from functools import partial

import jax
import jax.numpy as jnp

from pretrain.learn import probes, start
from pretrain.learn.layers import Params, apply
from pretrain.learn.method import Method
from pretrain.learn.methods import logistic
from pretrain.learn.metrics import Batch, Metrics, Splits, evaluate
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.train import TrainState, state_of

PENALTIES = tuple(10.0**power for power in range(-5, 2))  # of the squared kernel, to choose from


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Fits the head with the penalty whose loss on validation examples is the lowest; of equals, the largest."""
    params, task = start.network(static, seed, parent, examples), static.stack.task
    labelled, validation = (codes(static, params, examples) for codes in (start.labelled_codes, start.validation_codes))

    def fitted(penalty: jax.Array) -> tuple[Params, jax.Array, jax.Array]:
        head, norm = probes.converged(labelled.inputs, labelled.labels, task, penalty)

        def measured(batch: Batch) -> Metrics:
            return task.objective(apply(static.stack.head, head, batch.inputs), batch)[1]

        return head, norm, evaluate(measured, validation)["loss"]

    penalties = jnp.array(PENALTIES[::-1])
    heads, norms, losses = jax.lax.map(fitted, penalties)
    best = jnp.argmin(losses)
    head = jax.tree.map(lambda leaf: leaf[best], heads)
    values = {"chosen_penalty": penalties[best], "gradient_norm": norms[best]}
    return state_of(static, config, {**params, "head": head}, values)


# Of the seven penalties, large ones converge soon.
METHOD = Method(init, logistic.finish, seconds=partial(logistic.seconds, n_fits=4.0))
