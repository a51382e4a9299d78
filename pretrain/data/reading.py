"""Sources before they are split: arrays by name, from the packaged MNIST, files, a function, or TFDS."""

import mmap
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.digests import sha256_of_file
from pretrain.config.fields import ConfigError
from pretrain.config.kinds import TaskKind
from pretrain.config.own_code import contained, returned
from pretrain.config.settings import DataConfig
from pretrain.data import findings, folders, inputs, keys, room, series, sparse, tables, targets
from pretrain.data.columns import Record
from pretrain.data.files import Kind, State, npy_kind, npz_kinds, read_npy, read_npz, state_of, unaltered
from pretrain.data.findings import Finding
from pretrain.data.names import EXPECTED, recognised
from pretrain.data.neighbours import Order
from pretrain.data.scaling import Column
from pretrain.data.targets import Targets, is_missing

MNIST = Path(__file__).with_name("mnist.npz")
_MNIST_SHA256 = "e73dec66bbaca706840061cd787a19a5d2e2b589703ee47c01640c047cfe7741"
_OF_TABLES = ("target", "drop", "missing", "categories")  # fields
_KEYS = ("group", "time")  # fields that name a column or an array, and the latter's canonical names
_NAMED = 8  # unknown arrays that are listed
_ROLES = ("inputs", "labels")
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
    groups: np.ndarray | None = None  # [N] of the training rows, as ``keys.groups`` has them
    times: np.ndarray | None = None  # likewise, as ``keys.times``
    left_alone: tuple[str, ...] = ()  # arrays of no known name
    order: Order | None = None  # of the training rows, where no keys cut them
    is_examined: bool = False  # for findings that are the same for all cuts
    findings: tuple[Finding, ...] = ()
    records: tuple[Record, ...] = ()  # of all columns of a table's file
    files: tuple[State, ...] = ()  # as they were when they were read
    padded: int = 0  # the axis of inputs along which series of unlike lengths end; 0 of others


class _Arrays(NamedTuple):
    """Arrays as they are in a source."""

    by_name: Mapping[str, np.ndarray]  # by canonical name
    called: Mapping[str, str]  # by canonical name, the source's
    class_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    left_alone: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    records: tuple[Record, ...] = ()
    files: Sequence[State] = ()  # as they were when they were read


def read(config: DataConfig) -> Source:
    """Reads and checks the source that a config names.

    Raises:
      ConfigError: it is not there, is damaged, or does not fit; a line for each fault.
    """
    arrays = _arrays_of(config)
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
    all_faults = [ConfigError("data.name", _shown(config), fault) for fault in faults]
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
        *(getattr(config, name) for name in (*_OF_TABLES, *_KEYS, "task", "inputs", "size")),
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
    config: DataConfig, arrays: _Arrays, n: int
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
                raise ConfigError("data.name", _shown(config), remedy)
            has_label[split] = ~missing
            notes.append(f"{int(missing.sum()):,} {split} rows have no label and are left out")
    return has_label, notes


def _shown(config: DataConfig) -> str:
    """Returns a source's name as errors name it, with a home directory written out."""
    return os.path.expanduser(config.name) if _is_path(config.name) else config.name


def _is_path(name: str) -> bool:
    return name.lower().endswith((".npz", "/", *tables.SUFFIXES)) or name.startswith(("~", ".", "/"))


