"""Read-out by ridge regression of targets on codes, its penalty chosen on validation images."""

import jax
import jax.numpy as jnp

from pretrain.config.methods import RidgeConfig
from pretrain.learn import probes
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods.finetuning import logits
from pretrain.learn.metrics import Batch, Metrics, evaluate
from pretrain.learn.stack import Stack
from pretrain.learn.train import Values


def fit(stack: Stack, config: RidgeConfig, params: Params, examples: Batch, held_out: Batch) -> tuple[Params, Values]:
    """Returns the head with the penalty that does best on validation images; of equals, the largest."""
    known, asked = (probes.as_read(params, split) for split in (examples, held_out))
    penalties = jnp.array(probes.PENALTIES)
    heads = probes.ridge(known.inputs, known.labels, stack.task, penalties)

    def score(head: Params) -> jax.Array:
        def measured(batch: Batch) -> Metrics:
            return stack.task.score(stack.head.apply({"params": head}, batch.inputs), batch)

        (found,) = evaluate(measured, asked).values()
        return found if stack.task.has_accuracy else -found

    scores = jax.lax.map(score, heads)
    best = len(penalties) - 1 - jnp.argmax(scores[::-1])
    head = jax.tree.map(lambda leaf: leaf[best], heads)
    return {**params, "head": head}, {"chosen_penalty": penalties[best]}


def measure(stack: Stack, config: RidgeConfig, params: Params, batch: Batch) -> Metrics:
    """Returns ``accuracy`` (fraction), for the outputs are no logits; or of numbers ``loss``."""
    return stack.task.score(logits(params, batch.inputs, stack=stack), batch)


METHOD = Method(measure=measure, fit=fit, has_logits=False)
