"""A judgement of numbers that somebody brings: its sentences, its table, and its record for programs."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pretrain.config import StudyConfig
from pretrain.config.counts import counted, some
from pretrain.config.metrics import declared, metric_of
from pretrain.report import names, verdicts, words
from pretrain.report.listings import Listing
from pretrain.report.names import capital, listed, percent
from pretrain.report.page import Opening, Section, page
from pretrain.report.record import of_judgement
from pretrain.study.answer import Answer
from pretrain.study.brought import Asked, Brought
from pretrain.study.datasets import FEWEST_DATASETS, Group
from pretrain.study.noise import Noise, Range
from pretrain.study.power import MOST_SEEDS, fewest_seeds
from pretrain.study.sequential import Look, seeds_of
from pretrain.study.statistics import FEWEST_SEEDS, LEVEL, Estimate

_MOST_NAMED = 6  # datasets that failed, arms with failures


class Judgement(NamedTuple):
    """What was concluded of a table of results; ``str`` gives it in words."""

    source: str
    asked: Asked
    brought: Brought
    answer: Answer  # its comparisons each as of the look that settled it
    planned: tuple[Look, ...]  # none where the results are looked at once
    look: Look  # the last that was taken
    settled_at: tuple[int, ...]  # looks, comparison by comparison
    datasets: tuple[Group, ...]
    noise: Noise | None

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        with self._unit():
            return _verdict(self)

    @property
    def lines(self) -> list[str]:
        """All that is concluded, a paragraph each: the verdict first, how the table was read last."""
        with self._unit():
            facts = [f"{name}: {text}" for name, text in _facts(self).items()]
            return [*_conclusion(self), *facts, *self.brought.notes]

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

    def _unit(self) -> Any:
        return declared(self.brought.value.name, self.brought.value.metric)

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
    target.write_text(html(judgement), encoding="utf-8")
    return target


def as_json(judgement: Judgement) -> str:
    """Returns the content of a judgement as text."""
    return json.dumps(judgement.content, indent=1, allow_nan=False, ensure_ascii=False)


def html(judgement: Judgement) -> str:
    """Returns a page like a run's report."""
    content = judgement.content
    first, *rest = content["conclusion"]
    facts = {capital(name): text for name, text in content["facts"].items()}
    opening = Opening(content["question"], first, facts, content["warnings"])
    sections = [Section("Results", [judgement.table, *_dataset_tables(judgement)])]
    asked = json.dumps({"results": judgement.source, **content["asked"]}, indent=1, ensure_ascii=False)
    return page(opening, [*rest, *judgement.brought.notes], sections, asked)


def _conclusion(judgement: Judgement) -> list[str]:
    of_datasets = [_on_datasets(group, judgement) for group in judgement.datasets]
    floor = [_floor(judgement.noise, judgement.answer)] if judgement.noise else []
    return [_verdict(judgement), *of_datasets, *_warnings(judgement), *floor]


def _verdict(judgement: Judgement) -> str:
    compared = judgement.answer.comparisons
    if not compared:
        return "Nothing is compared: in no seed both arms have a value."
    how = (
        "" if judgement.brought.pairing else " The seeds of the arms are no pairs, and compared as independent (Welch)."
    )
    return verdicts.verdict(compared) + how


def _warnings(judgement: Judgement) -> list[str]:
    compared, answer = judgement.answer.comparisons, judgement.answer
    n = max((each.n for each in compared), default=0)
    fewest = fewest_seeds(1 - answer.level, max(1, len(compared)))
    if n < FEWEST_SEEDS or n >= fewest or not judgement.brought.pairing:  # the first says so itself
        return []
    among = f" among {len(compared):,} comparisons" if len(compared) > 1 else " at this look"
    return [f"{counted(n, 'seed')} cannot show any effect{among}, however large: that takes {fewest:,}."]


def _facts(judgement: Judgement) -> dict[str, str]:
    """Returns what a reader asks of a verdict, by name: rows, failures, comparisons, datasets, best of how many."""
    asked, answer = judgement.asked, judgement.answer
    rows = "the examples of the table" if asked.example else "those that the values were measured on"
    known = ("columns", f"paired by {listed(list(asked.pair))}") if asked.pair else ("rows", "paired row by row")
    pairing = known[1] if judgement.brought.pairing == known[0] else "unpaired"
    most = max((len(set(arm.seeds)) + arm.n_diverged for arm in answer.arms), default=0)
    n = len(answer.comparisons)
    adjusted = ", adjusted for one another (Holm)" if n > 1 else ""
    error = (
        ""
        if _n_failed(answer)
        else f" Were there no effect, at most {percent(1 - LEVEL)} of such tables would show one."
    )
    return {
        "rows": f"{rows}; intervals are over seeds, and open for new rows",
        "seeds": f"{most:,} of an arm at most, {pairing}",
        "failures": _failures(answer),
        "comparisons": f"{n:,}{adjusted}; {_looks(judgement)}.{error}",
        "datasets": _datasets(judgement),
        "smallest effect": _smallest(judgement),
        "best of": f"{counted(len(asked.treatment), 'treatment')}; others that were tried do not count unless named",
    }


