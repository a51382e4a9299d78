"""``looks.npz``, a file of a run: what its figures of test predictions, codes and filters are drawn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.data.files import read_npz

FILE = "looks.npz"


class Confused(NamedTuple):
    """Classes of test rows by the class that an arm predicts, summed over its trials."""

    trial_ids: tuple[str, ...]
    names: tuple[str, ...]  # [C] of classes
    counts: np.ndarray  # [C, C] int64, a row a true class; [0, 0] of too many for a picture
    pairs: np.ndarray  # [P, 4] int64: true and predicted class, rows so confused, rows of the true class; most first


class Calibrated(NamedTuple):
    """Probabilities of test rows in bins of as many rows each, from the lowest up, trial by trial."""

    trial_ids: tuple[str, ...]
    bins: np.ndarray  # [T, B, 3] float64: mean probability, share that is so, rows
    task: str = "classification"  # else multilabel, whose probabilities are of labels

    @property
    def errors(self) -> np.ndarray:
        """Expected calibration error of each trial [T]: the mean distance of a bin's two numbers, by its rows."""
        rows = self.bins[..., 2]
        return np.sum(np.abs(self.bins[..., 0] - self.bins[..., 1]) * rows, axis=1) / np.sum(rows, axis=1)


class Wrong(NamedTuple):
    """Test rows that an arm gets wrong most surely, or by most; the worst first."""

    trial_ids: tuple[str, ...]
    beside: tuple[str, ...]  # trials of the other arm
    origin: str  # what rows are counted in
    rows: np.ndarray  # [W] int64
    truths: tuple[str, ...]  # [W]
    predictions: tuple[str, ...]  # [W]
    sizes: np.ndarray  # [W] float64: mean probability, or score, of wrong predictions; of numbers mean error
    measure: str  # what sizes are: probability, score or error
    shares: np.ndarray  # [W] float64, of trials that have the row, those that get it wrong; NaN of numbers
    others: np.ndarray  # [W] float64, the same of the other arm (of numbers its mean error); NaN without one
    examples: np.ndarray  # [W, ..., C] float32 in [0, 1] (of series as read, NaN after ends); [W, 0] of tables
    columns: tuple[str, ...]  # [K] of a table
    cells: np.ndarray  # [W, K] text


class Scattered(NamedTuple):
    """Numbers of test rows and their predictions, mean over an arm's trials."""

    trial_ids: tuple[str, ...]
    names: tuple[str, ...]  # [O]
    points: np.ndarray  # [O, P, 2] float64: true and predicted, of the rows that are drawn
    n_rows: int


class Plane(NamedTuple):
    """Codes of test rows by one network, on their first two principal components."""

    trial_id: str
    seed: int
    kind: str  # pretrained, scratch, random or own
    points: np.ndarray  # [N, 2] float32
    targets: np.ndarray  # [N] float64: class numbers, or the first number or label; NaN unknown
    names: tuple[str, ...]  # of classes; of numbers and labels the first one's
    is_classes: int
    shares: np.ndarray  # [2] float64, of the codes' variance
    n_codes: int
    n_rows: int


class Changed(NamedTuple):
    """Weights of one network's first layer, before and after."""

    trial_id: str
    seed: int
    stages: tuple[str, ...]  # [S] initialisation, pretraining, fine-tuning
    units: np.ndarray  # [U] int64, those whose weights pretraining changed most
    filters: np.ndarray  # [S, U, H, W, C] float32
    changes: np.ndarray  # [U] float64, norm of the change by pretraining, relative to that at the start
    n_units: int
    is_window: int  # whether a filter is of a part of the image


class Looks(NamedTuple):
    """All that a run left to look at."""

    of: str  # names what it was taken from
    confused: tuple[Confused, ...] = ()
    calibrated: tuple[Calibrated, ...] = ()
    wrong: tuple[Wrong, ...] = ()
    scattered: tuple[Scattered, ...] = ()
    planes: tuple[Plane, ...] = ()
    changed: tuple[Changed, ...] = ()
    missing: tuple[str, ...] = ()  # what could not be taken, and why

    @property
    def has_any(self) -> bool:
        """Whether anything could be taken."""
        return any(getattr(self, kind) for kind in _KINDS)


