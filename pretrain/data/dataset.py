"""A dataset as arrays: its splits, their meaning and their digests."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pretrain.config.counts import written
from pretrain.config.kinds import TaskKind
from pretrain.data.columns import Record
from pretrain.data.files import State
from pretrain.data.findings import Finding
from pretrain.data.raw import Raw
from pretrain.data.scaling import Scaling


class Split(NamedTuple):
    """Inputs and labels, row by row."""

    inputs: np.ndarray  # [N, D] uint8 or float32, flattened
    # Class numbers [N] int32, -1 without one; or labels of 0 and 1, NaN where unknown, or standardised numbers,
    # [N, outputs] float32, all NaN without.
    labels: np.ndarray


class Fingerprints(NamedTuple):
    """SHA-256 of a dataset's arrays as given to training: the id of a stage holds the digests of its inputs."""

    images: str  # of training and validation
    labels: str  # of training and validation
    test: str  # images and labels


class Units(NamedTuple):
    """How numbers are standardised: by mean and standard deviation of the training rows with a target."""

    mean: np.ndarray  # [outputs] float64
    deviation: np.ndarray

    def standardised(self, numbers: np.ndarray) -> np.ndarray:
        """Returns numbers [N, outputs] with mean 0 and deviation 1 over the training rows: float32."""
        return ((numbers - self.mean) / self.deviation).astype(np.float32)

    def restored(self, numbers: np.ndarray) -> np.ndarray:
        """Returns standardised numbers [..., outputs] as they were: float64."""
        return numbers.astype(np.float64) * self.deviation + self.mean


class Origin(NamedTuple):
    """Rows of a split that was cut off the source's training rows."""

    rows: np.ndarray  # [N] places there, by which the cuts of several seeds have rows in common
    groups: np.ndarray | None  # [N] numbers of their groups, where rows are cut by groups


class Dataset(NamedTuple):
    """A dataset, split and flattened."""

    train: Split  # labels are there, and only a labelled subset of them is used
    validation: Split
    test: Split
    # Of an image (height, width, channels), of a series (steps, 1, channels), of a volume (depth, height, width,
    # channels), of a row of a table (columns,).
    example_shape: tuple[int, ...]
    task: TaskKind
    output_names: tuple[str, ...]  # of classes, labels or numbers
    units: Units | None  # of numbers
    fingerprints: Fingerprints
    labelled: np.ndarray | None  # [L] int32, the training rows with a label; None where all have one
    interval: tuple[float, float]  # of the training inputs as the encoder reads them
    scaling: Scaling  # from rows of the source, in the form of ``raw``, to inputs
    findings: tuple[Finding, ...] = ()
    records: tuple[Record, ...] = ()  # of all columns of a table
    has_unknown: bool = False  # whether rows lack some of their several labels
    files: tuple[State, ...] = ()  # of the source, as they were when they were read
    origins: Mapping[str, Origin] = {}  # of held-out splits; none of those with arrays of their own
    raw: Raw = Raw("images", (28, 28), "bytes", True)  # rows as the source has them

    @property
    def n_labelled(self) -> int:
        """The number of training rows with a label."""
        return len(self.train.labels) if self.labelled is None else len(self.labelled)

    @property
    def known_labels(self) -> np.ndarray:
        """The targets of training rows with a target: [L, ...]."""
        return self.train.labels if self.labelled is None else self.train.labels[self.labelled]

    def named(self, target: np.ndarray) -> str:
        """Returns an example's target in words: its class, its known labels, or its numbers in their units."""
        if self.task == "classification":
            return self.output_names[target]
        if self.units:
            return ", ".join(map(written, self.units.restored(target)))
        return ", ".join(name for name, label in zip(self.output_names, target, strict=True) if label == 1) or "none"

    @property
    def column_groups(self) -> tuple[int, ...]:
        """The group of each column: those of one category, and that which marks a missing value, go together."""
        if self.has_axes:
            return ()
        scaling, n_columns = self.scaling, self.example_shape[0]
        categories = {f"{record.name}={each}": record.name for record in self.records for each in record.categories}
        names = [categories.get(name, place) for place, name in enumerate(scaling.columns)]
        names = names or list(range(n_columns - len(scaling.marked)))
        kept = [names[place] for place in scaling.kept] if len(scaling.kept) else names
        numbers = {name: number for number, name in enumerate(dict.fromkeys(kept))}
        return tuple(numbers[name] for name in [*kept, *(names[place] for place in scaling.marked)])

    @property
    def has_axes(self) -> bool:
        """Whether examples are images, series or volumes, and no columns."""
        return len(self.example_shape) > 1
