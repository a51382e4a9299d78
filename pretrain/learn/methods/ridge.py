"""Read-out by ridge regression of targets on codes, its penalty chosen on validation images."""

from functools import partial

import jax
import jax.numpy as jnp

from pretrain.learn import probes, results, start
from pretrain.learn.layers import Params, apply
from pretrain.learn.method import Method, Results
from pretrain.learn.metrics import Batch, Metrics, Splits, evaluate
from pretrain.learn.stack import Stack
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.train import TrainState, state_of


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Fits the head with the penalty that does best on validation images; of equals, the largest."""
    params, task = start.network(static, seed, parent, examples), static.stack.task
    labelled, validation = (codes(static, params, examples) for codes in (start.labelled_codes, start.validation_codes))
    penalties = jnp.array(probes.PENALTIES)
    heads = probes.ridge(labelled.inputs, labelled.labels, task, penalties)

    def score(head: Params) -> jax.Array:
        def measured(batch: Batch) -> Metrics:
            return task.score(apply(static.stack.head, head, batch.inputs), batch)

        (value,) = evaluate(measured, validation).values()
        return value if task.has_accuracy else -value

    scores = jax.lax.map(score, heads)
    best = len(penalties) - 1 - jnp.argmax(scores[::-1])
    head = jax.tree.map(lambda leaf: leaf[best], heads)
    return state_of(static, config, {**params, "head": head}, {"chosen_penalty": penalties[best]})


def finish(static: Static, params: Params, examples: Splits) -> Results:
    """Returns ``accuracy`` (fraction), for the outputs are no logits; or of numbers ``loss``."""
    measure = partial(metrics, static.stack, params)
    return results.of_network(static, params, examples, measure, False, ("validation", "test"))


def metrics(stack: Stack, params: Params, batch: Batch) -> Metrics:
    """Returns the metric that needs no logits."""
    return stack.task.score(stack.logits(params, batch.inputs), batch)


METHOD = Method(init, finish, seconds=lambda static, _: probes.uncounted_seconds(static.rows.n, static.stack.n_codes))
