"""What a store holds, which runs use it, and what none does."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pretrain.sweep import programs, sealed
from pretrain.sweep.sealed import DamageError


@dataclasses.dataclass(frozen=True)
class Entry:
    """A directory of a store."""

    path: Path
    kind: str  # a stage's name, or what else it is
    stages: tuple[str, ...]  # ids
    n_bytes: int
    runs: tuple[str, ...]  # directories of the runs that use it
    fault: str = ""  # why it cannot be read

    @property
    def unused(self) -> bool:
        """Whether nothing is lost for any run if it goes."""
        return not self.runs


def runs(root: Path) -> dict[str, frozenset[str]]:
    """Returns the stages that each run which has used the store, and is still there, is made of, by its directory."""
    found = {}
    for path in sorted(root.glob("runs/*.json")):
        try:
            note = json.loads(path.read_text())
            if (Path(note["run_dir"]) / "experiment.json").is_file():
                found[note["run_dir"]] = frozenset(note["stages"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a note that cannot be read keeps nothing
    return found


def entries(root: Path, verify: bool = False) -> Iterator[Entry]:
    """Yields every directory of a store: packs, packs in training, and what is left over.

    Args:
      root: the store.
      verify: whether to check the checksum of every file.
    """
    used = runs(root)
    for path in [*sorted(root.glob("packs/*")), *sorted(root.glob("begun/*"))]:
        yield _sealed_entry(path, used, verify)
    for path in sorted(root.glob("damaged/*")):
        yield Entry(path, "damaged", (), _size(path), ())
    for path in sealed.abandoned(root / "drafts"):
        yield Entry(path, "abandoned draft", (), _size(path), ())
    for path in programs.stale(root / "programs"):
        yield Entry(path, "stale programs", (), _size(path), ())


def prune(root: Path) -> list[Entry]:
    """Deletes what no run uses, and returns it."""
    gone = [entry for entry in entries(root) if entry.unused]
    for entry in gone:
        shutil.rmtree(entry.path, ignore_errors=True)
    return gone


def _sealed_entry(path: Path, used: Mapping[str, frozenset[str]], verify: bool) -> Entry:
    in_training = ", in training" if path.parent.name == "begun" else ""
    try:
        manifest = sealed.read_manifest(path)
        if manifest is None:
            return Entry(path, "of another version", (), _size(path), ())
        stages = tuple(manifest["stages"])
        users = tuple(run for run, ids in used.items() if not ids.isdisjoint(stages))
        entry = Entry(path, manifest["kind"] + in_training, stages, _size(path), users)
        try:
            if verify:
                sealed.check_files(path, manifest)
        except DamageError as damage:
            return dataclasses.replace(entry, fault=str(damage))
        return entry
    except DamageError as damage:
        return Entry(path, "damaged", (), _size(path), (), str(damage))


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
