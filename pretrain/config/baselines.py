"""Baselines on raw inputs, which `study.baselines` sets beside the arms of a question: points of their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

READOUTS = ("linear", "knn", "trees")  # of raw inputs, each tuned on validation rows by itself
_INIT, READOUT = "finetune.encoder_init", "finetune.readout"
_CONDITIONS = ("finetune.labels", "finetune.label_subset")  # and fields of data, that baselines share with arms
_OF_PRETRAINING = ("data.unlabelled", "data.pretrain_on")


def condition(point: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the swept values of a point that decide its rows, and so which baselines stand beside it."""
    kept = {name: value for name, value in point.items() if value is not None and name not in _OF_PRETRAINING}
    return {name: value for name, value in kept.items() if name in _CONDITIONS or name.startswith("data.")}


def with_baselines(points: Sequence[Mapping[str, Any]], init: str) -> Iterator[dict[str, Any]]:
    """Yields points of a sweep, then the baselines of each condition, once each; those that are there are not repeated.

    Args:
      points: values by dotted name.
      init: the encoder of points that sweep none.
    """
    own = [{_INIT: init, **point} for point in points]
    beside = [{**condition(point), _INIT: "none", READOUT: readout} for point in own for readout in READOUTS]
    yield from {_key(point): point for point in (*own, *beside)}.values()


def is_baseline(point: Mapping[str, Any], asked: bool) -> bool:
    """Returns whether a point is a baseline, where these are asked for: it sweeps nothing else."""
    swept = {name for name, value in point.items() if value is not None} - condition(point).keys()
    is_raw = point.get(_INIT) == "none" and point.get(READOUT) in READOUTS
    return asked and is_raw and swept == {_INIT, READOUT}


def _key(point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in point.items()))
