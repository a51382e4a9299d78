"""The report's page: one HTML file with everything in it."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from pretrain.report.letters import plain
from pretrain.report.listings import Listing

_STYLE = """
:root { color-scheme: light; --ink: #1b1b1b; --paper: #ffffff; --soft: #f1f3f5; --line: #ced4da; --quiet: #495057;
  --warn: #c2410c; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark;
  --ink: #e9ecef; --paper: #16181b; --soft: #24272b; --line: #495057; --quiet: #adb5bd; --warn: #fb923c;
  --series-0: #4aa3df; --series-1: #f08a3c; --series-2: #2bc79c; } }
* { box-sizing: border-box; }
body { color: var(--ink); background: var(--paper); font: 1rem/1.55 system-ui, sans-serif; margin: 0 auto;
  max-width: 44rem; padding: 1rem 1rem 4rem; overflow-wrap: anywhere; -webkit-text-size-adjust: 100%; }
h1 { font-size: 1.3rem; line-height: 1.4; margin: 0.5rem 0 1rem; }
.question { color: var(--quiet); margin: 0; }
.warning { border-left: 0.3rem solid var(--warn); padding: 0.1rem 0 0.1rem 0.8rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.4rem 1rem; margin: 1rem 0; font-size: 0.95rem; }
dt { color: var(--quiet); } dd { margin: 0; }
h2 { font-size: 1.1rem; line-height: 1.3; margin: 3rem 0 0.5rem; padding-top: 0.5rem;
  border-top: 1px solid var(--line); }
figure { margin: 1.5rem 0 2rem; }
figure svg { display: block; width: 100%; height: auto; fill: currentColor; }
figcaption, .caption { color: var(--quiet); font-size: 0.92rem; margin: 0.5rem 0; }
figcaption b, .caption b { color: var(--ink); }
.wide { overflow-x: auto; margin: 0.5rem 0 2rem; position: relative; left: 50%; transform: translateX(-50%);
  width: max-content; min-width: 100%; max-width: min(70rem, 100vw - 2rem); }
table { border-collapse: collapse; font-size: 0.92rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: break-word; max-width: 24rem; }
th:first-child { padding-left: 0.25rem; } tbody th { font-weight: normal; min-width: 7rem; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--line); }
.r { text-align: right; } td.r { white-space: nowrap; }
tbody tr:nth-child(even) > * { background: var(--soft); }
summary { cursor: pointer; margin: 1rem 0; }
pre { background: var(--soft); padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; line-height: 1.4; }
@media (max-width: 30rem) { body { padding: 0.75rem 0.75rem 3rem; } h1 { font-size: 1.15rem; }
  th, td { padding: 0.35rem 0.5rem; } dl { display: block; } dd { margin-bottom: 0.5rem; } }
