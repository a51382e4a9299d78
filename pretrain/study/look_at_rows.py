"""Test rows that a run's arm gets wrong most surely, or by most, and numbers against their predictions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import written
from pretrain.data import Dataset
from pretrain.data.scaling import NEVER
from pretrain.runs.looks_file import Scattered, Wrong
from pretrain.runs.sample_file import is_series, reduced
from pretrain.study.arms import Arm
from pretrain.study.look_at_predictions import sigmoid
from pretrain.study.looks import Source

MOST_WRONG = 12
MOST_COLUMNS = 6  # of a table that are shown
MOST_OUTPUTS = 4
MOST_POINTS = 2000
_THERE = ("not there", "there")


class _Judged(NamedTuple):
    """Predictions of a trial, of rows or of a row's labels or numbers."""

    units: np.ndarray  # [M] int, row times outputs, plus the output where there are several
    truths: np.ndarray  # [M] class numbers, labels or numbers
    predictions: np.ndarray  # [M]
    errors: np.ndarray  # [M] how sure of what is wrong, 0 of what is right; of numbers how far above, in their units
    deviations: np.ndarray | float = 1.0  # [M] of the trial's training rows, by which errors are ranked


class _Errors(NamedTuple):
    """Predictions of an arm, over its trials."""

    units: np.ndarray  # [K]
    sizes: np.ndarray  # [K] mean error over the trials that have a unit
    ranks: np.ndarray  # [K] the same in deviations, each trial by its own
    shares: np.ndarray  # [K] of these trials, those that are wrong


def wrong(source: Source, arms: Sequence[Arm]) -> list[Wrong]:
    """Returns the rows that the first arm gets wrong most surely, or by most, beside how the second does on them.

    A row is ranked by its probability of what is wrong, or its score where scores are no probabilities, mean over
    trials, of those that are right 0; of numbers, by the mean error in deviations of the target.
    """
    arm, other = arms[0], arms[1] if len(arms) > 1 else None
    dataset = source.dataset(arm.trial_ids[0])
    n, task = len(dataset.output_names), dataset.task
    judged = [_judged(source, trial) for trial in arm.trial_ids]
    errors = _over_trials(judged)
    worst = np.argsort(-np.abs(errors.ranks), kind="stable")[:MOST_WRONG]
    worst = worst[np.abs(errors.ranks[worst]) > 0]
    units = errors.units[worst]
    beside = _over_trials([_judged(source, trial) for trial in other.trial_ids]) if other else None
    rows = units // n if task != "classification" else units
    shown = [_texts(unit, judged, dataset) for unit in units]
    places = [_place(source, arm, row) for row in rows]
    columns, cells = _cells(places)
    if task == "regression":
        sizes, shares = errors.sizes[worst], np.full(len(worst), np.nan)
        others = _at(beside, units, "sizes")
    else:
        sizes = errors.sizes[worst] / errors.shares[worst]  # where it is wrong
        shares, others = errors.shares[worst], _at(beside, units, "shares")
    has_chances = all(map(source.has_probabilities, arm.trial_ids))
    return [
        Wrong(
            trial_ids=arm.trial_ids,
            beside=other.trial_ids if other else (),
            origin="training rows of the source, of which they are cut" if dataset.origins.get("test") else "test rows",
            rows=rows,
            truths=tuple(truth for truth, _ in shown),
            predictions=tuple(prediction for _, prediction in shown),
            sizes=sizes,
            measure="error" if task == "regression" else "probability" if has_chances else "score",
            shares=shares,
            others=others,
            examples=_examples(places),
            columns=columns,
            cells=cells,
        )
    ]


def rows_of(dataset: Dataset) -> np.ndarray:
    """Returns the numbers of test rows, by which splits of several seeds have rows in common: [N]."""
    origin = dataset.origins.get("test")
    return origin.rows if origin else np.arange(len(dataset.test.labels))


