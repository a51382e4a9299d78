"""Read-out by logistic regression on codes, or least squares of numbers, to convergence."""

from functools import partial

import jax

from pretrain.learn import probes, results, start
from pretrain.learn.layers import Params
from pretrain.learn.method import Method, Results
from pretrain.learn.methods.finetuning import metrics
from pretrain.learn.metrics import Splits
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.train import TrainState, state_of


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Fits the head, and reports the norm of the gradient there."""
    params = start.network(static, seed, parent, examples)
    labelled = start.labelled_codes(static, params, examples)
    task = static.stack.task
    if config.method.class_weights == "balanced":
        labelled = labelled._replace(labels=task.weighed(labelled.labels, start.class_weights(task, examples)))
    head, norm = probes.converged(labelled.inputs, labelled.labels, task, config.l2)
    return state_of(static, config, {**params, "head": head}, {"gradient_norm": norm})


def finish(static: Static, params: Params, examples: Splits) -> Results:
    """Returns ``loss``, and ``accuracy`` (fraction) but of numbers."""
    measure = partial(metrics, static.stack, params)
    return results.of_network(static, params, examples, measure, splits=("validation", "test"))


def seconds(static: Static, n_validation: int, n_fits: float = 1.0) -> float:
    """Returns the time of some fits that no count of operations shows."""
    return probes.uncounted_seconds(static.rows.n, static.stack.n_codes, static.stack.task.n_outputs, n_fits)


METHOD = Method(init, finish, seconds=seconds)
