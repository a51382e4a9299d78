"""The answer of a run, in numbers: comparisons, label budgets, and the parts of the gap between its corners."""

import dataclasses
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config import Experiment, StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.data.findings import Finding
from pretrain.store.judged import History
from pretrain.study import failures, new_rows, speed, statistics
from pretrain.study.arms import CORNERS, Arm, arms, cut, distinct, key
from pretrain.study.budgets import BudgetCurve, budget_curves
from pretrain.study.choice import Choice, TunedArm, at_values, choose
from pretrain.study.comparisons import Comparison, by_family, compare, pairs_of, places_of
from pretrain.study.curves import Curves
from pretrain.study.epochs import EpochCurve, epoch_curves
from pretrain.study.factorial import Factorial, factorials
from pretrain.study.health import Fault, faults_of
from pretrain.study.rankings import PretextChoice, Reversal, pretext_choices, reversals
from pretrain.study.row_parts import Part, RowParts
from pretrain.study.sequential import Look, is_open, look_at, n_seeds
from pretrain.study.summary import compared_metric, metrics
from pretrain.study.training_length import Length, lengths
from pretrain.study.variation import Variation, variations, with_rows
from pretrain.study.watched import Watched, last_errors, watched
from pretrain.study.winner import winner


class Answer(NamedTuple):
    """All that is concluded from a run's tables."""

    arms: list[Arm]
    comparisons: list[Comparison]
    budgets: list[BudgetCurve]
    factorials: list[Factorial]  # the original question first, if it was asked, then that of all factors
    best: Arm | None  # on validation; None where of every arm more than half of the seeds failed
    best_test: statistics.Estimate | None  # its mean on test rows, corrected for having been chosen
    best_of: int  # arms that it was chosen among
    n_seeds: int  # of the run, diverged trials included
    level: float  # of all intervals
    metric: str  # that is compared, as a column's name
    faults: list[Fault]  # of arms
    lengths: list[Length | None]  # of training, arm by arm; None of one that makes no updates, or mostly failed
    epochs: list[EpochCurve]  # of pretraining, where they are swept
    tuned: list[TunedArm]  # how arms were tuned, where they were
    untuned: list[Comparison]  # the comparisons at one setting of the tuned fields for all arms
    apart: list[Comparison]  # those of frozen and of trained encoders, where arms choose which
    tuned_by: str  # the metric that chose; nothing where arms were not tuned
    n_by_all: int  # choices by all validation rows, where those that were to choose left no score
    findings: tuple[Finding, ...] = ()  # in the data
    pretraining: tuple[Watched, ...] = ()  # stages of arms, with their errors
    variation: tuple[Variation, ...] = ()  # of differences over seeds, where sources of it were drawn anew
    unsplit: tuple[Comparison, ...] = ()  # whose sources were drawn anew, but too few seeds trained
    choices: tuple[PretextChoice, ...] = ()  # among settings of pretraining, by its error
    reversals: tuple[Reversal, ...] = ()  # pretrainings that probes and fine-tuning rank differently
    history: History = History()  # of judgements before, as the store knows them


