"""Rows that a finished network is given: read like its training rows, whatever brings them."""

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError
from pretrain.data import any_table, columns, folders, formats, series, tables
from pretrain.data.arrays import Arrays
from pretrain.data.columns import Missing, Record
from pretrain.data.files import read_npy
from pretrain.data.inputs import blocks
from pretrain.data.inputs_file import Inputs
from pretrain.data.raw import described

_FIELD = "rows"
_MOST_NAMED = 9


class Given(NamedTuple):
    """Rows to come, in the form that training rows were scaled in."""

    rows: np.ndarray  # [N, ...]
    names: Mapping[str, Any]  # identifies rows, by name: other columns of a table, splits, files: [N] each
    notes: tuple[str, ...] = ()


def read(source: Any, inputs: Inputs, field: str = _FIELD) -> Given:
    """Returns the rows of a source in the form that training rows were scaled in.

    Args:
      source: the path of a file, a folder or a function (``my.py:load``) in the place of ``data.name``; an array; or,
        of networks on tables, a frame of pandas, polars or Arrow, or columns by name.
      inputs: how training rows became inputs.
      field: the name that faults have.

    Raises:
      ConfigError: it is not there or damaged, or has other columns, shapes or types; a line for each fault.
    """
    raw = inputs.raw
    if raw is None:
        raise ConfigError("run", "inputs.json", "is of an earlier version; run its command again")
    is_path = isinstance(source, str | Path)
    if inputs.columns:
        table = _table(str(source) if is_path else source, field)
        rows, names, notes = _of_columns(table, inputs, field)
        return Given(_whole(raw.as_trained(rows, field), inputs, field), names, notes)
    if not is_path:
        rows = raw.as_trained(_lengthened(_array(source), inputs), field)
        return Given(_whole(rows, inputs, field), {})
    names, parts = {}, []
    for split, array in _arrays(str(source), inputs, field):
        names.setdefault("split", []).extend([split] * len(array))
        parts.append(_whole(raw.as_trained(_lengthened(array, inputs), field), inputs, field))
    if len(parts) == 1:
        names = {}
    if isinstance(pictures := _pictures(str(source)), Path):
        names = {"file": [os.fsencode(name).decode(errors="replace") for name in folders.names(pictures)]}
    return Given(parts[0] if len(parts) == 1 else np.concatenate(parts), names)


def _array(rows: Any) -> np.ndarray:
    """Returns rows as an array; series of unlike lengths end in NaN."""
    together = series.together({_FIELD: rows})[_FIELD]
    return np.asarray(together)


def _whole(rows: np.ndarray, inputs: Inputs, field: str) -> np.ndarray:
    """Returns rows, checked: they lack values only where training rows lacked some, and none is infinite."""
    may_lack = bool(len(inputs.scaling.fill)) or inputs.scaling.padded
    if rows.dtype.kind == "f":
        for block in blocks(rows):
            if np.isinf(block).any() or (not may_lack and np.isnan(block).any()):
                remedy = "or infinity lies in rows, where no training row lacked a value; fill or leave out those rows"
                raise ConfigError(field, "NaN", remedy)
    return rows


