"""Sources before they are split: arrays by name, from the packaged MNIST, files, a function, or TFDS."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.digests import sha256_of_file
from pretrain.config.fields import ConfigError
from pretrain.config.kinds import TaskKind
from pretrain.config.own_code import returned
from pretrain.config.settings import DataConfig
from pretrain.data import inputs, tables, targets
from pretrain.data.files import npy_kind, npz_kinds, read_npz
from pretrain.data.names import EXPECTED, recognised
from pretrain.data.scaling import Column
from pretrain.data.targets import Targets, is_missing

MNIST = Path(__file__).with_name("mnist.npz")
_MNIST_SHA256 = "e73dec66bbaca706840061cd787a19a5d2e2b589703ee47c01640c047cfe7741"
_OF_TABLES = ("target", "drop", "group")  # fields
_NAMED = 8  # unknown arrays that are listed
_OF_OBJECTS = (
    ("inputs", "images that differ in size", "resize them to one size"),
    ("labels", "texts of any length", "save labels.astype(str)"),
)


class Source(NamedTuple):
    """A source, read and checked."""

    inputs: dict[str, np.ndarray]  # [N, ...] numbers, by split: train, validation, test, unlabelled
    labels: dict[str, np.ndarray]  # as ``targets.Targets`` holds them, by split
    task: TaskKind
    output_names: tuple[str, ...]  # of classes, labels or numbers
    columns: tuple[Column, ...] = ()  # of a table
    groups: np.ndarray | None = None  # [N] of the training rows
    notes: tuple[str, ...] = ()


class _Found(NamedTuple):
    """Arrays as they were found."""

    arrays: Mapping[str, np.ndarray]  # by canonical name
    called: Mapping[str, str]  # by canonical name, as the source calls them
    class_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def read(config: DataConfig) -> Source:
    """Reads and checks the source that a config names.

    Raises:
      ConfigError: it is not there, is damaged, or does not fit; a line for each fault.
    """
    found = _found(config)
    arrays, called = found.arrays, found.called
    own = {part: _by_split(arrays, part) for part in ("inputs", "labels")}
    names = {part: _by_split(called, part) for part in ("inputs", "labels")}
    faults = [f"lacks {missing}" for missing in _missing(arrays)]
    faults += inputs.faults(own["inputs"], names["inputs"], found.columns)
    known = Targets("classification", {}, (), [], [])
    if "train" in own["labels"]:
        given = {split: array for split, array in own["labels"].items() if split != "unlabelled"}
        known = targets.read(config.task, given, names["labels"], found.class_names)
    faults += known.faults
    for split in own["inputs"].keys() & own["labels"].keys():
        sizes = [len(own[part][split]) if own[part][split].ndim else 0 for part in ("inputs", "labels")]
        if sizes[0] != sizes[1]:
            counts = f"{sizes[0]} {names['inputs'][split]} but {sizes[1]} {names['labels'][split]}"
            faults.append(f"has {counts}; pair them up")
    if faults:
        raise ConfigError.of_all(ConfigError("data.name", _shown(config), fault) for fault in faults)
    kept, notes = _with_labels(config, own["inputs"], known.values)
    return Source(
        {split: kept.get(split, array) for split, array in own["inputs"].items()},
        {split: array[~is_missing(array)] if split in kept else array for split, array in known.values.items()},
        known.task,
        known.names,
        found.columns,
        found.groups,
        (*found.notes, *known.notes, *notes),
    )


def key(config: DataConfig) -> tuple[Any, ...]:
    """Returns the fields that decide what a source holds."""
    return (config.name, config.dir, *(getattr(config, name) for name in (*_OF_TABLES, "task")))


def _by_split(arrays: Mapping[str, Any], part: str) -> dict[str, Any]:
    pairs = ((name.rpartition("_"), array) for name, array in arrays.items())
    found = {split: array for (split, _, own), array in pairs if own == part}
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "train"))  # of which faults are reported first


def _missing(arrays: Mapping[str, Any]) -> list[str]:
    """Returns the arrays that a source lacks."""
    splits = ["train", *(split for split in ("validation", "test") if any(name.startswith(split) for name in arrays))]
    return [
        f"{'training' if split == 'train' else split} {part} (as in {split}_{part})"
        for split in splits
        for part in ("inputs", "labels")
        if f"{split}_{part}" not in arrays
    ]


def _with_labels(
    config: DataConfig, own: Mapping[str, np.ndarray], known: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the inputs of held-out splits, less rows without a label, where there are such."""
    kept, notes = {}, []
    for split in ("validation", "test"):
        missing = is_missing(known.get(split, np.zeros(0)))
        if missing.any():
            if missing.all():
                remedy = f"has no {split} row with a label; leave the split out, and rows are cut off"
                raise ConfigError("data.name", _shown(config), remedy)
            kept[split] = own[split][~missing]
            notes.append(f"{int(missing.sum()):,} {split} rows have no label and are left out")
    return kept, notes


def _shown(config: DataConfig) -> str:
    """Returns a source's name as errors name it, with a home directory written out."""
    return os.path.expanduser(config.name) if _is_path(config.name) else config.name