def _smallest(judgement: Judgement) -> str:
    """Returns the smallest effect that matters."""
    metric = metric_of(judgement.answer.metric)
    if metric.unit is None and metric.high != 1:
        return f"{percent(StudyConfig.smallest_effect)} of the baseline matters, less is no difference"
    size = StudyConfig.smallest_effect * metric.effects_of(1)
    return f"{names.sizes(size, size, judgement.answer.metric)} matters, less is no difference"


def _n_failed(answer: Answer) -> int:
    return sum(arm.n_diverged for arm in answer.arms)


def _failures(answer: Answer) -> str:
    n = sum(len(arm.trial_ids) + arm.n_diverged for arm in answer.arms)
    broken = [f"{names.arm_name(arm.point)} {arm.n_diverged:,}" for arm in answer.arms if arm.n_diverged]
    if not broken:
        return f"none of {counted(n, 'value')}"
    return f"{_n_failed(answer):,} of {counted(n, 'value')} ({some(broken, _MOST_NAMED)})"


def _looks(judgement: Judgement) -> str:
    if not judgement.planned:
        return "looked at once"
    taken = [look for look in judgement.planned if look.number <= judgement.look.number]
    level = f"the last at {percent(judgement.answer.level)} intervals"
    return f"looked at {seeds_of(taken)} of {seeds_of(judgement.planned)} seeds as planned, {level}"


def _datasets(judgement: Judgement) -> str:
    if not judgement.datasets:
        return "one, or none that is named; on others all is open"
    known = [effect.name for effect in judgement.datasets[0].effects]
    return f"{len(known):,} ({some(known, _MOST_NAMED)})"


def _on_datasets(group: Group, judgement: Judgement) -> str:
    """Returns what holds on these datasets, and on most like them."""
    metric = judgement.answer.metric
    baseline = judgement.answer.comparisons[0].baseline if judgement.answer.comparisons else "the baseline"
    of_group = [
        each
        for each in judgement.answer.comparisons
        if each.treatment == group.treatment
        and all(each.shared[name] == value for name, value in group.setting.items())
    ]
    subject = ""
    if len(judgement.datasets) > 1:
        named = names.treatment(judgement.brought.field, group.treatment, baseline)
        subject = f"{capital(' '.join(filter(None, [named, names.setting(group.setting)])))}: "
    failed = group.failed
    sound = [each for each in of_group if str(each.shared[judgement.asked.datasets]) not in failed]
    counts = {kind: sum(each.verdict == kind for each in sound) for kind in ("helps", "hurts")}
    parts = [f"{kind} on {n}" for kind, n in counts.items() if n]
    if n_open := len(sound) - sum(counts.values()):
        parts.append(f"open on {n_open}")
    if failed:
        parts.append(f"an arm fails on {len(failed)}, left out: {some(failed, _MOST_NAMED)}")
    n = len(group.effects)
    on = f"on these {n - len(failed)} datasets" if not subject else f"on {n - len(failed)} datasets"
    gain = f"{_difference(group.fixed, metric)} on average" if group.fixed else "nothing"
    first = f"{subject}{on if subject else capital(on)} {gain} ({', '.join(parts)})."
    p_value = "< 0.001" if group.most.p_value < 0.001 else f"= {group.most.p_value:.3f}"
    tested = f"p {p_value}, {group.most.up} up and {group.most.down} down of {n} medians"
    if group.most.claim:
        claim = f"{group.most.claim} ({tested})"
    else:
        few = f"; fewer than {FEWEST_DATASETS} show nothing" if n < FEWEST_DATASETS else ""
        claim = f"not claimed ({tested}{few})"
    differ = f" Effects differ between datasets by {_spread(group.spread, metric)}." if group.spread else ""
    return f"{first} Most datasets like these: {claim}.{differ}"


def _difference(estimate: Estimate, metric: str) -> str:
    return f"{verdicts.unit(metric)[1:]} {names.difference(estimate, metric)}".lstrip()


def _spread(spread: Estimate, metric: str) -> str:
    """Returns a standard deviation over datasets with its interval."""
    scale = 100 if metric_of(metric).is_fraction else 1
    low, middle, high = (f"{scale * end:.2g}" for end in (spread.low, spread.mean, spread.high))
    end = high if math.isfinite(spread.high) else "no end"
    return f"{middle}{' points' * (scale == 100)} [{low}, {end}] (standard deviation)"