def _judged(source: Source, trial: str) -> _Judged:
    """Returns a trial's predictions, unit by unit."""
    dataset, stored = source.dataset(trial), source.predictions(trial)
    scores, targets, rows = stored["scores"].astype(float), stored["targets"], rows_of(dataset)
    if dataset.task == "classification":
        known = targets >= 0
        truth, predicted, at = targets[known].astype(int), stored["classes"][known].astype(int), np.arange(known.sum())
        scores = scores[known]
        sure = np.exp(np.minimum(scores[at, predicted], 0.0))
        if not source.has_probabilities(trial):
            sure = scores[at, predicted] - scores[at, truth]
        return _Judged(rows[known], truth, predicted, np.where(truth != predicted, sure, 0.0))
    known = ~np.isnan(targets)
    units = (rows[:, None] * targets.shape[1] + np.arange(targets.shape[1]))[known]
    truth, given = targets[known], scores[known]
    if dataset.task == "multilabel":
        sure = sigmoid(np.abs(given)) if source.has_probabilities(trial) else np.abs(given)
        return _Judged(units, truth > 0, given > 0, np.where((truth > 0) != (given > 0), sure, 0.0))
    deviations = np.broadcast_to(dataset.units.deviation if dataset.units else 1.0, targets.shape)[known]
    return _Judged(units, truth, given, given - truth, deviations)


def _over_trials(judged: Sequence[_Judged]) -> _Errors:
    """Returns mean errors of units over the trials that have them."""
    units, inverse = np.unique(np.concatenate([each.units for each in judged]), return_inverse=True)
    errors = np.concatenate([each.errors for each in judged])
    ranks = np.concatenate([each.errors / each.deviations for each in judged])
    counts = np.bincount(inverse)
    return _Errors(units, *(np.bincount(inverse, each) / counts for each in (errors, ranks, errors != 0)))


def _at(errors: _Errors | None, units: np.ndarray, name: str) -> np.ndarray:
    """Returns what an arm has of some units; NaN where it has none."""
    held = dict(zip(errors.units.tolist(), getattr(errors, name).tolist(), strict=True)) if errors else {}
    return np.array([held.get(unit, np.nan) for unit in units.tolist()], float)


def _texts(unit: int, judged: Sequence[_Judged], dataset: Dataset) -> tuple[str, str]:
    """Returns a unit's target and its prediction, in words: the most frequent wrong one, or the mean of numbers."""
    held = [(each, place) for each in judged for place in np.flatnonzero(each.units == unit)]
    truth = held[0][0].truths[held[0][1]]
    predicted = np.array([each.predictions[place] for each, place in held])
    names, n = dataset.output_names, len(dataset.output_names)
    if dataset.task == "classification":
        return names[truth], names[np.bincount(predicted[predicted != truth]).argmax()]
    of = f"{names[unit % n]}: " if n > 1 else ""
    if dataset.task == "multilabel":
        return f"{of}{_THERE[int(truth)]}", f"{of}{_THERE[int(not truth)]}"
    return f"{of}{_short(truth)}", f"{of}{_short(predicted.mean())}"


def _short(number: float) -> str:
    return written(float(f"{number:.4g}"))


def _place(source: Source, arm: Arm, row: int) -> tuple[Dataset, int]:
    """Returns the test split that has a row, and its place there."""
    for trial in arm.trial_ids:
        found = np.flatnonzero(rows_of(source.dataset(trial)) == row)
        if len(found):
            return source.dataset(trial), int(found[0])
    raise ValueError(f"no test split has row {row}")


def _examples(places: Sequence[tuple[Dataset, int]]) -> np.ndarray:
    """Returns rows that are images, series or slices as they are shown, [W, H, W, C] or [W, 1, H, W, C]."""
    from pretrain.runs import samples  # takes a second

    if not places or not samples.shows(places[0][0]):
        return np.zeros((len(places), 0), np.float32)
    found = np.concatenate([samples.shown(dataset, dataset.test.inputs[[row]]) for dataset, row in places])
    return found if is_series(found.shape[1:]) else reduced(found).astype(np.float32)


