"""Prospects of a run, by its plan and by the trials that are stored already."""

import functools
from collections.abc import Collection, Mapping

from pretrain.config import DataConfig, Experiment, StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset
from pretrain.plan.plan import Plan, Trial
from pretrain.runs import row_scores, tables
from pretrain.store.store import Store
from pretrain.study import families
from pretrain.study.arms import without_idle
from pretrain.study.choice import choose
from pretrain.study.comparisons import planned
from pretrain.study.prospects import Prospect, prospect

_MOST_READ = 8  # comparisons whose earlier trials are read, so that a large store delays no start
_MOST_TUNED_SEEDS = 8  # of tuned arms, that are read


def check(experiment: Experiment, plan: Plan) -> None:
    """Checks that what is to be compared is swept, and that the question has a comparison of its own.

    Raises:
      ConfigError: ``study.compare`` is not swept, or ``study.family`` names no comparison.
    """
    compare, swept = experiment.study.compare, {name for grid in experiment.sweep for name in grid}
    if compare not in (StudyConfig.compare, *swept):
        remedy = f"is not swept; sweep it{', or name ' if swept else ''}{' or '.join(sorted(swept))}"
        raise ConfigError("study.compare", compare, remedy)
    if experiment.study.variation and not planned(_points(plan, experiment), experiment.study):
        remedy = "has no difference to split, for nothing is compared; sweep a field, or leave it out"
        raise ConfigError("study.variation", True, remedy)
    if experiment.study.family:
        families.check_family(
            [one.treated for one in planned(_points(plan, experiment), experiment.study)], experiment.study
        )


def of_plan(
    experiment: Experiment, plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset] | None = None
) -> Prospect | None:
    """Returns the prospects of a run; None where it compares nothing."""
    plan, study = plan.compared, experiment.study
    points = _points(plan, experiment)
    compared = [one for one in planned(points, study) if not one.is_exploratory][:_MOST_READ]
    arms = {repr(_known(point)) for one in compared for point in (one.treated, one.untreated)}
    units = _units(plan, arms, study.tune)
    stored = store.verified({job for trials in units for trial in trials for job in trial.jobs})
    done = [trial for trials in units if all(stored.issuperset(trial.jobs) for trial in trials) for trial in trials]
    if not done:
        return prospect(experiment, points)
    jobs = {job: plan.jobs[job] for trial in done for job in trial.jobs}
    finished = Plan(tuple(done), jobs)
    earlier = tables.trials(finished, store, study=study)
    read = functools.partial(row_scores.of_trials, finished, store, datasets) if datasets else None
    return prospect(experiment, points, choose(earlier, study).trials if study.tune else earlier, read)


def _units(plan: Plan, arms: Collection[str], tuned: Collection[str]) -> list[list[Trial]]:
    """Returns the trials of some arms, those together that differ in tuned fields only; of few seeds, if there are any.

    To choose among settings takes scores, which are measured before every start.
    """
    units: dict[tuple[str, int, int], list[Trial]] = {}
    for trial in plan.trials:
        arm = repr(_known({name: value for name, value in trial.point.items() if name not in tuned}))
        if arm in arms and not (tuned and trial.seed >= _MOST_TUNED_SEEDS):
            units.setdefault((arm, trial.seed, trial.repeat), []).append(trial)
    return list(units.values())


def _points(plan: Plan, experiment: Experiment) -> list[Mapping[str, object]]:
    """Returns the points of a plan's arms, without the fields that are tuned."""
    tuned = experiment.study.tune
    one_each = (trial.point for trial in plan.trials if trial.seed == trial.repeat == 0)
    untuned = ({name: value for name, value in point.items() if name not in tuned} for point in one_each)
    return list({repr(point): point for point in untuned}.values())


def _known(point: Mapping[str, object]) -> list[tuple[str, object]]:
    """Returns the values of a point without those that its grid does not sweep, or that have no effect."""
    return sorted((name, value) for name, value in without_idle(point).items() if value is not None)
