"""Sentences on numbers that somebody brings: verdict, datasets, noise floor, and what else a reader asks."""

import math
from typing import NamedTuple

import numpy as np

from pretrain.config import StudyConfig
from pretrain.config.counts import counted, some
from pretrain.config.metrics import metric_of
from pretrain.report import cells, names, over_datasets, verdicts
from pretrain.report.names import listed, percent
from pretrain.study.answer import Answer
from pretrain.study.arms import key
from pretrain.study.brought import Asked, Brought
from pretrain.study.comparisons import n_claims, points_of
from pretrain.study.datasets import Group
from pretrain.study.failures import is_at_chance
from pretrain.study.noise import Noise, Range
from pretrain.study.power import MOST_SEEDS, fewest_seeds
from pretrain.study.sequential import Look, seeds_of
from pretrain.study.statistics import FEWEST_SEEDS, LEVEL

_MOST_WORDS = 60  # of a verdict
_MOST_NAMED = 4  # arms
_FEW = 3  # comparisons, each of which a verdict names, however long


class Judged(NamedTuple):
    """What was concluded of a table of results, in numbers."""

    source: str
    asked: Asked
    brought: Brought
    answer: Answer  # its comparisons each as of the look that settled it
    planned: tuple[Look, ...]  # none where the results are looked at once
    look: Look  # the last that was taken
    datasets: tuple[Group, ...]
    noise: Noise | None


def conclusion(judgement: Judged) -> list[str]:
    """Returns what holds on datasets, the verdict, reasons to doubt, and the noise floor: a paragraph each."""
    of_datasets = over_datasets.statements(judgement.datasets, judgement.answer.metric)
    floor = [_floor(judgement.noise, judgement.answer)] if judgement.noise else []
    return [*of_datasets, verdict(judgement), *warnings(judgement), *floor]


def verdict(judgement: Judged) -> str:
    """Returns the verdicts as a run's answer has them."""
    compared = judgement.answer.comparisons
    how = (
        "" if judgement.brought.pairing else " The seeds of the arms are no pairs, and compared as independent (Welch)."
    )
    whole = verdicts.verdict(compared, "no value is missing" if _knows_no_chance(judgement) else "no trial failed")
    is_long = len(compared) > _FEW and len(whole.split()) > _MOST_WORDS
    return (verdicts.counts(compared) if is_long else whole) + how


def _knows_no_chance(judgement: Judged) -> bool:
    """Returns whether trials that came to nothing look like others."""
    return judgement.brought.value.chance is None


def warnings(judgement: Judged) -> list[str]:
    """Returns why no effect could show, where none could, and which arms are no better than chance."""
    return [*_too_few(judgement), *_at_chance(judgement), *_without_size(judgement)]


def _at_chance(judgement: Judged) -> list[str]:
    """Returns the arms that are at chance in every seed, where what they are compared with is better or worse."""
    answer, level = judgement.answer, judgement.brought.value.chance
    judged = [each for each in answer.comparisons if each.n and not each.both_at_chance]
    points = {key(point): point for each in judged for point in points_of(each)}
    low = [point for arm in answer.arms if (point := points.get(key(arm.point))) and is_at_chance(arm, answer.metric)]
    if level is None or not low:
        return []
    named = some([names.arm_name(point) for point in low], _MOST_NAMED)
    shown = names.value(level, answer.metric)
    return [f"No better than chance ({shown}): {named}. A difference then says that the other arm learns, no more."]


def _without_size(judgement: Judged) -> list[str]:
    """Returns that any difference matters, where the smallest that does is a part of a baseline that is 0."""
    metric = metric_of(judgement.answer.metric)
    if not any(
        each.n and not metric.effects_of(float(np.mean(each.untreated))) for each in judgement.answer.comparisons
    ):
        return []
    return ["Of a baseline of 0 no part matters, and any difference does: --smallest-effect says which are too small."]


def _too_few(judgement: Judged) -> list[str]:
    compared, answer = judgement.answer.comparisons, judgement.answer
    n = max((each.n for each in compared), default=0)
    claims = n_claims(compared)
    fewest = fewest_seeds(1 - answer.level, claims)
    if n < FEWEST_SEEDS or n >= fewest or not judgement.brought.pairing:  # the first says so itself
        return []
    rates = counted(claims - len(compared), "rate") + " of failure"
    among = f" among {counted(len(compared), 'difference')} and {rates}" if claims > max(1, len(compared)) else ""
    among = among or (f" among {len(compared):,} comparisons" if len(compared) > 1 else " at this look")
    return [f"{counted(n, 'seed')} cannot show any effect{among}, however large: that takes {fewest:,}."]


