"""A transformer: rows to the codes of a pretrained encoder."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from pretrain.config import Experiment
from pretrain.sklearn.common import Pretrained, value_errors
from pretrain.sklearn.targets import are_numbers, classes_of, numbers_of


class PretrainedEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Pretrained):
    """Codes of an encoder that is pretrained on the rows of ``fit``, with their targets or without.

    Arguments that are None leave what ``experiment`` says; without one, layers, batches and noise follow the data, and
    each stage of training makes 1,000 updates.

    Args:
      layers: of the encoder, from the rows up, as ``encoder.layers``: units, or words such as ``"32c5s2"``.
      activation: of every layer.
      method: what layers are trained for: autoencoder, rbm, pca, or supervised, which reads the targets.
      pretrain_updates: of each stage of pretraining (updates).
      pretrain_epochs: in their place (passes over the rows).
      pretrain_batch_size: rows per update.
      pretrain_learning_rate: of the optimizer.
      validation_fraction: of the rows, held out where something is chosen by them, as under ``stop validation``.
      input_shape: of a row, where columns are an image, a series or a volume: ``(28, 28)``.
      experiment: all other fields: a ``pretrain.Experiment`` without a sweep, or a dictionary by dotted name.
      random_state: the seed of all draws, that of the same trial of a run.

    Attributes:
      model_: the network, a ``pretrain.models.model.Model``.
      experiment_: the experiment whose only trial it is.
    """

    _with_ending = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # that codes have
        return tags

    def __init__(
        self,
        layers: Any = None,
        *,
        activation: str | None = None,
        method: str | None = None,
        pretrain_updates: int | None = None,
        pretrain_epochs: int | None = None,
        pretrain_batch_size: int | None = None,
        pretrain_learning_rate: float | None = None,
        validation_fraction: float | None = None,
        input_shape: Sequence[int] | None = None,
        experiment: Experiment | Mapping[str, Any] | None = None,
        random_state: Any = None,
    ):
        vars(self).update((name, value) for name, value in locals().items() if name != "self")

    def fit(self, X: Any, y: Any = None) -> Self:
        """Pretrains the encoder on rows [N, D]; targets are read by supervised methods alone.

        Raises:
          ValueError: rows or arguments do not fit; names all that do not.
        """
        rows = self._rows(X, reset=True)
        if y is None or not self._reads_labels():
            # A dataset has targets, which no stage reads.
            self._train(rows, np.arange(len(rows)) % 2, "classification", ("0", "1"))
        elif are_numbers(y):
            self._train(rows, numbers_of(X, y), "regression")
        else:
            classes, targets = classes_of(X, y)
            self._train(rows, targets, "classification", tuple(classes.astype(str)))
        self._n_features_out = self.model_.stack.n_codes
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Returns the codes of rows: [N, codes] float32."""
        rows = self._rows(X)
        with value_errors():
            return self.model_.encode(rows).reshape(len(rows), -1)

    def _reads_labels(self) -> bool:
        with value_errors():
            return self._experiment("auto")[0].points[0].settings.greedy_method.reads_labels
