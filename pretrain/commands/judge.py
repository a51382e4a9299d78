"""``python launch.py judge FILE``: the verdict on results of any program."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from rich.table import Table

from pretrain.commands import options, streams
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of, written_whole
from pretrain.judging import judge
from pretrain.report import judgement
from pretrain.report.judgement import Judgement


@dataclasses.dataclass(frozen=True)
class JudgeCommand:
    """Says whether a treatment is better than a baseline, from a table with a row a seed, or a column an arm."""

    results: tyro.conf.Positional[str]
    """Table of results: .csv, .tsv, .parquet or .jsonl."""
    treatment: tuple[str, ...]
    """COLUMN=VALUE of the treatment's rows, or the name of its column; several are compared one by one."""
    baseline: str
    """COLUMN=VALUE of the baseline's rows, or the name of its column."""
    value: str = ""
    """Column of results; of a column an arm, what they measure, such as accuracy."""
    pair: tuple[str, ...] = ()
    """Columns whose values the rows of a pair share, such as seed. Without any, arms of rows are independent, and arms
    of columns are paired row by row. A value that is missing where another arm has the seed counts as failed."""
    by: tuple[str, ...] = ()
    """Columns of conditions, of which each combination is a comparison; p is adjusted for all of them."""
    datasets: str = ""
    """Column of conditions that are datasets, over which there is a statement, too."""
    example: str = ""
    """Column that numbers the examples of a seed, where a row is one; a seed's value is their mean."""
    where: tuple[str, ...] = ()
    """COLUMN=VALUE that rows have; of several values of a column any."""
    direction: str = ""
    """higher or lower, whichever is better; by default by the value's name."""
    bounds: Annotated[tuple[float, ...], tyro.conf.arg(metavar="LOW HIGH")] = ()
    """Least and largest possible value; by default by the value's name."""
    chance: float | None = None
    """Value where everything is predicted alike, such as the share of the most frequent class."""
    smallest_effect: float | None = None
    """Smallest difference that matters, in the values' unit; by default half a point, or 0.5 % of the baseline."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which the results are looked at, as planned before the first."""
    out: str = ""
    """Directory to write report.html and answer.json to."""
    json: str = ""
    """File to write as answer.json."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 a file could not be written.

    Raises:
      ConfigError: an option cannot be read, or the results cannot be judged so.
    """
    command = options.parse(JudgeCommand, argv, "judge")
    places = {name: path_of(name, getattr(command, name)) for name in ("out", "json") if getattr(command, name)}
    if command.bounds and len(command.bounds) != 2:
        raise ConfigError("bounds", " ".join(map(str, command.bounds)), "are not two; give LOW HIGH")
    judged = judge(
        path_of("results", command.results),
        treatment=command.treatment,
        baseline=command.baseline,
        pair=command.pair,
        value=command.value,
        by=command.by,
        datasets=command.datasets,
        example=command.example,
        where=command.where,
        direction=command.direction or None,
        bounds=command.bounds or None,  # type: ignore[arg-type]  # two, as was checked
        chance=command.chance,
        smallest_effect=command.smallest_effect,
        looks=command.looks,
    )
    show(judged)
    try:
        if "json" in places:
            with written_whole(places["json"]) as draft:
                draft.write_text(judgement.as_json(judged), encoding="utf-8")
        if "out" in places:
            options.console(sys.stdout).print(str(judgement.write(judged, places["out"])), style="dim", soft_wrap=True)
    except OSError as error:
        streams.complain(error)
        return 1
    return 0


def show(judged: Judgement) -> None:
    """Prints the verdict, a row a comparison where there are several, and what a reader asks of it."""
    out = options.console(sys.stdout)
    first, *lines = judged.lines
    out.print(f"{first}\n", soft_wrap=True, style="bold")
    listing = judged.table
    if len(listing.rows) > 1:
        out.print(_table(listing.headings, listing.rows[: listing.most_open], listing.align))
        if len(listing.rows) > listing.most_open:
            n = len(listing.rows)
            out.print(f"{listing.most_open} of {n:,} comparisons; --json and --out have all", style="dim")
        out.print()
    for line in lines:
        out.print(line, soft_wrap=True)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in zip(headings, align, strict=True):
        table.add_column(heading, justify="right" if side == "r" else "left")
    for row in rows:
        table.add_row(*row)
    return table
