"""What a run can conclude, by its plan and by those of its trials that are stored already."""

from collections.abc import Mapping

from pretrain.config import Experiment
from pretrain.study import families
from pretrain.study.comparisons import planned
from pretrain.study.prospects import Prospect, prospect
from pretrain.sweep import tables
from pretrain.sweep.plan import Plan
from pretrain.sweep.store import Store

_MOST_READ = 8  # comparisons whose earlier trials are read, so that a large store delays no start


def check(experiment: Experiment, plan: Plan) -> None:
    """Checks that the question has a comparison of its own.

    Raises:
      ConfigError: ``study.family`` names none.
    """
    if experiment.study.family:
        families.check([one.treated for one in planned(_points(plan, experiment), experiment.study)], experiment.study)


def of_plan(experiment: Experiment, plan: Plan, store: Store) -> Prospect | None:
    """Returns what a run can conclude; None where it compares nothing.

    Args:
      experiment: as asked for.
      plan: of its last look.
      store: where stages of earlier runs are.
    """
    points = _points(plan, experiment)
    if experiment.study.tune:  # which of an arm's trials are compared is not known before all are there
        return prospect(experiment, points)
    compared = [one for one in planned(points, experiment.study) if not one.is_exploratory][:_MOST_READ]
    arms = {repr(_known(point)) for one in compared for point in (one.treated, one.untreated)}
    trials = [trial for trial in plan.trials if repr(_known(trial.point)) in arms]
    stored = store.verified({job for trial in trials for job in trial.jobs})
    # Nothing is left to plan; or scores would be measured, which takes time before every start.
    if len(stored) == len(plan.jobs) or experiment.study.tune:
        return prospect(experiment, points)
    done = tuple(trial for trial in trials if stored.issuperset(trial.jobs))
    if not done:
        return prospect(experiment, points)
    jobs = {job: plan.jobs[job] for trial in done for job in trial.jobs}
    return prospect(experiment, points, tables.trials(Plan(done, jobs), store, study=experiment.study))


def _points(plan: Plan, experiment: Experiment) -> list[Mapping[str, object]]:
    """Returns the points of a plan's arms, without the fields that are tuned."""
    tuned = experiment.study.tune
    one_each = (trial.point for trial in plan.trials if trial.seed == trial.repeat == 0)
    found = ({name: value for name, value in point.items() if name not in tuned} for point in one_each)
    return list({repr(point): point for point in found}.values())


def _known(point: Mapping[str, object]) -> list[tuple[str, object]]:
    """Returns the values of a point without those that its grid does not sweep."""
    return sorted((name, value) for name, value in point.items() if value is not None)