def _floor(noise: Noise, answer: Answer) -> str:
    """Returns the noise floor in a sentence."""
    metric, n = answer.metric, counted(noise.n, "seed")
    what = "the difference within a seed" if noise.is_paired else "the difference of two seeds"
    shown = f"{n} show none, however large"
    if math.isfinite(noise.smallest[1]):
        shown = f"{n} show differences from {names.sizes(*noise.smallest, metric)} on with 80 % power"
    elif math.isfinite(noise.smallest[0]):
        shown = f"{n} show differences from {names.sizes(noise.smallest[0], noise.smallest[0], metric)} on at best"
    unit = "one point" if metric_of(metric).is_fraction else "0.01" if metric_of(metric).high == 1 else "1 %"
    return (
        f"Noise floor: over seeds the baseline varies by {names.sizes(*noise.baseline, metric)} (standard deviation), "
        f"{what} by {names.sizes(*noise.difference, metric)}; {shown}, and {unit} takes {_seeds(noise.seeds)}."
    )


def _seeds(ends: Range) -> str:
    texts = [f"{end:,.0f}" if end <= MOST_SEEDS else f"more than {MOST_SEEDS:,}" for end in ends]
    return " to ".join(dict.fromkeys(texts))


def _table(judgement: Judgement) -> Listing:
    """Returns every comparison: both means, the difference, p and the verdict."""
    compared, metric = judgement.answer.comparisons, judgement.answer.metric
    rows = []
    for each, look in zip(compared, judgement.settled_at, strict=True):
        means = (names.value(float(np.mean(side)), metric) for side in (each.treated, each.untreated))
        difference = names.difference(each.difference, metric).replace(" points", "")
        p_value = f"{each.p_value:.3f}" if each.p_value >= 0.001 else "< 0.001"
        at = f" (look {look})" if judgement.planned and each.verdict != "inconclusive" else ""
        row = (names.comparison_name(each), *means, difference, p_value, f"{verdicts.outcome(each)}{at}", f"{each.n:,}")
        rows.append(row)
    unit = "points" if metric_of(metric).is_fraction else words.metric_name(metric.partition("_")[2])
    headings = ("comparison", "treatment", "baseline", f"difference ({unit})", "p", "verdict", "seeds")
    how = "within a seed" if judgement.brought.pairing else "of means of independent seeds"
    caption = f"Differences {how}, with their intervals; p is adjusted for all comparisons (Holm)."
    return Listing("comparisons", caption, headings, rows, "lrrrrlr")


def _dataset_tables(judgement: Judgement) -> list[Listing]:
    """Returns the effects on datasets, of each treatment."""
    tables = []
    with judgement._unit():
        for number, group in enumerate(judgement.datasets, 1):
            scale = 100 if metric_of(judgement.answer.metric).is_fraction else 1
            rows = [
                (
                    each.name,
                    f"{scale * each.mean:+.3g}" if math.isfinite(each.mean) else "–",
                    f"{scale * each.median:+.3g}" if math.isfinite(each.median) else "–",
                    "yes" if each.has_failed else "no",
                )
                for each in group.effects
            ]
            caption = _on_datasets(group, judgement)
            headings = ("dataset", "gain", "median over seeds", "an arm fails")
            tables.append(Listing(f"datasets_{number}", caption, headings, rows, "lrrl"))
    return tables


def _content(judgement: Judgement) -> dict[str, Any]:
    answer, value = judgement.answer, judgement.brought.value
    asked = judgement.asked._asdict() | {"value": judgement.asked.value or "value"}
    return of_judgement(
        answer.comparisons,
        {
            "question": words.question(answer._replace(factorials=[])),
            "verdict": _verdict(judgement),
            "conclusion": _conclusion(judgement),
            "warnings": _warnings(judgement),
            "facts": _facts(judgement),
            "notes": judgement.brought.notes,
            "asked": asked,
            "metric": {"name": value.name, **value.metric._asdict(), "divided_by": value.scale, "chance": value.chance},
            "pairing": judgement.brought.pairing or None,
            "level": answer.level,
            "looks": [look._asdict() | {"taken": look.number <= judgement.look.number} for look in judgement.planned],
            "settled_at": judgement.settled_at,
            "datasets": judgement.datasets,
            "noise": judgement.noise,
            "arms": [
                {"name": names.arm_name(arm.point), "point": arm.point, "seeds": len(set(arm.seeds))}
                | {"failed": arm.n_diverged, "mean": float(np.mean(arm.results[answer.metric])) if arm.seeds else None}
                for arm in answer.arms
            ],
        },
    )
