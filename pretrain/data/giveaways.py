"""Columns that give the target away: row numbers that predict it, and columns by which it is all but known."""

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import some
from pretrain.config.kinds import TaskKind
from pretrain.data.findings import Finding, Severity
from pretrain.data.scaling import Column

_MOST_ROWS, _FEWEST_ROWS, _MOST_NUMBERS = 2000, 50, 10_000_000  # numbers that are looked at
_MOST_COLUMNS, _MOST_OUTPUTS, _MOST_TRIED, _MOST_NAMED = 1000, 5, 50, 5
_TWENTIETH, _BETTER = 0.05, 0.8  # of the error without inputs: of a giveaway, and of a row number that predicts
_FAULTLESS = 40  # rows of other classes than the most frequent, of which none is wrong
_SURE = 4.0  # standard errors below the error without inputs
_FOLDS, _LEAVES = 5, 64


class _Key(NamedTuple):
    """A column of the source, or the number of its category."""

    name: str
    values: np.ndarray  # [N]
    is_number: bool


def found(
    inputs: np.ndarray, labels: np.ndarray, task: TaskKind, columns: Sequence[Column], target: str
) -> Iterator[Finding]:
    """Yields columns that give the target away, by trees of one column each, cross-fitted on few training rows.

    Inputs are training rows [N, D] before they are scaled, as ``Split`` has the labels; others have no columns.
    """
    if inputs.ndim != 2:
        return
    outputs = [labels] if task == "classification" else list(labels.T[:_MOST_OUTPUTS])
    giveaways: dict[str, float] = {}
    numbers: dict[str, float] = {}
    for output in outputs:
        known = np.flatnonzero(output >= 0 if task == "classification" else ~np.isnan(output))
        most = min(_MOST_ROWS, max(_FEWEST_ROWS, _MOST_NUMBERS // inputs.shape[1]))
        rows = np.random.default_rng(0).permutation(known)[:most]
        if len(rows) < _FEWEST_ROWS:
            continue
        truth = output[rows]
        if task == "regression":
            truth = truth.astype(np.float64) - truth.mean(dtype=np.float64)
        for key in _candidates(_keys(inputs[rows], columns), truth, task):
            error = _cross_fitted(key.values, truth, task)
            if key.is_number and _are_row_numbers(key, inputs, columns) and error <= _threshold(truth, task):
                numbers[key.name] = min(error, numbers.get(key.name, 1.0))
            elif error + _doubt(error, truth, task) <= _TWENTIETH or _is_faultless(error, truth, task):
                giveaways[key.name] = min(error, giveaways.get(key.name, 1.0))
    called = "the mean" if task == "regression" else "the most frequent class"
    for kind, errors in (("row numbers that predict the target", numbers), ("a giveaway of the target", giveaways)):
        if errors:
            shares = [f"{name} ({error:.1%} of the error of {called})" for name, error in errors.items()]
            listed = some(shares, _MOST_NAMED)
            what = "all-different whole numbers predict" if errors is numbers else "a single column predicts"
            names = list(errors)[:_MOST_NAMED]
            leave = f"--data.drop {shlex.join(names)}" if columns else f"leave {', '.join(names)} out of the inputs"
            remedy = f"if new rows would not have it before their target: {leave}"
            # Where many columns each do, as neighbours in a spectrum, that is the nature of the data.
            severity: Severity = "doubt" if len(errors) <= _MOST_NAMED else "note"
            yield Finding(kind, f"{what} {target}: {listed}", severity, remedy, {"errors": errors})


def _keys(values: np.ndarray, columns: Sequence[Column]) -> list[_Key]:
    """Returns the columns of a source, of values [N, D] of which several may be categories of one column."""
    names = [column.name for column in columns] or [str(place) for place in range(values.shape[1])]
    is_number = [column.category is None for column in columns] or [True] * len(names)
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    keys = []
    for name, at in places.items():
        column = values[:, at[0]] if len(at) == 1 else values[:, at].argmax(axis=1)
        column = column.astype(np.float64)
        missing = np.isnan(column)
        if missing.any() and not missing.all():
            column[missing] = column[~missing].min() - 1  # a value of their own
        if not missing.all() and column.min() < column.max():
            keys.append(_Key(name, column, is_number[at[0]]))
    return keys


def _candidates(keys: Sequence[_Key], truth: np.ndarray, task: TaskKind) -> list[_Key]:
    """Returns the columns along which neighbours are far more alike in the target than rows at random."""
    if len(keys) > _MOST_COLUMNS:
        keys = _most_related(keys, truth, task)
    unlike = [_difference(truth[np.argsort(key.values, kind="stable")], task) for key in keys]
    at_random = _difference(truth, task)
    order = [place for place in np.argsort(unlike, kind="stable").tolist() if unlike[place] <= _BETTER * at_random]
    return [keys[place] for place in order[:_MOST_TRIED]]


def _difference(truth: np.ndarray, task: TaskKind) -> float:
    """Returns how much neighbours differ, in a random order or another."""
    return float(np.mean(np.square(np.diff(truth)) if task == "regression" else truth[1:] != truth[:-1]))


def _most_related(keys: Sequence[_Key], truth: np.ndarray, task: TaskKind) -> list[_Key]:
    """Returns the columns whose variance the target explains best."""
    wanted = truth[:, None] if task == "regression" else (truth[:, None] == np.unique(truth)[:_LEAVES]).astype(float)
    basis = np.linalg.qr(wanted - wanted.mean(axis=0))[0]
    centred = np.stack([key.values - key.values.mean() for key in keys], axis=1)
    share = np.square(basis.T @ centred).sum(axis=0) / np.square(centred).sum(axis=0)
    return [keys[place] for place in np.argsort(-share, kind="stable")[:_MOST_COLUMNS].tolist()]


def _cross_fitted(values: np.ndarray, truth: np.ndarray, task: TaskKind) -> float:
    """Returns the error of trees on rows that they were not fitted to, as a part of the error without inputs."""
    from sklearn.model_selection import KFold  # takes a second, and few tables need it
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeRegressor if task == "regression" else DecisionTreeClassifier
    tree = kind(max_leaf_nodes=max(_LEAVES, 2 * len(np.unique(truth)) if task != "regression" else 0), random_state=0)
    error = 0.0
    for fitted, left in KFold(_FOLDS, shuffle=True, random_state=0).split(truth):
        predicted = tree.fit(values[fitted, None], truth[fitted]).predict(values[left, None])
        wrong = np.square(predicted - truth[left]) if task == "regression" else predicted != truth[left]
        error += float(wrong.sum())
    return error / len(truth) / _without_inputs(truth, task)


def _doubt(error: float, truth: np.ndarray, task: TaskKind) -> float:
    """Returns by how much more a column may be wrong than it was found to be, for few rows (95 %)."""
    if task == "regression":
        return 0.0
    usual = _without_inputs(truth, task) * len(truth)
    return (3 + 1.64 * float(np.sqrt(error * usual))) / usual  # of Poisson counts


def _is_faultless(error: float, truth: np.ndarray, task: TaskKind) -> bool:
    """Returns whether a column is never wrong, on rows enough for that to be no luck."""
    return task != "regression" and error == 0 and _without_inputs(truth, task) * len(truth) >= _FAULTLESS


def _without_inputs(truth: np.ndarray, task: TaskKind) -> float:
    """Returns the error of the most frequent class, or of the mean."""
    if task == "regression":
        return float(truth.var()) or np.inf
    return 1 - float(np.unique(truth, return_counts=True)[1].max()) / len(truth) or np.inf


def _threshold(truth: np.ndarray, task: TaskKind) -> float:
    """Returns the error, as a part of the error without inputs, up to which a row number predicts for certain."""
    if task == "regression":
        return _BETTER
    usual = _without_inputs(truth, task)
    return min(_BETTER, 1 - _SURE * float(np.sqrt(max(1 - usual, 0) / usual / len(truth))))


def _are_row_numbers(key: _Key, inputs: np.ndarray, columns: Sequence[Column]) -> bool:
    """Returns whether a column has whole numbers alone, each once, in all training rows."""
    if len(np.unique(key.values)) < len(key.values) or (key.values != np.rint(key.values)).any():
        return False
    place = [column.name for column in columns].index(key.name) if columns else int(key.name)
    whole = inputs[:, place]
    return bool((whole == np.rint(whole)).all()) and len(np.unique(whole)) == len(whole)
