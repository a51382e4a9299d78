"""What the estimators have in common: arguments to an experiment, rows to training, and the way into a pickle."""

import contextlib
import math
import numbers
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pretrain.config import Experiment, FinetuneConfig, PretrainConfig, fitting
from pretrain.config.fields import ConfigError, replace_all
from pretrain.config.overrides import with_kinds
from pretrain.data.arrays import Arrays
from pretrain.models import in_memory
from pretrain.models.in_memory import Trained
from pretrain.plan import sizes
from pretrain.sklearn.targets import are_known, check_known

_DEFAULT = Experiment(
    seeds=1, defaults="data", pretrain=PretrainConfig(updates=1000), finetune=FinetuneConfig(updates=1000, labels=0)
)
_FIELDS = {  # of an experiment, by the argument that sets it
    "layers": "encoder.layers",
    "activation": "encoder.activation",
    "method": "pretrain.method.kind",
    "pretrain_updates": "pretrain.updates",
    "pretrain_epochs": "pretrain.epochs",
    "pretrain_batch_size": "pretrain.batch_size",
    "pretrain_learning_rate": "pretrain.optimizer.learning_rate",
    "encoder_init": "finetune.encoder_init",
    "frozen_layers": "finetune.frozen_layers",
    "readout": "finetune.readout",
    "updates": "finetune.updates",
    "epochs": "finetune.epochs",
    "batch_size": "finetune.batch_size",
    "learning_rate": "finetune.optimizer.learning_rate",
    "l2": "finetune.l2",
    "validation_fraction": "data.validation",
}
_TYPES = [np.float64, np.float32, np.uint8]  # of rows; others become the first
_SEEDS = 1 << 31
_OPTION = re.compile(r"--([a-z-]+(?:\.[a-z-]+)+)")  # of the command line, in a remedy


class Pretrained(BaseEstimator):
    """What the estimators have in common; arguments that are None leave a field as the experiment has it."""

    _with_ending = True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = in_memory.packed(Trained(state.pop("experiment_"), state["model_"]))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            state = {**state, **_attributes(in_memory.unpacked(state["model_"]))}
        super().__setstate__(state)

    def _rows(self, X: Any, reset: bool = False) -> np.ndarray:
        """Returns rows as an encoder's data door takes them: [N, D], or [N, *input_shape]."""
        if not reset:
            check_is_fitted(self)
        least = 2 if reset else 1
        rows = validate_data(
            self, X, reset=reset, dtype=_TYPES, ensure_all_finite="allow-nan", ensure_min_samples=least
        )
        if reset:
            self._is_empty = np.isnan(rows).all(axis=0)
        if self._is_empty.any():  # as a column may be in one of several folds: a constant, which no layer reads
            rows = np.where(self._is_empty, rows.dtype.type(0), rows)
        has_missing = bool(np.isnan(rows).any())
        if reset:
            self._has_missing = has_missing
        elif has_missing and not self._has_missing:
            raise ValueError("X: has missing values, of which the rows of fit had none; fill them")
        if self.input_shape is None:
            return rows
        shape = tuple(int(side) for side in self.input_shape)
        if np.prod(shape) != rows.shape[1]:
            raise ValueError(f"input_shape: {shape} has {np.prod(shape)} values, and X has {rows.shape[1]} features")
        return rows.reshape(len(rows), *shape)

    def _train(self, rows: np.ndarray, targets: np.ndarray, task: str, classes: tuple[str, ...] = ()) -> None:
        """Trains on rows and targets, which are -1 or NaN of rows without."""
        with value_errors(_axes(rows)):
            experiment, chosen = self._experiment(task)
            known = are_known(targets)
            check_known(known)
            first = np.flatnonzero(known)[:1]
            # A run measures test rows, and of validation rows those that choose nothing: here they are one row.
            held_out = ("test",) if _chooses(experiment) else ("test", "validation")
            arrays = {"train_inputs": rows, "train_labels": targets}
            for split in held_out:
                arrays |= {f"{split}_inputs": np.nan_to_num(rows[first]), f"{split}_labels": targets[first]}
            called = {name: "X" if name.endswith("inputs") else "y" for name in arrays}
            given = Arrays(arrays, called, classes)
            trained = in_memory.train(given, experiment, chosen, self._seed(), self._with_ending)
        vars(self).update(_attributes(trained))

    def _experiment(self, task: str) -> tuple[Experiment, frozenset[str]]:
        """Returns the experiment that arguments make, and the fields that they set."""
        base, values = self.experiment or _DEFAULT, {}
        if isinstance(base, Mapping):
            base, values = _DEFAULT, {name: _plain(value) for name, value in base.items()}
        if not isinstance(base, Experiment):
            raise ConfigError("experiment", base, "is no pretrain.Experiment, nor fields by dotted name")
        for name, argument in self.get_params(deep=False).items():
            if name in _FIELDS and argument is not None:
                values[_FIELDS[name]] = _plain(argument)
        for epochs, updates in (("pretrain.epochs", "pretrain.updates"), ("finetune.epochs", "finetune.updates")):
            if epochs in values and updates not in values:
                values[updates] = 0
        if isinstance(layers := values.get("encoder.layers", ()), int | str):
            values["encoder.layers"] = (layers,)
        values |= {"data.name": in_memory.NAME, "data.task": task}
        experiment = replace_all(with_kinds(base, values), values)
        return experiment, fitting.chosen(experiment, values)

    def _seed(self) -> int:
        if not isinstance(self.random_state, numbers.Integral):
            return int(check_random_state(self.random_state).randint(_SEEDS - 1))
        if not 0 <= self.random_state < _SEEDS:
            raise ConfigError("random_state", self.random_state, f"is no seed; give 0 to {_SEEDS - 1}")
        return int(self.random_state)


def _chooses(experiment: Experiment) -> bool:
    """Returns whether validation rows choose something."""
    stops = "validation" in (experiment.finetune.stop, experiment.pretrain.stop)
    return stops or experiment.finetune.readout not in ("none", "logistic")


def _attributes(trained: Trained) -> dict[str, Any]:
    return {"experiment_": trained.experiment, "model_": trained.model}


def _plain(value: Any) -> Any:
    """Returns a value as configs have it: Python's own numbers, and tuples."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _axes(rows: np.ndarray) -> str:
    """Returns how to say what axes rows have, that convolutions go along."""
    if rows.ndim > 2:
        forms = {3: '"images"}, or "series"', 4: '"images"}'}.get(rows.ndim, '"volumes"}')
        return f'experiment={{"data.inputs": {forms}'
    side = math.isqrt(rows.shape[1])
    return f"input_shape={(side, side)}" if side**2 == rows.shape[1] else "the sides of a row by input_shape"


@contextlib.contextmanager
def value_errors(axes: str = "") -> Iterator[None]:
    """Turns faults to those that scikit-learn expects, with arguments in the place of fields and options.

    Args:
      axes: how to say what axes rows have.
    """
    try:
        yield
    except ConfigError as fault:
        text = re.sub(
            _OPTION, lambda option: option[1].replace("-", "_"), str(fault).replace(sizes.OF_SERIES, f" {axes}")
        )
        for argument, field in _FIELDS.items():
            text = re.sub(rf"\b{re.escape(field)}\b", argument, text)
        raise ValueError(text) from None
