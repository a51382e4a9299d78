"""Tasks: targets are a class, labels that are there or not, or numbers; each with its loss."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Num

from pretrain.config.kinds import TaskKind
from pretrain.learn.annotations import Array, Outputs, Scalar
from pretrain.learn.metrics import Batch, Mean, Metrics, mean_of

Weights = Float[Array, "rows ..."] | None  # of classes or labels
_LARGEST = 60_000.0  # that float16 holds


class Prediction(NamedTuple):
    """Predictions of a network."""

    # Of classes, logarithms of probabilities, or the outputs where these are no logits; of labels, logits; float16.
    # Of numbers, these, float32.
    scores: jax.Array  # [N, outputs]
    classes: jax.Array | None = None  # [N] int32, that of the largest output; the lowest of equals


class Weighed(NamedTuple):
    """Targets of a batch, each with its weight in the loss to minimise."""

    targets: jax.Array  # [B, ...]
    weights: jax.Array  # float32, of the same shape


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
        if self.kind == "regression":
            return regression(outputs, batch)
        of_labels = known_labels if self.has_unknown else multilabel
        objective = classification if self.kind == "classification" else of_labels
        if isinstance(batch.labels, Weighed):
            return objective(outputs, batch._replace(labels=batch.labels.targets), batch.labels.weights)
        return objective(outputs, batch)

    def balancing(self, labels: Num[Array, "rows ..."]) -> Float[Array, "..."]:
        """Returns the weights by which each class has the same total over some rows, and rows the mean 1.

        They are n / (k n_c), for n_c of n rows and k classes that occur, as of scikit-learn's ``compute_class_weight``
        (King and Zeng, 2001): [classes]; or of each label's negatives and positives [2, labels], over known ones.
        """
        if self.kind == "classification":
            return _balancing(jax.nn.one_hot(labels, self.n_outputs))
        return jax.vmap(_balancing, in_axes=1, out_axes=1)(jnp.stack([labels == 0, labels > 0], axis=-1) * 1.0)

    def weighed(self, labels: Num[Array, "rows ..."], weights: Float[Array, "..."] | None) -> Any:
        """Returns targets with the weights of ``balancing``; without any, as they are."""
        if weights is None:
            return labels
        if self.kind == "classification":
            return Weighed(labels, weights[labels])
        negative, positive = (jnp.broadcast_to(each, labels.shape) for each in weights)
        return Weighed(labels, jnp.where(labels > 0, positive, negative))

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


def _balancing(members: Float[Array, "rows classes"]) -> Float[Array, " classes"]:
    counts = jnp.sum(members, axis=0)
    n_present = jnp.sum(counts > 0)
    return jnp.where(counts > 0, jnp.sum(counts) / (n_present * jnp.maximum(counts, 1)), 0)


NO_TASK = Task()  # of methods that read no labels


def _weighted(losses: Float[Array, "rows ..."], weights: Float[Array, "rows ..."], batch: Batch) -> Metrics:
    """Returns ``weighted_loss``, the weighted mean of losses."""
    total, count = (
        mean_of(jnp.sum(each.reshape(len(each), -1), axis=-1), batch).total for each in (losses * weights, weights)
    )
    return {"weighted_loss": Mean(total, count)}


def classification(logits: Outputs, batch: Batch, weights: Weights = None) -> tuple[Scalar, Metrics]:
    """Returns the softmax cross-entropy of logits [B, classes] with a batch's labels (nats), mean over the batch.

    Beside it, ``loss`` (nats) and ``accuracy`` (fraction), which weights leave alone, and of weights ``weighted_loss``.
    The loss of weights is divided by the number of examples, not by the sum of their weights: the labelled rows' mean
    weight is 1, so that its expectation is their weighted mean, where a batch of one class would weigh as any other.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    correct = (jnp.argmax(logits, axis=-1) == batch.labels).astype(jnp.float32)
    minimised = jnp.mean(losses if weights is None else losses * weights)
    metrics = {"loss": mean_of(losses, batch), "accuracy": mean_of(correct, batch)}
    return minimised, metrics if weights is None else {**metrics, **_weighted(losses, weights, batch)}


def multilabel(logits: Outputs, batch: Batch, weights: Weights = None) -> tuple[Scalar, Metrics]:
    """Returns the sigmoid cross-entropy of logits [B, labels] with labels of 0 and 1 (nats), mean over both axes.

    Beside it, ``loss`` (nats) and ``accuracy`` (fraction of all labels that are predicted right), means over labels.
    """
    of_labels = optax.sigmoid_binary_cross_entropy(logits, batch.labels)
    losses = jnp.mean(of_labels, axis=-1)
    correct = jnp.mean(((logits > 0) == (batch.labels > 0)).astype(jnp.float32), axis=-1)
    minimised = jnp.mean(losses if weights is None else of_labels * weights)
    metrics = {"loss": mean_of(losses, batch), "accuracy": mean_of(correct, batch)}
    return minimised, metrics if weights is None else {**metrics, **_weighted(of_labels, weights, batch)}


def known_labels(logits: Outputs, batch: Batch, weights: Weights = None) -> tuple[Scalar, Metrics]:
    """Returns what ``multilabel`` does, over the labels [B, labels] that are known: unknown ones are NaN."""
    known = ~jnp.isnan(batch.labels)
    labels = jnp.where(known, batch.labels, 0)
    losses = jnp.where(known, optax.sigmoid_binary_cross_entropy(logits, labels), 0)
    correct = (known & ((logits > 0) == (labels > 0))).astype(jnp.float32)
    # Sums over labels, for rows with more known ones weigh more.
    total, right, count = (mean_of(jnp.sum(each, axis=-1), batch).total for each in (losses, correct, 1.0 * known))
    weighed = losses if weights is None else losses * weights
    minimised = jnp.sum(weighed) / jnp.maximum(jnp.sum(known), 1)
    metrics = {"loss": Mean(total, count), "accuracy": Mean(right, count)}
    if weights is not None:
        metrics |= _weighted(losses, jnp.where(known, weights, 0), batch)
    return minimised, metrics


def regression(outputs: Outputs, batch: Batch) -> tuple[Scalar, Metrics]:
    """Returns the squared error of outputs [B, numbers] against standardised numbers, mean over both axes.

    Beside it, ``loss``: the same, so 1 is the error of the training rows' mean.
    """
    losses = jnp.mean(jnp.square(outputs - batch.labels), axis=-1)
    return jnp.mean(losses), {"loss": mean_of(losses, batch)}
