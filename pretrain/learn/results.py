"""Results of the parameters that a stage keeps, on whole held-out splits."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Num

from pretrain.learn.annotations import Array, Outputs, Scalar
from pretrain.learn.layers import Params, encode, scaled
from pretrain.learn.method import Results
from pretrain.learn.metrics import Batch, Mean, Metrics, Splits, divided, evaluate, mean_of, sum_and_rows
from pretrain.learn.padding import squared_errors
from pretrain.learn.stack import Stack, decode
from pretrain.learn.stage import Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Values

_CONSTANT = 1e-5  # of a unit's mean square, up to which its variance counts as none


def of_pretraining(static: Static, params: Params, examples: Splits) -> Results:
    """Returns ``pretrain_validation_mse`` and ``pretrain_test_mse``, mean over pixels of the whole reconstruction.

    Nothing where the codes of a layer do not turn back into its inputs.
    """
    stack = static.stack
    if not stack.reconstructs:
        return Results({}, {})
    whole = partial(whole_reconstruction, stack, params)
    splits = {name: Batch(getattr(examples, name).inputs) for name in ("validation", "test")}
    return Results({f"pretrain_{name}_mse": evaluate(whole, split)["mse"] for name, split in splits.items()}, {})


def whole_reconstruction(stack: Stack, params: Params, batch: Batch) -> Metrics:
    """Returns the ``mse`` of images that go up through all layers and down again, mean over pixels."""
    targets = scaled(batch.inputs)
    outputs, _ = decode(stack, params, encode(stack.layers, params.get("encoder", {}), targets))
    return {"mse": mean_of(squared_errors(outputs, targets, stack.padded), batch)}


def of_network(
    static: Static,
    params: Params,
    examples: Splits,
    metrics: Callable[[Batch], Metrics],
    are_logits: bool = True,
    splits: tuple[str, ...] = ("test",),
) -> Results:
    """Returns results of a network, and its predictions on both held-out splits.

    Args:
      static: of its stage.
      params: of encoder and head.
      examples: all of them.
      metrics: of a batch.
      are_logits: whether outputs of classes or labels are.
      splits: those whose metrics are results; a curve ends with those of the other.

    Returns:
      Metrics by their names after the split, as ``test_accuracy``; ``constant_units``, the share of the topmost codes
      that hardly vary over the validation split, as those of dead or saturated units, where there is an encoder.
    """
    stack = static.stack
    outputs: dict[str, jax.Array] = {}
    values: Values = {}

    def measure(block: Batch) -> Metrics:
        return metrics(block) | {f"codes/{name}": mean for name, mean in _moments(stack, params, block).items()}

    for name in ("validation", "test"):
        counted = measure if name == "validation" and stack.layers else metrics
        sums, outputs[name] = sum_and_rows(
            counted, lambda block: stack.logits(params, block.inputs), getattr(examples, name)
        )
        means = divided(sums)
        if counted is measure:
            mean, square = means.pop("codes/mean"), means.pop("codes/square")
            is_constant = square - jnp.square(mean) <= _CONSTANT * square
            values["constant_units"] = jnp.mean(is_constant.astype(jnp.float32))
        if name in splits:
            values |= {f"{name}_{metric}": value for metric, value in means.items()}
    return predicted(stack.task, values, outputs, examples, are_logits)


def predicted(task: Task, values: Values, outputs: dict[str, jax.Array], examples: Splits, are_logits: bool) -> Results:
    """Returns results with predictions made of the outputs for both held-out splits [N, outputs]."""
    predictions = {
        f"{name}_{part}": leaf
        for name, each in outputs.items()
        for part, leaf in task.predicted(each, are_logits)._asdict().items()
        if leaf is not None
    }
    targets = jnp.concatenate([getattr(examples, name).labels for name in outputs])
    return Results(values, predictions, variation(task, jnp.concatenate(list(outputs.values())), targets))


def variation(task: Task, outputs: Outputs, targets: Num[Array, "rows ..."]) -> Scalar:
    """Returns how much predictions vary, which is 0, or almost, of a network that has collapsed.

    Args:
      task: what outputs mean.
      outputs: [N, outputs].
      targets: [N, ...].

    Returns:
      Of classes, the share of examples that are not predicted as the first is, and NaN where targets are all the same;
      of labels, the largest deviation of a logit; of numbers, the largest deviation relative to the targets'.
    """
    if task.kind == "classification":
        classes = jnp.argmax(outputs, axis=-1)
        share = jnp.mean((classes != classes[0]).astype(jnp.float32))
        return jnp.where(jnp.any(targets != targets[0]), share, jnp.nan)
    deviations = jnp.std(outputs, axis=0)
    return jnp.max(deviations if task.kind == "multilabel" else deviations / jnp.std(targets, axis=0))


def _moments(stack: Stack, params: Params, block: Batch) -> dict[str, Mean]:
    codes = stack.codes(params, block.inputs)
    return {"mean": mean_of(codes, block), "square": mean_of(jnp.square(codes), block)}
