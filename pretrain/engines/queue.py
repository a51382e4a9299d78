"""The queue of a run: packs to be done, as files that workers on a shared file system pull one after another.

A pack is a file of one name that lies in one folder: ``waiting``, ``running`` (its name followed by ``@`` and the
worker's), ``done`` or ``aside``. It moves by a rename, which exactly one of several workers wins. ``index.json`` says
of every pack which others it comes after. ``signs.py`` says which workers live, ``standing.py`` how far all are.

Nothing here imports JAX, so that a queue can be looked at at once.
"""

import contextlib
import errno
import json
import os
import random
import re
import shutil
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.config.digests import sha256
from pretrain.config.paths import written_whole

FOLDER = "queue"  # in a run's directory
JOBS = "jobs.json"  # ids of a scheduler's jobs that work, or wait for a machine
MOST_FAULTS = 2  # of a pack that raises, which then is set aside
_WAITING, _RUNNING, _DONE, _ASIDE = _STATES = "waiting", "running", "done", "aside"
WORKERS = "workers"  # whose files are touched, see ``signs.py``
_FAULTS, _RESULTS, _EXPERIMENTS = "faults", "results", "experiments"
_STOP, _INDEX = "stop", "index.json"
_NAME = re.compile(r"\d{7,}(@.+|\.\d{4,})?")  # of a pack, one that runs, or a fault; others are a person's
_OF_PACKS = {*_STATES, _FAULTS, _RESULTS}


class Entry(NamedTuple):
    """What the index holds of a pack."""

    title: str  # stage
    n_jobs: int
    after: tuple[str, ...] = ()  # packs in the queue that hold its parents


class Claim(NamedTuple):
    """A pack that a worker has taken."""

    name: str
    message: dict[str, Any]
    after: tuple[str, ...]
    n_lost: int  # workers that were lost with it


