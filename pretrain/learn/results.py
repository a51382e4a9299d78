"""Results of a stage's parameters on a whole split, and their predictions."""

from functools import partial

import jax
import jax.numpy as jnp

from pretrain.learn.layers import Params
from pretrain.learn.methods import METHODS
from pretrain.learn.methods.autoencoder import whole_reconstruction
from pretrain.learn.methods.finetuning import logits
from pretrain.learn.metrics import Batch, Mean, Metrics, divided, evaluate, mean_of, sum_and_rows
from pretrain.learn.stack import Stack
from pretrain.learn.tasks import Prediction
from pretrain.learn.train import Values

_CONSTANT = 1e-5  # of a unit's mean square, up to which its variance counts as none


@partial(jax.jit, static_argnums=(0, 1), inline=True)
def results(stack: Stack, method: type, params: Params, train: Batch, split: Batch) -> Values:
    """Returns the results of a stage's parameters on a whole split, mean over its examples.

    Of a stage of pretraining whose codes turn back into images, ``mse`` of their end-to-end reconstruction, mean over
    pixels. Of a trial's last stage ``accuracy`` (fraction) but of numbers, and ``loss`` where there is one.
    """
    if stack.head is None:
        whole = partial(whole_reconstruction, stack, params)
        return evaluate(whole, Batch(split.inputs)) if stack.reconstructs else {}
    values, _ = predictions(stack, method, params, train, split)
    return {name: value for name, value in values.items() if name != "constant_units"}


@partial(jax.jit, static_argnums=(0, 1), inline=True)
def predictions(stack: Stack, method: type, params: Params, train: Batch, split: Batch) -> tuple[Values, Prediction]:
    """Returns the ``results`` of a trial's last stage on a split, and the predictions that they are of.

    Where the results are of batches, ``constant_units`` is among them: the share of the topmost codes that hardly vary
    over the split, as those of dead or saturated units; but where there is no encoder.
    """
    functions = METHODS[method]
    if functions.predict:
        outputs = functions.predict(stack, params, train, split)
        return divided(stack.task.score(outputs, split)), stack.task.predicted(outputs, functions.has_logits)

    def measure(block: Batch) -> tuple[Metrics, tuple[Mean, Mean]]:
        codes = stack.codes(params, block.inputs)
        moments = mean_of(codes, block), mean_of(jnp.square(codes), block)
        return functions.measure(stack, None, params, block), moments

    sums, outputs = sum_and_rows(measure, lambda block: logits(params, block.inputs, stack=stack), split)
    metrics, moments = sums
    mean, square = (each.total / each.count for each in moments)
    is_constant = square - jnp.square(mean) <= _CONSTANT * square
    values = divided(metrics)
    if stack.layers:
        values |= {"constant_units": jnp.mean(is_constant.astype(jnp.float32))}
    return values, stack.task.predicted(outputs, functions.has_logits)