def answer(
    trials: pa.Table,
    curves: pa.Table,
    study: StudyConfig | None = None,
    level: float = statistics.LEVEL,
    usual: Mapping[str, Any] | None = None,
    findings: Sequence[Finding] = (),
    stages: pa.Table | None = None,
    before: Sequence[Look] = (),
    redrawn: pa.Table | None = None,
    rows: RowParts | None = None,
    is_brought: bool = False,
) -> Answer:
    """Draws all conclusions from a run's tables of trials and curves.

    Args:
      trials: the run's table of trials; of tuned arms, those at settings that validation chooses decide.
      usual: values of tuned fields at which arms are also compared untuned, where all have trials there.
      before: earlier looks, whose settled comparisons stay as they were judged.
      redrawn: the run's table of trials that draw a source of variation anew.
      rows: variance of differences over seeds and rows, or whence it comes; without, all is over seeds.
      is_brought: whether the results are not a run's own: none is best, and arms that fail in all seeds are compared.

    Raises:
      ConfigError: the trials have not the metric that is to be compared.
    """
    study = study or StudyConfig()
    whole, untuned = trials, []
    choice = choose(trials, study) if study.tune else Choice(trials, [], "", 0)
    if study.tune:
        at_usual, trials = at_values(trials, usual or {}, study), choice.trials
        untuned = _untuned(at_usual, study, level, rows, "untuned") if len(at_usual) else []
    of_run, metric = Curves(curves), compared_metric(trials, study)
    run = _arms(trials, metric)
    pretraining = list(watched(of_run, run, stages))
    all_arms = arms(whole) if study.tune else run
    losses = last_errors(watched(of_run, all_arms) if study.tune else pretraining)
    settled = _settled(trials, metric, study, before, rows, is_brought)
    compared = new_rows.judged(compare(run, metric, study, level, settled, is_brought), run, rows, study)
    alone = _alone(run, compared, metric)
    lost = _mostly_failed(run, compared, alone)
    trained = [None if place in lost else length for place, length in enumerate(lengths(of_run, run))]
    learned = {place for place, arm in enumerate(run) if place not in lost and not failures.is_at_chance(arm, metric)}
    compared = _with_training(compared, run, trained, learned, speed.measure_of(metrics(trials), of_run), level)
    kept = [arm for place, arm in enumerate(run) if place not in lost and not is_brought]
    best = winner(kept, metric, level)
    split = variations(compared, whole, redrawn, study, partial(_arms, metric=metric)) if redrawn else {}
    return Answer(
        arms=run,
        comparisons=compared,
        budgets=budget_curves(compared, level),
        factorials=[new_rows.attributed(each, rows, level) for each in factorials(run, of_run, level, metric)],
        best=best and best.arm,
        best_test=best and best.test,
        best_of=best.n_arms if best else 0,
        n_seeds=n_seeds(trials),
        level=level,
        metric=metric,
        faults=faults_of(run, metric, pretraining, {id(run[place]): seeds for place, seeds in alone.items()}, study),
        lengths=trained,
        epochs=epoch_curves(all_arms, [] if study.tune else compared, metric, level, losses),
        tuned=choice.arms,
        untuned=untuned,
        apart=_apart(whole, study, level, rows) if CORNERS[1] in study.tune else [],
        tuned_by=choice.by,
        n_by_all=choice.n_by_all,
        findings=tuple(findings),
        pretraining=tuple(pretraining),
        choices=tuple(pretext_choices(all_arms, losses, metric, level, study)),
        reversals=tuple(reversals(run, metric, level)),
        variation=with_rows([each for each in split.values() if each], compared),
        unsplit=tuple(compared[place] for place, each in split.items() if not each),
    )


def _settled(
    trials: pa.Table, metric: str, study: StudyConfig, before: Sequence[Look], rows: RowParts | None, keeps_lost: bool
) -> dict[Hashable, Comparison]:
    """Returns the comparisons that earlier looks settled, as they were judged, by ``identity``."""
    settled: dict[Hashable, Comparison] = {}
    for look in before:
        run = _arms(trials.filter(pc.less(trials["seed"], look.seeds)), metric)
        judged = new_rows.judged(compare(run, metric, study, look.level, settled, keeps_lost), run, rows, study)
        settled |= {each.identity: each._replace(look=each.look or look.number) for each in judged if not is_open(each)}
    return settled


def _arms(trials: pa.Table, metric: str) -> list[Arm]:
    """Returns a run's arms; none of them is collapsed where scores are compared that may differ within a class."""
    run, is_of_numbers = arms(trials), "validation_r2" in trials.column_names
    return run if metric_of(metric).is_fraction or is_of_numbers else [arm._replace(collapsed=()) for arm in run]


def _untuned(trials: pa.Table, study: StudyConfig, level: float, rows: RowParts | None, part: Part) -> list[Comparison]:
    """Returns the comparisons of arms at one setting of the tuned fields."""
    metric = compared_metric(trials, study)
    run = _arms(trials, metric)
    return new_rows.judged(compare(run, metric, study, level), run, rows, study, part)


def _apart(trials: pa.Table, study: StudyConfig, level: float, rows: RowParts | None) -> list[Comparison]:
    """Returns the comparisons of arms that do not choose how many layers are frozen, but all other tuned fields."""
    alike = dataclasses.replace(study, tune=tuple(name for name in study.tune if name != CORNERS[1]))
    return _untuned(choose(trials, alike).trials if alike.tune else trials, alike, level, rows, "apart")


