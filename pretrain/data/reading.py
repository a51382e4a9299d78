"""Sources before they are split, checked: their rows, targets, groups and times."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.config.kinds import TaskKind
from pretrain.config.settings import DataConfig
from pretrain.data import findings, formats, inputs, keys, series, targets
from pretrain.data.arrays import Arrays
from pretrain.data.columns import Record
from pretrain.data.files import State
from pretrain.data.findings import Finding
from pretrain.data.formats import KEYS, OF_TABLES, shown
from pretrain.data.neighbours import Order
from pretrain.data.scaling import Column
from pretrain.data.targets import Targets, is_missing

_NAMED = 8  # unknown arrays that are listed
_ROLES = ("inputs", "labels")


class Source(NamedTuple):
    """A source, read and checked."""

    inputs: dict[str, np.ndarray]  # [N, ...] numbers, by split: train, validation, test, unlabelled
    labels: dict[str, np.ndarray]  # as ``targets.Targets`` holds them, by split
    task: TaskKind
    output_names: tuple[str, ...]  # of classes, labels or numbers
    columns: tuple[Column, ...] = ()  # of a table
    groups: np.ndarray | None = None  # [N] of the training rows, as ``keys.groups`` has them
    times: np.ndarray | None = None  # likewise, as ``keys.times``
    left_alone: tuple[str, ...] = ()  # arrays of no known name
    order: Order | None = None  # of the training rows, where no keys cut them
    is_examined: bool = False  # for findings that are the same for all cuts
    is_searched: bool = True  # for findings, which somebody reads
    findings: tuple[Finding, ...] = ()
    records: tuple[Record, ...] = ()  # of all columns of a table's file
    files: tuple[State, ...] = ()  # as they were when they were read
    padded: int = 0  # the axis of inputs along which series of unlike lengths end; 0 of others


def read(config: DataConfig) -> Source:
    """Reads and checks the source that a config names.

    Raises:
      ConfigError: it is not there, is damaged, or does not fit; a line for each fault.
    """
    return checked(formats.read(config), config)


def checked(arrays: Arrays, config: DataConfig) -> Source:
    """Returns the source of arrays, checked.

    Raises:
      ConfigError: they do not fit; a line for each fault.
    """
    rows, labels = (_by_split(arrays.by_name, role) for role in _ROLES)
    row_names, label_names = (_by_split(arrays.called, role) for role in _ROLES)
    faults = [f"lacks {missing}" for missing in _missing(arrays.by_name)]
    faults += inputs.faults(rows, row_names, arrays.columns, config.inputs)
    padded, faults_of_ends = _padding(rows, row_names, config, bool(arrays.columns))
    faults += faults_of_ends
    goals = Targets("classification", {}, (), [], [])
    if "train" in labels:
        given = {split: array for split, array in labels.items() if split != "unlabelled"}
        goals = targets.read(config.task, given, label_names, arrays.class_names)
    faults += goals.faults
    for split in rows.keys() & labels.keys():
        n_rows, n_labels = (len(array) if array.ndim else 0 for array in (rows[split], labels[split]))
        if n_rows != n_labels:
            faults.append(f"has {n_rows} {row_names[split]} but {n_labels} {label_names[split]}; pair them up")
    all_faults = [ConfigError("data.name", shown(config), fault) for fault in faults]
    n = len(rows["train"]) if "train" in rows and rows["train"].ndim else 0
    groups, times, faults_of_keys = _keyed(config, arrays, n)
    if all_faults or faults_of_keys:
        raise ConfigError.of_all([*all_faults, *faults_of_keys])
    has_label, notes = _held_out_with_labels(config, goals.values)
    if arrays.left_alone:
        notes.append(f"arrays of no known name are left alone: {', '.join(arrays.left_alone[:_NAMED])}")
    return Source(
        {split: array[has_label[split]] if split in has_label else array for split, array in rows.items()},
        {split: array[has_label[split]] if split in has_label else array for split, array in goals.values.items()},
        goals.task,
        goals.names,
        arrays.columns,
        groups,
        times,
        arrays.left_alone,
        findings=(*arrays.findings, *goals.findings, *findings.notes(notes)),
        records=arrays.records,
        files=tuple(arrays.files),
        padded=padded,
    )


def key(config: DataConfig) -> tuple[Any, ...]:
    """Returns the fields that decide a source's content."""
    return (
        config.name,
        config.dir,
        *(getattr(config, name) for name in (*OF_TABLES, *KEYS, "task", "inputs", "size")),
    )


def _padding(
    rows: Mapping[str, np.ndarray], called: Mapping[str, str], config: DataConfig, is_table: bool
) -> tuple[int, list[str]]:
    """Returns the axis along which series of unlike lengths are padded, 0 of others, and the faults of NaN in them."""
    axes, faults = set(), []
    for split, array in rows.items():
        if config.inputs == "series" or (config.inputs == "auto" and array.ndim > 2 and not is_table):
            try:
                axes.add(series.padding_axis(array))
            except ValueError as fault:
                faults.append(f"has {called[split]} with {fault}")
    axes.discard(0)
    if len(axes) > 1 and not faults:
        faults.append("has series that end along other axes in other splits; turn them alike")
    return max(axes, default=0), faults


def _by_split(arrays: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Returns the inputs or labels of each split; of training first, as faults are reported in this order."""
    names = sorted((name for name in arrays if name.endswith(role)), key=lambda name: not name.startswith("train"))
    return {name.removesuffix(f"_{role}"): arrays[name] for name in names}


def _missing(arrays: Mapping[str, Any]) -> list[str]:
    """Returns the arrays that a source lacks."""
    splits = ["train", *(split for split in ("validation", "test") if any(name.startswith(split) for name in arrays))]
    return [
        f"{'training' if split == 'train' else split} {role} (as in {split}_{role})"
        for split in splits
        for role in _ROLES
        if f"{split}_{role}" not in arrays
    ]


def _keyed(
    config: DataConfig, arrays: Arrays, n: int
) -> tuple[np.ndarray | None, np.ndarray | None, list[ConfigError]]:
    """Returns the groups and the times of ``n`` training rows, where some are asked for, and the faults of these."""
    found, faults = {"group": arrays.groups, "time": arrays.times}, []
    for field, read in (("group", keys.groups), ("time", keys.times)):
        if field in arrays.by_name:
            try:
                found[field] = keys.of_array(arrays.by_name[field], n, read)
            except ValueError as error:
                faults.append(ConfigError(f"data.{field}", getattr(config, field), str(error)))
    if found["time"] is None and config.time:
        found["time"] = np.arange(n)  # ``keys.ORDER``
    return found["group"], found["time"], faults


def _held_out_with_labels(
    config: DataConfig, labels: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns which rows of a held-out split have a label, where some have none: [N] bool by split; and notes."""
    has_label, notes = {}, []
    for split in ("validation", "test"):
        missing = is_missing(labels.get(split, np.zeros(0)))
        if missing.any():
            if missing.all():
                remedy = f"has no {split} row with a label; leave the split out, and rows are cut off"
                raise ConfigError("data.name", shown(config), remedy)
            has_label[split] = ~missing
            notes.append(f"{int(missing.sum()):,} {split} rows have no label and are left out")
    return has_label, notes