_KINDS: dict[str, Any] = {
    "confused": Confused,
    "calibrated": Calibrated,
    "wrong": Wrong,
    "scattered": Scattered,
    "planes": Plane,
    "changed": Changed,
}
# Of each array: NumPy's kind of its type, and its axes; those of one letter are as long in all arrays of a look, and a
# star stands for any number of them.
_ARRAYS = {
    Confused: {"names": "UC", "counts": "i**", "pairs": "iP4", "trial_ids": "UT"},
    Calibrated: {"trial_ids": "UT", "bins": "fTB3", "task": "U"},
    Wrong: {
        "trial_ids": "UT",
        "beside": "UO",
        "rows": "iW",
        "truths": "UW",
        "predictions": "UW",
        "sizes": "fW",
        "shares": "fW",
    }
    | {"others": "fW", "examples": "fW*", "columns": "UK", "cells": "UWK", "measure": "U", "origin": "U"},
    Scattered: {"trial_ids": "UT", "names": "UO", "points": "fOP2", "n_rows": "i"},
    Plane: {"trial_id": "U", "seed": "i", "kind": "U", "points": "fN2", "targets": "fN", "names": "UC", "shares": "f2"}
    | {"is_classes": "i", "n_codes": "i", "n_rows": "i"},
    Changed: {"trial_id": "U", "seed": "i", "stages": "US", "units": "iU", "filters": "fSUHDC", "changes": "fU"}
    | {"n_units": "i", "is_window": "i"},
}


def write(looks: Looks, path: Path) -> None:
    """Writes looks to a file; equal looks to equal bytes.

    Raises:
      OSError: it could not be written.
    """
    arrays = {"of": np.array(looks.of), "missing": np.array(looks.missing, str)}
    for kind in _KINDS:
        for place, look in enumerate(getattr(looks, kind)):
            for name, value in look._asdict().items():
                is_text = isinstance(value, tuple)
                arrays[f"{kind}.{place}.{name}"] = np.array(value, str) if is_text else np.asarray(value)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read(source: Path | bytes) -> Looks:
    """Returns the looks of a file or of its content, which cannot execute anything.

    Raises:
      ValueError: the file is damaged, or no file of looks.
      OSError: it cannot be read.
    """
    arrays = read_npz(source)
    found: dict[str, Any] = {}
    for kind, made in _KINDS.items():
        looks: list[Any] = []
        while f"{kind}.{len(looks)}.{made._fields[0]}" in arrays:
            absent = {name: np.array(made._field_defaults.get(name, [False])) for name in made._fields}
            named = {name: arrays.get(f"{kind}.{len(looks)}.{name}", none) for name, none in absent.items()}
            _check(kind, _ARRAYS[made], named)
            looks.append(made(**{name: _value(array) for name, array in named.items()}))
        found[kind] = tuple(looks)
    if {"of", "missing"} - arrays.keys() or arrays["of"].ndim or arrays["missing"].dtype.kind != "U":
        raise ValueError("it is no file of looks")
    return Looks(of=str(arrays["of"]), missing=tuple(arrays["missing"].tolist()), **found)


def _check(kind: str, wanted: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> None:
    """Checks that the arrays of a look have the types and axes that it has."""
    lengths: dict[str, int] = {}
    for name, form in wanted.items():
        array, axes = arrays[name], form[1:].rstrip("*")
        is_open = form.endswith("*")
        fits = array.dtype.kind == form[0] and (array.ndim == len(axes) or (is_open and array.ndim > len(axes)))
        sizes = zip(axes, array.shape, strict=False)
        if not fits or any(lengths.setdefault(axis, int(axis) if axis.isdigit() else n) != n for axis, n in sizes):
            raise ValueError(f"{name} of {kind} is an array of {array.dtype} {array.shape}")


def _value(array: np.ndarray) -> Any:
    if not array.ndim:
        return array.item()
    return tuple(array.tolist()) if array.dtype.kind == "U" and array.ndim == 1 else array
