"""Rows that a command gives to a network of a run, and the file of what comes of them."""

import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import tyro
from rich.progress import Progress

from pretrain.commands import options, process, streams
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of, written_whole
from pretrain.data.given import Given
from pretrain.models.model import Model
from pretrain.study import from_store

_SUFFIXES = (".parquet", ".csv", ".npy")
_CHUNK = 16  # blocks between two lines of progress
_MOST_COLUMNS = 1024  # of a file of tables, beyond which values are one column of lists
ROW = "row"


@dataclasses.dataclass(frozen=True)
class OfRows:
    """Options of a command that gives rows to a network."""

    run: tyro.conf.Positional[str]
    """Directory of the run, or an exported folder."""
    rows: tyro.conf.Positional[str]
    """Rows, as data.name has them: a table, an .npz or .npy file, a folder of arrays or of pictures, or my.py:load."""
    out: str
    """File to write: .parquet, .csv or .npy. Tables name rows by their place, and by columns that are no inputs."""
    arm: str = ""
    """Arm by its name in the answer, or a trial by its id or the beginning of it; by default the best arm with an
    encoder on validation rows."""
    seed: int | None = None
    """Seed; by default the best of the arm's on validation rows."""
    store: str = ""
    """Directory of trained stages, where it is no longer the run's."""


def opened(command: OfRows, ensemble: bool = False) -> tuple[Model, Given, Path]:
    """Returns the network, the rows and the file that a command names.

    Raises:
      ConfigError: one of them is not there or does not fit.
      DamageError: a file of the run is missing or not as it was written.
    """
    out = path_of("out", command.out)
    if out.suffix.lower() not in _SUFFIXES:
        raise ConfigError("out", command.out, f"is of no known kind; end it in one of {', '.join(_SUFFIXES)}")
    if not out.parent.is_dir():
        raise ConfigError("out", command.out, f"lies in no directory; make {out.parent} first")
    process.set_up_jax()  # as runs have it, so that a network computes what it computed there
    model = from_store.load_model(
        command.run, command.arm or None, seed=command.seed, ensemble=ensemble, store=command.store or None
    )
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        rows = model.read(command.rows)
    for note in notes:
        streams.complain(note.message)
    return model, rows, out


def in_chunks(model: Model, rows: Given, compute: Callable[[Given], Any]) -> Iterator[Any]:
    """Yields what is computed of some rows after the others, and shows how far it is on a terminal."""
    size, n = model.block * _CHUNK, len(rows.rows)
    console = options.console(sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("rows", total=n)
        for start in range(0, max(n, 1), size):  # of none, so that the network refuses them
            yield compute(Given(rows.rows[start : start + size], {}))
            progress.advance(task, min(size, n - start))


def write(out: Path, rows: Given, values: dict[str, np.ndarray], called: str) -> int:
    """Writes arrays with a row for each row, and says so; returns the exit code.

    Args:
      out: an .npy file holds the first array alone.
      values: [N] or [N, D] by name; columns of the latter are numbered, or one column of lists if they are many.
    """
    first = next(iter(values.values()))
    try:
        with written_whole(out) as draft:
            match out.suffix.lower():
                case ".npy":
                    with draft.open("wb") as file:
                        np.lib.format.write_array(file, np.asarray(first), allow_pickle=False)
                case ".csv":
                    pc.write_csv(_table(rows, values, sys.maxsize), draft)
                case _:
                    pq.write_table(_table(rows, values, _MOST_COLUMNS), draft)
    except (OSError, pa.ArrowException) as error:
        streams.complain(f"{out}: cannot be written ({error})")
        return 1
    console = options.console(sys.stdout)
    console.print(f"{counted(len(rows.rows), 'row')}, by this network: {called}; {out}", soft_wrap=True)
    return 0


def _table(rows: Given, values: dict[str, np.ndarray], most: int) -> pa.Table:
    columns: dict[str, Any] = {}
    for name, array in values.items():
        if array.ndim == 1:
            columns[name] = pa.array(array.tolist() if array.dtype.kind == "U" else array)
        elif array.shape[1] > most:
            flat = pa.array(np.ascontiguousarray(array).ravel())
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        else:
            columns |= {f"{name}_{number}": array[:, number] for number in range(array.shape[1])}
    taken = {ROW, *columns}
    given = {(f"{name}_given" if name in taken else name): each for name, each in rows.names.items()}
    made = {(f"{name}_predicted" if name == ROW else name): each for name, each in columns.items()}
    return pa.table({ROW: np.arange(len(rows.rows)), **given, **made})
