"""A run's conclusions as files: figures, tables, ``answer.json`` and ``report.html``."""

import json
from pathlib import Path

import pyarrow as pa

from pretrain.config import Experiment, to_json
from pretrain.files import written_whole
from pretrain.samples import Samples
from pretrain.study import latex, sections, words
from pretrain.study.answer import Answer
from pretrain.study.listings import Listing
from pretrain.study.page import page
from pretrain.study.record import record


def write(
    answer: Answer,
    trials: pa.Table,
    curves: pa.Table,
    experiment: Experiment,
    devices: str,
    directory: Path,
    samples: Samples | None = None,
    anew: bool = True,
) -> Path:
    """Writes ``answer.json``, ``report.html``, ``figures/`` and ``tables/`` to a run's directory.

    Args:
      answer: what was concluded.
      trials: the run's table of trials.
      curves: the run's table of curves.
      experiment: what was run.
      devices: what it ran on, in words.
      directory: the run's.
      samples: filters and reconstructions of its pretraining, if it left any.
      anew: whether to write even where a report of the same answer is there, which takes seconds.

    Returns:
      The page's path.

    Raises:
      OSError: a file could not be written.
    """
    found, target = record(answer, experiment, devices), directory / "report.html"
    text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False)
    if not anew and _is_there(directory, text, samples):
        return target
    parts = sections.sections(answer, trials, curves, samples, found, directory / "figures")
    for part in (part for section in parts for part in section.parts):
        if isinstance(part, Listing) and any(part.headings):  # facts have none, and no paper needs them so
            _write_latex(part, directory / "tables")
    verdict, why = sections.headline(answer), words.explanation(answer)
    with written_whole(target) as draft:
        draft.write_text(page(found["question"], verdict, why, parts, to_json(experiment)), encoding="utf-8")
    # Last, so that it never stands for a page that was not written.
    with written_whole(directory / "answer.json") as draft:
        draft.write_text(text, encoding="utf-8")
    return target


def _is_there(directory: Path, text: str, samples: Samples | None) -> bool:
    """Returns whether a report of the same answer, with all of its files, was written before."""
    written = (directory / "report.html").is_file() and (directory / "tables" / "arms.tex").is_file()
    if not written or (directory / "figures" / "filters.svg").is_file() != bool(samples):
        return False
    try:
        return (directory / "answer.json").read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def _write_latex(listing: Listing, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    with written_whole(directory / f"{listing.name}.tex") as draft:
        draft.write_text(latex.tabular(listing.headings, listing.rows, listing.align), encoding="utf-8")
