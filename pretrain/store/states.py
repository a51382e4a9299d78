"""States of finished training, from which the same stages of more updates go on.

They are sealed directories, ``states/<id of the pack>.<updates>``. Their manifest has a key for each lane: of the stage
but for its length, of its seed and its parent. So a longer stage finds them, in whatever pack it trains.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pretrain.config.digests import sha256
from pretrain.learn.stage import Schedule
from pretrain.plan import arrays
from pretrain.plan.job import Job
from pretrain.plan.plan import Pack
from pretrain.store import contents, sealed
from pretrain.store.manifests import DamageError
from pretrain.store.records import Progress
from pretrain.store.sealed import StoreError

PLACE, _ARRAYS, _CURVES = "states", "arrays", "curves"


class _State(NamedTuple):
    """A lane's state."""

    path: Path
    lane: int
    step: int  # updates made
    measured: Schedule  # of them


class States:
    """The states that a store keeps."""

    def __init__(self, root: Path, move_aside: Callable[[Path, str], None]):
        """Args: root: the store's directory; move_aside: takes what is damaged out of the way, and names why."""
        self._root, self._move_aside = root, move_aside
        self._by_key: dict[str, list[_State]] = {}
        self._manifests: dict[Path, dict[str, Any]] = {}
        self._damaged: set[Path] = set()

    def starts(self, jobs: Iterable[Job]) -> dict[str, int]:
        """Returns the update from which jobs can go on, by their ids, of those that can; no checksum is computed."""
        found = {job.id: self._latest(job) for job in self._of_courses(jobs)}
        return {job: state.step for job, state in found.items() if state}

    def progress(self, pack: Pack) -> Progress | None:
        """Returns the state that a pack's jobs go on from; None where one lacks it, or they come from other updates.

        What is damaged is named, and counts as not there.
        """
        while jobs := self._of_courses(pack.jobs):
            states = [state for job in jobs if (state := self._latest(job))]
            if len(states) < len(pack.jobs) or len({state.step for state in states}) > 1:
                return None
            try:
                return self._joined(states, pack.stage.n_updates)
            except (DamageError, StoreError) as damage:
                fault = str(damage)
            except (LookupError, TypeError, ValueError) as odd:  # of a manifest that somebody sealed again
                fault = f"{states[0].path}: {odd!r}"
            damaged = [path for path in {state.path: None for state in states} if str(path) in fault]
            self._discard(damaged[0] if damaged else states[0].path, fault)
        return None

    def _joined(self, states: list[_State], n_updates: int) -> Progress:
        """Returns lanes of several packs as one, with room for the curves of so many updates."""
        sizes = {path: len(self._manifests[path]["stages"]) for path in {state.path for state in states}}
        kept = {path: self._restored(path) for path in sizes}
        lanes = [arrays.lanes_of(kept[state.path], state.lane, state.lane + 1) for state in states]
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *lanes)
        joined[_CURVES] = jax.tree.map(lambda curve: _of_length(curve, n_updates), joined[_CURVES])
        seconds = sum(self._manifests[state.path]["seconds"] / sizes[state.path] for state in states)
        return Progress(states[0].step, seconds, joined)

    def _restored(self, path: Path) -> dict[str, Any]:
        sealed.check_files(path, self._manifests[path])
        return sealed.restore_arrays(path / _ARRAYS, self._manifests[path]["structure"])

    def _of_courses(self, jobs: Iterable[Job]) -> list[Job]:
        """Returns the jobs that may have states, once new states of other processes are known."""
        jobs = [job for job in jobs if job.course]
        new = [path for path in self._root.glob(f"{PLACE}/*") if path not in self._manifests] if jobs else []
        for path in sorted(set(new) - self._damaged):
            try:
                if manifest := sealed.read_manifest(path):
                    contents.check_manifest(path, manifest, set())
                    schedule = Schedule(manifest["every"], tuple(manifest["at"]))
                    for lane, key in enumerate(manifest["keys"]):
                        self._by_key.setdefault(key, []).append(_State(path, lane, manifest["step"], schedule))
                self._manifests[path] = manifest or {}
            except DamageError as damage:
                self._discard(path, str(damage))
            except (LookupError, TypeError) as fault:
                self._discard(path, f"{path}: {fault!r}")
        return jobs

    def _latest(self, job: Job) -> _State | None:
        """Returns the state of the most updates that a job makes, too, and measures alike."""
        mask = job.stage.validation.mask(job.stage.n_updates)
        alike = (
            state
            for state in self._by_key.get(_key(job), ())
            if state.step <= len(mask) and np.array_equal(mask[: state.step], state.measured.mask(state.step))
        )
        return max(alike, key=lambda state: state.step, default=None)

    def _discard(self, path: Path, fault: str) -> None:
        self._manifests.pop(path, None)
        for key, states in self._by_key.items():
            self._by_key[key] = [state for state in states if state.path != path]
        if path.exists():  # nobody has deleted what no run used
            self._damaged.add(path)
            self._move_aside(path, f"{fault}; stages that would go on from it are trained whole")


def fields(pack: Pack, progress: Progress) -> dict[str, Any]:
    """Returns what the manifest of a pack's state has besides that of any pack."""
    measured = pack.stage.validation
    keys = [_key(job) for job in pack.jobs]
    schedule = {"every": measured.every, "at": list(measured.at)}
    return {"step": progress.step, "seconds": progress.seconds, "keys": keys, **schedule}


def fill(draft: Path, progress: Progress) -> None:
    """Writes the files of a state.

    Raises:
      OSError: one could not be written.
    """
    sealed.save_arrays(draft / _ARRAYS, progress.arrays)


def _key(job: Job) -> str:
    return sha256(f"{job.course} {job.seed} {job.parent}")


def _of_length(curve: np.ndarray, n_updates: int) -> np.ndarray:
    """Returns curves [lanes, updates] of another number of updates, NaN where there is no value yet."""
    missing = max(0, n_updates - curve.shape[1])
    return np.pad(curve[:, :n_updates], ((0, 0), (0, missing)), constant_values=np.nan)
