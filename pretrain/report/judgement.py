"""A judgement of numbers that somebody brings: its sentences, its table, and its record for programs."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pretrain.config.metrics import declared, metric_of
from pretrain.report import drawing, judged, names, over_datasets, verdicts, words
from pretrain.report.judged import Judged
from pretrain.report.listings import Listing
from pretrain.report.page import Opening, Picture, Section, page
from pretrain.report.record import of_judgement
from pretrain.report.short_names import short_names


class Judgement(Judged):
    """What was concluded of a table of results; ``str`` gives it in words."""

    __slots__ = ()

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        with self._unit():
            return judged.verdict(self)

    @property
    def lines(self) -> list[str]:
        """All that is concluded, a paragraph each: the verdict first, how the table was read last."""
        with self._unit():
            facts = [f"{name}: {text}" for name, text in judged.facts(self).items()]
            return [*judged.conclusion(self), *facts, *self.brought.notes]

    @property
    def content(self) -> dict[str, Any]:
        """The same for programs, as ``answer.json`` has it of a run."""
        with self._unit():
            return _content(self)

    @property
    def table(self) -> Listing:
        """Its comparisons."""
        with self._unit():
            return _table(self)

    @contextlib.contextmanager
    def _unit(self) -> Iterator[None]:
        """Shows values in their unit, and datasets by the part of their names that differs, within a block."""
        known = [each.name for each in self.datasets[0].effects] if self.datasets else []
        short = short_names(known) if len(known) > 1 else {}
        with declared(self.brought.value.name, self.brought.value.metric), names.in_place(short):
            yield

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        """Returns the first screen of its report, for a notebook."""
        return f"<div>{html(self).partition('<main>')[2].partition('</main>')[0].partition('<h2>')[0]}</div>"


def write(judgement: Judgement, directory: Path) -> Path:
    """Writes ``answer.json`` and ``report.html``; returns the page's path.

    Raises:
      OSError: a file could not be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "answer.json").write_text(as_json(judgement), encoding="utf-8")
    target = directory / "report.html"
    target.write_text(html(judgement, directory), encoding="utf-8")
    return target


def as_json(judgement: Judgement) -> str:
    """Returns the content of a judgement as text."""
    return json.dumps(judgement.content, indent=1, allow_nan=False, ensure_ascii=False)


def html(judgement: Judgement, directory: Path | None = None) -> str:
    """Returns a page like a run's report; with figures, which are saved, too, if a directory is given."""
    content, metric, pictures = judgement.content, judgement.answer.metric, list[Picture]()
    with judgement._unit(), drawing.own_style() if directory and judgement.datasets else contextlib.nullcontext():
        tables = over_datasets.listings(judgement.datasets, metric)
        for number, group in enumerate(judgement.datasets if directory else (), 1):
            made = over_datasets.drawing(group, metric, judgement.answer.level, number)
            svg = drawing.save(made.figure, directory / "figures", made.name)
            pictures.append(Picture(made.name, svg, made.caption, made.alt))
    first, *rest = (line for line in content["conclusion"] if line not in content["warnings"])
    opening = Opening(content["question"], first, content["facts"], content["warnings"])
    sections = [Section("Results", [*pictures, judgement.table, *tables])]
    asked = json.dumps({"results": judgement.source, **content["asked"]}, indent=1, ensure_ascii=False)
    return page(opening, [*rest, *judgement.brought.notes], sections, asked)


def _table(judgement: Judgement) -> Listing:
    """Returns every comparison: both means, the difference, p and the verdict."""
    compared, metric = judgement.answer.comparisons, judgement.answer.metric
    rows, has_failed = [], any(each.failures.any for each in compared)
    for each in compared:
        means = (
            names.value(float(np.mean(side)), metric) if len(side) else "–" for side in (each.treated, each.untreated)
        )
        difference = names.difference(each.difference, metric).replace(" points", "") if each.n else "–"
        failed, sizes = each.failures, each.failures.sizes
        lost = f"{failed.treated:,} of {sizes[0]:,}, {failed.untreated:,} of {sizes[1]:,}" if failed.any else "none"
        p_value = f"{each.p_value:.3f}" if each.p_value >= 0.001 else "< 0.001"
        at = f" (look {each.look})" if each.look else ""
        row = (names.comparison_name(each), *means, difference, p_value, f"{verdicts.outcome(each)}{at}", f"{each.n:,}")
        row = (*row, lost) if has_failed else row
        rows.append(row)
    unit = "points" if metric_of(metric).is_fraction else words.metric_name(metric.partition("_")[2])
    headings = ("comparison", "treatment", "baseline", f"difference ({unit})", "p", "verdict", "seeds")
    headings = (*headings, "failed") if has_failed else headings
    how = "within a seed" if judgement.brought.pairing else "of means of independent seeds"
    caption = f"Differences {how}, with their intervals; p is adjusted for all comparisons."
    return Listing("comparisons", caption, headings, rows, "lrrrrlr" + "l" * has_failed)


def _content(judgement: Judgement) -> dict[str, Any]:
    answer, value = judgement.answer, judgement.brought.value
    asked = judgement.asked._asdict() | {"value": judgement.asked.value or "value"}
    return of_judgement(
        answer.comparisons,
        {
            "question": words.question(answer._replace(factorials=[])),
            "verdict": judged.verdict(judgement),
            "conclusion": judged.conclusion(judgement),
            "warnings": judged.warnings(judgement),
            "facts": judged.facts(judgement),
            "notes": judgement.brought.notes,
            "asked": asked,
            "metric": {"name": value.name, **value.metric._asdict(), "divided_by": value.scale, "chance": value.chance},
            "pairing": judgement.brought.pairing or None,
            "level": answer.level,
            "looks": [look._asdict() | {"taken": look.number <= judgement.look.number} for look in judgement.planned],
            "datasets": judgement.datasets,
            "noise": judgement.noise,
            "arms": [
                {"name": names.arm_name(arm.point), "point": arm.point, "seeds": len(set(arm.seeds))}
                | {"failed": arm.n_diverged, "mean": float(np.mean(arm.results[answer.metric])) if arm.seeds else None}
                for arm in answer.arms
            ],
        },
    )
