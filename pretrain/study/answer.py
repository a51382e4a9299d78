"""The answer of a run, in numbers: comparisons, label budgets, and the parts of the gap between its corners."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of, split_of
from pretrain.study import speed, statistics
from pretrain.study.arms import Arm, arms, by_seed, place_of, trial_values
from pretrain.study.budgets import BudgetCurve, budget_curves
from pretrain.study.choice import TunedArm, at_values, choose
from pretrain.study.comparisons import Comparison, compare
from pretrain.study.epochs import EpochCurve, epoch_curves
from pretrain.study.factorial import Factorial, factorials
from pretrain.study.health import Finding, findings
from pretrain.study.sequential import n_seeds
from pretrain.study.summary import compared_metric
from pretrain.study.training_length import Length, lengths


class Answer(NamedTuple):
    """All that is concluded from a run's tables."""

    arms: list[Arm]
    comparisons: list[Comparison]
    budgets: list[BudgetCurve]
    factorials: list[Factorial]  # the original question first, if it was asked, then that of all factors
    best: Arm | None  # on validation; None where all trials diverged
    best_test: statistics.Estimate | None
    n_seeds: int  # of the run, diverged ones included
    level: float  # of all intervals
    metric: str  # that is compared, as a column's name
    findings: list[Finding]  # what is wrong with arms
    lengths: list[Length | None]  # of training, arm by arm; None of one that makes no updates
    epochs: list[EpochCurve]  # of pretraining, where they are swept
    tuned: list[TunedArm]  # how arms were tuned, where they were
    untuned: list[Comparison]  # the comparisons at one setting of the tuned fields for all arms
    tuned_by: str  # the metric that chose; nothing where arms were not tuned
    n_by_all: int  # choices by all validation rows, where those that were to choose left no score


def answer(
    trials: pa.Table,
    curves: pa.Table,
    study: StudyConfig | None = None,
    level: float = statistics.LEVEL,
    usual: Mapping[str, object] | None = None,
) -> Answer:
    """Draws all conclusions from a run's tables of trials and curves.

    Args:
      trials: the run's table of trials; of tuned arms, those at settings that validation chooses decide.
      curves: the run's table of curves.
      study: what is asked.
      level: of the intervals.
      usual: values of tuned fields at which arms are also compared untuned, where all have trials there.

    Raises:
      ConfigError: the trials have not the metric that is to be compared.
    """
    study = study or StudyConfig()
    every, tuned, untuned, by, n_by_all = trials, [], [], "", 0
    if study.tune:
        there = at_values(trials, usual or {}, study)
        untuned = _untuned(there, study, level) if len(there) else []
        trials, tuned, by, n_by_all = choose(trials, study)
    found = arms(trials)
    compared, metric = compare(trials, found, study, level), compared_metric(trials, study)
    trained, broken = lengths(trials, curves, found), findings(trials, found, metric)
    compared = _judged(_trained(compared, trials, curves, found, trained, level), found, broken)
    on = {split: f"{split}_{split_of(metric)[1]}" for split in ("validation", "test")}
    measure = metric_of(metric)
    sign = 1 if measure.higher_is_better else -1
    sound = [arm for arm in found if arm.trial_ids]

    def on_validation(arm: Arm) -> float:
        value = sign * np.mean(trial_values(trials, arm, on["validation"]))
        return value if np.isfinite(value) else -np.inf

    best = max(sound, key=on_validation, default=None)
    tested = by_seed(trial_values(trials, best, on["test"]), best) if best else None
    return Answer(
        arms=found,
        comparisons=compared,
        budgets=budget_curves(compared, level),
        factorials=factorials(trials, curves, found, level, metric),
        best=best,
        best_test=statistics.estimate(tested, level).within(measure.low, measure.high) if best else None,
        n_seeds=n_seeds(trials),
        level=level,
        metric=metric,
        findings=broken,
        lengths=trained,
        epochs=epoch_curves(every, arms(every), [] if tuned else compared, metric, level),
        tuned=tuned,
        untuned=untuned,
        tuned_by=by,
        n_by_all=n_by_all,
    )


def _untuned(trials: pa.Table, study: StudyConfig, level: float) -> list[Comparison]:
    """Returns the comparisons of arms at one setting of the tuned fields."""
    found = arms(trials)
    return _judged(compare(trials, found, study, level), found, findings(trials, found, compared_metric(trials, study)))


def _trained(
    compared: Sequence[Comparison],
    trials: pa.Table,
    curves: pa.Table,
    found: Sequence[Arm],
    trained: Sequence[Length | None],
    level: float,
) -> list[Comparison]:
    """Returns comparisons with what their arms' training shows, p-values adjusted for all of them (Holm)."""
    measure = speed.measure_of(trials, curves)
    pairs = [[_place(found, one, value) for value in (one.treatment, one.baseline)] for one in compared]
    speeds = [measure and speed.speed([found[place] for place in pair], measure, level) for pair in pairs]
    adjusted = statistics.holm([each.p_value if each else 1.0 for each in speeds])
    return [
        one._replace(lengths=tuple(trained[place] for place in pair), speed=each and each._replace(p_value=p_value))
        for one, pair, each, p_value in zip(compared, pairs, speeds, adjusted, strict=True)
    ]


def _judged(compared: Sequence[Comparison], found: Sequence[Arm], broken: Sequence[Finding]) -> list[Comparison]:
    """Returns comparisons, those of two arms at chance without a verdict: what differs there is no learning."""
    lost = [one.arm.point for one in broken if one.kind == "at chance"]

    def is_lost(one: Comparison) -> bool:
        ends = (found[_place(found, one, value)].point for value in (one.treatment, one.baseline))
        return all(point in lost for point in ends)

    return [
        one._replace(verdict="inconclusive", seeds_to_settle=None, both_at_chance=True) if is_lost(one) else one
        for one in compared
    ]


def _place(found: Sequence[Arm], one: Comparison, value: object) -> int:
    """Returns the place of the arm that is on one side of a comparison."""
    return place_of(found, {**one.shared, one.field: value})


def main_arms(answer: Answer, most: int) -> list[Arm]:
    """Returns the arms to show where not all have room: of the original question, or else of the first comparisons."""
    if len(answer.arms) <= most:
        return answer.arms
    asked = next((found for found in answer.factorials if found.is_original_question and found.others), None)
    points = [cell.point for cell in asked.cells.values()] if asked else _compared(answer)
    shown = [arm for arm in answer.arms if arm.point in points[:most]]
    return shown or answer.arms[:most]


def _compared(answer: Answer) -> list[dict[str, object]]:
    """Returns the points that comparisons are between, the two of each side by side."""
    pairs = [(one, value) for one in answer.comparisons for value in (one.treatment, one.baseline)]
    points: list[dict[str, object]] = []
    for one, value in pairs:
        point = answer.arms[_place(answer.arms, one, value)].point
        if point not in points:
            points.append(point)
    return points