def _is_path(name: str) -> bool:
    return name.lower().endswith((".npz", "/", *tables.SUFFIXES)) or name.startswith(("~", ".", "/"))


def _found(config: DataConfig) -> _Found:
    """Returns the arrays of a source."""
    name, path = config.name, Path(os.path.expanduser(config.name))
    if name.lower().endswith(tables.SUFFIXES):
        table = tables.read(path, config)
        arrays = {"train_inputs": table.inputs, "train_labels": table.labels}
        called = {"train_inputs": "inputs", "train_labels": config.target}
        return _Found(arrays, called, columns=table.columns, groups=table.groups)
    of_tables = [field for field in _OF_TABLES if getattr(config, field)]
    if of_tables and path.is_file() and path.suffix.lower() not in (".npz", ".npy"):
        raise ConfigError("data.name", name, f"is no table of a known kind; write one of {', '.join(tables.SUFFIXES)}")
    faults = [
        ConfigError(f"data.{field}", getattr(config, field), f"is for tables, and {name} is none; leave it out")
        for field in of_tables
    ]
    if faults:
        raise ConfigError.of_all(faults)
    if name == "mnist":
        if not MNIST.is_file() or sha256_of_file(MNIST) != _MNIST_SHA256:
            raise ConfigError("data.name", name, f"is damaged: {MNIST} fails its checksum; reinstall pretrain")
        return _npz(MNIST)._replace(class_names=tuple("0123456789"))
    if name.lower().endswith(".npz"):
        return _npz(path)
    if ".py:" in name:
        return _of_function(name)
    if path.is_dir() and any(path.glob("*.npy")):
        return _of_directory(path)
    if _is_path(name):
        raise ConfigError("data.name", str(path), f"is no directory of .npy files; name them {EXPECTED}")
    from pretrain.data import tfds_images

    arrays = tfds_images.read(name, config.dir)
    class_names = arrays.pop("class_names")
    names = recognised(arrays)[0]
    return _Found({own: arrays[theirs] for own, theirs in names.items()}, names, class_names)


def _npz(path: Path) -> _Found:
    """Returns the arrays of an .npz file that have a name of meaning."""
    try:
        kinds = npz_kinds(path)
        known, notes = _checked(str(path), kinds)
        arrays = read_npz(path, list(known.values()))
    except FileNotFoundError:
        raise ConfigError("data.name", str(path), "is no file; give the path of an .npz file that is there") from None
    except (OSError, ValueError) as error:
        raise ConfigError("data.name", str(path), f"is no readable .npz file ({error}); write it anew") from None
    return _Found({own: arrays[theirs] for own, theirs in known.items()}, known, notes=notes)


def _of_directory(path: Path) -> _Found:
    """Returns the arrays of a directory, mapped into memory."""
    try:
        kinds = {file.stem: npy_kind(file) for file in path.glob("*.npy")}
        known, notes = _checked(str(path), kinds)
        files = {own: path / f"{theirs}.npy" for own, theirs in known.items()}
        arrays = {own: np.load(file, mmap_mode="r", allow_pickle=False) for own, file in files.items()}
    except (OSError, ValueError) as error:
        raise ConfigError("data.name", str(path), f"holds an unreadable .npy file ({error}); write it anew") from None
    return _Found(arrays, known, notes=notes)


def _of_function(name: str) -> _Found:
    """Returns the arrays that a function of the user's returns."""
    file, _, function = name.rpartition(":")
    made = returned("data.name", name, file, function)
    if not isinstance(made, Mapping) or not all(isinstance(key, str) for key in made):
        remedy = f"names {function}, which must return a dictionary of arrays, not a {type(made).__name__}"
        raise ConfigError("data.name", name, remedy)
    try:
        arrays = {key: np.asarray(value) for key, value in made.items()}
    except Exception as error:  # lists of lists of different lengths, arrays of other libraries
        reason = " ".join(str(error).split())[:200]
        raise ConfigError("data.name", name, f"returns what is no array ({reason})") from None
    known, notes = _checked(name, {key: array.dtype for key, array in arrays.items()}, may_hold_objects=True)
    return _Found({own: arrays[theirs] for own, theirs in known.items()}, known, notes=notes)


def _checked(
    source: str, kinds: Mapping[str, np.dtype], may_hold_objects: bool = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the arrays that have a name of meaning, by canonical name, and notes of the others.

    Raises:
      ConfigError: names are ambiguous or all unknown, or an array of a file holds Python objects, which none unpickles.
    """
    known, unknown, faults = recognised(kinds)
    if not known:
        held = f"holds {', '.join(unknown[:_NAMED])}" if unknown else "holds no array"
        faults.append(f"{held}; name arrays {EXPECTED}")
    for part, what, remedy in _OF_OBJECTS:
        odd = [theirs for own, theirs in known.items() if own.endswith(part) and kinds[theirs].hasobject]
        if odd and not may_hold_objects:
            named = " and ".join(odd)
            faults.append(f"has {named} of Python objects, as {what} make, which are never unpickled; {remedy}")
    if faults:
        raise ConfigError.of_all(ConfigError("data.name", source, fault) for fault in faults)
    return known, (f"arrays of no known name are left alone: {', '.join(unknown[:_NAMED])}",) if unknown else ()
