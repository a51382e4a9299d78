"""Read-out by ridge regression of class indicators on codes, its penalty chosen on validation images."""

import jax
import jax.numpy as jnp

from pretrain.config.methods import RidgeConfig
from pretrain.learn import probes, tasks
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods.finetuning import objective
from pretrain.learn.metrics import Batch, Metrics, evaluate
from pretrain.learn.stack import Stack
from pretrain.learn.train import Values


def fit(stack: Stack, config: RidgeConfig, params: Params, examples: Batch, held_out: Batch) -> tuple[Params, Values]:
    """Returns the head with the penalty that does best on validation images; of equals, the largest."""
    known, asked = (probes.as_read(params, split) for split in (examples, held_out))
    penalties = jnp.array(probes.PENALTIES)
    heads = probes.ridge(known.inputs, known.labels, stack.head.features, penalties)

    def accuracy(head: Params) -> jax.Array:
        def measured(batch: Batch) -> Metrics:
            return tasks.classification(stack.head.apply({"params": head}, batch.inputs), batch)[1]

        return evaluate(measured, asked)["accuracy"]

    accuracies = jax.lax.map(accuracy, heads)
    best = len(penalties) - 1 - jnp.argmax(accuracies[::-1])
    head = jax.tree.map(lambda leaf: leaf[best], heads)
    return {**params, "head": head}, {"chosen_penalty": penalties[best]}


def measure(stack: Stack, config: RidgeConfig, params: Params, batch: Batch) -> Metrics:
    """Returns ``accuracy`` (fraction); the outputs are no probabilities, so there is no loss."""
    return {"accuracy": objective(params, batch, stack=stack)[1]["accuracy"]}


METHOD = Method(measure=measure, fit=fit)
