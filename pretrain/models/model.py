"""A network to use: codes, classes, probabilities and numbers of raw rows."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.data import given
from pretrain.data.given import Given
from pretrain.data.inputs_file import Inputs
from pretrain.learn.layers import Params
from pretrain.learn.stack import Stack
from pretrain.models import forward

_WITHOUT_PROBABILITIES = ("ridge",)  # endings whose outputs are no logits
_FIELD = "rows"
_ROUNDING = 1e-3  # of a vote


class Evaluated(NamedTuple):
    """Predictions of rows, as ``Model.predict`` and ``Model.predict_proba`` return them."""

    predictions: np.ndarray
    probabilities: np.ndarray | None  # None where outputs are none


class Member(NamedTuple):
    """One of the networks of a model."""

    params: Params
    inputs: Inputs  # how rows become inputs: on splits of its own, a network has a scale of its own


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A network, or an ensemble of several that differ in their seed.

    Rows are of any form that ``data.name`` takes: the path of a file, a folder or a function, an array, and of a
    network on tables a frame of pandas, polars or Arrow, or columns by name. They are scaled as training rows were. A
    row's result depends on no other row.
    """

    stack: Stack
    ending: str  # how outputs are made of codes: finetuning, ridge, logistic, knn
    members: tuple[Member, ...]
    block: int = 1000  # rows that are computed at once
    name: str = ""  # of its arm, and its seeds

    def __repr__(self) -> str:
        return f"<Model {self.name or self.ending} of {len(self.stack.layers)} layers, {self.inputs.task}>"

    @property
    def inputs(self) -> Inputs:
        """How rows become inputs; what is read of them, targets and outputs are the same for all networks."""
        return self.members[0].inputs

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of classes, labels or numbers, in the order of columns of ``predict_proba``."""
        return self.inputs.output_names

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Classes as ``predict`` gives them: [classes] int64 where all names are whole numbers, else texts."""
        names = np.array(self.classes)
        try:
            numbers = np.array([int(name) for name in self.classes], np.int64)
        except (ValueError, OverflowError):
            return names
        return numbers if (numbers.astype(str) == names).all() else names

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs are probabilities."""
        return self.inputs.task != "regression" and self.ending not in _WITHOUT_PROBABILITIES

    def encode(self, rows: Any, layers: int | None = None) -> np.ndarray:
        """Returns the codes of rows: [N, *codes] float32.

        Args:
          rows: see above.
          layers: how many of the lowest; by default all.

        Raises:
          ConfigError: rows differ from training rows, or it is an ensemble, whose networks have codes of their own.
        """
        if len(self.members) > 1:
            raise ConfigError("model", self.name, "is an ensemble, which has no codes; take one seed")
        depth = len(self.stack.layers)
        if layers is not None and not 0 <= layers <= depth:
            raise ConfigError("layers", layers, f"is no number of its {depth} layers; give 0 to {depth}")
        run = functools.partial(forward.codes, self._fast, depth if layers is None else layers, self._placed[0])
        return self._rows(run, self.read(rows), self.inputs)

    def predict(self, rows: Any) -> np.ndarray:
        """Returns the predictions of rows.

        They are classes [N], as ``labels`` has them; of several labels, 1 where one is there and 0 where it is not [N,
        labels]; or numbers in their units, [N] of one and [N, numbers] of several, float64. An ensemble's are those of
        its mean.

        Raises:
          ConfigError: rows differ from training rows.
        """
        return self.evaluate(rows).predictions

    def predict_proba(self, rows: Any) -> np.ndarray:
        """Returns probabilities: of each class [N, classes], whose sum is 1; or of each label [N, labels]. float32.

        Those of neighbours are shares of votes. An ensemble's are means over its networks (Lakshminarayanan et al.,
        2017).

        Raises:
          ConfigError: rows differ from training rows, or outputs are no probabilities: numbers, and ridge regression's.
        """
        if not self.has_probabilities:
            of = "numbers" if self.inputs.task == "regression" else f"{self.ending} regression"
            raise ConfigError("probabilities", self.name, f"are not there, of {of}; predict gives its predictions")
        probabilities = self.evaluate(rows).probabilities
        assert probabilities is not None
        return probabilities

    def evaluate(self, rows: Any) -> Evaluated:
        """Returns what ``predict`` and ``predict_proba`` return, in one pass.

        Raises:
          ConfigError: rows differ from training rows.
        """
        read = self.read(rows)
        outputs, probabilities = [], []
        for member, params in zip(self.members, self._placed, strict=True):
            run = functools.partial(forward.outputs, self._fast, self.ending, params)
            made = self._rows(run, read, member.inputs)
            if self.has_probabilities:
                probabilities.append(self._probabilities(made, params))
            units = member.inputs.units
            outputs.append(units.restored(made) if units else made)
        mean = _mean(probabilities) if probabilities else None
        if len(self.members) == 1 or mean is None or self.ending == forward.NEIGHBOURS:
            # As in training: of equal votes the nearest neighbour's class, and labels by the sign of a logit.
            return Evaluated(self._decided(_mean(outputs), 0.0), mean)
        return Evaluated(self._decided(mean, 0.5), mean)

    def read(self, rows: Any) -> Given:
        """Returns rows in the form in which they are scaled; notes on them are warnings.

        Raises:
          ConfigError: they differ from training rows; names all that does.
        """
        if isinstance(rows, Given):
            return rows
        read = given.read(rows, self.inputs, _FIELD)
        for note in read.notes:
            warnings.warn(note, stacklevel=3)
        return read

    @functools.cached_property
    def _fast(self) -> Stack:
        return forward.outside_of_loops(self.stack)

    @functools.cached_property
    def _placed(self) -> tuple[Any, ...]:
        return tuple(jax.device_put(member.params) for member in self.members)

    def _rows(self, run: Callable[[np.ndarray], jax.Array], read: Given, inputs: Inputs) -> np.ndarray:
        blocks = list(forward.in_blocks(run, inputs.scaling.applied, read.rows, self.block))
        if not blocks:
            raise ConfigError(_FIELD, len(read.rows), "rows are none; give some")
        return np.concatenate(blocks)

    def _decided(self, outputs: np.ndarray, threshold: float) -> np.ndarray:
        """Returns the predictions that outputs make [N, outputs]; a label is there above a threshold."""
        if self.inputs.task == "classification":
            return self.labels[np.argmax(outputs, axis=1)]
        if self.inputs.task == "multilabel":
            return (outputs > threshold).astype(np.int8)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _probabilities(self, outputs: np.ndarray, params: Any) -> np.ndarray:
        """Returns the probabilities of a network's outputs: [N, outputs] float32."""
        if self.ending == forward.NEIGHBOURS:
            if self.inputs.task == "multilabel":
                return (outputs + 1) / 2
            count = np.float32(params["neighbours"]["count"])
            # Without the part of a vote, in ``probes.voted``, that orders equals.
            return np.ceil(outputs * count - _ROUNDING) / count
        of_logits = jax.nn.softmax if self.inputs.task == "classification" else jax.nn.sigmoid
        return np.asarray(of_logits(outputs))


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of arrays; of one, the array itself."""
    total = functools.reduce(np.add, arrays)
    return total / total.dtype.type(len(arrays)) if len(arrays) > 1 else total