def _alone(run: Sequence[Arm], compared: Sequence[Comparison], metric: str) -> dict[int, set[int]]:
    """Returns the seeds in which arms failed that are compared with no other, by their places."""
    judged = {place for pair in places_of(compared, run) for place in pair}
    return {place: failures.failed([arm], metric)[0] for place, arm in enumerate(run) if place not in judged}


def _mostly_failed(run: Sequence[Arm], compared: Sequence[Comparison], alone: Mapping[int, set[int]]) -> set[int]:
    """Returns the places of arms that failed in more than half of their seeds, in any of their comparisons."""
    pairs = places_of(compared, run)
    judged = {place: False for pair in pairs for place in pair}
    for pair, comparison in zip(pairs, compared, strict=True):
        for place, is_lost in zip(pair, comparison.failures.mostly, strict=True):
            judged[place] |= is_lost
    for place, seeds in alone.items():
        judged[place] = 2 * len(seeds) > len(run[place].all_seeds)
    return {place for place, is_lost in judged.items() if is_lost}


def _with_training(
    compared: Sequence[Comparison],
    run: Sequence[Arm],
    trained: Sequence[Length | None],
    learned: Collection[int],
    measure: speed.Measure | None,
    level: float,
) -> list[Comparison]:
    """Returns comparisons with the length and speed of their arms' training, p-values adjusted for all (Holm).

    An arm that is at chance or mostly failed has no speed.
    """
    pairs = places_of(compared, run)
    speeds = [
        speed.speed([run[place] for place in pair], measure, level)
        if measure and all(place in learned for place in pair)
        else None
        for pair in pairs
    ]
    adjusted = statistics.holm([each.p_value if each else 1.0 for each in speeds])
    return [
        comparison._replace(
            lengths=(trained[treatment], trained[baseline]), speed=each and each._replace(p_value=p_value)
        )
        for comparison, (treatment, baseline), each, p_value in zip(compared, pairs, speeds, adjusted, strict=True)
    ]


def look_of(answer: Answer, experiment: Experiment) -> Look:
    """Returns the look that an answer is of; raises ``ConfigError`` where its run has come to none."""
    last = max((seed for arm in answer.arms for seed in arm.all_seeds), default=0)
    return look_at(experiment, 1 + last, answer.findings)


def headline_arms(answer: Answer, most: int = 6) -> list[Arm]:
    """Returns the arms of the question's own comparisons, some of many, or else the best arm."""
    own, _ = by_family(answer.comparisons)
    compared = sorted({place for pair in places_of(own, answer.arms) for place in pair})
    return distinct([answer.arms[place] for place in compared])[:most] or [arm for arm in [answer.best] if arm]


def sound(answer: Answer, shown: Sequence[Arm]) -> list[Arm]:
    """Returns arms with the trials of seeds in which they trained, beside what they are compared with; or with all."""
    pairs: list[tuple[Arm, ...]] = [*pairs_of(answer.comparisons, answer.arms)]
    found = []
    for arm in shown:
        own = [pair for pair in pairs if any(each is arm for each in pair)] or [(arm,)]
        failed = [failures.failed(pair, answer.metric)[[each is arm for each in pair].index(True)] for pair in own]
        lost = set[int]().union(*failed)
        kept = cut(arm, {unit for unit in arm.units if unit[0] not in lost})
        found.append(kept if kept.trial_ids else arm)
    return found


def main_arms(answer: Answer, most: int) -> list[Arm]:
    """Returns the arms to show where not all have room: of the original question, or else of the first comparisons."""
    run = distinct(answer.arms)
    if len(run) <= most:
        return run
    asked = next((each for each in answer.factorials if each.is_original_question and each.others), None)
    if asked:
        points = {key(cell.point) for cell in list(asked.cells.values())[:most]}
        return [arm for arm in run if key(arm.point) in points]
    # Pair by pair, so that both arms of a comparison are shown.
    shown = list(dict.fromkeys(place for pair in places_of(answer.comparisons, answer.arms) for place in pair))
    kept = {key(arm.point) for arm in distinct([answer.arms[place] for place in shown])[:most]}
    return [arm for arm in answer.arms if key(arm.point) in kept] or run[:most]
