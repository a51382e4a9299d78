"""Stages on disk: parameters as orbax checkpoints, records as JSON and Parquet, and a checksum of every file.

A pack is one directory, ``packs/<id>``: ``params/`` (an orbax checkpoint whose arrays have the pack's stages as
leading axis), ``records.json``, ``curves.parquet`` and ``manifest.json``. It is written elsewhere and renamed into
place, so what is there is complete; and every file is checked before it is used, so what is damaged is found.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.learn.model import Params
from pretrain.learn.transfer import copied
from pretrain.sweep.execute import Outcome
from pretrain.sweep.plan import Pack

_FORMAT = 1


class StoreError(Exception):
    """A store that cannot be read or written; the message names the file."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a stored stage came to, besides its parameters."""

    status: str  # "ok" or "diverged"
    results: dict[str, float | None]  # None where not finite
    seconds: float  # wall clock


class Store:
    """Stored stages under a directory; several processes may share one."""

    def __init__(self, root: Path | str, warn: Callable[[str], None]):
        """Opens a store and looks through it.

        Args:
          root: the directory; made when the first pack is saved.
          warn: told, in one line, of every damaged file.
        """
        self.root = Path(root).expanduser().resolve()
        self._warn = warn
        self._manifests: dict[Path, dict[str, Any]] = {}
        self._places: dict[str, tuple[Path, int]] = {}  # stage id to pack and lane
        self._restored: dict[Path, Params] = {}
        for path in sorted(self.root.glob("packs/*")):
            self._open(path)

    def verified(self, ids: Collection[str]) -> set[str]:
        """Returns the stored ones of these stages, after checking every file of their packs.

        A damaged pack is named and moved aside, so that its stages count as never run.
        """
        packs = {self._places[stage][0] for stage in ids if stage in self._places}
        for path in sorted(packs):
            fault = _fault(path, self._manifests[path])
            if fault:
                self._discard(path, fault)
        return {stage for stage in ids if stage in self._places}

    def save(self, pack: Pack, outcome: Outcome) -> None:
        """Stores a pack: all of it, or nothing.

        Raises:
          StoreError: it could not be written; the message names the file or directory.
        """
        ids = [job.id for job in pack.jobs]
        target = self.root / "packs" / hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
        draft = self.root / "drafts" / uuid.uuid4().hex
        try:
            draft.mkdir(parents=True)
            target.parent.mkdir(exist_ok=True)
            _save_params(draft / "params", outcome.params)
            _write(draft / "records.json", _records(outcome))
            pq.write_table(_curves(pack, outcome), draft / "curves.parquet", compression="zstd")
            _write(draft / "manifest.json", {"format": _FORMAT, "stages": ids, "files": _checksums(draft)})
            _sync(draft)
            _commit(draft, target)
        except OSError as error:
            raise StoreError(
                f"{error.filename or draft}: {error.strerror or error}; stages saved earlier are intact"
            ) from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._open(target)

    def params(self, stage: str, shapes: Params) -> Params:
        """Returns a stored stage's parameters as NumPy arrays.

        Args:
          stage: its id; it must have been ``verified`` or saved.
          shapes: the parameters' expected shapes and dtypes.

        Raises:
          TransferError: the checkpoint holds other parameters.
        """
        path, lane = self._places[stage]
        if path not in self._restored:
            # One pack at a time: a finished stage's parameters are wanted by the stages planned next, then no more.
            self._restored = {path: _restore_params(path / "params")}
        return copied(shapes, jax.tree.map(lambda leaf: leaf[lane], self._restored[path]))

    def records(self, ids: Sequence[str]) -> list[Record]:
        """Returns the records of stored stages."""
        loaded = {path: json.loads((path / "records.json").read_text()) for path in self._packs_of(ids)}
        return [Record(**loaded[path][lane]) for path, lane in (self._places[stage] for stage in ids)]

    def curves(self, ids: Sequence[str]) -> list[pa.Table]:
        """Returns the curves of each of these stored stages: ``metric``, ``step``, ``value``, in this order.

        Step n stands for what was true after the n-th update.
        """
        tables = {path: pq.read_table(path / "curves.parquet") for path in self._packs_of(ids)}
        result = []
        for path, lane in (self._places[stage] for stage in ids):
            # The stages of a pack are measured alike, so each has as many rows.
            n_rows = len(tables[path]) // len(self._manifests[path]["stages"])
            result.append(tables[path].slice(lane * n_rows, n_rows))
        return result

    def _packs_of(self, ids: Collection[str]) -> list[Path]:
        return sorted({self._places[stage][0] for stage in ids})

    def _open(self, path: Path) -> None:
        try:
            text = (path / "manifest.json").read_text()
            manifest = json.loads(text)
            if text != _canonical(manifest) or manifest["checksum"] != _self_checksum(manifest):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError):
            self._discard(path, f"{path / 'manifest.json'}: damaged")
            return
        self._manifests[path] = manifest
        for lane, stage in enumerate(manifest["stages"]):
            self._places.setdefault(stage, (path, lane))

    def _discard(self, path: Path, fault: str) -> None:
        away = self.root / "damaged" / f"{path.name}-{uuid.uuid4().hex[:8]}"
        self._warn(f"{fault}; its stages will run again, what is left of them goes to {away}")
        self._manifests.pop(path, None)
        self._places = {stage: place for stage, place in self._places.items() if place[0] != path}
        with contextlib.suppress(OSError):  # another process that met the same damage may have moved it already
            away.parent.mkdir(exist_ok=True)
            path.rename(away)


