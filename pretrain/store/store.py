"""Stages on disk: parameters as orbax checkpoints, records as JSON and Parquet, and a checksum of every file.

A pack is one sealed directory, ``packs/<id>``: ``params/`` (an orbax checkpoint whose arrays have the pack's stages as
leading axis), ``records.json``, ``curves.parquet`` and, of stages that end trials, ``predictions.npz``. A pack in
training is another, ``begun/<id>.<updates>``.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config.digests import sha256
from pretrain.config.fields import ConfigError
from pretrain.learn.layers import Params
from pretrain.learn.transfer import copied
from pretrain.plan import arrays
from pretrain.plan.identity import versions
from pretrain.plan.plan import Pack
from pretrain.store import contents, manifests, sealed, states
from pretrain.store.manifests import DamageError
from pretrain.store.records import Outcome, Progress, Record, StoredAs, curves_by_stage, curves_of, records_of
from pretrain.store.sealed import StoreError
from pretrain.store.states import States

_PLACES = ("packs", "begun", states.PLACE, "drafts", "damaged", "runs", "programs", "fingerprints", "judged")


def check(root: Path) -> None:
    """Checks that the places of a store's directories hold directories, or links to some, or nothing.

    Raises:
      ConfigError: one holds something else.
    """
    for name in _PLACES:
        if os.path.lexists(root / name) and not (root / name).is_dir():
            remedy = f"has a {name} that is no directory; move it away, or choose another store"
            raise ConfigError("store", str(root), remedy)


class Store:
    """Stored stages under a directory; several processes may share one."""

    def __init__(
        self, root: Path | str, warn: Callable[[str], None], read_only: bool = False, packs: Iterable[str] | None = None
    ):
        """Opens a store and its packs.

        Args:
          root: the directory; made when the first pack is saved.
          warn: called with a line for every damaged file.
          read_only: whether to leave damaged packs, and drafts of killed processes, in place.
          packs: names of those to open, for who knows what is needed; by default all that are there are found.
        """
        self.root = Path(root).expanduser().resolve()
        self._warn = warn
        self._read_only = read_only
        self._manifests: dict[Path, dict[str, Any]] = {}  # empty: of another format
        self._places: dict[str, tuple[Path, int]] = {}  # stage id to pack and lane
        self._by_settings: dict[str, list[StoredAs]] = {}  # by the settings' id
        self._sound: set[Path] = set()  # packs whose files were checked
        self._restored: dict[Path, Params] = {}
        self.temporaries: dict[tuple[str, str], int | float] = {}  # of programs, as ``memory.Noted``
        self._predicted: dict[tuple[Path, str], dict[str, np.ndarray]] = {}
        self.states = States(self.root, self._move_aside)
        if packs is not None:
            self.open(packs)
            return
        if not read_only:
            for draft in sealed.abandoned(self.root / "drafts"):
                shutil.rmtree(draft, ignore_errors=True)
        self.refresh()
        if not read_only:
            self._forget_stored()

    def refresh(self) -> None:
        """Opens new packs of other processes."""
        new = [path for path in self.root.glob("packs/*") if path not in self._manifests]
        for path in sorted(new, key=_age):
            self._open(path)

    def open(self, names: Iterable[str]) -> None:
        """Opens packs by name, those that are there."""
        for path in (self.root / "packs" / name for name in names):
            if path not in self._manifests and path.is_dir():
                self._open(path)

    @staticmethod
    def name_of(pack: Pack) -> str:
        """Returns the name under which a pack is stored."""
        return _name(pack)

    def pack_of(self, stage: str) -> str | None:
        """Returns the name of the pack that holds a stage; None where none does."""
        place = self._places.get(stage)
        return place and place[0].name

    def verified(self, ids: Collection[str]) -> set[str]:
        """Returns which of these stages are stored, after checking every file of their packs.

        A damaged pack is named and moved aside, so that its stages count as never run.
        """
        while unchecked := {self._places[stage][0] for stage in ids if stage in self._places} - self._sound:
            for path in sorted(unchecked):
                try:
                    sealed.check_files(path, self._manifests[path])
                    contents.check(path, self._manifests[path])
                    self._sound.add(path)
                except DamageError as damage:
                    self._discard(path, str(damage))
        return {stage for stage in ids if stage in self._places}

    def with_settings(self, settings_id: str) -> list[StoredAs]:
        """Returns the stored stages of these settings, from any program, the newest last."""
        return self._by_settings.get(settings_id, [])

    def save(self, pack: Pack, outcome: Outcome) -> str:
        """Stores a pack as ``write`` does, and opens it; returns its name."""
        path = self.write(pack, outcome)
        self._open(path)
        return path.name

    def write(self, pack: Pack, outcome: Outcome) -> Path:
        """Stores a pack, all of it or nothing, and deletes its progress.

        It may run in another thread: ``refresh`` opens the pack.

        Raises:
          StoreError: it could not be written; the message names the file or directory.
        """

        def fill(draft: Path) -> None:
            sealed.save_arrays(draft / "params", outcome.params)
            (draft / "records.json").write_text(manifests.canonical(records_of(outcome)))
            pq.write_table(curves_of(pack, outcome), draft / "curves.parquet", compression="zstd")
            if outcome.predictions:
                np.savez(draft / contents.PREDICTIONS, allow_pickle=False, **outcome.predictions)

        target = self.root / "packs" / _name(pack)
        program = pack.jobs[0].program
        noted = {platform: size for (name, platform), size in list(self.temporaries.items()) if name == program}
        self._seal(target, {**_content(pack, outcome.params), "temporaries": noted}, fill)
        self._forget_progress(pack)
        return target

    def params(self, stage: str, shapes: Params | None = None) -> Params:
        """Returns a stored stage's parameters as NumPy arrays.

        Args:
          stage: its id; it must have been ``verified`` or saved.
          shapes: the parameters' expected shapes and dtypes, if any.

        Raises:
          StoreError: the checkpoint cannot be restored, or is not what its manifest says.
          TransferError: the checkpoint holds other parameters.
        """
        path, lane = self._places[stage]
        if path not in self._restored:
            # One pack at a time: only the stages planned next want a finished stage's parameters.
            self._restored = {path: sealed.restore_arrays(path / "params", self._manifests[path]["structure"])}
        params = arrays.lane_of(self._restored[path], lane)
        return params if shapes is None else copied(shapes, params)

    def records(self, ids: Sequence[str]) -> list[Record]:
        """Returns the records of stored stages."""
        loaded = {path: json.loads((path / "records.json").read_text()) for path in self._packs_of(ids)}
        return [Record(**loaded[path][lane]) for path, lane in (self._places[stage] for stage in ids)]

    def predictions(self, stage: str, split: str) -> dict[str, np.ndarray]:
        """Returns the predictions of a stored fine-tuning on a held-out split: ``scores``, ``classes``, ``targets``.

        They are as ``Outcome.predictions`` has them, without the leading axis.
        """
        path, lane = self._places[stage]
        if (path, split) not in self._predicted:  # one pack at a time
            with np.load(path / contents.PREDICTIONS, allow_pickle=False) as kept:
                names = [name for name in kept.files if name.startswith(f"{split}_")]
                self._predicted = {(path, split): {name: kept[name] for name in names}}
        return arrays.prediction_of(self._predicted[path, split], split, lane)

    def curves(self, ids: Sequence[str]) -> list[pa.Table]:
        """Returns the curves of each of these stored stages: ``metric``, ``step``, ``value``, in this order.

        Values at step n are measured after the n-th update.
        """
        by_pack = {path: curves_by_stage(pq.read_table(path / "curves.parquet")) for path in self._packs_of(ids)}
        return [by_pack[path][lane] for path, lane in (self._places[stage] for stage in ids)]

    def save_progress(self, pack: Pack, progress: Progress) -> None:
        """Stores the progress of a pack, in place of its earlier one.

        Raises:
          StoreError: it could not be written; the message names the file or directory.
        """
        target = self.root / "begun" / f"{_name(pack)}.{progress.step}"
        content = {**_content(pack, progress.arrays), "step": progress.step, "seconds": progress.seconds}
        self._seal(target, content, lambda draft: sealed.save_arrays(draft / "arrays", progress.arrays))
        self._forget_progress(pack, keep=target)

    def progress(self, pack: Pack) -> Progress | None:
        """Returns the latest stored progress of a pack; None if none is sound."""
        for path in self._progress_of(pack):
            try:
                manifest = sealed.read_manifest(path)
                if manifest:
                    sealed.check_files(path, manifest)
                    arrays = sealed.restore_arrays(path / "arrays", manifest["structure"])
                    return Progress(manifest["step"], manifest["seconds"], arrays)
            except (DamageError, StoreError) as damage:
                self._move_aside(path, f"{damage}; its stages begin again")
            except (LookupError, TypeError) as fault:  # of a manifest that somebody sealed again
                self._move_aside(path, f"{path / manifests.NAME}: {fault!r}; its stages begin again")
        return None

    def cut_progress(self, pack: Pack, pieces: Sequence[Pack]) -> None:
        """Stores the progress of a pack as its pieces', which go on in its place.

        Raises:
          StoreError: it could not be written; the message names the file or directory.
        """
        progress = self.progress(pack)
        if progress is None:
            return
        start = 0
        for piece in pieces:
            stop = start + len(piece.jobs)
            self.save_progress(piece, progress._replace(arrays=arrays.lanes_of(progress.arrays, start, stop)))
            start = stop
        self._forget_progress(pack)

    def save_state(self, pack: Pack, progress: Progress) -> None:
        """Stores the state that a pack has come to, from which the same stages of more updates go on.

        One that cannot be written costs a warning, and no stage.
        """
        target = self.root / states.PLACE / f"{_name(pack)}.{progress.step}"
        content = {**_content(pack, progress.arrays), **states.fields(pack, progress)}
        try:
            self._seal(target, content, lambda draft: states.fill(draft, progress))
        except StoreError as error:
            self._warn(f"{error}; without this state of {pack.stage.name} longer training does not go on from it")

    def in_training(self) -> list[tuple[str, ...]]:
        """Returns the stages of each pack in training, in the pack's order."""
        return list(dict.fromkeys(self._in_training().values()))

    def _in_training(self) -> dict[Path, tuple[str, ...]]:
        stages = {}
        for path in sorted(self.root.glob("begun/*.*")):
            with contextlib.suppress(DamageError):  # named when the pack is resumed
                if manifest := sealed.read_manifest(path):
                    contents.check_manifest(path, manifest, set())
                    stages[path] = tuple(manifest["stages"])
        return stages

    def _forget_stored(self) -> None:
        """Deletes progress of processes that were killed between two steps of ``write``: its stages are stored."""
        for path, stages in self._in_training().items():
            if self._places.keys() >= set(stages):
                shutil.rmtree(path, ignore_errors=True)

    def _seal(self, target: Path, content: dict[str, Any], fill: Callable[[Path], None]) -> None:
        try:
            sealed.write(target, self.root / "drafts", content, fill)
        except StoreError as error:
            are_there = any(path.exists() for path in self._manifests)
            raise StoreError(f"{error}; stages saved earlier are intact" if are_there else str(error)) from None

    def _progress_of(self, pack: Pack) -> list[Path]:
        """Returns the stored progress of a pack in training, the latest first."""
        paths = [path for path in self.root.glob(f"begun/{_name(pack)}.*") if path.suffix[1:].isdigit()]
        return sorted(paths, key=lambda path: int(path.suffix[1:]), reverse=True)

    def _forget_progress(self, pack: Pack, keep: Path | None = None) -> None:
        for path in self._progress_of(pack):
            if path != keep:
                shutil.rmtree(path, ignore_errors=True)

    def _packs_of(self, ids: Collection[str]) -> list[Path]:
        return sorted({self._places[stage][0] for stage in ids})

    def _open(self, path: Path) -> None:
        try:
            self._manifests[path] = manifest = sealed.read_manifest(path) or {}
            contents.check_manifest(path, manifest)
        except DamageError as damage:
            self._discard(path, str(damage))
            return
        self._place(path)

    def _place(self, path: Path) -> None:
        manifest = self._manifests[path]
        for lane, stage in enumerate(manifest.get("stages", ())):
            self._places.setdefault(stage, (path, lane))
            stored = StoredAs(stage, manifest["programs"][lane], manifest["versions"], manifest["parents"][lane])
            alike = self._by_settings.setdefault(manifest["settings"][lane], [])
            if stored not in alike:
                alike.append(stored)
        for platform, size in manifest.get("temporaries", {}).items():
            self.temporaries[manifest["programs"][0], platform] = size

    def _discard(self, path: Path, fault: str) -> None:
        self._move_aside(path, f"{fault}; its stages will run again")
        self._manifests.pop(path, None)
        self._places, self._by_settings = {}, {}
        for other in self._manifests:  # a stage may have been stored in another pack, too
            self._place(other)

    def _move_aside(self, path: Path, fault: str) -> None:
        if self._read_only:
            self._warn(fault)
            return
        away = self.root / "damaged" / f"{path.name}-{uuid.uuid4().hex[:8]}"
        self._warn(f"{fault}, what is left of them goes to {away}")
        with contextlib.suppress(OSError):  # another process may have moved it already
            away.parent.mkdir(exist_ok=True)
            path.rename(away)


def _age(path: Path) -> tuple[int, str]:
    """Returns a sort key of packs by the time at which they were stored."""
    with contextlib.suppress(OSError):  # moved aside meanwhile
        return path.stat().st_mtime_ns, path.name
    return 0, path.name


def _name(pack: Pack) -> str:
    return sha256("\n".join(job.id for job in pack.jobs))[:32]


def _content(pack: Pack, arrays: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of a pack's manifest."""
    return {
        "kind": pack.stage.name,
        "stages": [job.id for job in pack.jobs],
        "settings": [job.settings_id for job in pack.jobs],
        "programs": [job.program for job in pack.jobs],
        "parents": [job.parent for job in pack.jobs],
        "versions": versions(),
        "structure": sealed.structure(arrays),
    }
