"""A few examples for the report: first-layer filters and reconstructions of a pretraining, as a file of a run."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pretrain.data.files import read_npz

FILE = "samples.npz"
_MOST_PIXELS = 64  # a side
_EXAMPLES = ("filters", "images", "reconstructions")
_KINDS = {  # of each array: NumPy's kind of its type, and how many dimensions it may have
    **dict.fromkeys(("trial_id", "stage_id"), ("U", (0,))),
    **dict.fromkeys(("seed", "n_layers", "n_units"), ("i", (0,))),
    **dict.fromkeys(_EXAMPLES, ("f", (4, 5))),
    "labels": ("U", (1,)),
}


class Samples(NamedTuple):
    """Filters and reconstructions of a pretraining.

    Series are [N, T, 1, C] as the encoder reads them, NaN after their ends; of volumes it is the middle slice,
    [N, 1, H, W, C].
    """

    trial_id: str
    stage_id: str  # of the last phase
    seed: int
    n_layers: int  # between images and codes
    n_units: int  # of the first layer
    filters: np.ndarray  # [its first units, height, width, C] float32, weights; empty if a layer has none
    images: np.ndarray  # [N, H, W, C] float32 in [0, 1], of the validation split, each of another class
    reconstructions: np.ndarray  # [N, H, W, C] float32, not clipped
    labels: tuple[str, ...]  # [N], class names

    @property
    def errors(self) -> np.ndarray:
        """Squared error of each reconstruction, mean over what is shown: [N]."""
        # In double precision no square of a diverged value overflows.
        squares = np.square(self.reconstructions.astype(float) - self.images)
        return np.mean(squares, axis=tuple(range(1, squares.ndim)), where=~np.isnan(self.images))

    @property
    def form(self) -> Literal["series", "images", "volumes"]:
        """What examples are."""
        if self.images.ndim == 5:
            return "volumes"
        return "series" if is_series(self.images.shape[1:]) else "images"


def is_series(shape: tuple[int, ...]) -> bool:
    """Returns whether an example of a shape is a series, [T, 1, C]."""
    return len(shape) == 3 and shape[0] > 1 == shape[1]


def reduced(images: np.ndarray) -> np.ndarray:
    """Returns images [N, H, W, C] or slices [N, 1, H, W, C], large ones as means over blocks of pixels.

    Paper holds no more.
    """
    images = images.reshape(len(images), *images.shape[-3:])
    side = -(-max(images.shape[1:3]) // _MOST_PIXELS)
    if side == 1:
        return images
    n, height, width, channels = images.shape
    padded = np.pad(images, ((0, 0), (0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    return padded.reshape(n, -(-height // side), side, -(-width // side), side, channels).mean(axis=(2, 4), dtype=float)


def write(samples: Samples, path: Path) -> None:
    """Writes samples to a file; equal samples to equal bytes.

    Raises:
      OSError: it could not be written.
    """
    with path.open("wb") as file:
        arrays = {**samples._asdict(), "labels": np.array(samples.labels, str)}
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read(source: Path | bytes) -> Samples:
    """Returns the samples of a file or of its content, which cannot execute anything.

    Raises:
      ValueError: the file is damaged, or no file of samples.
      OSError: it cannot be read.
    """
    arrays = read_npz(source, Samples._fields)
    _check_arrays(arrays)
    scalars = {name: array.item() for name, array in arrays.items() if not array.ndim}
    return Samples(**{**arrays, **scalars, "labels": tuple(arrays["labels"].tolist())})


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    """Checks that arrays have the types and shapes of samples."""
    for name, array in arrays.items():
        kind, ranks = _KINDS[name]
        if array.dtype.kind != kind or array.ndim not in ranks:
            raise ValueError(f"{name} is an array of {array.dtype} {array.shape}")
    filters, images, reconstructions = (arrays[name].shape for name in _EXAMPLES)
    same = images == reconstructions and images[-1] == filters[-1] and len(images) == len(filters)
    if not same or images[:1] != arrays["labels"].shape:
        raise ValueError("images, reconstructions, filters and labels do not fit each other")
    if not min(*images, *filters[1:]) or not (is_series(images[1:]) or images[-1] in (1, 3)):
        raise ValueError(f"images are of shape {images}, filters of {filters}")
