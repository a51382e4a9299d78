"""Text files of columns before they are parsed: their size in memory, NUL characters, and quotes that do not pair."""

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.data import room

_BLOCK = 1 << 22  # bytes
_LONGEST = 1 << 24  # bytes of a quoted text
Blocks = Iterator[tuple[bytes, bool]]  # bytes, and whether they are the last


def check(path: Path, encoding: str, delimiter: str) -> None:
    """Checks a text file: parsers take a text that does not end, or goes on behind its quote, for one of many lines.

    Raises:
      ConfigError: it is malformed, or larger than memory.
      OSError: it cannot be read.
    """
    mark = delimiter.encode()
    with path.open("rb") as file:
        _check_room(path, file, mark)
        if not _are_paired(path, _blocks(file, encoding), mark):
            file.seek(0)
            _check_each(path, _blocks(file, encoding), mark)


def _are_paired(path: Path, blocks: Blocks, mark: bytes) -> bool:
    """Returns whether every other quote begins a field, and the others end one, a fast check of most files."""
    is_end = np.zeros(256, bool)
    is_end[list(b'\r\n"' + mark)] = True  # two quotes in a row are one within a text
    n, line, rest = 0, 1, b"\n"
    for block, is_last in blocks:
        if b"\0" in block:
            at = line + block[: block.index(b"\0")].count(b"\n")
            raise ConfigError("data.name", str(path), f"has a NUL character in line {at:,}; write it anew as text")
        line += block.count(b"\n")
        text = np.frombuffer(rest + block + b"\n" * is_last, np.uint8)
        rest = text[-2:].tobytes()
        places = np.flatnonzero(text[1:-1] == ord('"')) + 1
        begins = (np.arange(n, n + len(places)) % 2) == 0
        if not is_end[text[np.where(begins, places - 1, places + 1)]].all():
            return False
        n += len(places)
    return n % 2 == 0


def _check_each(path: Path, blocks: Blocks, mark: bytes) -> None:
    """Checks each quoted text; a quote in the middle of a field stands for itself."""
    quoted = re.compile(rb'"(?<=[\r\n' + mark + rb']")[^"]*(?:""[^"]*)*("?)')
    line, rest = 0, b"\n"  # as before the first line
    for block, is_last in blocks:
        text, rest = rest + block, b""
        for match in quoted.finditer(text):
            is_open = not match[1] or match.end() == len(text)
            if is_open and not is_last and len(text) - match.start() < _LONGEST:
                text, rest = text[: match.start() - 1], text[match.start() - 1 :]
                break
            if not match[1] or text[match.end() : match.end() + 1] not in (b"", b"\n", b"\r", mark):
                at = line + text[: match.start()].count(b"\n")
                fault = f"has a quoted text in line {at:,} that is not closed, or goes on behind its quote"
                raise ConfigError("data.name", str(path), f'{fault}; write quotes within texts twice, ""')
        if not rest:  # the next block may begin with a field
            text, rest = text[:-1], text[-1:]
        line += text.count(b"\n")


def _blocks(file: IO[bytes], encoding: str) -> Blocks:
    """Yields a file's bytes in blocks, as UTF-8 where its own encoding has no single bytes, and which is the last."""
    pieces: Iterator[bytes] = iter(lambda: file.read(_BLOCK), b"")
    if encoding.startswith("utf-16"):
        pieces = (text.encode(errors="replace") for text in codecs.iterdecode(pieces, encoding, errors="replace"))
    block = next(pieces, b"").removeprefix(b"\xef\xbb\xbf")
    for following in pieces:
        yield block, False
        block = following
    yield block, True


def _check_room(path: Path, file: IO[bytes], mark: bytes) -> None:
    """Checks that there is memory for a table, by the number of cells that its first lines let expect."""
    size, first = file.seek(0, io.SEEK_END), b""
    file.seek(0)
    first = file.read(_BLOCK)
    file.seek(0)
    share = (first.count(mark) + first.count(b"\n")) / max(1, len(first))
    room.check(str(path), max(size, share * size * room.CELL), f"a table of {size:,} bytes as text")
