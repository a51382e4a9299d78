"""Text files of columns as Arrow tables; the delimiter and the decimal mark are detected."""

import itertools
import re
from pathlib import Path
from typing import Any

from pretrain.config.fields import ConfigError

_DELIMITERS = "\t;,"  # a comma last, as it may be a decimal mark
_FIRST_LINES = 6
_MOST_NAMED = 3


def read(path: Path) -> Any:
    """Returns a text file as an Arrow table.

    If commas separate no columns, they may be decimal marks: the mark, point or comma, with more columns of numbers is
    taken.

    Raises:
      ConfigError: its numbers may be read in two ways.
      OSError, ArrowException, UnicodeDecodeError: it cannot be read.
    """
    from pyarrow import csv

    parsing = csv.ParseOptions(delimiter=_delimiter(path))
    by_point = csv.read_csv(path, None, parsing)
    if parsing.delimiter == ",":
        return by_point
    by_comma = csv.read_csv(path, None, parsing, csv.ConvertOptions(decimal_point=","))
    kinds = dict.fromkeys(by_point.column_names, "string")
    texts = csv.read_csv(path, None, parsing, csv.ConvertOptions(column_types=kinds))
    of_point, of_comma = _numeric(by_point), _numeric(by_comma)
    by_mark = {".": of_point - of_comma, ",": of_comma - of_point}
    faults = []
    for mark, places in by_mark.items():
        for place in sorted(places):
            written = [text for text in texts[place].to_pylist() if text]
            marked = [text for text in written if mark in text]
            if marked and (all(by_mark.values()) or _may_be_thousands(mark, marked, written)):
                faults.append(f"{marked[0]!r} in column {by_point.column_names[place]!r}")
    if faults:
        reason = f"has numbers that may be read in two ways, {' and '.join(faults[:_MOST_NAMED])}"
        remedy = "write all decimal marks alike, and thousands without a mark"
        raise ConfigError("data.name", str(path), f"{reason}; {remedy}")
    return by_comma if len(of_comma) > len(of_point) else by_point


def _delimiter(path: Path) -> str:
    """Returns the delimiter of a text file, which occurs equally often in its first lines."""
    with path.open("rb") as file:
        lines = [re.sub(rb'"[^"]*"', b"", line) for line in itertools.islice(file, _FIRST_LINES) if line.strip()]
    counts = {mark: [line.count(mark.encode()) for line in lines] for mark in _DELIMITERS}
    even = [mark for mark, per_line in counts.items() if per_line and min(per_line) == max(per_line) > 0]
    return even[0] if even else max(reversed(_DELIMITERS), key=lambda mark: sum(counts[mark][:1]))


def _numeric(table: Any) -> set[int]:
    """Returns the places of a table's columns of numbers."""
    return {place for place, kind in enumerate(table.schema.types) if str(kind) not in ("string", "large_string")}


def _may_be_thousands(mark: str, marked: list[str], written: list[str]) -> bool:
    """Returns whether a mark in the numbers of a column may separate thousands.

    A point may if some numbers have none, for decimals mostly have as many digits in every row.
    """
    pattern = re.compile(rf"-?[1-9]\d{{0,2}}(\{mark}\d{{3}})+")
    return all(map(pattern.fullmatch, marked)) and (mark == "," or len(marked) < len(written))
