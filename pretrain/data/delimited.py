"""Text files of columns as Arrow tables; the delimiter and the decimal mark are detected."""

import codecs
import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

from pretrain.config.fields import ConfigError
from pretrain.data import quotes

_DELIMITERS = "\t;,"  # a comma last, as it may be a decimal mark
_FIRST_LINES = 6
_MOST_NAMED = 3
_WORDS = ("na", "n/a", "nan", "null", "none")
# Of numbers that are missing, where decimal marks are sought.
_MARKS = ["", "?", "-", "NaN", "#N/A", "#NA"]
_MARKS += [form for word in _WORDS for form in (word, word.upper(), word.capitalize())]
_OF_WINDOWS = bytes(set(range(256)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D})  # bytes of Windows-1252


class Text(NamedTuple):
    """A text file as a table, where only empty cells of numbers are null; numbers among marks are texts."""

    table: Any  # of Arrow
    encoding: str


def read(path: Path) -> Text:
    """Returns a text file as a table.

    It is UTF-8, or else UTF-16 by its first bytes, Windows-1252 or Latin-1. If commas separate no columns, they may be
    decimal marks: the mark, point or comma, with more columns of numbers is taken.

    Raises:
      ConfigError: its numbers may be read in two ways, its quotes do not pair, or it is larger than memory.
      OSError, ArrowException, UnicodeError: it cannot be read.
    """
    encoding = _utf_16(path)
    if not encoding:
        try:
            table = _read(path, "utf8")
            if not any(str(kind) in ("binary", "large_binary") for kind in table.schema.types):
                return Text(_trimmed(table), "utf8")
        except UnicodeDecodeError:  # in a name
            pass
        encoding = _single_byte(path)
    return Text(_trimmed(_read(path, encoding)), encoding)


def _trimmed(table: Any) -> Any:
    """Returns a table with names without blanks around them, as a delimiter with a blank makes."""
    return table.rename_columns([name.strip() for name in table.column_names])


def _read(path: Path, encoding: str) -> Any:
    from pyarrow import csv

    delimiter = _delimiter(path, encoding)
    quotes.check(path, encoding, delimiter)
    reading, parsing = csv.ReadOptions(encoding=encoding), csv.ParseOptions(delimiter=delimiter)

    def converted(**options: Any) -> Any:
        return csv.read_csv(path, reading, parsing, csv.ConvertOptions(**options))

    if parsing.delimiter == ",":
        table = converted(null_values=[""])
        table.column_names  # noqa: B018  # raises UnicodeDecodeError
        return table
    by_point, by_comma = (converted(null_values=_MARKS, decimal_point=mark) for mark in ".,")
    texts = converted(column_types=dict.fromkeys(by_point.column_names, "string"))
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
    mark = "," if len(of_comma) > len(of_point) else "."
    table = converted(null_values=[""], decimal_point=mark)
    return _with_points(table, of_comma - _numeric(table)) if mark == "," else table


def _with_points(table: Any, places: set[int]) -> Any:
    """Returns a table with points for decimal commas in columns that are texts because of marks among their numbers."""
    import pyarrow.compute as pc

    for place in places:
        table = table.set_column(place, table.column_names[place], pc.replace_substring(table[place], ",", "."))
    return table


def _utf_16(path: Path) -> str:
    """Returns ``utf-16`` if a file begins as one; else nothing."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ""


def _single_byte(path: Path) -> str:
    """Returns the encoding of a file that is no UTF-8: Windows-1252, or Latin-1, which any is."""
    with path.open("rb") as file:
        unused = any(block.translate(None, _OF_WINDOWS) for block in iter(lambda: file.read(1 << 20), b""))
    return "latin-1" if unused else "cp1252"


def _delimiter(path: Path, encoding: str) -> str:
    """Returns the delimiter of a text file, which occurs equally often in its first lines."""
    with path.open(encoding=encoding, errors="replace") as file:
        lines = [re.sub(r'"[^"]*"', "", line) for line in itertools.islice(file, _FIRST_LINES) if line.strip()]
    counts = {mark: [line.count(mark) for line in lines] for mark in _DELIMITERS}
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
