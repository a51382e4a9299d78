"""The files of a run: always complete and of one experiment; reading checks each.

``manifest.json`` holds the SHA-256 of every file of the run. New files are written to ``.draft``, which one rename to
``.complete`` commits; then they move into place, the manifest last, and files of the experiment before go. The next
process to open the directory after a kill finishes the moves, or, if it cannot write, reads through ``.complete``. So a
kill at any moment leaves the files of the experiment before or after, and never some of each.

Nothing here imports JAX, so that readers of tables need not wait for it.
"""

import contextlib
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from pretrain.config.digests import sha256
from pretrain.config.fields import ConfigError
from pretrain.config.paths import opened as opened_file
from pretrain.store import lock, manifests
from pretrain.store.manifests import DamageError

EXPERIMENT = "pretrain.experiment_id"  # key of a Parquet file's metadata
METRIC = "pretrain.metric"  # key of those of a column, which hold what a file of the user's states of it
REMEDY = "run the run's command again, which makes it again from its store"
_DRAFT, _COMMITTED = ".draft", ".complete"

Read = TypeVar("Read")


class Files(NamedTuple):
    """The files of a run, as its manifest names them."""

    directory: Path
    experiment_id: str
    devices: str  # of the computation, in words
    checksums: Mapping[str, str]  # by path relative to the directory

    def read(self, name: str) -> bytes:
        """Returns the content of a file.

        Raises:
          DamageError: it is missing or not as it was written.
        """
        committed = self.directory / _COMMITTED / name
        try:
            with opened_file(committed if committed.is_file() else self.directory / name) as file:
                content = file.read()
        except FileNotFoundError:
            raise DamageError(f"{self.directory / name}: missing; {REMEDY}") from None
        except OSError as error:
            raise DamageError(f"{self.directory / name}: cannot be read ({error.strerror}); {REMEDY}") from None
        if sha256(content) != self.checksums.get(name):
            raise DamageError(f"{self.directory / name}: fails its checksum; {REMEDY}")
        return content

    def faults(self, names: Iterable[str] | None = None) -> list[str]:
        """Returns a line for every missing or altered file of these, by default of all."""
        lines = []
        for name in self.checksums if names is None else names:
            try:
                self.read(name)
            except DamageError as damage:
                lines.append(str(damage))
        return lines


def experiment_id(trial_ids: Iterable[str]) -> str:
    """Returns the id of an experiment: the SHA-256 of its trials' ids, which depend on their settings alone.

    Directories and devices do not enter it.
    """
    return sha256("\n".join(trial_ids))


def check(run_dir: Path) -> None:
    """Checks that the places of drafts in a run's directory, which a run empties, hold its own directories or nothing.

    Raises:
      ConfigError: one is a link or a file, somebody else's.
    """
    for name in (_DRAFT, _COMMITTED):
        try:
            mode = (run_dir / name).lstat().st_mode  # once, as another process may commit a draft meanwhile
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(mode):
            remedy = f"has a {name} that is a link or no directory; move it away, or choose another directory"
            raise ConfigError("run_dir", str(run_dir), remedy)


@contextlib.contextmanager
def occupied(run_dir: Path, tags: Sequence[str] = ()) -> Iterator[Callable[[str], None]]:
    """Makes a run's directory, holds its lock, and finishes or discards the changes of a killed process.

    Gives a function that notes what is done there, as ``lock.held`` does.

    Raises:
      ConfigError: another process holds the directory, or it fails ``check``.
      OSError: it cannot be written.
    """
    check(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with lock.held(run_dir, tags) as note:
        try:
            _place(run_dir)
        except DamageError:
            shutil.rmtree(run_dir / _COMMITTED)  # the files of the manifest in place count then
        shutil.rmtree(run_dir / _DRAFT, ignore_errors=True)
        yield note


def opened(run_dir: Path) -> Files | None:
    """Returns the files of a finished run; None if no run has finished.

    Raises:
      DamageError: its manifest is damaged, or missing beside files of a run.
    """
    check(run_dir)
    if (run_dir / _COMMITTED / manifests.NAME).exists():
        # If another process holds the directory, or it cannot be written, they are read through ``.complete``.
        with contextlib.suppress(OSError, ConfigError, DamageError), lock.held(run_dir):
            _place(run_dir)
    for place in (run_dir / _COMMITTED, run_dir):
        with contextlib.suppress(FileNotFoundError):
            return _files(run_dir, place / manifests.NAME)
    if (run_dir / "experiment.json").exists() or (run_dir / "trials.parquet").exists():
        raise DamageError(f"{run_dir / manifests.NAME}: missing; {REMEDY}")
    return None


def read(run_dir: Path, load: Callable[[Files], Read]) -> Read:
    """Returns a function's result from the files of a run, all of them of the same experiment.

    Raises:
      ConfigError: no run has finished there.
      DamageError: a file is missing or not as it was written.
    """
    last = None
    while True:
        files = opened(run_dir)
        if files is None:
            state = "is no finished run" if run_dir.is_dir() else "is no directory"
            raise ConfigError("run", str(run_dir), f"{state}: it has no {manifests.NAME}; run its command again")
        try:
            return load(files)
        except DamageError as damage:
            if last == (last := (files, str(damage))):  # and no run has just replaced the files
                raise


def sound(run_dir: Path, notify: Callable[[str], None]) -> Files | None:
    """Returns the files of a finished run if all are as they were written; reports the others."""
    try:
        files = opened(run_dir)
        faults = files.faults() if files else []
    except DamageError as damage:
        files, faults = None, [str(damage)]
    for fault in faults:
        notify(mended(fault))
    return None if faults else files


def mended(fault: str) -> str:
    """Returns the line of a fault that the present command mends."""
    return fault.replace(REMEDY, "it is made again")


@contextlib.contextmanager
def draft(run_dir: Path) -> Iterator[Path]:
    """Gives an empty directory for the files of a run, which ``commit`` puts into place.

    The run's directory must be ``occupied``.

    Raises:
      OSError: a file could not be written; names it, or the run's directory.
    """
    path = run_dir / _DRAFT
    try:
        path.mkdir()
        yield path
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, " ".join((error.strerror or str(error)).split()), str(run_dir)) from None
    finally:
        shutil.rmtree(path, ignore_errors=True)


