"""Standard output and error: a stream that cannot be written costs a run nothing, and text is text to a terminal."""

import codecs
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator

_SIGNS = {"–": "-", "±": "+-", "×": "x", "…": "...", "é": "e", "·": "."}  # where an encoding lacks them
_ERRORS = "pretrain.legible"
# All of Unicode's control characters but tab and newline, its line separators, and what turns the direction of text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """Returns text with its control characters escaped, as ``\\x1b``, so that no terminal obeys them."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def complain(fault: object) -> None:
    """Prints a line on standard error."""
    print(shown(str(fault)), file=sys.stderr)


@contextlib.contextmanager
def unfailing() -> Iterator[None]:
    """Replaces the standard streams by streams whose writes never fail, be they closed, full or of a poor encoding."""
    _open_closed()
    codecs.register_error(_ERRORS, _legible)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_unfailing, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


class _Unfailing(io.TextIOWrapper):
    """A stream that goes to the null device as soon as it cannot be written."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._give_up()

    def close(self) -> None:
        """Leaves the buffer open, which is that of the stream in whose place this one is."""

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):  # no stream of the operating system's
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            super().flush()  # the buffer keeps the text that it could not write


def _unfailing(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's
        return stream
    stream.flush()
    passed_on = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    return _Unfailing(stream.buffer, stream.encoding, _ERRORS, **passed_on)


def _open_closed() -> None:
    """Opens the null device in the place of closed standard streams, so that no other file gets their numbers."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def _legible(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (_SIGNS.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in text)
    return "".join(escaped), error.end
