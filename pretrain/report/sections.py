"""Sections of the report: figures, tables and their captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretrain.config.counts import counted, some
from pretrain.config.metrics import COMPONENTS, RECONSTRUCTION, split_of
from pretrain.data.inputs_file import Inputs
from pretrain.report import (
    drawing,
    figures,
    gains,
    gains_by_way,
    gaps,
    grids,
    listings,
    looks,
    names,
    over_datasets,
    per_class,
    phrases,
    sample_captions,
    scores,
    variation,
)
from pretrain.report.drawing import Drawing
from pretrain.report.listings import Listing
from pretrain.report.page import Picture, Section
from pretrain.runs.looks_file import Looks
from pretrain.runs.sample_file import Samples
from pretrain.study import health
from pretrain.study.answer import Answer, main_arms, sound
from pretrain.study.arms import Arm, distinct
from pretrain.study.curves import Curves
from pretrain.study.factorial import FIRST_BATCHES
from pretrain.study.looks import pair
from pretrain.study.over_datasets import groups
from pretrain.study.phases import CHANCE, Pretraining, from_start, pretrainings, reconstruct
from pretrain.study.statistics import LEVEL

Parts = list[Drawing | Listing]
_MOST_NAMED = 4  # arms


def sections(
    answer: Answer,
    trials: pa.Table,
    curves: Curves,
    samples: Samples | None,
    classes: pa.Table | None,
    inputs: Sequence[Inputs],
    record: dict[str, Any],
    directory: Path,
    looked: Looks | None = None,
) -> list[Section]:
    """Returns the report's sections; those for which a run has nothing are empty."""
    whole = main_arms(answer, figures.MOST_ARMS)
    shown = sound(answer, whole)
    left_out = _left_out(whole, shown)
    answered = [*(_forests(answer) or [scores.drawing(answer)]), gains_by_way.drawing(answer)]
    by_budget = [each for each in answered if each]
    batches: dict[str, Parts] = {"The first mini-batches": _first_batches(answer, curves, shown, left_out)}
    parts: dict[str, Parts] = {
        **({"The answer": by_budget} if by_budget else batches),
        "Results": [
            listings.arms(answer),
            *over_datasets.listings(groups(answer), answer.metric),
            *_comparisons(answer),
            *_classes(answer, classes),
        ],
        "How test rows are predicted": looks.of_rows(looked, answer),
        **(batches if by_budget else {}),
        "How arms were tuned": _tuned(answer),
        "Gain against labels": _gains(answer),
        "Where variation comes from": [variation.listing(answer)] if answer.variation or answer.unsplit else [],
        "What makes the gap": [*gaps.parts(answer.factorials, answer.level), *_diagnostics(curves, shown, left_out)],
        "What pretraining learned": [
            *_samples(samples, trials),
            *_phases(answer, trials, curves),
            *_epochs(answer),
            *looks.of_networks(looked, answer),
        ],
        "Seed by seed": _slopes(answer),
        "The data": [*([listings.findings(answer)] if answer.findings else []), *listings.columns(inputs)],
        "Design and versions": [
            listings.facts("design", "What was run, and how it was judged.", record["design"]),
            listings.facts("versions", "What it was computed with.", _computed_with(record)),
            *looks.missing(looked),
        ],
    }
    return [Section(heading, [_saved(part, directory) for part in listed]) for heading, listed in parts.items()]


def _saved(part: Drawing | Listing, directory: Path) -> Picture | Listing:
    if isinstance(part, Listing):
        return part
    return Picture(part.name, drawing.save(part.figure, directory, part.name), part.caption, part.alt)


