"""A few images to look at: first-layer filters and reconstructions of one pretraining, as a file of a run."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pretrain.data.files import read_npz

FILE = "samples.npz"
_DIMENSIONS = {
    **dict.fromkeys(("trial_id", "stage_id", "seed", "n_layers", "n_units"), 0),
    **dict.fromkeys(("filters", "images", "reconstructions"), 4),
    "labels": 1,
}


class Samples(NamedTuple):
    """Filters and reconstructions of one pretraining."""

    trial_id: str
    stage_id: str  # of the last phase
    seed: int
    n_layers: int  # that images go up through, and down again
    n_units: int  # of the first layer
    filters: np.ndarray  # [its first units, height, width, C] float32, weights; none of a layer without such
    images: np.ndarray  # [N, H, W, C] float32 in [0, 1], of the validation split, each of another class
    reconstructions: np.ndarray  # [N, H, W, C] float32, not clipped
    labels: tuple[str, ...]  # [N], class names

    @property
    def errors(self) -> np.ndarray:
        """Squared error of each reconstruction, mean over pixels: [N]."""
        # In double precision no square of a diverged one is too large.
        return np.mean(np.square(self.reconstructions.astype(float) - self.images), axis=(1, 2, 3))


def write(samples: Samples, path: Path) -> None:
    """Writes samples to a file, the same ones always to the same bytes.

    Raises:
      OSError: it could not be written.
    """
    with path.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **samples._replace(labels=np.array(samples.labels, str))._asdict()
        )


def read(source: Path | bytes) -> Samples:
    """Returns the samples of a file or of its content, which can execute nothing.

    Raises:
      ValueError: the file is damaged, or no file of samples.
      OSError: it cannot be read.
    """
    arrays = read_npz(source, Samples._fields)
    _check(arrays)
    scalars = {name: arrays[name].item() for name, dimensions in _DIMENSIONS.items() if not dimensions}
    return Samples(**{**arrays, **scalars, "labels": tuple(arrays["labels"].tolist())})


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Checks that arrays are of the kinds and shapes of samples."""
    kinds = {"trial_id": "U", "stage_id": "U", "labels": "U"}
    kinds |= dict.fromkeys(("seed", "n_layers", "n_units"), "i")
    for name, array in arrays.items():
        if array.ndim != _DIMENSIONS[name] or array.dtype.kind != kinds.get(name, "f"):
            raise ValueError(f"{name} is an array of {array.dtype} {array.shape}")
    images, reconstructions, filters = (arrays[name].shape for name in ("images", "reconstructions", "filters"))
    if images != reconstructions or images[-1] != filters[-1] or images[:1] != arrays["labels"].shape:
        raise ValueError("images, reconstructions, filters and labels do not fit each other")
    if not min(*images, *filters[1:]) or images[-1] not in (1, 3):
        raise ValueError(f"images are of shape {images}, filters of {filters}")
