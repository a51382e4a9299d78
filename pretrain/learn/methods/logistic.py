"""Read-out by logistic regression on codes, or least squares of numbers, to convergence."""

from pretrain.config.methods import LogisticConfig
from pretrain.learn import probes
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods.finetuning import objective
from pretrain.learn.metrics import Batch, Metrics
from pretrain.learn.stack import Stack
from pretrain.learn.train import Values


def fit(
    stack: Stack, config: LogisticConfig, params: Params, examples: Batch, held_out: Batch
) -> tuple[Params, Values]:
    """Returns the head, and the norm of the gradient there."""
    known = probes.as_read(params, examples)
    head, norm = probes.converged(known.inputs, known.labels, stack.task, config.l2)
    return {**params, "head": head}, {"gradient_norm": norm}


def measure(stack: Stack, config: LogisticConfig, params: Params, batch: Batch) -> Metrics:
    """Returns ``loss``, and ``accuracy`` (fraction) but of numbers."""
    return objective(params, batch, stack=stack)[1]


METHOD = Method(measure=measure, fit=fit)