def facts(judgement: Judged) -> dict[str, str]:
    """Returns what a reader asks of a verdict, by name: rows, failures, comparisons, datasets, best of how many."""
    asked, answer = judgement.asked, judgement.answer
    parts = [each.rows for each in answer.comparisons if each.rows]
    if parts:
        counts = dict.fromkeys(f"{end(each.rows for each in parts):,}" for end in (min, max))
        rows = f"new ones like these {' to '.join(counts)}; intervals are over seeds and rows"
    else:
        measured = "the examples of the table" if asked.example else "those that the values were measured on"
        rows = f"{measured}; intervals are over seeds, and open for new rows"
    known = ("columns", f"paired by {listed(list(asked.pair))}") if asked.pair else ("rows", "paired row by row")
    pairing = known[1] if judgement.brought.pairing == known[0] else "unpaired"
    most = max((len(set(arm.seeds)) + arm.n_diverged for arm in answer.arms), default=0)
    n, is_sound = len(answer.comparisons), not any(each.failures.any for each in answer.comparisons)
    adjusted = ", judged together" if n > 1 else ""
    error = f" Were there no effect, at most {percent(1 - LEVEL)} of such tables would show one."
    return {
        "Rows": rows,
        "Seeds": f"{most:,} of an arm at most, {pairing}",
        "Failures": cells.failures(answer) + _unseen(judgement),
        "Comparisons": f"{n:,}{adjusted}; {_looks(judgement)}.{error * is_sound}",
        "Datasets": _datasets(judgement),
        "Smallest effect": _smallest(judgement),
        "Best of": f"{counted(len(asked.treatment), 'treatment')}; others that were tried do not count unless named",
    }


def _unseen(judgement: Judged) -> str:
    """Returns that seeds which came to nothing were not looked for, where chance is not known."""
    if not _knows_no_chance(judgement):
        return ""
    return "; only missing values count, for without --chance trials that learned nothing are not recognised"


def _smallest(judgement: Judged) -> str:
    """Returns the smallest effect that matters."""
    metric = metric_of(judgement.answer.metric)
    if metric.unit is None and metric.high != 1:
        return f"{percent(StudyConfig.smallest_effect)} of the baseline matters, less is no difference"
    size = StudyConfig.smallest_effect * metric.effects_of(1)
    return f"{names.sizes(size, size, judgement.answer.metric)} matters, less is no difference"


def _looks(judgement: Judged) -> str:
    if not judgement.planned:
        return "looked at once"
    later = int(judgement.brought.trials["seed"].to_numpy().max()) + 1 - judgement.look.seeds
    unused = f"; {counted(later, 'later seed')} not used" if later else ""
    taken = [look for look in judgement.planned if look.number <= judgement.look.number]
    level = f"the last at {percent(judgement.answer.level)} intervals"
    return f"looked at {seeds_of(taken)} of {seeds_of(judgement.planned)} seeds as planned, {level}{unused}"


def _datasets(judgement: Judged) -> str:
    stated = over_datasets.cell(judgement.datasets, judgement.answer.metric)
    return stated or "one, or none that is named; on others all is open"


def _floor(noise: Noise, answer: Answer) -> str:
    """Returns the noise floor in a sentence."""
    metric, n = answer.metric, counted(noise.n, "seed") + " an arm" * (not noise.is_paired)
    what = "the difference within a seed" if noise.is_paired else "the difference of two seeds"
    shown = f"{n} show none, however large"
    if math.isfinite(noise.smallest[1]):
        shown = f"{n} show differences from {names.sizes(*noise.smallest, metric)} on with 80 % power"
    elif math.isfinite(noise.smallest[0]):
        shown = f"{n} show differences from {names.sizes(noise.smallest[0], noise.smallest[0], metric)} on at best"
    unit = "one point" if metric_of(metric).is_fraction else "0.01" if metric_of(metric).high == 1 else "1 %"
    takes = f", and {unit} takes {_seeds(noise.seeds)}" if noise.seeds else ""
    return (
        f"Noise floor: over seeds the baseline varies by {names.sizes(*noise.baseline, metric)} (standard deviation), "
        f"{what} by {names.sizes(*noise.difference, metric)}; {shown}{takes}."
    )


def _seeds(ends: Range) -> str:
    texts = [f"{end:,.0f}" if end <= MOST_SEEDS else f"more than {MOST_SEEDS:,}" for end in ends]
    return " to ".join(dict.fromkeys(texts))
