"""Sentences on numbers that somebody brings: verdict, datasets, noise floor, and what else a reader asks."""

import math
from typing import NamedTuple

from pretrain.config import StudyConfig
from pretrain.config.counts import counted, some
from pretrain.config.metrics import metric_of
from pretrain.report import cells, names, phrases, verdicts
from pretrain.report.names import capital, listed, percent
from pretrain.study.answer import Answer
from pretrain.study.brought import Asked, Brought
from pretrain.study.datasets import FEWEST_DATASETS, Group
from pretrain.study.noise import Noise, Range
from pretrain.study.power import MOST_SEEDS, fewest_seeds
from pretrain.study.sequential import Look, seeds_of
from pretrain.study.statistics import FEWEST_SEEDS, LEVEL, Estimate

_MOST_NAMED = 6  # datasets


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
    """Returns the verdict, what holds on datasets, reasons to doubt, and the noise floor: a paragraph each."""
    of_datasets = [on_datasets(group, judgement) for group in judgement.datasets]
    floor = [_floor(judgement.noise, judgement.answer)] if judgement.noise else []
    return [verdict(judgement), *of_datasets, *warnings(judgement), *floor]


def verdict(judgement: Judged) -> str:
    """Returns the verdicts as a run's answer has them."""
    compared = judgement.answer.comparisons
    if not compared:
        return "Nothing is compared: in no seed both arms have a value."
    how = (
        "" if judgement.brought.pairing else " The seeds of the arms are no pairs, and compared as independent (Welch)."
    )
    return verdicts.verdict(compared) + how


def warnings(judgement: Judged) -> list[str]:
    """Returns why no effect could show, where none could."""
    compared, answer = judgement.answer.comparisons, judgement.answer
    n = max((each.n for each in compared), default=0)
    fewest = fewest_seeds(1 - answer.level, max(1, len(compared)))
    if n < FEWEST_SEEDS or n >= fewest or not judgement.brought.pairing:  # the first says so itself
        return []
    among = f" among {len(compared):,} comparisons" if len(compared) > 1 else " at this look"
    return [f"{counted(n, 'seed')} cannot show any effect{among}, however large: that takes {fewest:,}."]


def facts(judgement: Judged) -> dict[str, str]:
    """Returns what a reader asks of a verdict, by name: rows, failures, comparisons, datasets, best of how many."""
    asked, answer = judgement.asked, judgement.answer
    rows = "the examples of the table" if asked.example else "those that the values were measured on"
    known = ("columns", f"paired by {listed(list(asked.pair))}") if asked.pair else ("rows", "paired row by row")
    pairing = known[1] if judgement.brought.pairing == known[0] else "unpaired"
    most = max((len(set(arm.seeds)) + arm.n_diverged for arm in answer.arms), default=0)
    n, is_sound = len(answer.comparisons), not any(each.failures.any for each in answer.comparisons)
    adjusted = ", judged together" if n > 1 else ""
    error = f" Were there no effect, at most {percent(1 - LEVEL)} of such tables would show one."
    return {
        "Rows": f"{rows}; intervals are over seeds, and open for new rows",
        "Seeds": f"{most:,} of an arm at most, {pairing}",
        "Failures": cells.failures(answer),
        "Comparisons": f"{n:,}{adjusted}; {_looks(judgement)}.{error * is_sound}",
        "Datasets": _datasets(judgement),
        "Smallest effect": _smallest(judgement),
        "Best of": f"{counted(len(asked.treatment), 'treatment')}; others that were tried do not count unless named",
    }


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
    taken = [look for look in judgement.planned if look.number <= judgement.look.number]
    level = f"the last at {percent(judgement.answer.level)} intervals"
    return f"looked at {seeds_of(taken)} of {seeds_of(judgement.planned)} seeds as planned, {level}"


def _datasets(judgement: Judged) -> str:
    if not judgement.datasets:
        return "one, or none that is named; on others all is open"
    known = [effect.name for effect in judgement.datasets[0].effects]
    return f"{len(known):,} ({some(known, _MOST_NAMED)})"


def on_datasets(group: Group, judgement: Judged) -> str:
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
    return f"{phrases.unit(metric)[1:]} {names.difference(estimate, metric)}".lstrip()


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
