"""A run's conclusions as files: figures, tables, ``answer.json`` and ``report.html``."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from pretrain.config import Experiment, to_json
from pretrain.data.files import written_whole
from pretrain.report import latex, sections, words
from pretrain.report.listings import Listing
from pretrain.report.page import Picture, page
from pretrain.report.record import record
from pretrain.study.answer import Answer
from pretrain.sweep.sample_file import Samples

# What figures and tables of any run are called; all other files beside them are the user's.
_FIGURES = "first_batches|differences|gains|diagnostics|filters|reconstructions|phase_losses|slopes"
_OURS = {
    "figures": re.compile(rf"({_FIGURES}|shares(_of_\d+)?(_\d+)?)\.(png|svg)"),
    "tables": re.compile(r"(arms|comparisons|shares(_of_\d+)?(_\d+)?|interactions_of_\d+(_\d+)?)\.tex"),
}
_IN_PAGE = re.compile(r'<figure id="figure-(\w+)"|id="table-(\w+)"')


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

    Figures and tables of another experiment, which ran there before, are removed if this one has none of their name.

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
    for name in _OURS:
        _make_directory(directory / name)
    parts = sections.sections(answer, trials, curves, samples, found, directory / "figures")
    shown = [part for section in parts for part in section.parts]
    # Facts have no headings, and no paper needs them.
    listed = [part for part in shown if isinstance(part, Listing) and any(part.headings)]
    for listing in listed:
        with written_whole(directory / "tables" / f"{listing.name}.tex") as draft:
            draft.write_text(latex.tabular(listing.headings, listing.rows, listing.align), encoding="utf-8")
    verdict, why = sections.headline(answer), [*words.explanation(answer), words.basis(answer, experiment)]
    with written_whole(target) as draft:
        draft.write_text(page(found["question"], verdict, why, parts, to_json(experiment)), encoding="utf-8")
    drawn = [part.name for part in shown if isinstance(part, Picture)]
    for name in _ours(directory) - _files(drawn, (listing.name for listing in listed)):
        (directory / name).unlink()
    # Last, so that it never stands for a page that was not written.
    with written_whole(directory / "answer.json") as draft:
        draft.write_text(text, encoding="utf-8")
    return target


def _is_there(directory: Path, text: str, samples: Samples | None) -> bool:
    """Returns whether a report of the same answer, with all of its files and no other, was written before."""
    try:
        if (directory / "answer.json").read_text(encoding="utf-8") != text:
            return False
        kept = (directory / "report.html").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    shown = _IN_PAGE.findall(kept)
    drawn = [name for name, _ in shown if name]
    files = _files(drawn, (name for _, name in shown if _OURS["tables"].fullmatch(f"{name}.tex")))
    whole = kept.endswith("</html>\n") and all((directory / name).is_file() for name in files)
    pictures = {"filters": bool(samples and len(samples.filters)), "reconstructions": bool(samples)}
    as_sampled = all((name in drawn) == wanted for name, wanted in pictures.items())
    return whole and as_sampled and _ours(directory) <= files


def _files(drawn: Iterable[str], listed: Iterable[str]) -> set[str]:
    """Returns the files of figures and tables of these names."""
    figures = {f"figures/{name}.{kind}" for name in drawn for kind in ("png", "svg")}
    return figures | {f"tables/{name}.tex" for name in listed}


def _ours(directory: Path) -> set[str]:
    """Returns which files that a report may write are in a run's directory, whatever experiment they are of."""
    found = ((name, path) for name in _OURS for path in (directory / name).glob("*"))
    return {f"{name}/{path.name}" for name, path in found if _OURS[name].fullmatch(path.name) and not path.is_dir()}


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError:
        raise FileExistsError(f"{path} is no directory; move it away, and run the same command again") from None