@media print { :root { --ink: #000000; --soft: #ffffff; --quiet: #000000; font-size: 80%; }
  body { max-width: none; padding: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; }
  .caption { break-after: avoid; } .wide { overflow: visible; position: static;
  transform: none; width: auto; max-width: none; } tbody > tr > * { overflow-wrap: anywhere; }
  figure svg { max-width: 36rem; max-height: 85vh; } .config { display: none; } }
"""


_MOST_PARAGRAPHS = 50


class Picture(NamedTuple):
    """A figure for the page."""

    name: str
    svg: str
    caption: str
    alt: str  # for readers who do not see it


class Section(NamedTuple):
    """A part of the page under a heading of its own."""

    heading: str
    parts: Sequence[Picture | Listing]


class Opening(NamedTuple):
    """The first screen of a report."""

    question: str
    verdict: str  # the page's heading
    cells: dict[str, str]  # rows, failures, comparisons, datasets and choices, by name
    warnings: Sequence[str]


def page(opening: Opening, why: Sequence[str], sections: Sequence[Section], config: str) -> str:
    """Returns the page; sections without parts are left out."""
    cells = "".join(f"<dt>{_escaped(name)}</dt><dd>{_escaped(text)}</dd>" for name, text in opening.cells.items())
    body = [
        f'<p class="question">{_escaped(opening.question)}</p>',
        f"<h1>{_escaped(opening.verdict)}</h1>",
        f"<dl>{cells}</dl>",
        *(f'<p class="warning" role="note">{_escaped(text)}</p>' for text in opening.warnings),
        *(f"<p>{_escaped(text)}</p>" for text in why[:_MOST_PARAGRAPHS] if text != opening.verdict),
    ]
    if len(why) > _MOST_PARAGRAPHS:
        body.append(f"<p>{len(why) - _MOST_PARAGRAPHS:,} more paragraphs stand in answer.json, under explanation.</p>")
    numbers = dict.fromkeys((Picture, Listing), 0)
    for section in sections:
        if not section.parts:
            continue
        body.append(f"<h2>{_escaped(section.heading)}</h2>")
        for part in section.parts:
            numbers[type(part)] += 1
            write = _figure if isinstance(part, Picture) else _table
            body.append(write(part, numbers[type(part)]))
    lines = "\n".join(map(_escaped, config.splitlines()))
    # Not printed: a reader on paper has the design above, and experiment.json for the rest.
    body.append(f'<details class="config"><summary>The experiment in full</summary><pre>{lines}</pre></details>')
    text = "\n".join(part for part in body if part)
    return (
        f'<!doctype html>\n<html lang="en">{_head(opening.verdict)}\n<body>\n<main>\n{text}\n</main>\n</body></html>\n'
    )


def _head(verdict: str) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    parts = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>pretrain: {_escaped(verdict if len(verdict) <= 80 else verdict[:79] + '…')}</title>",
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style>',
    )
    return f"<head>{''.join(parts)}</head>"


def _figure(picture: Picture, number: int) -> str:
    label = f'<svg role="img" aria-label="{_escaped(picture.alt)}"'
    drawn = picture.svg.replace("<svg", label, 1)
    caption = f"<b>Figure {number}.</b> {_escaped(picture.caption)}"
    return f'<figure id="figure-{picture.name}">{drawn}<figcaption>{caption}</figcaption></figure>'


def _table(listing: Listing, number: int) -> str:
    def cells(row: Sequence[str], tags: Sequence[str]) -> str:
        sides = [' class="r"' if side == "r" else "" for side in listing.align]
        parts = zip(row, tags, sides, strict=True)
        # Intervals go below their means, or few columns would fit.
        lines = [
            (_escaped(cell).replace(" [+", "<br>[+").replace(" [-", "<br>[-"), tag, side) for cell, tag, side in parts
        ]
        return "".join(f"<{tag}{side}>{cell}</{tag.split()[0]}>" for cell, tag, side in lines)

    name, columns = f"table-{listing.name}", len(listing.headings)
    head = cells(listing.headings, ['th scope="col"'] * columns)
    head = f"<thead><tr>{head}</tr></thead>" if any(listing.headings) else ""
    tags = ['th scope="row"'] + ["td"] * (columns - 1)
    body = "".join(f"<tr>{cells(row, tags)}</tr>" for row in listing.rows)
    caption = f"<b>Table {number}.</b> {_escaped(listing.caption)}"
    # It can have the focus, so that keys can scroll it.
    box = f'<div class="wide" role="region" tabindex="0" aria-labelledby="{name}">'
    table = f"{box}<table>{head}<tbody>{body}</tbody></table></div>"
    if len(listing.rows) > listing.most_open:
        more = f"{caption} Open for its {len(listing.rows):,} rows."
        return f'<details><summary class="caption" id="{name}">{more}</summary>{table}</details>'
    return f'<p class="caption" id="{name}">{caption}</p>{table}'


def _escaped(text: str) -> str:
    return html.escape(plain(text))
