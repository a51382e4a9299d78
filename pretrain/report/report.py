"""A run's conclusions as files: figures, tables, ``answer.json`` and ``report.html``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pretrain.config import Experiment, to_json
from pretrain.data.inputs_file import Inputs
from pretrain.report import drawing, latex, sections, words
from pretrain.report.listings import Listing
from pretrain.report.page import Opening, page
from pretrain.report.record import record
from pretrain.report.short_names import named_shortly
from pretrain.runs import run_files
from pretrain.runs.looks_file import Looks
from pretrain.runs.sample_file import Samples
from pretrain.study.answer import Answer
from pretrain.study.curves import Curves

FILES = ("answer.json", "report.html", "figures/", "tables/")  # beginnings of the paths of a report's files


def write_answer(
    answer: Answer,
    trials: pa.Table,
    experiment: Experiment,
    devices: str,
    directory: Path,
    looked: Looks | None = None,
) -> dict[str, Any]:
    """Writes ``answer.json`` and returns its content.

    Raises:
      OSError: it could not be written.
    """
    with named_shortly(experiment):
        content = record(answer, experiment, run_files.experiment_id(trials["trial_id"].to_pylist()), devices, looked)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    (directory / "answer.json").write_text(text, encoding="utf-8")
    return content


def write(
    answer: Answer,
    trials: pa.Table,
    curves: pa.Table,
    experiment: Experiment,
    devices: str,
    directory: Path,
    samples: Samples | None = None,
    classes: pa.Table | None = None,
    inputs: Sequence[Inputs] = (),
    looked: Looks | None = None,
) -> Path:
    """Writes ``answer.json``, ``report.html``, ``figures/`` and ``tables/``; returns the page's path.

    Raises:
      OSError: a file could not be written.
    """
    content = write_answer(answer, trials, experiment, devices, directory, looked)
    for name in ("figures", "tables"):
        (directory / name).mkdir(exist_ok=True)
    with drawing.own_style(), named_shortly(experiment):
        parts = sections.sections(
            answer, trials, Curves(curves), samples, classes, inputs, content, directory / "figures", looked
        )
    # Facts have no headings, and no paper needs them.
    for part in (part for section in parts for part in section.parts):
        if isinstance(part, Listing) and any(part.headings):
            text = latex.tabular(part.headings, part.rows, part.align)
            (directory / "tables" / f"{part.name}.tex").write_text(text, encoding="utf-8")
    with named_shortly(experiment):
        headline, why = words.headline(answer, experiment), [*words.explanation(answer), content["basis"]]
    opening = Opening(content["question"], headline, content["cells"], content["warnings"])
    text = page(opening, why, parts, to_json(experiment))
    target = directory / "report.html"
    target.write_text(text, encoding="utf-8")
    return target