class Queue:
    """A queue below a folder; launcher and workers each open their own."""

    def __init__(self, root: Path):
        """Opens a queue; ``make`` makes its folders."""
        self.root = root
        self._index: dict[str, Entry] = {}
        self._index_state: tuple[int, int, int] | None = None  # of its file: another queue may be in this place later

    def make(self) -> None:
        """Makes the folders, takes back a request to stop, and throws away an index that is damaged."""
        shutil.rmtree(self._removed, ignore_errors=True)
        for name in (*_STATES, _FAULTS, WORKERS, _RESULTS, _EXPERIMENTS):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / _STOP).unlink(missing_ok=True)
        try:
            self.index()
        except OSError:
            (self.root / _INDEX).unlink(missing_ok=True)

    def exists(self) -> bool:
        """Returns whether the queue is there still."""
        return (self.root / _WAITING).is_dir()

    def remove(self) -> None:
        """Removes the queue, at once for workers, which end when they find it gone."""
        shutil.rmtree(self._removed, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            self.root.rename(self._removed)  # or a worker that writes meanwhile would leave its folder
        shutil.rmtree(self._removed, ignore_errors=True)

    @property
    def _removed(self) -> Path:
        return self.root.with_name(f".{self.root.name}.removed")

    def add(self, packs: Mapping[str, tuple[Entry, Mapping[str, Any]]]) -> None:
        """Adds packs with their messages; the index comes first, as a worker reads it before it takes one.

        Raises:
          OSError: they could not be written.
        """
        index = self.index() | {name: entry for name, (entry, _) in packs.items()}
        with written_whole(self.root / _INDEX) as draft:
            draft.write_text(json.dumps({name: list(entry) for name, entry in index.items()}))
        for name, (_, message) in packs.items():
            with written_whole(self.root / _WAITING / name) as draft:
                draft.write_text(json.dumps(message))

    def add_experiment(self, text: str) -> str:
        """Keeps an experiment's JSON for workers; returns the name by which messages refer to it."""
        name = sha256(text)[:16]
        with written_whole(self.root / _EXPERIMENTS / name) as draft:
            draft.write_text(text)
        return name

    def experiment(self, name: str) -> str:
        """Returns an experiment's JSON."""
        return (self.root / _EXPERIMENTS / name).read_text()

    def index(self) -> dict[str, Entry]:
        """Returns the entries of all packs, in their order.

        Raises:
          OSError: the index is damaged; ``make`` throws it away, and packs that it named are to be withdrawn.
        """
        file = self.root / _INDEX
        try:
            there = file.stat()
            state = there.st_ino, there.st_mtime_ns, there.st_size
            if state != self._index_state:
                content = json.loads(file.read_text())
                self._index = {name: Entry(title, n, tuple(after)) for name, (title, n, after) in content.items()}
                self._index_state = state
        except FileNotFoundError:
            self._index, self._index_state = {}, None
        except (ValueError, TypeError, AttributeError):
            raise OSError(errno.EIO, "is damaged; the same command makes it anew", str(file)) from None
        return self._index

    def next_number(self) -> int:
        """Returns a number above those of all packs."""
        names = {*self.index(), *(name for folder in _OF_PACKS for name in self._names(folder))}
        return max((int(re.split("[@.]", name)[0]) for name in names), default=-1) + 1

    def messages(self) -> dict[str, dict[str, Any]]:
        """Returns the messages of the packs that wait or run."""
        found = {}
        for state in (_WAITING, _RUNNING):
            for name in self._names(state):
                with contextlib.suppress(FileNotFoundError, ValueError):  # it moved, or was damaged
                    found[name.partition("@")[0]] = _content(self.root / state / name)
        return found

    def retry(self) -> None:
        """Forgets the faults of packs, and puts back those that were set aside; takes out what is damaged."""
        for fault in self._names(_FAULTS):
            (self.root / _FAULTS / fault).unlink(missing_ok=True)
        for name in self._names(_ASIDE):
            with contextlib.suppress(FileNotFoundError):
                (self.root / _ASIDE / name).rename(self.root / _WAITING / name)
        damaged = set()
        for name in self._names(_WAITING):
            try:
                _content(self.root / _WAITING / name)
            except FileNotFoundError:  # a worker has it
                continue
            except ValueError:
                damaged.add(name)
        self.withdraw(damaged)

    def withdraw(self, names: Collection[str]) -> None:
        """Takes packs out of the queue; who runs one ends it in vain."""
        for state in (*_STATES, _RESULTS):
            for name in self._names(state):
                if name.partition("@")[0] in names:
                    (self.root / state / name).unlink(missing_ok=True)
        for name in self._names(_FAULTS):
            if name.partition(".")[0] in names:
                (self.root / _FAULTS / name).unlink(missing_ok=True)

    def claim(self, worker: str, last: Collection[str] = ()) -> Claim | None:
        """Takes the first pack whose parents are done or set aside, some packs last; None where none is ready."""
        waiting = self._names(_WAITING)
        index = self.index() if waiting else {}
        ended = {*self._names(_DONE), *self._names(_ASIDE)} if waiting else set()
        ready = [name for name in waiting if name in index and ended.issuperset(index[name].after)]
        ready.sort(key=lambda name: (name in last, name))
        place = 0
        while ready:
            name = ready.pop(place)
            own = self.root / _RUNNING / f"{name}@{worker}"
            with contextlib.suppress(FileNotFoundError):
                (self.root / _WAITING / name).rename(own)
            # A rename over NFS may report that there was no file when it was the one to move it.
            try:
                message = _content(own)
            except FileNotFoundError:
                # Another was faster. Of a thousand that come at once, each would be beaten at most places in a row.
                place = random.randrange(len(ready)) if ready else 0
                continue
            except ValueError as damage:
                self.fail(name, worker, str(damage), is_final=True)
                place = 0
                continue
            return Claim(name, message, index[name].after, sum(fault["is_lost"] for fault in self._faults(name)))
        return None

    def release(self, name: str, worker: str) -> None:
        """Puts a pack back, for a worker that stops."""
        self._move(name, worker, _WAITING)

    def finish(self, name: str, worker: str, result: Mapping[str, Any]) -> None:
        """Marks a pack as done, with the packs of the store that hold it and the seconds it took."""
        self._write(_RESULTS, name, result)
        self._move(name, worker, _DONE)

    def fail(self, name: str, worker: str, reason: str, trace: str = "", is_final: bool = False) -> None:
        """Notes that a pack raised; puts it back once, and then aside."""
        self._note_fault(name, {"reason": reason, "trace": trace, "is_lost": False, "is_final": is_final})
        n_raised = sum(not fault["is_lost"] for fault in self._faults(name))
        self._move(name, worker, _ASIDE if is_final or n_raised >= MOST_FAULTS else _WAITING)

    def lose(self, worker: str, retries: int) -> list[str]:
        """Puts back the packs of a worker, or of the workers of a job, that was lost; returns their names.

        Those that lost more workers than ``retries``, and more than one, are set aside.
        """
        lost = []
        for held in self._names(_RUNNING):
            name, _, owner = held.partition("@")
            if owner != worker and not owner.startswith(f"{worker}."):
                continue
            finder = f"lost.{uuid.uuid4().hex[:12]}"  # one of several that find it; without signs of life itself
            try:
                (self.root / _RUNNING / held).rename(self.root / _RUNNING / f"{name}@{finder}")
            except FileNotFoundError:
                continue
            lost.append(name)
            if (self.root / _RESULTS / name).exists():  # killed between the two steps of ``finish``
                self._move(name, finder, _DONE)
                continue
            reason = f"its worker {owner} was lost"
            self._note_fault(name, {"reason": reason, "trace": "", "is_lost": True, "is_final": False})
            n_lost = sum(fault["is_lost"] for fault in self._faults(name))
            self._move(name, finder, _ASIDE if n_lost > max(retries, 1) else _WAITING)
        return lost

    def stop(self) -> None:
        """Asks all workers to save and stop after their chunk."""
        (self.root / _STOP).touch()

    def is_stopping(self) -> bool:
        """Returns whether workers are to stop, or the queue is gone."""
        return (self.root / _STOP).exists() or not self.exists()

    def has_waiting(self) -> bool:
        """Returns whether a pack waits for a worker or for its parents."""
        return bool(self._names(_WAITING))

    def is_over(self) -> bool:
        """Returns whether no pack waits or runs."""
        return not self.has_waiting() and not self._names(_RUNNING) and not self.has_waiting()

    def result(self, name: str) -> dict[str, Any] | None:
        """Returns the result of a pack that is done; None of another."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return _content(self.root / _RESULTS / name)
        return None

    def faults(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the faults of packs, in the order in which they came."""
        names = dict.fromkeys(name.partition(".")[0] for name in self._names(_FAULTS))
        return {name: self._faults(name) for name in names}

    def set_aside(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Returns the last fault and the message of each pack that is set aside; none whose message is the fault."""
        found = {}
        for name in self._names(_ASIDE):
            faults = self._faults(name)
            reason = faults[-1]["reason"] if faults else "set aside"
            with contextlib.suppress(FileNotFoundError, ValueError):
                found[name] = reason, _content(self.root / _ASIDE / name)
        return found

    def running(self) -> list[tuple[str, str]]:
        """Returns the packs that run, each with the name of its worker."""
        return [(name, worker) for name, _, worker in (held.partition("@") for held in self._names(_RUNNING))]

    def states(self) -> dict[str, list[str]]:
        """Returns the names of the packs that are ``done``, ``aside``, ``running`` and ``waiting``."""
        states = {state: self._names(state) for state in (_DONE, _ASIDE, _RUNNING, _WAITING)}
        return {**states, _RUNNING: [name.partition("@")[0] for name in states[_RUNNING]]}

    def _move(self, name: str, worker: str, state: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # another has it, as this worker was believed lost
            (self.root / _RUNNING / f"{name}@{worker}").rename(self.root / state / name)

    def _note_fault(self, name: str, fault: Mapping[str, Any]) -> None:
        number = len(self._faults(name))
        self._write(_FAULTS, f"{name}.{number:04}", fault)

    def _write(self, folder: str, name: str, content: Mapping[str, Any]) -> None:
        # The queue may be gone; or a worker that was believed lost, and one in its place, write the same.
        with contextlib.suppress(FileNotFoundError), written_whole(self.root / folder / name) as draft:
            draft.write_text(json.dumps(content))

    def _faults(self, name: str) -> list[dict[str, Any]]:
        found = []
        for fault in self._names(_FAULTS):
            if fault.partition(".")[0] == name:
                with contextlib.suppress(FileNotFoundError, ValueError):
                    found.append(_content(self.root / _FAULTS / fault))
        return found

    def _names(self, folder: str) -> list[str]:
        try:
            names = [name for name in os.listdir(self.root / folder) if not name.startswith(".")]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if folder not in _OF_PACKS or _NAME.fullmatch(name))


def _content(file: Path) -> dict[str, Any]:
    """Returns a message, a fault or a result.

    Raises:
      FileNotFoundError: it was moved.
      ValueError: it is damaged.
    """
    try:
        if isinstance(content := json.loads(file.read_text()), dict):
            return content
    except ValueError:
        pass
    raise ValueError("its message is damaged; the same command makes it anew")