def _cells(places: Sequence[tuple[Dataset, int]]) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the first columns of a table, and what rows have there, as the table has it."""
    if not places or places[0][0].has_axes:
        return (), np.zeros((len(places), 0), "U1")
    texts = [_as_given(dataset, dataset.test.inputs[row]) for dataset, row in places]
    columns = [name for name in texts[0] if all(name in each for each in texts)][:MOST_COLUMNS]
    return tuple(columns), np.array([[each[name] for name in columns] for each in texts], str)


def _as_given(dataset: Dataset, inputs: np.ndarray) -> dict[str, str]:
    """Returns a row's values by column, unscaled: numbers to six digits, categories by name, what is missing as none.

    A column of which no training row has this category has none, either, and so has one whose values its inputs do not
    tell: one value in all training rows, which others become, or what stands for a value that held-out rows lack.
    """
    scaling, values = dataset.scaling, inputs.astype(float)
    kept = scaling.kept if len(scaling.kept) else np.arange(len(values) - len(scaling.marked))
    marks = set(scaling.marked[values[len(kept) :] > 0].tolist())
    values = values[: len(kept)]
    marks |= set(kept[_unknown(dataset, values, kept)].tolist())
    if len(scaling.offset):
        values = values * np.where(scaling.divisor == NEVER, 0.0, scaling.divisor)[kept] + scaling.offset[kept]
    names = scaling.columns or [str(number) for number in range(len(kept))]
    of_table = {names[place]: "–" if place in marks else value for place, value in zip(kept, values, strict=True)}
    categories = {record.name for record in dataset.records if record.became == "categories"}
    found: dict[str, str] = {}
    for name, value in of_table.items():
        column, _, category = name.partition("=")
        if name in found or column not in categories:
            found[name] = value if isinstance(value, str) else written(float(f"{value:.6g}"))
        elif not isinstance(value, str) and value > 0.5:
            found[column] = category or "(none)"
        else:
            found.setdefault(column, "–")
    return found


def _unknown(dataset: Dataset, inputs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns which of a row's inputs, of the values that are kept, stand for other values, too: [D] bool."""
    scaling = dataset.scaling
    unknown = np.zeros(len(inputs), bool)
    if len(scaling.offset):
        unknown |= scaling.divisor[kept] == NEVER
    if len(scaling.fill):
        fill = (scaling.fill - scaling.offset) / scaling.divisor if len(scaling.offset) else scaling.fill
        whole = {record.name for record in dataset.records if record.became == "categories" or not record.missing}
        names = [name.partition("=")[0] for name in scaling.columns] or [""] * len(scaling.fill)
        lacks = np.array([names[place] not in whole and place not in scaling.marked for place in kept], bool)
        unknown |= lacks & (inputs.astype(np.float32) == fill[kept].astype(np.float32))
    return unknown


def scattered(source: Source, arms: Sequence[Arm]) -> list[Scattered]:
    """Returns numbers and their predictions, mean over each arm's trials; nothing where targets are none."""
    found = []
    for arm in arms:
        dataset = source.dataset(arm.trial_ids[0])
        if dataset.task != "regression":
            return []
        n = len(dataset.output_names)
        judged = [_judged(source, trial) for trial in arm.trial_ids]
        units, inverse = np.unique(np.concatenate([each.units for each in judged]), return_inverse=True)
        counts = np.bincount(inverse)
        sides = ("truths", "predictions")
        sums = [np.bincount(inverse, np.concatenate([getattr(each, side) for each in judged])) for side in sides]
        rows = np.unique(units // n)
        drawn = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_POINTS])
        points = np.full((min(n, MOST_OUTPUTS), len(drawn), 2), np.nan)
        for output in range(len(points)):
            at = np.flatnonzero((units % n == output) & np.isin(units // n, drawn))
            points[output, np.searchsorted(drawn, units[at] // n)] = np.stack(
                [each[at] / counts[at] for each in sums], axis=1
            )
        found.append(Scattered(arm.trial_ids, dataset.output_names[: len(points)], points, len(rows)))
    return found
