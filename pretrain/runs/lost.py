"""Trials of a run that are missing, since a pack of theirs failed: which, and why."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pretrain.config.counts import counted
from pretrain.data.findings import MISSING, Finding
from pretrain.plan.plan import Plan, Trial
from pretrain.store.store import StoreError

_MOST_NAMED = 4  # values of a field


def trained(plan: Plan, why: Mapping[str, str]) -> tuple[Plan, dict[str, str]]:
    """Returns the plan of the trials whose stages are all stored, and why each other trial is missing, by its id.

    A trial that draws a source of variation anew is missing with the one that it is beside.

    Args:
      plan: of all trials.
      why: the reasons that stages are missing, by their ids.

    Raises:
      StoreError: no trial that the question compares is left; the message is the first reason.
    """
    missing = {trial.id: why[job] for trial in plan.trials for job in trial.jobs[::-1] if job in why}
    if not missing:
        return plan, {}
    kept = [trial for trial in plan.trials if trial.id not in missing]
    beside = {_place(trial) for trial in kept if not trial.redrawn}
    if not beside:
        raise StoreError(next(iter(why.values())))
    alone = [trial for trial in kept if _place(trial) not in beside]
    missing |= {trial.id: "the trial that it is beside is missing" for trial in alone}
    return plan.of(trial for trial in kept if trial not in alone), missing


def finding(plan: Plan, kept: Plan, missing: Mapping[str, str], tuned: Collection[str] = ()) -> Finding:
    """Returns the doubt that trials are missing: how many of how many, at which values and seeds, and why.

    Its figures hold the points of arms of which no trial is left, without ``tuned`` fields.
    """

    def arms(trials: Iterable[Trial]) -> list[dict[str, Any]]:
        return [{name: value for name, value in each.point.items() if name not in tuned} for each in trials]

    lost = [trial for trial in plan.trials if trial.id in missing]
    whole = [*kept.trials, *lost]
    where = [*_values(lost, whole), *_seeds(lost, whole)]
    at = f" ({'; '.join(where)})" if where else ""
    reasons = Counter(missing[trial.id] for trial in lost)
    (first, _), *others = reasons.most_common()
    more = f", and {counted(len(others), 'other reason')}" if others else ""
    named = f"{len(lost):,} of {counted(len(whole), 'trial')}"
    are = "is" if len(lost) == 1 else "are"
    sentence = f"{named} {are} missing{at}, as {first}{more}; comparisons are of the seeds that both arms have"
    left = arms(kept.trials)
    gone = {repr(point): point for point in arms(lost) if point not in left}
    figures = {"missing": len(lost), "trials": len(whole), "reasons": dict(reasons), "arms": [*gone.values()]}
    return Finding(MISSING, sentence, "doubt", "the same command tries them again", figures)


def _place(trial: Trial) -> tuple:
    return trial.seed, trial.repeat, repr(trial.point)


def _values(lost: Sequence[Trial], whole: Sequence[Trial]) -> list[str]:
    """Returns the values of swept fields that only some trials have, and all that are missing are among."""
    parts = []
    for name in lost[0].point:
        own, every = ([*dict.fromkeys(str(trial.point.get(name)) for trial in trials)] for trials in (lost, whole))
        if len(own) < len(every):
            more = f" and {len(own) - _MOST_NAMED:,} more" if len(own) > _MOST_NAMED else ""
            parts.append(f"{name} {', '.join(own[:_MOST_NAMED])}{more}")
    return parts


def _seeds(lost: Sequence[Trial], whole: Sequence[Trial]) -> list[str]:
    own, every = (sorted({trial.seed for trial in trials}) for trials in (lost, whole))
    if len(own) == len(every):
        return []
    more = f" and {len(own) - _MOST_NAMED:,} more" if len(own) > _MOST_NAMED else ""
    return [f"seeds {', '.join(map(str, own[:_MOST_NAMED]))}{more}" if len(own) > 1 else f"seed {own[0]}"]
