"""The names of arrays: people's, and the canonical ones of this package."""

from collections.abc import Iterable

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}
_PARTS = {**dict.fromkeys(("images", "inputs", "x"), "inputs"), **dict.fromkeys(("labels", "targets", "y"), "labels")}
EXPECTED = "train_, val_, test_ or unlabelled_, times images, inputs or x, and labels, targets or y; or X and y"


def split_of(name: str) -> str | None:
    """Returns the canonical name of a split; None of an unknown."""
    return _SPLITS.get(name.lower())


def canonical(name: str) -> str | None:
    """Returns the canonical name, as ``train_inputs``, of ``X_train``, ``val_images`` or ``y``; None of an unknown."""
    words = name.lower().split("_")
    splits, parts = ([table[word] for word in words if word in table] for table in (_SPLITS, _PARTS))
    if len(parts) != 1 or len(splits) > 1 or len(words) != len(splits) + 1:
        return None
    return f"{splits[0] if splits else 'train'}_{parts[0]}"


def recognised(names: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Returns given names by canonical name, unknown names, and a line for each ambiguity."""
    given: dict[str, str] = {}
    unknown, faults = [], []
    for name in sorted(names):
        wanted = canonical(name)
        if wanted is None:
            unknown.append(name)
        elif wanted in given:
            faults.append(f"has {given[wanted]} and {name}, which mean the same; keep one")
        else:
            given[wanted] = name
    return given, unknown, faults