def commit(draft: Path, experiment_id: str, devices: str, keep: Mapping[str, str] | None = None) -> None:
    """Puts the files of a draft in the place of a run's files, all of them or none.

    Users' files beside them stay.

    Args:
      draft: the directory of the files.
      experiment_id: of the experiment of all files.
      devices: of its computation, in words.
      keep: the run's files to keep: their checksums by path.

    Raises:
      OSError: the files could not be put there; names the obstacle.
    """
    run_dir, files = draft.parent, manifests.checksums(draft)
    for name in files:
        _check_free(run_dir, name)
    content = {"format": 1, "experiment_id": experiment_id, "devices": devices, "files": {**(keep or {}), **files}}
    manifests.write(draft / manifests.NAME, content)
    manifests.sync(draft)
    draft.rename(run_dir / _COMMITTED)
    manifests.sync_entry(run_dir)
    _place(run_dir)


def _place(run_dir: Path) -> None:
    """Moves committed files into place, or the rest of them after a killed process."""
    committed = run_dir / _COMMITTED
    try:
        files = _files(run_dir, committed / manifests.NAME).checksums
    except FileNotFoundError:  # it is moved last
        shutil.rmtree(committed, ignore_errors=True)
        return
    before: Mapping[str, str] = {}
    with contextlib.suppress(FileNotFoundError, DamageError):
        before = _files(run_dir, run_dir / manifests.NAME).checksums
    for name in files:
        if (committed / name).is_file():
            _check_free(run_dir, name)
            (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (committed / name).replace(run_dir / name)
    for name in before.keys() - files.keys():
        if (run_dir / name).is_file():
            (run_dir / name).unlink()
    for folder in sorted(_folders([*before, *files]), reverse=True):  # a folder after those in it
        with contextlib.suppress(OSError):
            (run_dir / folder).rmdir()  # if it is empty
    for folder in ("", *_folders(files)):
        if (run_dir / folder).is_dir():
            manifests.sync_entry(run_dir / folder)
    (committed / manifests.NAME).replace(run_dir / manifests.NAME)
    manifests.sync_entry(run_dir)
    shutil.rmtree(committed, ignore_errors=True)


def _files(run_dir: Path, manifest: Path) -> Files:
    try:
        content = manifests.read(manifest)
    except DamageError as damage:
        raise DamageError(f"{damage}; {REMEDY}") from None
    match content:
        case {"format": 1, "experiment_id": str(experiment), "devices": str(devices), "files": dict(checksums)}:
            if all(map(_is_inside, checksums)):
                return Files(run_dir, experiment, devices, checksums)
    raise DamageError(f"{manifest}: damaged, or of another version; {REMEDY}")


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts[:1] not in ((), (manifests.NAME,))


def _folders(names: Iterable[str]) -> set[str]:
    return {str(folder) for name in names for folder in PurePosixPath(name).parents if folder.parts}


def _check_free(run_dir: Path, name: str) -> None:
    """Checks that a file's place holds a file or nothing."""
    remedy = "move it away, and run the same command again"
    for folder in sorted(_folders([name])):
        if (run_dir / folder).exists() and not (run_dir / folder).is_dir():
            raise FileExistsError(f"{run_dir / folder} is no directory; {remedy}")
    if (run_dir / name).is_dir():
        raise IsADirectoryError(f"{run_dir / name} is a directory; {remedy}")