def _save_params(path: Path, params: Params) -> None:
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:  # the synchronous one: when it returns, all is written
            checkpointer.save(path, params)
    except Exception as error:  # a full disk arrives as ValueError, from the library below orbax
        reason = " ".join(str(error).split())
        raise OSError(0, f"orbax could not write it: …{reason[-200:]}", str(path)) from None


def _restore_params(path: Path) -> Params:
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree
        as_saved = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return checkpointer.restore(path, restore_args=as_saved)


def _records(outcome: Outcome) -> list[dict[str, Any]]:
    results = {name: values.tolist() for name, values in outcome.results.items()}
    return [
        {
            "status": "diverged" if diverged else "ok",
            "results": {name: _finite_or_none(results[name][lane]) for name in results},
            "seconds": outcome.seconds,
        }
        for lane, diverged in enumerate(outcome.diverged())
    ]


def _finite_or_none(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if np.isfinite(value) else None


def _curves(pack: Pack, outcome: Outcome) -> pa.Table:
    """Returns what was measured, in long form, stage after stage."""
    names = sorted(outcome.curves)
    measured = pack.stage.measured()
    steps = {name: np.flatnonzero(measured[name]) for name in names}
    metric = np.repeat(np.arange(len(names), dtype=np.int32), [len(steps[name]) for name in names])
    values = np.concatenate([outcome.curves[name][:, steps[name]] for name in names], axis=1)
    n_jobs = len(pack.jobs)
    return pa.table(
        {
            "metric": pa.DictionaryArray.from_arrays(np.tile(metric, n_jobs), names),
            "step": np.tile(np.concatenate([steps[name] + 1 for name in names]).astype(np.int32), n_jobs),
            "value": values.reshape(-1),
        }
    )


def _write(path: Path, content: Any) -> None:
    if isinstance(content, dict):
        content = {**content, "checksum": _self_checksum(content)}
    path.write_text(_canonical(content))


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, indent=1, allow_nan=False)


def _self_checksum(manifest: dict[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(_canonical(rest).encode()).hexdigest()


def _checksums(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): _file_checksum(file) for file in sorted(path.rglob("*")) if file.is_file()
    }


def _file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(path: Path, manifest: dict[str, Any]) -> str | None:
    """Returns what is wrong with a pack's files, in words that name the file; None if nothing is."""
    for name, checksum in manifest["files"].items():
        try:
            if _file_checksum(path / name) != checksum:
                return f"{path / name}: fails its checksum"
        except OSError as error:
            return f"{path / name}: cannot be read ({error.strerror})"
    return None


def _sync(path: Path) -> None:
    """Flushes a directory's files to the disk, so that a rename never precedes what it names."""
    for place in [*path.rglob("*"), path]:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _commit(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        if not target.exists():
            raise
        # Another process has just stored the same stages, with the same content.