def _arrays_of(config: DataConfig) -> _Arrays:
    """Returns the arrays of a source."""
    name, path = config.name, Path(os.path.expanduser(config.name))
    for field, text in (("data.name", name), ("data.dir", config.dir)):
        if "\0" in text:
            raise ConfigError(field, text, "has a NUL character, which no path has; leave it out")
    if name.lower().endswith(tables.SUFFIXES):
        table = tables.read(path, config)
        arrays = {"train_inputs": table.inputs, "train_labels": table.labels}
        called = {"train_inputs": "inputs", "train_labels": config.target}
        cut_by = table.groups, table.times
        return _Arrays(arrays, called, (), table.columns, *cut_by, (), table.findings, table.records, table.files)
    wanted = {field: getattr(config, field) for field in _KEYS if getattr(config, field)}
    if wanted.get("time") == keys.ORDER:
        del wanted["time"]
    of_tables = [field for field in _OF_TABLES if getattr(config, field)]
    if (of_tables or wanted) and path.is_file() and path.suffix.lower() not in (".npz", ".npy"):
        raise ConfigError("data.name", name, f"is no table of a known kind; write one of {', '.join(tables.SUFFIXES)}")
    faults = [
        ConfigError(f"data.{field}", getattr(config, field), f"is for tables, and {name} is none; leave it out")
        for field in of_tables
    ]
    has_arrays = ".py:" in name or path.is_dir() or _is_path(name)
    faults += [
        ConfigError(f"data.{field}", given, f"is for tables and arrays of one's own, not for {name}; leave it out")
        for field, given in wanted.items()
        if not has_arrays
    ]
    if faults:
        raise ConfigError.of_all(faults)
    if name == "mnist":
        if not MNIST.is_file() or sha256_of_file(MNIST) != _MNIST_SHA256:
            raise ConfigError("data.name", name, f"is damaged: {MNIST} fails its checksum; reinstall pretrain")
        return _npz(MNIST, {})._replace(class_names=tuple("0123456789"))
    if name.lower().endswith(".npz"):
        return _npz(path, wanted)
    if ".py:" in name:
        return _of_function(name, wanted)
    if path.is_dir() and any(path.glob("*.npy")):
        return _of_directory(path, wanted)
    if path.is_dir() and folders.holds_pictures(path):
        return _of_pictures(path, wanted, config)
    if path.suffix == ".py":
        raise ConfigError("data.name", name, f"is a file of Python; name its function, as in {name}:load")
    if _is_path(name):
        remedy = f"is no directory of .npy files, named {EXPECTED}, nor of pictures in folders of their class"
        raise ConfigError("data.name", str(path), remedy)
    from pretrain.data import tfds_images

    content = tfds_images.read(name, config.dir)
    class_names = content.pop("class_names")
    names = recognised(content)[0]
    return _Arrays({name: content[theirs] for name, theirs in names.items()}, names, class_names)


def _npz(path: Path, wanted: Mapping[str, str]) -> _Arrays:
    """Returns the arrays of an .npz file that have a known name."""
    try:
        files = [state_of(path)]
        with unaltered(files):
            if sparse.is_sparse(path):
                remedy = "is a sparse matrix without labels; put it into a folder as X.npz, beside y.npy, and name it"
                raise ConfigError("data.name", str(path), remedy)
            kinds = npz_kinds(path)
            names, others = _recognised(str(path), kinds, wanted)
            _check_room(str(path), [kinds[theirs] for theirs in names.values()])
            arrays = read_npz(path, list(names.values()))
    except FileNotFoundError:
        raise ConfigError("data.name", str(path), "is no file; give the path of an .npz file that is there") from None
    except (OSError, ValueError) as error:
        raise ConfigError("data.name", str(path), f"is no readable .npz file ({error}); write it anew") from None
    return _Arrays({name: arrays[theirs] for name, theirs in names.items()}, names, left_alone=others, files=files)


def _check_room(source: str, kinds: Collection[Kind]) -> None:
    """Checks that there is memory for arrays.

    Raises:
      ConfigError: there is not.
    """
    largest = max(kinds, key=lambda kind: kind.memory)
    content = f"arrays, the largest of {' × '.join(f'{n:,}' for n in largest.shape)} {largest.dtype}"
    room.check(source, sum(kind.memory for kind in kinds), content)


def _of_directory(path: Path, wanted: Mapping[str, str]) -> _Arrays:
    """Returns the arrays of a directory."""
    try:
        kinds = {file.stem: npy_kind(file) for file in path.glob("*.npy")}
        matrices = {file.stem: file for file in path.glob("*.npz") if file.stem not in kinds and sparse.is_sparse(file)}
        known = kinds | dict.fromkeys(matrices, Kind(np.dtype(float), ()))
        names, others = _recognised(str(path), known, wanted)
        places = {name: matrices.get(theirs, path / f"{theirs}.npy") for name, theirs in names.items()}
        files = [state_of(place) for place in places.values()]
        with unaltered(files):
            _check_room(str(path), [known[theirs] for theirs in names.values()])
            arrays = {
                name: sparse.read(place) if names[name] in matrices else read_npy(place)
                for name, place in places.items()
            }
    except (OSError, ValueError) as error:
        raise ConfigError("data.name", str(path), f"holds an unreadable array ({error}); write it anew") from None
    return _Arrays(arrays, names, left_alone=others, files=files)


