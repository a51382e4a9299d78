"""Oddities of labels and names that may harm an answer, as findings."""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pretrain.config.counts import some
from pretrain.data.findings import Finding, Severity
from pretrain.data.labels import NONE

_MOST_NAMED = 5
_OF_GROUPS = re.compile(
    "group|subject|patient|person|people|participant|user|session|recording|speaker|writer|donor|animal|site|batch",
    re.IGNORECASE,
)


def of_labels(labels: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Iterator[Finding]:
    """Yields oddities of the classes of each split."""
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
        # One class leaves nothing to distinguish.
        severity: Severity = "doubt" if (counts["test"] > 0).sum() < 2 else "note"
        yield Finding("classes without a test row", line, severity, figures={"classes": len(absent)})


def of_left_alone(names: Iterable[str], group: str) -> Iterator[Finding]:
    """Yields arrays that hold groups by their names, if none is asked for."""
    named = [name for name in names if _OF_GROUPS.search(name)]
    if named and not group:
        line = f"the array {named[0]} is left alone, and rows of one group may be training and test rows"
        remedy = f"if it names groups: --data.group {named[0]}"
        yield Finding("groups that are cut apart", line, "doubt", remedy)
