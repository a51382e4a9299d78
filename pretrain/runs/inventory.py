"""The inventory of a store: its directories, the runs that use each, and directories without use."""

import dataclasses
import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pretrain.runs.holds import Hold, holds
from pretrain.store import contents, programs, sealed, states
from pretrain.store.manifests import DamageError


@dataclasses.dataclass(frozen=True)
class Entry:
    """A directory of a store."""

    path: Path
    kind: str  # a stage's name, or a description
    stages: tuple[str, ...]  # ids
    n_bytes: int
    runs: tuple[str, ...]  # directories of the runs that use it
    fault: str = ""  # why it cannot be read

    @property
    def unused(self) -> bool:
        """Whether no run uses it."""
        return not self.runs


def entries(root: Path, verify: bool = False) -> Iterator[Entry]:
    """Yields every directory of a store: packs, packs in training, states to go on from, and leftovers."""
    used, _ = holds(root)
    for path in itertools.chain(*(sorted(root.glob(f"{place}/*")) for place in ("packs", "begun", states.PLACE))):
        yield _sealed_entry(path, used, verify)
    for path in sorted(root.glob("damaged/*")):
        yield Entry(path, "damaged", (), _size(path), ())
    for path in sealed.abandoned(root / "drafts"):
        yield Entry(path, "abandoned draft", (), _size(path), ())
    for path in programs.stale(root / "programs"):
        yield Entry(path, "stale programs", (), _size(path), ())


def prune(root: Path) -> tuple[list[Entry], list[str]]:
    """Deletes directories that no run uses; but no stage while a note of a run's stages cannot be read.

    Returns:
      The deleted directories, and a line for each failure.
    """
    faults, gone = holds(root)[1], []
    for entry in [entry for entry in entries(root) if entry.unused and not (faults and entry.stages)]:
        try:
            shutil.rmtree(entry.path)
        except FileNotFoundError:  # another process deletes, too
            continue
        except OSError as error:
            faults.append(f"{error.filename or entry.path}: cannot be deleted ({error.strerror or error})")
        else:
            gone.append(entry)
    return gone, faults


def _sealed_entry(path: Path, used: Sequence[Hold], verify: bool) -> Entry:
    try:
        manifest = sealed.read_manifest(path)
        is_finished = path.parent.name == "packs"
        contents.check_manifest(path, manifest or {}, contents.FILES if is_finished else set())
    except DamageError as damage:
        return Entry(path, "damaged", (), _size(path), (), str(damage))
    if manifest is None:
        return Entry(path, "of another version", (), _size(path), ())
    kind = manifest["kind"] + {"begun": ", in training", states.PLACE: ", state"}.get(path.parent.name, "")
    stages, fault = tuple(manifest["stages"]), ""
    users = tuple(str(hold.run_dir) for hold in used if not hold.stages.isdisjoint(stages))
    if verify:
        try:
            sealed.check_files(path, manifest)
            if is_finished:
                contents.check(path, manifest)
        except DamageError as damage:
            fault = str(damage)
    return Entry(path, kind, stages, _size(path), users, fault)


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
