"""``python launch.py store``: what a store holds, whether it is sound, and what may go."""

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Sequence

from rich.table import Table

from pretrain.commands import options, streams
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.sweep import inventory
from pretrain.sweep.inventory import Entry


@dataclasses.dataclass(frozen=True)
class StoreCommand:
    """Lists the stages that a store holds, checks them, and deletes what no run uses."""

    store: str = "runs/store"
    """Directory of the store."""
    verify: bool = False
    """Check the checksum of every file, and name what is damaged; exit code 1 if anything is."""
    prune: bool = False
    """Delete what no run uses: stages of runs whose directories are gone, damaged packs, abandoned drafts, programs of
    other versions."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 something is damaged.

    Raises:
      ConfigError: an option cannot be read, or the store is not there.
    """
    command = options.parse(StoreCommand, argv, "launch.py store")
    root = path_of("store", command.store)
    if not root.is_dir():
        raise ConfigError("store", command.store, "is no directory; name one with --store")
    console = options.console(sys.stdout)
    if command.prune:
        gone = inventory.prune(root)
        console.print(f"deleted {counted(len(gone), 'directory', 'directories')}, {_size(gone)}")
    found = list(inventory.entries(root, command.verify))
    console.print(_table(found))
    for run, ids in inventory.runs(root).items():
        console.print(f"{run}: {counted(len(ids), 'stage')}", soft_wrap=True)
    faults = [entry.fault for entry in found if entry.fault]
    for fault in faults:
        streams.complain(fault)
    if command.verify and not faults:
        console.print(f"every file of {counted(len(found), 'directory', 'directories')} is as it was written")
    return 1 if faults else 0


def _table(found: Iterable[Entry]) -> Table:
    table = Table("what", box=None, pad_edge=False)
    for heading in ("packs", "stages", "size", "used by no run"):
        table.add_column(heading, justify="right")
    found = sorted(found, key=lambda entry: entry.kind)
    for kind, group in itertools.groupby(found, key=lambda entry: entry.kind):
        group = list(group)
        unused = [entry for entry in group if entry.unused]
        n_stages = sum(len(entry.stages) for entry in group)
        table.add_row(kind, str(len(group)), str(n_stages or "–"), _size(group), _size(unused) if unused else "–")
    table.add_section()
    table.add_row("together", str(len(found)), str(sum(len(entry.stages) for entry in found)), _size(found), "")
    return table


def _size(found: Iterable[Entry]) -> str:
    n_bytes = sum(entry.n_bytes for entry in found)
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"
