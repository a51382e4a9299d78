"""Findings about tables: their encoding and first line, marks that are read as missing, and texts that are left out."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from pretrain.config.counts import counted, some
from pretrain.data import columns
from pretrain.data.columns import Encoded, Record
from pretrain.data.findings import Finding

_MOST_NAMED = 5
_FEWEST, _SCALE = 3, 8  # numbers among names, and so many in falling order that they are a scale


def of_encoding(encoding: str) -> list[Finding]:
    """Returns the encoding of a text file, unless it is UTF-8."""
    if encoding == "utf8":
        return []
    called = {"cp1252": "Windows-1252", "latin-1": "Latin-1", "utf-16": "UTF-16"}[encoding]
    return [Finding("reading", f"the file is no UTF-8, and is read as {called}")]


def of_header(names: Sequence[str]) -> list[Finding]:
    """Returns a first line of a text file that is hardly one of names: most of it are numbers in no order.

    Years, wavelengths and places are names in their order.
    """
    numbers = [float(name) for name in names if columns.is_number(name)]
    steps = [after - before for before, after in pairwise(numbers)]
    is_ordered = all(step > 0 for step in steps) or (len(numbers) >= _SCALE and all(step < 0 for step in steps))
    if len(numbers) < _FEWEST or 2 * len(numbers) < len(names) or is_ordered:
        return []
    line = f"the first line, {some(names, _MOST_NAMED)}, is read as the names of columns, though most of it are numbers"
    return [Finding("a first row read as names", line, "doubt", "if it is a row, write a line of names above it")]


def of_unnamed(left_out: Sequence[Record]) -> list[Finding]:
    """Returns the columns that are left out though nobody asked for it."""
    reasons = [f"{record.name!r} ({record.left_out})" for record in left_out if record.left_out != "data.drop"]
    return [Finding("reading", f"left out: {some(reasons, _MOST_NAMED)}")] if reasons else []


def nothing_left(encoded: Mapping[str, Encoded]) -> str:
    """Returns the fault of a table without inputs."""
    if not encoded:
        return "has no column besides target and group; add some"
    listed = [f"{name} ({each.record.left_out})" for name, each in encoded.items()]
    remedy = "write numbers that describe them, such as counts of words"
    return f"has texts alone that are nearly all different, {some(listed, _MOST_NAMED)}, and no other input; {remedy}"


def findings(encoded: Mapping[str, Encoded], n_rows: int) -> Iterator[Finding]:
    """Yields what was read as missing, and what was left out."""
    marked = {name: each.marked for name, each in encoded.items() if each.marked}
    if marked:
        listed = [f"{_counted(each)} of {name}" for name, each in marked.items()]
        line = f"read as missing: {some(listed, _MOST_NAMED)}"
        remedy = "to take a column's marks as categories, name it in --data.categories"
        yield Finding("missing values", line, remedy=remedy, figures={"marks": marked, "of": n_rows})
    for is_document, kind in ((False, "reading"), (True, "texts left out")):
        reasons = {
            name: each.record.left_out
            for name, each in encoded.items()
            if each.record.left_out and each.is_document == is_document
        }
        if reasons:
            listed = [f"{name}, {reason}" for name, reason in reasons.items()]
            line = f"texts that are nearly all different, as {'documents' if is_document else 'names'}, are left out: "
            remedy = "to use them, write numbers that describe them, such as counts of words" if is_document else ""
            figures = {"columns": list(reasons)}
            yield Finding(kind, line + some(listed, _MOST_NAMED), "doubt" if is_document else "note", remedy, figures)


def _counted(marked: Mapping[str, int]) -> str:
    return ", ".join(f"{mark!r} in {counted(n, 'row')}" for mark, n in marked.items())
