"""Any TensorFlow Datasets image classification set as arrays, read without TensorFlow.

A set is sought on disk first, so that a set prepared by hand need not be registered, and a set decoded before needs no
import of TFDS.
"""

import contextlib
import io
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.digests import sha256_of_file, sha256_of_json
from pretrain.config.fields import ConfigError
from pretrain.config.paths import written_whole
from pretrain.data.files import read_npz
from pretrain.data.tfds_prepare import SetError, check_features, one_line, prepare, require

_NAME = re.compile(r"(?P<base>[A-Za-z]\w*)(/(?P<config>\w[\w+.\-]*))?(:(?P<version>(\d+|\*)(\.(\d+|\*)){2}))?")
_CACHE = "pretrain-decoded.npz"
_ARRAYS = {"train_images", "train_labels", "test_images", "test_labels", "class_names"}
_UNLABELLED = {"unlabelled", "unlabeled"}  # splits


def read(name: str, directory: str) -> dict[str, Any]:
    """Reads a TFDS image classification set as train_images, train_labels, test_images, test_labels and class_names.

    A split `unlabelled`, as in stl10, gives unlabelled_images besides.

    Images are uint8 [N, H, W, 1 or 3], labels int32 [N], class names a tuple of strings, empty where the set has none.
    The test arrays are the split `test`, or `validation` where there is no `test`; other splits are left alone.
    The arrays are cached beside the prepared set, if possible, and read from there while the set is unchanged.

    Args:
      name: `name`, `name/config` or `name:version`. A version may hold wildcards (`3.*.*`); the newest on disk is read.
      directory: where TFDS keeps prepared sets.

    Raises:
      ConfigError: the set is unknown, is neither prepared nor can be, is damaged, or holds no uint8 images of one size
        with a class number each.
    """
    root = Path(os.path.expanduser(directory))
    try:
        match = _NAME.fullmatch(name)
        if not match:
            raise SetError("is no dataset name; write name, name/config or name:version")
        parts: dict[str, Any] = match.groupdict()
        folder = _find(root, **parts)
        if folder is None:
            fault = prepare(name, root, **parts)
            folder = _find(root, **parts)
            if folder is None:
                raise SetError(fault)
        source = _source(folder)
        arrays = _load(folder / _CACHE, source)
        if arrays is None:
            arrays = _decode(folder)
            if _source(folder) != source:
                raise SetError(f"was altered while it was read, in {folder}; run again once it is written")
            _save(folder / _CACHE, source, arrays)
        return arrays
    except SetError as error:
        raise ConfigError("data.name", name, str(error)) from None
    except OSError as error:
        raise ConfigError("data.dir", directory, f"cannot be read; name a directory that can ({error})") from None


def _find(root: Path, base: str, config: str | None, version: str | None) -> Path | None:
    """Returns the directory of the newest prepared version that fits, or None."""
    home = root / base
    if config is None and home.is_dir() and not _versions(home):
        configs = sorted(path.name for path in home.iterdir() if _versions(path))
        with contextlib.suppress(OSError, ValueError, KeyError):  # TFDS may have noted a default config there
            configs = [json.loads((home / ".config" / "metadata.json").read_text())["default_config_name"]]
        if len(configs) > 1:
            raise SetError(f"is prepared with several configs; write one of {[f'{base}/{name}' for name in configs]}")
        config = configs[0] if configs else None
    wanted = (version or "*.*.*").replace(".", r"\.").replace("*", r"\d+")
    versions = [path for path in _versions(home / (config or "")) if re.fullmatch(wanted, path.name)]
    return max(versions, key=lambda path: [int(number) for number in path.name.split(".")], default=None)


def _versions(folder: Path) -> list[Path]:
    infos = folder.glob("*.*.*/dataset_info.json")
    return [info.parent for info in infos if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name)]


