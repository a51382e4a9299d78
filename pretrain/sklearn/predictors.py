"""A classifier and a regressor on a pretrained encoder."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_consistent_length
from sklearn.utils.metaestimators import available_if

from pretrain.config import Experiment
from pretrain.sklearn.common import Pretrained, value_errors
from pretrain.sklearn.targets import are_known, check_given, check_known, classes_of, labelled, numbers_of


class _Predictor(Pretrained):
    """A network that ends in predictions."""

    def __init__(
        self,
        layers: Any = None,
        *,
        activation: str | None = None,
        encoder_init: str | None = None,
        method: str | None = None,
        pretrain_updates: int | None = None,
        pretrain_epochs: int | None = None,
        pretrain_batch_size: int | None = None,
        pretrain_learning_rate: float | None = None,
        frozen_layers: int | str | None = None,
        readout: str | None = None,
        updates: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        l2: float | None = None,
        validation_fraction: float | None = None,
        input_shape: Sequence[int] | None = None,
        experiment: Experiment | Mapping[str, Any] | None = None,
        random_state: Any = None,
    ):
        vars(self).update((name, value) for name, value in locals().items() if name != "self")

    def _score(
        self, measure: Callable[..., float], targets: np.ndarray, known: np.ndarray, predicted: np.ndarray, weights: Any
    ) -> float:
        """Returns a measure of the predictions [N, ...] of rows, by the targets [M, ...] of the known ones."""
        check_consistent_length(predicted, known, weights)
        check_known(known)
        chosen = None if weights is None else np.asarray(weights)[known]
        return float(measure(targets, predicted[known], sample_weight=chosen))


_HAS_PROBABILITIES = available_if(
    lambda self: self.model_.has_probabilities if hasattr(self, "model_") else self.readout != "ridge"
)


class PretrainedClassifier(ClassifierMixin, _Predictor):
    """A classifier on a pretrained encoder; rows without a label pretrain only.

    Arguments are those of ``PretrainedEncoder``, and:

    Args:
      encoder_init: where the encoder starts: pretrained; he, afresh, to compare with; or another of
        ``finetune.encoder_init``.
      frozen_layers: layers, from the rows up, that fine-tuning leaves as they are, or ``"all"``.
      readout: in place of fine-tuning: logistic, linear, ridge, knn or trees; ridge has no ``predict_proba``.
      updates: of fine-tuning (updates).
      epochs: in their place (passes over the rows with a target).
      batch_size: rows per update.
      learning_rate: of the optimizer.
      l2: penalty of the kernels.

    Attributes:
      classes_: the labels, sorted: [K].
      model_: the network, a ``pretrain.models.model.Model``.
      experiment_: the experiment whose only trial it is.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Pretrains on all rows [N, D], and fine-tunes on those with a label.

        Args:
          X: rows.
          y: labels [N]. None, NaN, the missing values of pandas and empty texts are no label, nor is -1 among
            integers, unless 1 is the only other one.

        Raises:
          ValueError: rows or arguments do not fit; names all that do not.
        """
        check_given(self, X, y)
        rows = self._rows(X, reset=True)
        self.classes_, targets = classes_of(X, y)
        if len(self.classes_) < 2:
            raise ValueError(f"y: has one class, {self.classes_.tolist()}; give rows of two classes or more")
        self._train(rows, targets, "classification", tuple(self.classes_.astype(str)))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Returns the labels of rows: [N]."""
        rows = self._rows(X)
        with value_errors():
            predicted = self.model_.predict(rows)
        named = self.model_.labels  # in the order of ``classes_``
        order = np.argsort(named)
        return self.classes_[order[np.searchsorted(named, predicted, sorter=order)]]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns the accuracy on rows with a label, as ``fit`` has them; -1 is a label if it was one there.

        Raises:
          ValueError: no row has one.
        """
        predicted = self.predict(X)
        return self._score(accuracy_score, *labelled(y, self.classes_), predicted, sample_weight)

    @_HAS_PROBABILITIES
    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the probability of each of ``classes_``: [N, K] float32."""
        rows = self._rows(X)
        with value_errors():
            return self.model_.predict_proba(rows)


class PretrainedRegressor(RegressorMixin, _Predictor):
    """A regressor on a pretrained encoder; rows without a target pretrain only.

    Arguments and attributes are those of ``PretrainedClassifier``, but for the classes.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output, tags.target_tags.multi_output = True, True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Pretrains on all rows [N, D], and fine-tunes on those with a target.

        Args:
          X: rows.
          y: numbers [N] or [N, L]; NaN and None are no target, and a row that lacks one of several has none.

        Raises:
          ValueError: rows or arguments do not fit; names all that do not.
        """
        check_given(self, X, y)
        rows = self._rows(X, reset=True)
        self._train(rows, numbers_of(X, y), "regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Returns numbers in the units of the targets: [N], of several [N, L]; float64."""
        rows = self._rows(X)
        with value_errors():
            return self.model_.predict(rows)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns R² on rows with a target, as ``fit`` has them; of several numbers the mean.

        Raises:
          ValueError: no row has one.
        """
        predicted, targets = self.predict(X), numbers_of(X, y)
        known = are_known(targets)
        return self._score(r2_score, targets[known], known, predicted, sample_weight)
