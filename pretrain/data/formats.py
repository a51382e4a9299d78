"""The arrays of a source by canonical name, from the packaged MNIST, files, a function, or TFDS."""

import difflib
import mmap
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.digests import sha256_of_file
from pretrain.config.fields import ConfigError
from pretrain.config.own_code import contained, returned
from pretrain.config.settings import DataConfig
from pretrain.data import folders, keys, made, room, series, sparse, tables
from pretrain.data.arrays import Arrays
from pretrain.data.files import Kind, State, npy_kind, npz_kinds, read_npy, read_npz, state_of, unaltered
from pretrain.data.names import EXPECTED, recognised

MNIST = Path(__file__).with_name("mnist.npz")
_MNIST_SHA256 = "e73dec66bbaca706840061cd787a19a5d2e2b589703ee47c01640c047cfe7741"
OF_TABLES = ("target", "drop", "missing", "categories")  # fields
KEYS = ("group", "time")  # fields that name a column or an array, and the latter's canonical names
_NAMED = 8  # arrays that are listed
_OF_OBJECTS = (
    ("inputs", "images that differ in size", "resize them to one size"),
    ("labels", "texts of any length", "save labels.astype(str)"),
)


def shown(config: DataConfig) -> str:
    """Returns a source's name as errors name it, with a home directory written out."""
    return os.path.expanduser(config.name) if _is_path(config.name) else config.name


def _is_path(name: str) -> bool:
    return name.lower().endswith((".npz", "/", *tables.SUFFIXES)) or name.startswith(("~", ".", "/"))


def read(config: DataConfig) -> Arrays:
    """Reads the arrays of a source.

    Raises:
      ConfigError: it is not there, is damaged, or no array has a known name.
    """
    name, path = config.name, Path(os.path.expanduser(config.name))
    for field, text in (("data.name", name), ("data.dir", config.dir)):
        if "\0" in text:
            raise ConfigError(field, text, "has a NUL character, which no path has; leave it out")
    if name.lower().endswith(tables.SUFFIXES):
        return tables.read(path, config)
    wanted = {field: getattr(config, field) for field in KEYS if getattr(config, field)}
    if wanted.get("time") == keys.ORDER:
        del wanted["time"]
    of_tables = [field for field in OF_TABLES if getattr(config, field)]
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
    if name in made.SIZES:
        arrays = made.make(name, _digits)
        return Arrays(arrays, {each: each for each in arrays}, made.CLASSES.get(name, tuple("0123456789")))
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
    if path.suffix and not path.exists() and path.parent.is_dir():
        near = difflib.get_close_matches(path.name, os.listdir(path.parent), 1)
        if near:
            raise ConfigError("data.name", str(path), f"is not there; did you mean {path.with_name(near[0])}?")
        if _is_path(name):
            raise ConfigError("data.name", str(path), "is not there; give the path of a file that is")
    if _is_path(name):
        remedy = f"is no directory of .npy files, named {EXPECTED}, nor of pictures in folders of their class"
        raise ConfigError("data.name", str(path), remedy)
    from pretrain.data import tfds_images

    content = tfds_images.read(name, config.dir)
    class_names = content.pop("class_names")
    names = recognised(content)[0]
    return Arrays({name: content[theirs] for name, theirs in names.items()}, names, class_names)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of the packaged MNIST, training rows first, and their labels."""
    arrays = read(DataConfig()).by_name
    inputs, labels = (
        np.concatenate([arrays[f"{split}_{part}"] for split in ("train", "test")]) for part in ("inputs", "labels")
    )
    return inputs, labels


def _npz(path: Path, wanted: Mapping[str, str]) -> Arrays:
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
    return Arrays({name: arrays[theirs] for name, theirs in names.items()}, names, left_alone=others, files=files)


def _check_room(source: str, kinds: Collection[Kind]) -> None:
    """Checks that there is memory for arrays.

    Raises:
      ConfigError: there is not.
    """
    largest = max(kinds, key=lambda kind: kind.memory)
    content = f"arrays, the largest of {' × '.join(f'{n:,}' for n in largest.shape)} {largest.dtype}"
    room.check(source, sum(kind.memory for kind in kinds), content)


def _of_directory(path: Path, wanted: Mapping[str, str]) -> Arrays:
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
    return Arrays(arrays, names, left_alone=others, files=files)


def _of_pictures(path: Path, wanted: Mapping[str, str], config: DataConfig) -> Arrays:
    """Returns the pictures of a folder."""
    if wanted:
        remedy = "is for tables and arrays, not for pictures; leave it out"
        raise ConfigError.of_all([ConfigError(f"data.{field}", name, remedy) for field, name in wanted.items()])
    return folders.read(path, config.size)


def _of_function(name: str, wanted: Mapping[str, str]) -> Arrays:
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
    return Arrays(used, names, left_alone=others, files=files)


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
