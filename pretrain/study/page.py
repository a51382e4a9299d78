"""The report's page: one HTML file with everything in it."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.study import words
from pretrain.study.answer import Answer
from pretrain.study.arms import trial_values

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --soft: #f1f3f5; --line: #ced4da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9ecef; --paper: #16181b; --soft: #24272b; --line: #495057; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.55 system-ui, sans-serif; margin: 0 auto;
  max-width: 60rem; padding: 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.35rem; line-height: 1.35; margin: 1rem 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
figure { margin: 1.5rem 0; } figure svg { width: 100%; height: auto; } figcaption { font-size: 0.92rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.92rem; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } tr:nth-child(even) td { background: var(--soft); }
pre { background: var(--soft); padding: 0.8rem; overflow-x: auto; font-size: 0.8rem; }
@media print { body { max-width: none; } figure, tr { break-inside: avoid; } details > pre { white-space: pre-wrap; } }
"""


class Picture(NamedTuple):
    """A figure for the page."""

    svg: str
    caption: str  # what to see
    alt: str  # what it shows, for those who do not see it


def page(answer: Answer, trials: pa.Table, pictures: Sequence[Picture], record: dict[str, Any], config: str) -> str:
    """Returns the page.

    Args:
      answer: what was concluded.
      trials: the run's table of trials.
      pictures: in the order of the page.
      record: the content of ``answer.json``, for the design, the versions and the machine.
      config: the experiment as JSON.
    """
    verdict = words.verdict(answer.comparisons) or words.explanation(answer)
    why = words.explanation(answer)
    sections = [f"<h1>{escape(verdict)}</h1>", f"<p>{escape(why)}</p>" if why != verdict else ""]
    sections += [_figure(picture, number) for number, picture in enumerate(pictures, 1)]
    if answer.comparisons:
        sections += ["<h2>Comparisons</h2>", _table(_COMPARISON_HEADINGS, _comparison_rows(answer))]
    sections += ["<h2>Arms</h2>", _table(_ARM_HEADINGS, _arm_rows(answer, trials))]
    facts = {**record["design"], **record["machine"], **record["versions"]}
    rows = [(name.replace("_", " "), json.dumps(value).strip('"')) for name, value in facts.items()]
    sections += ["<h2>Design, machine and versions</h2>", _table(("", ""), rows)]
    sections.append(f"<details><summary>The experiment in full</summary><pre>{escape(config)}</pre></details>")
    body = "\n".join(section for section in sections if section)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    policy += 'img-src data:">'
    title = f"<title>pretrain: {escape(verdict[:80])}</title>"
    icon = '<link rel="icon" href="data:,">'
    style = f"<style>{_STYLE}</style>"
    head = f"<head>{head}{policy}{title}{icon}{style}</head>"
    return f'<!doctype html>\n<html lang="en">{head}\n<body>\n{body}\n</body></html>\n'


_COMPARISON_HEADINGS = ("comparison", "difference, points", "p", "seeds better", "verdict", "seeds")
_ARM_HEADINGS = ("arm", "test accuracy", "validation accuracy", "seeds", "diverged")


def _comparison_rows(answer: Answer) -> Iterable[tuple[str, ...]]:
    for one in answer.comparisons:
        what = f"{words.treatment(one.field, one.treatment, one.baseline)} {words.setting(one.shared)}"
        verdict = one.verdict
        if one.seeds_to_settle:
            verdict += f" (about {one.seeds_to_settle:,} seeds would settle it)"
        chance = f"{one.improvement.mean:.0%}"
        yield what, words.points(one.difference), f"{one.p_value:.3f}", chance, verdict, str(one.n)


def _arm_rows(answer: Answer, trials: pa.Table) -> Iterable[tuple[str, ...]]:
    for arm in answer.arms:
        columns = []
        for metric in ("test_accuracy", "validation_accuracy"):
            values = trial_values(trials, arm, metric)
            deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            columns.append(f"{np.mean(values):.3f}{deviation}" if len(values) else "–")
        yield words.arm_name(arm.point), *columns, str(len(set(arm.seeds))), str(arm.n_diverged)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _figure(picture: Picture, number: int) -> str:
    # Every figure's clip paths and glyphs have names of their own, so that none is drawn with another's.
    label = f'<svg role="img" aria-label="{escape(picture.alt)}"'
    drawn = picture.svg.replace("<svg", label, 1)
    return f'<figure id="figure-{number}">{drawn}<figcaption>{escape(picture.caption)}</figcaption></figure>'
