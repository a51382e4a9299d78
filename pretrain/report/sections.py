"""Sections of the report: figures, tables and their captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pretrain.config.counts import counted
from pretrain.config.metrics import COMPONENTS, RECONSTRUCTION, split_of
from pretrain.report import drawing, figures, gains, gaps, grids, listings, names, sample_captions, verdicts
from pretrain.report.listings import Listing
from pretrain.report.page import Picture, Section
from pretrain.report.why import factor_names
from pretrain.runs.sample_file import Samples
from pretrain.study import health
from pretrain.study.answer import Answer, main_arms
from pretrain.study.arms import Arm
from pretrain.study.curves import Curves
from pretrain.study.factorial import FIRST_BATCHES, Factorial
from pretrain.study.phases import pretrainings
from pretrain.study.statistics import LEVEL


def sections(
    answer: Answer,
    trials: pa.Table,
    curves: Curves,
    samples: Samples | None,
    record: dict[str, Any],
    directory: Path,
) -> list[Section]:
    """Returns the report's sections, with figures for what the run has something for.

    Args:
      answer: what was concluded.
      trials: the run's table of trials.
      curves: the run's table of curves.
      samples: what the run left to look at, if anything.
      record: the content of ``answer.json``, for the design, the versions and the machine.
      directory: where figures are saved as PNG and SVG.
    """

    def drawn(name: str, figure, caption: str, alt: str) -> Picture:
        return Picture(name, drawing.save(figure, directory, name), caption, alt)

    shown = main_arms(answer, figures.MOST_ARMS)
    compared = [listings.comparisons(answer)] if answer.comparisons else []
    compared += [listings.speeds(answer)] if any(one.speed for one in answer.comparisons) else []
    return [
        Section(
            "The first mini-batches",
            [drawn("first_batches", *_first_batches(answer, curves, shown))] if answer.best else [],
        ),
        Section(
            "Results",
            [
                listings.arms(answer),
                *compared,
                *([drawn("differences", *_differences(answer))] if answer.comparisons else []),
            ],
        ),
        Section("How arms were tuned", _tuned(answer, drawn)),
        Section("Gain against labels", [drawn("gains", *_gains(answer))] if answer.budgets else []),
        Section(
            "What makes the gap",
            [
                *(
                    part
                    for number, found in _numbered(answer)
                    for part in _gap_parts(found, number, answer.level, drawn)
                ),
                *([drawn("diagnostics", *_diagnostics(curves, shown))] if gaps.diagnosed(curves) else []),
            ],
        ),
        Section(
            "What pretraining learned",
            [
                *(
                    [drawn("filters", *sample_captions.filters(samples, trials))]
                    if samples and len(samples.filters)
                    else []
                ),
                *([drawn("reconstructions", *sample_captions.reconstructions(samples, trials))] if samples else []),
                *(drawn("phase_losses", *parts) for parts in _phase_losses(answer, trials, curves)),
                *([drawn("epochs", *_epochs(answer))] if answer.epochs else []),
            ],
        ),
        Section("Seed by seed", [drawn("slopes", *_slopes(answer))] if answer.comparisons else []),
        Section(
            "Design and versions",
            [
                listings.facts("design", "What was run, and how it was judged.", record["design"]),
                listings.facts("versions", "What it was computed with.", _computed_with(record)),
            ],
        ),
    ]


def _computed_with(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the machine and the versions, the commit in one row with whether the code was changed since."""
    found = {**record["machine"], **record["versions"]}
    if found.pop("clean") is False:
        found["commit"] += ", changed since"
    return found


# Each returns a figure, its caption, and its alternative text.


