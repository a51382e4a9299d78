"""A run's conclusions as files: figures, ``answer.json`` and ``report.html``."""

import json
from pathlib import Path

import pyarrow as pa

from pretrain.config import Experiment, to_json
from pretrain.files import written_whole
from pretrain.study import figures
from pretrain.study.answer import Answer
from pretrain.study.page import Picture, page
from pretrain.study.record import record

# Caption, then alternative text.
_DIFFERENCES = (
    "Each dot is a seed's difference between the two arms; the bar is the 95 % interval of their mean. Where the bar "
    "leaves zero out, the arms differ.",
    "Differences of accuracy between compared arms, with intervals",
)
_GAINS = (
    "What the treatment gains at each number of labels. The band holds for all budgets together: where it leaves zero "
    "out, the gain is certain.",
    "Gain in accuracy against the number of labels, with a band",
)
_FIRST_BATCHES = (
    "Accuracy on each of the first 40 mini-batches, just after training on it. Curves that start low learn slowly.",
    "Accuracy on the batch just trained on against the number of the batch, a curve an arm",
)
_SHARES = (
    "How much of the gap between the pretrained, frozen and the He, trainable network each of the two changes makes "
    "(Shapley values, which add up to the gap), from the first batch to the test.",
    "Bars of the shares of pretraining and of freezing in the gap, by metric",
)
_SLOPES = (
    "Every seed from baseline to treatment: blue rises, orange falls.",
    "Accuracy of every seed at baseline and treatment, joined by lines",
)


def write(
    answer: Answer,
    trials: pa.Table,
    curves: pa.Table,
    experiment: Experiment,
    devices: str,
    directory: Path,
    anew: bool = True,
) -> Path:
    """Writes ``answer.json``, ``report.html`` and ``figures/`` to a run's directory, and returns the page's path.

    Args:
      answer: what was concluded.
      trials: the run's table of trials.
      curves: the run's table of curves.
      experiment: what was run.
      devices: what it ran on, in words.
      directory: the run's.
      anew: whether to write even where a report of the same answer is there, which takes seconds.

    Raises:
      OSError: a file could not be written.
    """
    found, target = record(answer, experiment, devices), directory / "report.html"
    text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False)
    if not anew and target.is_file() and (directory / "figures").is_dir() and _holds(directory / "answer.json", text):
        return target
    pictures = _pictures(answer, curves, directory / "figures")
    with written_whole(target) as draft:
        draft.write_text(page(answer, trials, pictures, found, to_json(experiment)), encoding="utf-8")
    # Last, so that it never stands for a page that was not written.
    with written_whole(directory / "answer.json") as draft:
        draft.write_text(text, encoding="utf-8")
    return target


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def _pictures(answer: Answer, curves: pa.Table, directory: Path) -> list[Picture]:
    """Draws and saves every figure that the run has something for."""
    drawn = []

    def add(name: str, figure, caption: str, alt: str) -> None:
        drawn.append(Picture(figures.save(figure, directory, name), caption, alt))

    if answer.comparisons:
        add("differences", figures.differences(answer.comparisons), *_DIFFERENCES)
    if answer.budgets:
        add("gains", figures.gains(answer.budgets), *_GAINS)
    add("first_batches", figures.first_batches(curves, answer.arms), *_FIRST_BATCHES)
    if answer.causes:
        add("shares", figures.shares(answer.causes), *_SHARES)
    if answer.comparisons:
        add("slopes", figures.slopes(answer.comparisons), *_SLOPES)
    return drawn