def _lengthened(rows: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Returns series [N, ...] as long as training rows, NaN after their ends; others as they are."""
    raw = inputs.raw
    if raw is None or not inputs.scaling.padded or rows.ndim != len(raw.shape) + 1:
        return rows
    lacking = raw.shape[raw.time - 1] - rows.shape[raw.time]
    if lacking <= 0:
        return rows
    pads = [(0, lacking if axis == raw.time else 0) for axis in range(rows.ndim)]
    return np.pad(rows.astype(np.result_type(rows.dtype, np.float32)), pads, constant_values=np.nan)


def _pictures(name: str) -> Path | None:
    """Returns a folder of pictures, of classes or not; None of what is none."""
    path = Path(name).expanduser()
    return path if path.is_dir() and not any(path.glob("*.npy")) and folders.names(path) else None


def _arrays(name: str, inputs: Inputs, field: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the inputs of a file, a folder or a function, by split."""
    path = Path(name).expanduser()
    if pictures := _pictures(name):
        channels = inputs.raw.shape[-1] if inputs.raw else 1
        yield "", folders.pictures(pictures, inputs.data.size, channels)
        return
    if path.suffix.lower() == ".npy":
        try:
            yield "", read_npy(path)
        except (OSError, ValueError) as error:
            raise ConfigError(field, name, f"is no readable .npy file ({error}); write it anew") from None
        return
    if path.suffix.lower() in any_table.SUFFIXES and inputs.raw:
        remedy = f"is a table, and the run reads rows of {described(inputs.raw.shape, inputs.raw.kind)}"
        raise ConfigError(field, name, f"{remedy}; give an .npz or .npy file, or a folder, of such rows")
    with any_table.named(field):
        read: Arrays = formats.read(dataclasses.replace(inputs.data, name=name, group="", time=""))
    found = [key for key in read.by_name if key.endswith("_inputs")]
    if not found:
        raise ConfigError(field, name, "holds no inputs; name them X, inputs or images")
    for key in found:
        yield key.removesuffix("_inputs"), read.by_name[key]


def _table(source: Any, field: str) -> Any:
    if isinstance(source, np.ndarray):
        remedy = "is an array, where the network reads a table; give a frame or a file with its columns"
        raise ConfigError(field, f"[{', '.join(map(str, source.shape))}]", remedy)
    return any_table.read(source, field, fewest=1)


def _of_columns(table: Any, inputs: Inputs, field: str) -> tuple[np.ndarray, dict[str, Any], tuple[str, ...]]:
    """Returns a table's inputs [N, D] float64, its other columns, and notes."""
    read = [record for record in inputs.columns if record.became in ("numbers", "0 and 1", "categories")]
    names, faults = set(table.column_names), []
    if lacking := [record.name for record in read if record.name not in names]:
        of = counted(len(lacking), "column")
        remedy = (
            f"{'is' if len(lacking) == 1 else 'are'} not in the rows; the network reads {counted(len(read), 'column')}"
        )
        faults.append(ConfigError(field, some(lacking, _MOST_NAMED), f"({of}) {remedy}"))
    missing = Missing.named(tables.listed(inputs.data.missing, ()))
    parts, notes = [], []
    for record in read:
        if record.name in names:
            try:
                values, n_unknown = _column(record, table[record.name], missing)
                parts.append(values)
                if n_unknown:
                    rows = counted(n_unknown, "row")
                    notes.append(
                        f"column {record.name!r} has a category that training rows have not, in {rows}: read as none"
                    )
            except ValueError as error:
                faults.append(ConfigError(field, record.name, str(error)))
    if faults:
        raise ConfigError.of_all(faults)
    others = {name: table[name] for name in table.column_names if name not in {record.name for record in read}}
    return np.concatenate(parts, axis=1, dtype=np.float64), others, tuple(notes)


def _column(record: Record, values: Any, missing: Missing) -> tuple[np.ndarray, int]:
    """Returns a column as the inputs that it became of training rows [N, columns], and rows of unknown categories."""
    if not columns.is_text(values.type) and not columns.are_numbers(values.type) and values.null_count < len(values):
        raise ValueError(f"is {values.type}, where the run read {record.kind}")
    missing = Missing.named([*missing.texts, *record.marks])
    if record.became == "numbers":
        return _numbers(values, missing)[:, None], 0
    texts = columns.texts_of(values.cast("string") if values.null_count == len(values) else values)
    texts = texts.without([text for text in texts.distinct if missing.has(text)])
    known = list(record.categories)
    place_of = {text: place for place, text in enumerate(known)}
    places = np.array([place_of.get(text, -1) for text in texts.distinct], int)[texts.codes]
    n_unknown = int(
        sum(n for text, n in zip(texts.distinct, texts.counts, strict=True) if text and text not in place_of)
    )
    if len(known) == 2:
        return (places == 1).astype(float)[:, None], n_unknown
    return np.eye(len(known) + 1)[places][:, : len(known)], n_unknown


def _numbers(values: Any, missing: Missing) -> np.ndarray:
    """Returns numbers, or texts of numbers, NaN where they are missing: [N]."""
    if values.null_count == len(values):
        return np.full(len(values), np.nan)
    if columns.are_numbers(values.type):
        numbers = columns.numbers_of(values)
    else:
        texts = columns.texts_of(values)

        def number(text: str) -> float:
            if not text or missing.has(text) or columns.is_mark(text):
                return np.nan
            if not columns.is_number(text):
                raise ValueError(f"has the text {text[:40]!r}, where the run read numbers; leave missing ones empty")
            return float(text)

        numbers = np.array([number(text) for text in texts.distinct])[texts.codes]
    is_missing = functools.reduce(np.logical_or, [numbers == each for each in missing.numbers], np.isnan(numbers))
    if np.isinf(numbers).any():
        raise ValueError("has infinite values; replace them")
    return np.where(is_missing, np.nan, numbers)
