"""Read-out by logistic regression on codes, or least squares of numbers, to convergence."""

from pretrain.config.methods import LogisticConfig
from pretrain.learn import probes
from pretrain.learn.layers import Params
from pretrain.learn.method import Method
from pretrain.learn.methods.finetuning import measure
from pretrain.learn.metrics import Batch
from pretrain.learn.stack import Stack
from pretrain.learn.train import Values


def fit(
    stack: Stack, config: LogisticConfig, params: Params, examples: Batch, held_out: Batch
) -> tuple[Params, Values]:
    """Returns the head, and the norm of the gradient there."""
    known = probes.as_read(params, examples)
    head, norm = probes.converged(known.inputs, known.labels, stack.task, config.l2)
    return {**params, "head": head}, {"gradient_norm": norm}


METHOD = Method(measure=measure, fit=fit)