def _first_batches(answer: Answer, curves: Curves, shown: Sequence[Arm]) -> tuple[Any, str, str]:
    what = figures.trained_metric(curves).removeprefix("post_update_")
    band = (
        f"Lines are means over seeds; each band covers its whole mean curve at once with {names.percent(LEVEL)} "
        "confidence. "
        if max((len(set(arm.seeds)) for arm in answer.arms), default=0) > 1
        else ""
    )
    caption = (
        f"{what.capitalize()} on each of the first {FIRST_BATCHES} mini-batches, just after training on it. {band}"
        f"{'Curves that start low learn slowly.' if what == 'accuracy' else ''}{_some(len(shown), len(answer.arms))}"
    )
    parts = [names.arm_name(arm.point) for arm in shown if arm.trial_ids]
    drawn = f"{what.capitalize()} on the batch just trained on against the number of the batch"
    alt = f"{drawn}, a curve for each of: {_all(parts)}"
    return figures.first_batches(curves, shown), caption, alt


def _tuned(answer: Answer, drawn) -> list[Picture | Listing]:
    if not answer.tuned:
        return []
    fields = answer.tuned[0].fields
    parts = [
        drawn(f"tuning_{place + 1}", grids.figure(answer, place), *grids.caption(answer, field))
        for place, field in enumerate(fields)
    ]
    return [*parts, grids.listing(answer)]


def _differences(answer: Answer) -> tuple[Any, str, str]:
    caption = (
        "Each dot is a seed's difference between the two arms; the bar is the "
        f"{names.percent(answer.level)} interval of their mean. The arms differ where the bar leaves zero out and p, "
        "adjusted for all comparisons, is small, too."
        f"{_first(figures.MOST_COMPARISONS, len(answer.comparisons), 'comparisons')}"
    )
    shown = answer.comparisons[: figures.MOST_COMPARISONS]
    parts = [f"{names.comparison_name(one)} {verdicts.interval(one)}" for one in shown]
    return (
        figures.differences(answer.comparisons),
        caption,
        f"Differences of {_what(answer)} with intervals: {_all(parts)}",
    )


def _gains(answer: Answer) -> tuple[Any, str, str]:
    caption = (
        "What the treatment gains at each number of labels. The band holds for all budgets together: where it leaves "
        f"zero out, the gain is certain.{_first(figures.MOST_ARMS, len(answer.budgets), 'comparisons')}"
    )
    parts = " ".join(gains.budget(curve) for curve in answer.budgets[: figures.MOST_ARMS])
    return figures.gains(answer.budgets), caption, f"Gain in {_what(answer)} against the number of labels. {parts}"


def _shares(found: Factorial, level: float) -> tuple[Any, str, str]:
    called, ends = list(factor_names(found).values()), [names.arm_name(arm.point) for arm in (found.first, found.last)]
    caption = (
        f"How much each change between {ends[0]} and {ends[1]} makes of the gap between these networks (Shapley "
        "values; with their signs they add up to the gap, the diamond), from the first batch to the test. A bar whose "
        "interval leaves zero out makes a difference."
    )
    changes = []
    for metric, cause in gaps.shown_causes(found).items():
        parts = zip(called, cause.parts.shares.values(), strict=True)
        shares = ", ".join(f"{name} {share.mean:+.3f}" for name, share in parts)
        changes.append(f"{names.metric_name(metric)}: {shares}")
    return gaps.shares(found, level), caption, f"Shares of each change in the gap. {_all(changes)}"


def _numbered(answer: Answer) -> list[tuple[int, Factorial]]:
    """Returns factorials, each with its number among those of as many factors."""
    sizes = [len(found.factors) for found in answer.factorials]
    return [(sizes[: place + 1].count(sizes[place]), found) for place, found in enumerate(answer.factorials)]


def _gap_parts(found: Factorial, number: int, level: float, drawn) -> list[Picture | Listing]:
    """Returns the pictures and tables of a factorial, the run's n-th of as many factors."""
    name = "shares" if len(found.factors) == 2 else f"shares_of_{len(found.factors)}"
    name += f"_{number}" if number > 1 else ""
    parts = [drawn(name, *_shares(found, level)), gaps.share_listing(found, level, name)]
    if len(found.factors) > 2:
        parts.append(gaps.interaction_listing(found, level, name.replace("shares", "interactions")))
    return parts


