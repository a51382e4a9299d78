"""Tables that somebody brings, as Arrow's: a file, or a frame of pandas, polars or Arrow itself."""

import codecs
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pretrain.config.fields import ConfigError
from pretrain.data import tables

_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*tables.SUFFIXES, *_LINES)
_FIELD = "data.name"  # by which readers name their faults


def read(source: Any, field: str, fewest: int = 2) -> Any:
    """Returns a table of Arrow, with names of columns as texts.

    Args:
      source: the path of a file of one of ``SUFFIXES``; or what Arrow takes: a frame that exports itself by its
        interface (pandas, polars, duckdb), or as a frame of Arrow or pandas, columns by name, or a table of its own.
      field: the name that faults have.
      fewest: columns that it must have.

    Raises:
      ConfigError: it is none of these, damaged, without rows or columns, or has several columns of a name.
    """
    with named(field):
        table = _file(Path(source)) if isinstance(source, str | Path) else _frame(source)
        shown = str(source) if isinstance(source, str | Path) else type(source).__name__
        names = table.column_names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(_FIELD, shown, f"has several columns {twice[0]!r}; rename them")
        if len(names) < fewest:
            raise ConfigError(_FIELD, shown, "has fewer than two columns; separate them by commas, semicolons or tabs")
        if not len(table):
            raise ConfigError(_FIELD, shown, "has no rows; add some")
    return table


@contextlib.contextmanager
def named(field: str) -> Iterator[None]:
    """Names the faults of readers by the field that was asked for."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError.of_lines(str(error).replace(f"{_FIELD}: ", f"{field}: ")) from None


def _file(path: Path) -> Any:
    path = path.expanduser()
    suffix = path.suffix.lower()
    if suffix in _LINES:
        return tables.unaltered_table(path, _lines)
    if suffix not in SUFFIXES:
        remedy = f"is no table of a known kind; write one of {', '.join(SUFFIXES)}"
        raise ConfigError(_FIELD, str(path), remedy)
    return tables.unaltered_table(path)


def _lines(path: Path) -> Any:
    """Returns a file of JSON, an object a line; numbers that are NaN, which JSON has not, are read all the same."""
    import pyarrow as pa
    from pyarrow import json as of_arrow

    with path.open("rb") as file:
        lines = (line.removeprefix(codecs.BOM_UTF8).lstrip() for line in file)
        odd = next((number for number, line in enumerate(lines, 1) if line and not line.startswith(b"{")), 0)
    if odd:  # some of which are the end of the process where Arrow reads them
        raise ValueError(f"line {odd:,} is no object")
    try:
        return of_arrow.read_json(path)
    except pa.ArrowException:
        with path.open(encoding="utf-8-sig") as file:
            return pa.Table.from_pylist([json.loads(line) for line in file if line.strip()])


def _frame(frame: Any) -> Any:
    import pyarrow as pa

    try:
        if isinstance(frame, pa.Table):
            return frame
        if isinstance(frame, Mapping):
            return pa.table(dict(frame))
        if hasattr(frame, "collect") and hasattr(frame, "lazy"):  # of polars, not computed yet
            frame = frame.collect()
        if hasattr(frame, "columns") and hasattr(frame, "index"):  # of pandas, whose index is no column
            return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if hasattr(frame, "to_arrow"):  # of polars, which exports texts in a form that few functions take
            return pa.table(frame.to_arrow())
        if hasattr(frame, "__arrow_c_stream__") or not hasattr(frame, "to_pandas"):
            return pa.table(frame)
        return _frame(frame.to_pandas())
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = f"is no table ({reason}); give a path, or a frame of pandas, polars or Arrow"
        raise ConfigError(_FIELD, type(frame).__name__, remedy) from None
