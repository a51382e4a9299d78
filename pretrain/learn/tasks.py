"""Tasks: targets are a class, labels that are there or not, or numbers; each with its loss."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Num

from pretrain.config.kinds import TaskKind
from pretrain.learn.annotations import Array, Outputs, Scalar
from pretrain.learn.metrics import Batch, Mean, Metrics, mean_of

_LARGEST = 60_000.0  # that float16 holds


class Prediction(NamedTuple):
    """Predictions of a network."""

    # Of classes, logarithms of probabilities, or the outputs where these are no logits; of labels, logits; float16.
    # Of numbers, these, float32.
    scores: jax.Array  # [N, outputs]
    classes: jax.Array | None = None  # [N] int32, that of the largest output; the lowest of equals


@dataclasses.dataclass(frozen=True)
class Task:
    """The kind of target, and the number of outputs; static."""

    kind: TaskKind = "classification"
    n_outputs: int = 0  # classes, labels or numbers
    has_unknown: bool = False  # whether rows lack some of their labels, which are NaN then

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of an example's target: () of a class number, (outputs,) of float32 labels or numbers."""
        return () if self.kind == "classification" else (self.n_outputs,)

    @property
    def n_classes(self) -> int:
        """How many classes there are; 0 where targets are none."""
        return self.n_outputs if self.kind == "classification" else 0

    @property
    def has_accuracy(self) -> bool:
        """Whether a prediction is right or wrong; numbers are more or less far off."""
        return self.kind != "regression"

    def objective(self, outputs: Outputs, batch: Batch) -> tuple[Scalar, Metrics]:
        """Returns the loss of outputs [B, outputs] on a batch, mean over the batch, and its metrics."""
        objective = known_labels if self.has_unknown else _OBJECTIVES[self.kind]
        return objective(outputs, batch)

    def score(self, outputs: Outputs, batch: Batch) -> Metrics:
        """Returns the metric that needs no logits: ``accuracy`` (fraction), or of numbers ``loss``."""
        name = "accuracy" if self.has_accuracy else "loss"
        return {name: self.objective(outputs, batch)[1][name]}

    def predicted(self, outputs: Outputs, are_logits: bool) -> "Prediction":
        """Returns the predictions of outputs [N, outputs]."""
        if self.kind == "regression":
            return Prediction(outputs)
        scores = jax.nn.log_softmax(outputs) if are_logits and self.kind == "classification" else outputs
        scores = jnp.clip(scores, -_LARGEST, _LARGEST).astype(jnp.float16)
        return Prediction(scores, jnp.argmax(outputs, axis=-1) if self.kind == "classification" else None)

    def regressed(self, labels: Num[Array, "..."]) -> Float[Array, "... outputs"]:
        """Returns targets as a linear model approaches them: class indicators, labels as ±1, or numbers [B, outputs].

        The largest output, or one above zero, is then the prediction, as it is of logits. Unknown labels are 0, between
        the two.
        """
        if self.kind == "classification":
            return jax.nn.one_hot(labels, self.n_outputs)
        signs = 2 * labels - 1 if self.kind == "multilabel" else labels
        return jnp.where(jnp.isnan(labels), 0, signs) if self.has_unknown else signs


NO_TASK = Task()  # of methods that read no labels


def classification(logits: Outputs, batch: Batch) -> tuple[Scalar, Metrics]:
    """Returns the softmax cross-entropy of logits [B, classes] with a batch's labels (nats), mean over the batch.

    Beside it, ``loss`` (nats) and ``accuracy`` (fraction).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    correct = (jnp.argmax(logits, axis=-1) == batch.labels).astype(jnp.float32)
    return jnp.mean(losses), {"loss": mean_of(losses, batch), "accuracy": mean_of(correct, batch)}


def multilabel(logits: Outputs, batch: Batch) -> tuple[Scalar, Metrics]:
    """Returns the sigmoid cross-entropy of logits [B, labels] with labels of 0 and 1 (nats), mean over both axes.

    Beside it, ``loss`` (nats) and ``accuracy`` (fraction of all labels that are predicted right), means over labels.
    """
    losses = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, batch.labels), axis=-1)
    correct = jnp.mean(((logits > 0) == (batch.labels > 0)).astype(jnp.float32), axis=-1)
    return jnp.mean(losses), {"loss": mean_of(losses, batch), "accuracy": mean_of(correct, batch)}


def known_labels(logits: Outputs, batch: Batch) -> tuple[Scalar, Metrics]:
    """Returns what ``multilabel`` does, over the labels [B, labels] that are known: unknown ones are NaN."""
    known = ~jnp.isnan(batch.labels)
    labels = jnp.where(known, batch.labels, 0)
    losses = jnp.where(known, optax.sigmoid_binary_cross_entropy(logits, labels), 0)
    correct = (known & ((logits > 0) == (labels > 0))).astype(jnp.float32)
    # Sums over labels, for rows with more known ones weigh more.
    total, right, count = (mean_of(jnp.sum(each, axis=-1), batch).total for each in (losses, correct, 1.0 * known))
    return jnp.sum(losses) / jnp.maximum(jnp.sum(known), 1), {
        "loss": Mean(total, count),
        "accuracy": Mean(right, count),
    }


def regression(outputs: Outputs, batch: Batch) -> tuple[Scalar, Metrics]:
    """Returns the squared error of outputs [B, numbers] against standardised numbers, mean over both axes.

    Beside it, ``loss``: the same, so 1 is the error of the training rows' mean.
    """
    losses = jnp.mean(jnp.square(outputs - batch.labels), axis=-1)
    return jnp.mean(losses), {"loss": mean_of(losses, batch)}


_OBJECTIVES = {"classification": classification, "multilabel": multilabel, "regression": regression}