def _diagnostics(curves: Curves, arms: Sequence[Arm]) -> tuple[Any, str, str]:
    caption = (
        "What each update does and to what: change of the logits on its batch, gradient and relative length of the "
        "update layer by layer, and of the codes after it, their effective rank, condition number and alignment with "
        "those before training (1: the same but for rotation and scale). Compare heights at update 1, where the curves "
        "of accuracy part."
    )
    parts = _all([names.metric_name(name) for name in gaps.diagnosed(curves)])
    alt = f"Diagnostics against the number of the update, a panel each: {parts}"
    return gaps.diagnostics(curves, arms), caption, alt


def _phase_losses(answer: Answer, trials: pa.Table, curves: Curves) -> list[tuple[Any, str, str]]:
    found, n = pretrainings(curves, answer.arms, figures.MOST_PRETRAININGS)
    if not found:
        return []
    caption = (
        "How well each phase reconstructs what its layer reads, mean over seeds: a line for the batches trained on, a "
        "dot for the validation images after each epoch. A line that has levelled off was trained long enough; dots "
        f"above it show overfitting.{_first(figures.MOST_PRETRAININGS, n, 'pretrainings')}{_end_to_end(trials)}"
    )
    alt = "Mean squared error of each phase of pretraining against the number of the update, on a logarithmic scale"
    return [(figures.phase_losses(found), caption, alt)]


def _end_to_end(trials: pa.Table) -> str:
    """Returns the error of reconstructing test inputs, and what part of their variance it is."""
    shares = health.unexplained(trials)
    if not len(shares):
        return ""
    errors = [error for error in trials[RECONSTRUCTION].to_pylist() if error is not None]
    linear = health.unexplained(trials, COMPONENTS)
    beside = f", where as many principal components leave {np.mean(linear):.0%}" if len(linear) else ""
    whole = f"the test error is {np.mean(errors):.3g} on average, {np.mean(shares):.0%} of the variance"
    return f" End to end, {whole}{beside}."


def _epochs(answer: Answer) -> tuple[Any, str, str]:
    caption = (
        "Error of reconstructing validation images, and what pretraining gains, against its epochs: means over seeds, "
        f"with {names.percent(answer.level)} intervals of gains. The lowest error and the largest gain need not "
        f"coincide.{_first(figures.MOST_ARMS, len(answer.epochs), 'settings')}"
    )
    alt = " ".join(gains.epochs(one, answer.level) for one in answer.epochs[: figures.MOST_ARMS])
    return figures.epochs(answer.epochs), caption, f"Reconstruction error and gain against epochs. {alt}"


def _slopes(answer: Answer) -> tuple[Any, str, str]:
    caption = (
        "Every seed from baseline to treatment: blue gets better, orange worse. Lines that go one way agree."
        f"{_first(figures.MOST_PANELS, len(answer.comparisons), 'comparisons')}"
    )
    counts = [
        f"{sum(one.treated >= one.untreated)} of {counted(one.n, 'seed')} rise {names.setting(one.shared)}".strip()
        for one in answer.comparisons[: figures.MOST_PANELS]
    ]
    alt = f"{names.capital(_what(answer))} of every seed at baseline and treatment, joined by lines: {_all(counts)}"
    return figures.slopes(answer.comparisons), caption, alt


def _what(answer: Answer) -> str:
    """Returns the compared metric in words, without its split."""
    return names.metric_name(split_of(answer.metric)[1])


def _first(most: int, n: int, what: str) -> str:
    return f" Shown are the first {most} of {n:,} {what}." if n > most else ""


def _some(n_shown: int, n: int) -> str:
    return f" Shown are {n_shown} of {n:,} arms." if n > n_shown else ""


def _all(parts: Sequence[str]) -> str:
    return "; ".join(parts)