def _of_pictures(path: Path, wanted: Mapping[str, str], config: DataConfig) -> _Arrays:
    """Returns the pictures of a folder."""
    if wanted:
        remedy = "is for tables and arrays, not for pictures; leave it out"
        raise ConfigError.of_all([ConfigError(f"data.{field}", name, remedy) for field, name in wanted.items()])
    made = folders.read(path, config.size)
    called = {name: f"{name.partition('_')[0]} pictures" for name in made.arrays}
    return _Arrays(made.arrays, called, made.class_names, findings=made.findings, files=made.files)


def _of_function(name: str, wanted: Mapping[str, str]) -> _Arrays:
    """Returns the arrays that a function of the user's returns."""
    file, _, function = name.rpartition(":")
    made = returned("data.name", name, file, function)
    if not isinstance(made, Mapping) or not all(isinstance(key, str) for key in made):
        remedy = f"names {function}, which must return a dictionary of arrays, not a {type(made).__name__}"
        raise ConfigError("data.name", name, remedy)
    try:
        arrays = contained(lambda: {key: _own(name, value) for key, value in series.together(made).items()})
    except (ConfigError, KeyboardInterrupt):
        raise
    except BaseException as error:  # lists of lists of different lengths, arrays of other libraries
        reason = " ".join(str(error).split())[:200]
        raise ConfigError("data.name", name, f"returns what is no array ({reason})") from None
    kinds = {key: Kind(array.dtype, array.shape) for key, (array, _) in arrays.items()}
    names, others = _recognised(name, kinds, wanted, may_hold_objects=True)
    used = {canonical: arrays[theirs][0] for canonical, theirs in names.items()}
    files = [file for theirs in names.values() for file in arrays[theirs][1]]
    return _Arrays(used, names, left_alone=others, files=files)


def _own(source: str, value: Any) -> tuple[np.ndarray, list[State]]:
    """Returns an array of a function's, and the file that it is mapped from, if any.

    A mapped one is read from its file: changes of the file would change the map, and a shorter file end the process.
    """
    if hasattr(value, "toarray"):
        return sparse.dense(source, value), []
    array = root = np.asarray(value)
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root.base, mmap.mmap | memoryview):
        return array, []
    room.check(source, Kind(array.dtype, array.shape).memory, f"an array of {array.shape}")
    if not isinstance(root, np.memmap) or root.filename is None:
        return np.array(array), []
    files = [state_of(Path(root.filename))]
    with unaltered(files):
        content = np.fromfile(root.filename, np.uint8, root.nbytes, offset=root.offset)
        first = array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        return np.array(np.ndarray(array.shape, array.dtype, content.data, first, array.strides)), files


def _recognised(
    source: str, kinds: Mapping[str, Kind], wanted: Mapping[str, str], may_hold_objects: bool = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Returns the known names of a source by canonical name, those of keys by their field, and the other names.

    Raises:
      ConfigError: names are ambiguous, all unknown or of no array, or an array of a file holds Python objects, which
        none unpickles.
    """
    absent = [
        ConfigError(f"data.{field}", name, f"is no array of {source}, which has {', '.join(sorted(kinds)[:_NAMED])}")
        for field, name in wanted.items()
        if name not in kinds
    ]
    names, unknown, faults = recognised(kinds)
    if not names:
        held = f"holds {', '.join(unknown[:_NAMED])}" if unknown else "holds no array"
        faults.append(f"{held}; name arrays {EXPECTED}")
    for role, content, remedy in _OF_OBJECTS:
        odd = [theirs for name, theirs in names.items() if name.endswith(role) and kinds[theirs].dtype.hasobject]
        if odd and not may_hold_objects:
            named = " and ".join(odd)
            faults.append(f"has {named} of Python objects, as {content} make, which are never unpickled; {remedy}")
    if faults or absent:
        raise ConfigError.of_all([*(ConfigError("data.name", source, fault) for fault in faults), *absent])
    return {**names, **wanted}, tuple(name for name in unknown if name not in wanted.values())
