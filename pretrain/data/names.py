"""The names of arrays: those that people give them, and the ones by which this package knows them."""

from collections.abc import Iterable

_SPLITS = {
    **{"train": "train", "test": "test", "val": "validation", "validation": "validation"},
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}
_PARTS = {**dict.fromkeys(("images", "inputs", "x"), "inputs"), **dict.fromkeys(("labels", "targets", "y"), "labels")}
EXPECTED = "train_, val_, test_ or unlabelled_, times images, inputs or x, and labels, targets or y; or X and y"


def canonical(name: str) -> str | None:
    """Returns a name as in ``train_inputs``, from ``X_train``, ``val_images`` or ``y``; None of an unknown one."""
    words = name.lower().split("_")
    splits, parts = ([table[word] for word in words if word in table] for table in (_SPLITS, _PARTS))
    if len(parts) != 1 or len(splits) > 1 or len(words) != len(splits) + 1:
        return None
    return f"{splits[0] if splits else 'train'}_{parts[0]}"


def recognised(names: Iterable[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Returns given names by canonical one, the given names of no meaning, and a line for each ambiguity."""
    known: dict[str, str] = {}
    unknown, faults = [], []
    for name in sorted(names):
        meant = canonical(name)
        if meant is None:
            unknown.append(name)
        elif meant in known:
            faults.append(f"has {known[meant]} and {name}, which mean the same; keep one")
        else:
            known[meant] = name
    return known, unknown, faults
