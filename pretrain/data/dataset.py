"""A dataset as arrays: the packaged MNIST, a user's .npz file, or any TFDS image classification set."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pretrain.config import Experiment
from pretrain.config.fields import ConfigError
from pretrain.config.settings import DataConfig
from pretrain.data.files import MissingArrayError, read_npz

_MNIST = Path(__file__).with_name("mnist.npz")
_MNIST_SHA256 = "e73dec66bbaca706840061cd787a19a5d2e2b589703ee47c01640c047cfe7741"
_MOST_CLASSES = 100_000  # a larger label is no class number but something else
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class Split(NamedTuple):
    """Images and labels, row by row."""

    images: np.ndarray  # [N, D] uint8, flattened
    labels: np.ndarray  # [N] int32


class Fingerprints(NamedTuple):
    """SHA-256 of a dataset's arrays as training is given them, part by part: a stage is named by the parts it reads."""

    images: str  # of training and validation
    labels: str  # of training and validation
    test: str  # images and labels


class Dataset(NamedTuple):
    """A dataset, split and flattened."""

    train: Split  # labels are there, and only a labelled subset of them is used
    validation: Split
    test: Split
    image_shape: tuple[int, ...]  # (height, width, channels)
    class_names: tuple[str, ...]
    fingerprints: "Fingerprints"


def load(config: DataConfig) -> Dataset:
    """Loads and splits the dataset that a config names.

    The first ``config.validation`` training images become the validation split, the others the training split.

    Raises:
      ConfigError: the dataset is not there, is damaged or is no image classification set, or the validation split
        would take all training images.
    """
    arrays, class_names = _read(config)
    images, labels = arrays["train_images"], arrays["train_labels"]
    if config.validation >= len(images):
        remedy = f"leaves no images to train on; lower it below the {len(images)} training images"
        raise ConfigError("data.validation", config.validation, remedy)
    flatten = luma_vectors if config.greyscale else vectors
    held_out = config.validation
    channels = 1 if config.greyscale else images.shape[-1]
    made = _shuffled if config.shuffled_pixels else lambda images: images
    train = Split(made(flatten(images[held_out:])), labels[held_out:])
    validation = Split(made(flatten(images[:held_out])), labels[:held_out])
    test = Split(made(flatten(arrays["test_images"])), arrays["test_labels"])
    fingerprints = Fingerprints(
        _digest(train.images, validation.images), _digest(train.labels, validation.labels), _digest(*test)
    )
    return Dataset(train, validation, test, (*images.shape[1:3], channels), class_names, fingerprints)


def load_all(experiment: Experiment) -> dict[DataConfig, Dataset]:
    """Loads every dataset of an experiment's sweep, those of pretraining too, once each.

    Raises:
      ConfigError: as ``load`` does.
    """
    settings = [point.settings for point in experiment.points]
    wanted = dict.fromkeys(config for at in settings for config in (at.data, at.pretraining_data))
    return {config: load(config) for config in wanted}


def vectors(images: np.ndarray) -> np.ndarray:
    """Flattens images [N, H, W, C] to [N, H * W * C]."""
    return images.reshape(len(images), -1)


def luma_vectors(images: np.ndarray) -> np.ndarray:
    """Turns images [N, H, W, 1 or 3] to one channel (ITU-R BT.601 luma, rounded) and flattens them to [N, H * W]."""
    if images.shape[-1] == 1:
        return vectors(images)
    # A block at a time: the float copy of a whole colour dataset would be twelve times its size.
    grey = np.empty(images.shape[:3], np.uint8)
    for start in range(0, len(images), 1024):
        block = slice(start, start + 1024)
        grey[block] = np.rint(images[block] @ np.array([0.299, 0.587, 0.114], np.float32))
    return vectors(grey)


def _shuffled(images: np.ndarray) -> np.ndarray:
    """Shuffles every pixel over images [N, D], each in its own way, the same for all seeds."""
    return np.random.default_rng(0).permuted(images, axis=0)


def _read(config: DataConfig) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the four arrays, checked and in canonical types, and the class names."""
    if config.name == "mnist":
        if not _MNIST.is_file() or hashlib.sha256(_MNIST.read_bytes()).hexdigest() != _MNIST_SHA256:
            raise ConfigError("data.name", config.name, f"is damaged: {_MNIST} fails its checksum; reinstall pretrain")
        arrays, class_names = _read_npz(_MNIST), tuple("0123456789")
    elif config.name.endswith(".npz"):
        arrays, class_names = _read_npz(Path(os.path.expanduser(config.name))), ()
    else:
        from pretrain.data import tfds_images

        arrays = tfds_images.read(config.name, config.dir)
        class_names = arrays.pop("class_names")
    arrays = {name: _canonical(config.name, name, arrays[name]) for name in _ARRAYS}
    _check_shapes(config.name, arrays)
    classes = 1 + max(int(arrays[name].max()) for name in ("train_labels", "test_labels"))
    return arrays, class_names or tuple(map(str, range(classes)))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path, _ARRAYS)
    except FileNotFoundError:
        raise ConfigError("data.name", str(path), "is no file; give the path of an .npz file that is there") from None
    except MissingArrayError as missing:
        raise ConfigError("data.name", str(path), f"lacks the array {missing}; it must hold {_ARRAYS}") from None
    except (OSError, ValueError) as error:
        raise ConfigError("data.name", str(path), f"is no readable .npz file ({error}); write it anew") from None


def _canonical(source: str, name: str, array: np.ndarray) -> np.ndarray:
    """Returns images as uint8 [N, H, W, C] and labels as int32 [N]."""
    if name.endswith("images"):
        if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.size == 0:
            remedy = f"has {name} of {array.dtype} {array.shape}; they must be uint8 [N, H, W] or [N, H, W, C]"
            raise ConfigError("data.name", source, remedy)
        return array if array.ndim == 4 else array[..., None]
    if not np.issubdtype(array.dtype, np.integer) or array.ndim != 1 or array.size == 0:
        remedy = f"has {name} of {array.dtype} {array.shape}; they must be class numbers from 0, [N]"
        raise ConfigError("data.name", source, remedy)
    if array.min() < 0 or array.max() > _MOST_CLASSES:
        remedy = f"has {name} between {array.min()} and {array.max()}; they must be class numbers from 0"
        raise ConfigError("data.name", source, remedy)
    return array.astype(np.int32)


def _check_shapes(source: str, arrays: dict[str, np.ndarray]) -> None:
    for split in ("train", "test"):
        images, labels = len(arrays[f"{split}_images"]), len(arrays[f"{split}_labels"])
        if images != labels:
            raise ConfigError("data.name", source, f"has {images} {split} images but {labels} labels; pair them up")
    train, test = (arrays[f"{split}_images"].shape[1:] for split in ("train", "test"))
    if train != test:
        raise ConfigError("data.name", source, f"has train images of {train} but test images of {test}; resize them")
    if train[-1] not in (1, 3):
        raise ConfigError("data.name", source, f"has images of {train[-1]} channels; give 1 (grey) or 3 (colour)")


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
