"""Caps on the time and memory of a question about many or wide rows: held-out rows, updates, splits, and the pool."""

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from pretrain.config import grids
from pretrain.config.experiment import Experiment
from pretrain.config.fields import get
from pretrain.config.fitting import CAPPED, Fitted, values_of

_MOST_WORK = 90e12  # FLOP: half an hour at 50 GFLOP/s, which two cores reach
_RATE = 50e9
_MOST_BYTES = 2e9  # of training rows, over all cuts
_VALIDATION = 5_000  # rows, of a run of more work
_LEAST = {"finetune.updates": 400, "pretrain.updates": 2_000}


class Size(NamedTuple):
    """The sizes of data that decide time and memory."""

    n_labelled: int  # training rows with a label
    n_examples: int  # training rows, with a label or without
    n_values: int  # of a row
    n_validation: int
    cuts_validation: bool  # from training rows; rather than to have arrays of its own


def capped(before: Fitted, chosen: Collection[str], size: Size) -> Fitted:
    """Returns an experiment whose training takes about half an hour on two cores at most, and whose rows fit memory.

    Fewer validation rows come first, then fewer updates, as far as trials still learn: at least 400, of pretraining
    2,000.
    """
    if values_of(before.experiment, "data.name") == ["mnist"]:  # whose stages and numbers stay
        return before
    made, work = _of_memory(before, chosen, size), _work(before.experiment, size)
    if work > _MOST_WORK and size.cuts_validation and size.n_validation > _VALIDATION:
        made = _changed(made, "data.validation", chosen, lambda _: _VALIDATION, _reason(work))
        if made.experiment.data.validation == _VALIDATION:
            size = size._replace(n_validation=_VALIDATION)
    work = _work(made.experiment, size)
    for name in CAPPED if work > _MOST_WORK else ():
        made = made.changed(name, chosen, _fewer(name, _MOST_WORK / work), _reason(work))
    return made


def _changed(made: Fitted, name: str, chosen: Collection[str], fit: Callable[[Any], Any], reason: str) -> Fitted:
    """Returns an experiment with a default fitted once more, and the last line about it alone."""
    others = tuple(note for note in made.notes if not note.startswith(f"{name}: "))
    changed = made.changed(name, chosen, fit, reason)
    return made if changed is made else changed._replace(notes=(*others, *changed.notes[len(made.notes) :]))


def _fewer(name: str, share: float) -> Callable[[int], int]:
    return lambda updates: min(updates, max(_LEAST[name], int(share * updates) // 50 * 50))


def _reason(work: float) -> str:
    return f"training would take {work / 1e12:,.0f} TFLOP, {work / _RATE / 60:,.0f} min at {_RATE / 1e9:.0f} GFLOP/s"


def _of_memory(made: Fitted, chosen: Collection[str], size: Size) -> Fitted:
    """Returns an experiment of one cut, rather than one a seed, or of a smaller pool, where rows would not fit."""
    rows = _MOST_BYTES / (4 * size.n_values)
    n_cuts = made.experiment.seeds if made.experiment.data.splits == "fresh" else 1
    if n_cuts * size.n_labelled > rows:
        gigabytes = n_cuts * size.n_labelled * size.n_values * 4e-9
        reason = f"{n_cuts} cuts of {size.n_labelled:,} rows take {gigabytes:,.1f} GB"
        made, n_cuts = _changed(made, "data.splits", chosen, lambda _: "fixed", reason), 1
    pool, most = size.n_examples - size.n_labelled, max(size.n_labelled, int(rows / n_cuts) - size.n_labelled)
    if pool > most:
        reason = f"{pool:,} rows without a label take {pool * n_cuts * size.n_values * 4e-9:,.1f} GB"
        made = made.changed("data.unlabelled", chosen, lambda all_or_n: most if all_or_n == "all" else all_or_n, reason)
    return made


def _work(experiment: Experiment, size: Size) -> float:
    """Returns the arithmetic of dense networks in training, all updates made (FLOP); frozen layers count for nothing.

    An update takes six operations a weight and row, a measurement two; an autoencoder has two weights for each.
    """
    widths = [size.n_values, *(units if isinstance(units, int) else 300 for units in experiment.encoder.layers)]
    weights = sum(math.prod(pair) for pair in itertools.pairwise(widths))
    points = list(grids.points(experiment.sweep))
    tuned = [point for point in points if _at(experiment, point, "finetune.readout") == "none"]
    trained = [point for point in tuned if _at(experiment, point, "finetune.frozen_layers") != "all"]
    others = {tuple((name, point[name]) for name in point if not name.startswith("finetune.")) for point in tuned}
    counts = {"finetune": len(trained), "pretrain": 2 * len(others)}
    return experiment.seeds * weights * sum(n * _of_section(experiment, name, size) for name, n in counts.items())


def _of_section(experiment: Experiment, name: str, size: Size) -> float:
    """Returns the operations of the updates and measurements of one stage, a weight."""
    updates, every = get(experiment, f"{name}.updates"), get(experiment, f"{name}.validate_every")
    batch_size = max(values_of(experiment, f"{name}.batch_size"))
    return updates * (6 * batch_size + (2 * size.n_validation / every if every else 0))


def _at(experiment: Experiment, point: Mapping[str, Any], name: str) -> Any:
    return point.get(name, get(experiment, name))
