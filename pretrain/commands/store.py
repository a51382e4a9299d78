"""``python launch.py store``: what a store holds, whether it is sound, and what may go."""

import dataclasses
import itertools
import shlex
import sys
from collections.abc import Iterable, Sequence

import tyro
from rich import filesize
from rich.table import Table

from pretrain.commands import options, streams
from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.runs import holds, inventory
from pretrain.runs.holds import Hold
from pretrain.runs.inventory import Entry
from pretrain.store import judged

_MOST_NAMED = 12  # sets


@dataclasses.dataclass(frozen=True)
class StoreCommand:
    """Lists the stages that a store holds, checks them, and deletes what no run uses."""

    store: str = "runs/store"
    """Directory of the store."""
    verify: bool = False
    """Check the checksum of every file, and name what is damaged; exit code 1 if anything is."""
    prune: bool = False
    """Delete what no run holds: stages that are in no run's tables any more, damaged packs, abandoned drafts, programs
    of other versions; exit code 1 if something could not be deleted."""
    forget: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Release the stages of a run whose directory is gone for good, by the last place that it had; may be repeated. A
    directory that is not there may have been moved, or lie on a disk that is not mounted, so it holds its stages."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 something is damaged or could not be deleted.

    Raises:
      ConfigError: an option cannot be read, the store is not there, or there is no such run to forget.
    """
    command = options.parse(StoreCommand, argv, "store")
    root = path_of("store", command.store)
    if not root.is_dir():
        raise ConfigError("store", command.store, "is no directory; name one with --store")
    console = options.console(sys.stdout)
    faults = []
    if command.forget:
        try:
            holds.forget(root, command.forget)
        except OSError as error:
            faults.append(f"{error.filename}: cannot be deleted ({error.strerror})")
    if command.prune:
        gone, left = inventory.prune(root)
        faults += left
        console.print(f"deleted {counted(len(gone), 'directory', 'directories')}, {_size(gone)}")
    entries = list(inventory.entries(root, command.verify))
    console.print(_table(entries))
    held, unread = holds.holds(root)
    for hold in held:
        console.print(_line(hold), soft_wrap=True)
    if read := judged.readers(root):
        named = [f"{name} by {counted(n, 'run')}" for name, n in read.items()]
        console.print(f"test rows read: {some(named, _MOST_NAMED)}", soft_wrap=True)
    damaged = [entry.fault for entry in entries if entry.fault]
    faults = list(dict.fromkeys([*faults, *unread, *damaged]))
    for fault in faults:
        streams.complain(fault)
    if command.verify and not damaged:
        console.print(f"every file of {counted(len(entries), 'directory', 'directories')} is as it was written")
    return 1 if faults else 0


def _line(hold: Hold) -> str:
    """Returns whose stages a run's are, and how they are released where its directory is not at its last place."""
    n_stages = f"{hold.run_dir}: {len(hold.stages)} stages"
    if hold.is_there:
        return n_stages
    forget = shlex.join(["--forget", str(hold.run_dir)])
    why = "for another directory that was there" if hold.run_dir.is_dir() else "though the directory is not there"
    return f"{n_stages}, held {why}; if it is gone for good, release them by {forget}"


def _table(entries: Iterable[Entry]) -> Table:
    table = Table("what", box=None, pad_edge=False)
    for heading in ("packs", "stages", "size", "used by no run"):
        table.add_column(heading, justify="right")
    entries = sorted(entries, key=lambda entry: entry.kind)
    for kind, group in itertools.groupby(entries, key=lambda entry: entry.kind):
        group = list(group)
        unused = [entry for entry in group if entry.unused]
        n_stages = sum(len(entry.stages) for entry in group)
        table.add_row(kind, str(len(group)), str(n_stages or "–"), _size(group), _size(unused) if unused else "–")
    table.add_section()
    table.add_row("together", str(len(entries)), str(sum(len(entry.stages) for entry in entries)), _size(entries), "")
    return table


def _size(entries: Iterable[Entry]) -> str:
    return filesize.decimal(sum(entry.n_bytes for entry in entries))