def _decode(folder: Path) -> dict[str, Any]:
    """Returns the arrays and class names of a prepared set."""
    require("read", "tensorflow_datasets", "array_record", "PIL")
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
        info, formats = builder.info, sorted(kind.value for kind in builder.info.available_file_formats())
        if "array_record" not in formats:
            away = f"mv {shlex.quote(str(folder))} {shlex.quote(f'{folder}.{formats[0]}')}"
            raise SetError(f"is prepared as {formats[0]} and must be as array_record; run {away} and then this again")
        check_features(info.features)
        sizes = {name: split.num_examples for name, split in info.splits.items() if split.num_examples}
        test = "test" if "test" in sizes else "validation"
        if not {"train", test} <= sizes.keys():
            raise SetError(f"has the splits {sorted(sizes)}; choose a set with train and test or validation")
        arrays = {}
        for ours, theirs in ("train", "train"), ("test", test):
            arrays[f"{ours}_images"], arrays[f"{ours}_labels"] = _decode_split(builder, theirs, sizes[theirs])
            if arrays[f"{ours}_labels"].min() < 0:
                raise SetError(f"has unlabelled images in the split {theirs}; choose another set")
        for theirs in _UNLABELLED & sizes.keys():
            arrays["unlabelled_images"], _ = _decode_split(builder, theirs, sizes[theirs])
    except (SetError, MemoryError):
        raise
    except Exception as error:  # TFDS, ArrayRecord, protobuf and Pillow each raise their own
        remedy = f"remove {folder} if it is damaged, and run again"
        raise SetError(f"cannot be decoded; {remedy}: {one_line(error)}") from None
    label = info.features["label"]
    return {**arrays, "class_names": tuple(label.names if getattr(label, "num_classes", None) else ())}


def _decode_split(builder: Any, split: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images [N, H, W, C] and labels [N] of a split."""
    import tensorflow_datasets as tfds
    from PIL import Image

    # Without TensorFlow, TFDS silently takes palette indices for colours, 1-bit white for 1 and alpha for a channel.
    # Pillow's conversion gives TensorFlow's pixels, and whether OpenCV is there changes nothing.
    features, skip = builder.info.features, {"image": tfds.decode.SkipDecoding()}
    mode = "L" if features["image"].shape[-1] == 1 else "RGB"
    pair = tfds.features.FeaturesDict({name: features[name] for name in ("image", "label")})
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    records = builder.as_data_source(split, deserialize_method=raw, file_format="array_record")
    images: Any = None
    labels = np.empty(size, np.int32)
    for row in range(size):
        record = pair.deserialize_example_np(records[row], decoders=skip)
        with Image.open(io.BytesIO(record["image"])) as image:
            if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
                raise SetError(f"has an image of mode {image.mode}, {split}[{row}]; choose a set of 8-bit RGB or grey")
            pixels = np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
        if images is None:
            images = np.empty((size, *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            odd = f"{images.shape[1:]} at {split}[0] and {pixels.shape} at {split}[{row}]"
            raise SetError(f"has images of different sizes, {odd}; choose a set of one size")
        images[row], labels[row] = pixels, record["label"]
    return images, labels


def _source(folder: Path) -> str:
    """Returns the SHA-256 of a preparation of a set: its description, and the state of its files."""
    files = sorted(path for path in folder.iterdir() if _CACHE not in path.name)
    statuses = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return sha256_of_json([sha256_of_file(folder / "dataset_info.json"), statuses])


def _load(path: Path, source: str) -> dict[str, Any] | None:
    """Returns the arrays cached from a source, or None."""
    try:
        arrays = read_npz(path)
    except (OSError, ValueError):
        return None
    if arrays.pop("source", "") != source or not arrays.keys() >= _ARRAYS:
        return None
    return {**arrays, "class_names": tuple(arrays["class_names"].tolist())}


def _save(path: Path, source: str, arrays: dict[str, Any]) -> None:
    """Caches arrays in one atomic step, or not at all where that cannot be done."""
    with contextlib.suppress(OSError), written_whole(path) as draft, draft.open("wb") as file:
        np.savez(file, source=source, **{**arrays, "class_names": np.array(arrays["class_names"], str)})