def _computed_with(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the machine and the versions, the commit in one row with whether the code was changed since."""
    stated = {**record["machine"], **record["versions"]}
    if stated.pop("clean") is False:
        stated["commit"] += ", changed since"
    return stated


def _left_out(whole: Sequence[Arm], shown: Sequence[Arm]) -> str:
    """Returns how many failed trials of arms their curves leave out, in a sentence; nothing where none failed."""
    counts = {}
    for arm, kept in zip(whole, shown, strict=True):
        if n := len(arm.trial_ids) - len(kept.trial_ids) + arm.n_diverged:
            counts[names.arm_name(arm.point)] = f"{n:,} of {len(arm.trial_ids) + arm.n_diverged:,}"
    named = some([f"{name} {count}" for name, count in counts.items()], _MOST_NAMED)
    return f" Trials that failed are left out: {named}." if counts else ""


def _first_batches(answer: Answer, curves: Curves, shown: Sequence[Arm], left_out: str = "") -> Parts:
    metric, steps = figures.trained_metric(curves), np.arange(1, FIRST_BATCHES + 1)
    if not any(np.isfinite(curves.values(arm.trial_ids, metric, steps)).any() for arm in shown):
        return []  # of read-outs, and of arms that diverged
    measure = metric.removeprefix("post_update_").capitalize()
    n_seeds = max((len(set(arm.seeds)) for arm in answer.arms), default=0)
    band = "Lines are means over seeds. " if n_seeds > 1 else ""
    if n_seeds > 2:
        whole = f"each band covers its whole mean curve at once with {names.percent(LEVEL)} confidence. "
        band = f"Lines are means over seeds; {whole}"
    n = len(distinct(answer.arms))
    caption = (
        f"{measure} on each of the first {FIRST_BATCHES} mini-batches, just after training on it. {band}"
        f"{'Curves that start low learn slowly.' if measure == 'Accuracy' else ''}"
        f"{f' Shown are {len(shown)} of {n:,} arms.' if n > len(shown) else ''}{left_out}"
    )
    arms = "; ".join(names.arm_name(arm.point) for arm in shown if arm.trial_ids)
    alt = f"{measure} on the batch just trained on against the number of the batch, a curve for each of: {arms}"
    return [Drawing("first_batches", figures.first_batches(curves, shown), caption, alt)]


def _forests(answer: Answer) -> Parts:
    """Returns a forest plot of each treatment on several datasets, of the first few."""
    stated = groups(answer)[: figures.MOST_PANELS]
    return [over_datasets.drawing(group, answer.metric, answer.level, place) for place, group in enumerate(stated, 1)]


def _comparisons(answer: Answer) -> Parts:
    if not answer.comparisons:
        return []
    at_once = ", at once with the others'" if any(each.n_at_once > 1 for each in answer.comparisons) else ""
    caption = (
        "Each dot is a seed's difference between the two arms; the bar is the "
        f"{names.percent(answer.level)} interval of their mean{_for_new_rows(answer)}{at_once}. The arms differ where "
        "the bar leaves zero out and p, adjusted for all comparisons, is small, too."
        f"{_first(figures.MOST_COMPARISONS, len(answer.comparisons), 'comparisons')}"
    )
    shown = answer.comparisons[: figures.MOST_COMPARISONS]
    listed = "; ".join(f"{names.comparison_name(each)} {phrases.interval(each)}" for each in shown)
    alt = f"Differences of {_measure(answer)} with intervals: {listed}"
    speeds = [listings.speeds(answer)] if any(each.speed for each in answer.comparisons) else []
    differences = Drawing("differences", figures.differences(answer.comparisons), caption, alt)
    return [listings.comparisons(answer), *speeds, differences]


def _for_new_rows(answer: Answer) -> str:
    is_known = any(each.new_rows for each in answer.comparisons)
    for_new = " for new rows like these, and the line in it that on these rows, over seeds alone"
    return for_new if is_known else " over seeds, on these test rows"


def _classes(answer: Answer, classes: pa.Table | None) -> Parts:
    listing = per_class.listing(pair(answer), classes) if classes else None
    return [listing] if listing else []


def _tuned(answer: Answer) -> Parts:
    if not answer.tuned:
        return []
    return [*(grids.drawing(answer, place) for place in range(len(answer.tuned[0].fields))), grids.listing(answer)]


def _gains(answer: Answer) -> Parts:
    if not answer.budgets:
        return []
    caption = (
        "What the treatment gains at each number of labels. The band holds for all budgets together: where it leaves "
        f"zero out, the gain is certain.{_bands(answer)}{_first(figures.MOST_ARMS, len(answer.budgets), 'comparisons')}"
    )
    texts = " ".join(gains.budget(curve) for curve in answer.budgets[: figures.MOST_ARMS])
    alt = f"Gain in {_measure(answer)} against the number of labels. {texts}"
    return [Drawing("gains", figures.gains(answer.budgets), caption, alt)]


def _bands(answer: Answer) -> str:
    """Returns what bands and other figures of a gain against labels are over."""
    if not any(np.isfinite(curve.new_low).any() for curve in answer.budgets):
        return " It is over seeds, on these test rows."
    return (
        " The outer one is for new rows like these, the inner one over seeds; a place where the gain changes its sign, "
        "what labels are worth and the gain's average are over seeds, on these rows."
    )


def _diagnostics(curves: Curves, shown: Sequence[Arm], left_out: str = "") -> Parts:
    drawn = [gaps.diagnostics(curves, shown)] if gaps.diagnosed(curves) else []
    return [each._replace(caption=each.caption + left_out) for each in drawn]


def _samples(samples: Samples | None, trials: pa.Table) -> Parts:
    if not samples:
        return []
    filters = [sample_captions.filters(samples, trials)] if len(samples.filters) else []
    return [*filters, sample_captions.reconstructions(samples, trials)]


def _phases(answer: Answer, trials: pa.Table, curves: Curves) -> Parts:
    shown, n = pretrainings(curves, answer.arms, figures.MOST_PRETRAININGS)
    if not shown:
        return []
    shown = [from_start(each, answer.pretraining) for each in shown]
    is_error = reconstruct(shown)
    has_chance = any(CHANCE in metrics for each in shown for metrics in each.phases.values())
    meaning = "of embeddings that are all alike, or of predicting the mean"
    at_chance = f" The dotted line is the loss at chance: {meaning}." if has_chance else ""
    caption = (
        f"{'How well each phase reconstructs what its layer reads' if is_error else 'The loss of each phase'}, mean "
        "over seeds: a line for the batches trained on, a dot for each measurement on validation rows. A line that has "
        f"levelled off was trained long enough; dots above it show overfitting.{at_chance}"
        f"{_first(figures.MOST_PRETRAININGS, n, 'pretrainings')}{_end_to_end(trials)}"
    )
    alt = f"{names.capital(figures.error_name(shown))} of each phase of pretraining against the number of the update"
    watched = [listings.pretraining(answer)] if answer.pretraining else []
    return [Drawing("phase_losses", figures.phase_losses(shown), caption, alt), *_beside(shown), *watched]


def _beside(shown: Sequence[Pretraining]) -> Parts:
    """Returns a figure of the metrics that pretraining records beside its error."""
    found = figures.metrics_beside(shown)
    if not found:
        return []
    listed = list(dict.fromkeys(names.metric_name(name) for _, name in found[: figures.MOST_METRICS]))
    caption = (
        "Metrics that pretraining records beside its error, mean over seeds, as above; a dotted line is the value "
        f"where embeddings are all alike.{_first(figures.MOST_METRICS, len(found), 'metrics of phases')}"
    )
    alt = f"{names.capital(names.listed(listed))} of pretraining against the number of the update"
    return [Drawing("pretext_metrics", figures.pretext_metrics(shown), caption, alt)]


def _end_to_end(trials: pa.Table) -> str:
    """Returns the error of reconstructing test inputs, and its part of their variance."""
    shares = health.unexplained(trials)
    if not len(shares):
        return ""
    errors = [error for error in trials[RECONSTRUCTION].to_pylist() if error is not None]
    linear = health.unexplained(trials, COMPONENTS)
    beside = f", where as many principal components leave {np.mean(linear):.0%}" if len(linear) else ""
    whole = f"the test error is {np.mean(errors):.3g} on average, {np.mean(shares):.0%} of the variance"
    return f" End to end, {whole}{beside}."


def _epochs(answer: Answer) -> Parts:
    if not answer.epochs:
        return []
    caption = (
        f"{names.capital(answer.epochs[0].error)} on validation rows, and what pretraining gains, against its length: "
        f"means over seeds, with {names.percent(answer.level)} intervals of gains on these rows. The lowest error "
        f"and the largest gain need not coincide.{_first(figures.MOST_ARMS, len(answer.epochs), 'settings')}"
    )
    texts = " ".join(gains.epochs(curve, answer.level) for curve in answer.epochs[: figures.MOST_ARMS])
    alt = f"{names.capital(answer.epochs[0].error)} and gain against epochs. {texts}"
    return [Drawing("epochs", figures.epochs(answer.epochs), caption, alt)]


def _slopes(answer: Answer) -> Parts:
    if not answer.comparisons:
        return []
    caption = (
        "Every seed from baseline to treatment: blue gets better, orange worse. Lines that go one way agree."
        f"{_first(figures.MOST_PANELS, len(answer.comparisons), 'comparisons')}"
    )
    counts = "; ".join(
        f"{sum(each.treated >= each.untreated)} of {counted(each.n, 'seed')} rise {names.setting(each.shared)}".strip()
        for each in answer.comparisons[: figures.MOST_PANELS]
    )
    alt = f"{names.capital(_measure(answer))} of every seed at baseline and treatment, joined by lines: {counts}"
    return [Drawing("slopes", figures.slopes(answer.comparisons), caption, alt)]


def _measure(answer: Answer) -> str:
    """Returns the compared metric in words, without its split."""
    return names.metric_name(split_of(answer.metric)[1])


def _first(most: int, n: int, noun: str) -> str:
    return f" Shown are the first {most} of {n:,} {noun}." if n > most else ""
