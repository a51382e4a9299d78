"""Oddities of labels and rows that may harm an answer, as findings."""

from collections.abc import Iterator, Mapping

import numpy as np

from pretrain.config.counts import some
from pretrain.data.findings import Finding
from pretrain.data.labels import NONE

_MOST_BYTES = 1 << 31  # of rows that are compared
_MOST_NAMED = 5


def of_labels(labels: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Iterator[Finding]:
    """Yields oddities of the classes of each split.

    Args:
      labels: class numbers [N] by split.
      class_names: of all classes.
    """
    counts = {split: np.bincount(array[array != NONE], minlength=len(class_names)) for split, array in labels.items()}
    for split in ("test", "validation"):
        unseen = np.flatnonzero((counts["train"] == 0) & (counts[split] > 0))
        if len(unseen):
            n = int(counts[split][unseen].sum())
            named = some([class_names[number] for number in unseen], _MOST_NAMED)
            line = f"no training row with a label is of class {named}, but {n:,} {split} rows are; none can be right"
            yield Finding(f"classes of {split} rows alone", line, "doubt", figures={"rows": n, "classes": len(unseen)})
    absent = np.flatnonzero((counts["train"] > 0) & (counts["test"] == 0))
    if len(absent):
        line = f"no test row is of class {some([class_names[number] for number in absent], _MOST_NAMED)}"
        yield Finding("classes without a test row", line, figures={"classes": len(absent)})


def of_copies(inputs: Mapping[str, np.ndarray]) -> Iterator[Finding]:
    """Yields the numbers of held-out rows that are training rows, too.

    Args:
      inputs: rows [N, ...] by split.
    """
    if sum(array.nbytes for array in inputs.values()) > _MOST_BYTES:
        return
    held_out = {split: _hashes(inputs[split]) for split in ("test", "validation")}
    copied = set().union(*held_out.values()).intersection(_hashes(inputs["train"]))
    for split, hashes in held_out.items():
        n = sum(row in copied for row in hashes)
        if n:
            line = f"{n:,} of {len(hashes):,} {split} rows are training rows too, which flatters every arm"
            figures = {"rows": n, "of": len(hashes)}
            yield Finding(f"{split} rows among the training rows", line, "doubt", figures=figures)


def _hashes(rows: np.ndarray) -> list[int]:
    flat = np.ascontiguousarray(rows.reshape(len(rows), -1))
    return [hash(row.tobytes()) for row in flat]
