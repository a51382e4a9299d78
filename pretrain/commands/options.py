"""Command lines of the commands besides running: a dataclass of options, and mistakes reported in one line."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, TypeVar

import tyro
from rich.console import Console
from rich.text import Text

from pretrain.commands import streams
from pretrain.config import invocation
from pretrain.config.fields import ConfigError
from pretrain.config.suggestions import of_options

Options = TypeVar("Options")
_WIDTH_OF_FILES = 120  # columns, where the output is no terminal


class _Plain(Console):
    """A console to which all strings are text: no markup, no emoji codes, no control characters."""

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(streams.shown(text), **settings)


def console(file: TextIO, width: int = _WIDTH_OF_FILES) -> Console:
    """Returns a console for text without markup on a file: as wide as its terminal, or as given if it has none."""
    width = None if file.isatty() else width
    return _Plain(file=file, width=width, markup=False, emoji=False, highlight=False)


def _names(options: type) -> Iterator[str]:
    """Yields the names of a dataclass's options, those of its sections dotted."""
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(field.type):
            yield from (f"{field.name}.{name}" for name in _names(field.type))
        else:
            yield field.name


def parse(options: type[Options], argv: Sequence[str], command: str) -> Options:
    """Reads options; ``--help`` prints them and exits.

    Args:
      options: a dataclass; its ``bool`` fields are flags, and those marked ``tyro.conf.Positional`` go without a name.
      argv: the command line after the command's name.

    Raises:
      ConfigError: an option is unknown, or a value is missing or does not fit.
    """
    typed = invocation.command(command)
    settings = {"prog": typed, "config": (tyro.conf.FlagCreatePairsOff,)}
    if {"-h", "--help"} & set(argv):
        return tyro.cli(options, args=["--help"], **settings)
    names = list(_names(options))
    for token in argv:
        option = token.partition("=")[0]
        if option.startswith("--") and option[2:].replace("-", "_") not in names:
            raise ConfigError("option", option, f"is no option of {command}; {of_options(option[2:], names)}")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # tyro explains in a box; our explanation is one line
            return tyro.cli(options, args=list(argv), **settings)
    except SystemExit:
        raise ConfigError("arguments", " ".join(argv), f"cannot be read; see {typed} --help") from None
