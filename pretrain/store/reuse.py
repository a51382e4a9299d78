"""Which stored stages a plan takes, and why the others run."""

import dataclasses
from collections import Counter
from collections.abc import Mapping

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.plan.identity import versions
from pretrain.plan.named import job_id
from pretrain.plan.plan import Plan
from pretrain.store.store import Store

NEW, PROGRAM, PARENT = "new settings", "another program", "after a stage that runs again"
_VERSIONS = "other versions"


def chosen(experiment: Experiment, plan: Plan, store: Store) -> Plan:
    """Returns the plan that a run follows: under ``code ignore``, with stored stages of any program in it.

    The newest of them takes the place of the stage with the same settings, if it was trained from the stage that takes
    the place of its parent.
    """
    if experiment.code == "match":
        return plan
    new_ids: dict[str, str] = {}
    jobs = {}
    for job in plan.jobs.values():
        parent = job.parent and new_ids[job.parent]
        alike = [one.id for one in store.with_settings(job.settings_id) if one.parent == parent]
        sound = store.verified(alike)
        own = job_id(job.content, job.seed, job.program, parent)
        new_ids[job.id] = own if own in sound else next((one for one in reversed(alike) if one in sound), own)
        jobs[new_ids[job.id]] = dataclasses.replace(job, id=new_ids[job.id], parent=parent)
    trials = [dataclasses.replace(trial, jobs=tuple(new_ids[job] for job in trial.jobs)) for trial in plan.trials]
    return Plan(tuple(trials), jobs)


def reasons(plan: Plan, store: Store) -> dict[str, str]:
    """Returns why each stage of a plan that is not stored would run, by its id."""
    stored, current, why = store.verified(plan.jobs), versions(), {}
    for job in plan.jobs.values():
        if job.id in stored:
            continue
        alike = store.with_settings(job.settings_id)
        if not alike:
            why[job.id] = NEW
        elif any(one.program == job.program for one in alike):
            why[job.id] = PARENT
        else:
            before = alike[-1].versions
            pairs = ((name, before.get(name), now) for name, now in current.items())
            changed = [f"{name} {old}, now {new}" for name, old, new in pairs if old != new]
            why[job.id] = f"{_VERSIONS} ({'; '.join(changed)})" if changed else PROGRAM
    return why


def again(plan: Plan, missing: Mapping[str, str]) -> str | None:
    """Returns which stages run again though their settings are stored, and why, in one line; None where none does."""
    counts = Counter((plan.jobs[job].stage.name, reason) for job, reason in missing.items() if reason != NEW)
    if not counts:
        return None
    parts = [f"{n:,} of {name} ({reason})" for (name, reason), n in counts.items()]
    n_again = sum(counts.values())
    return f"{n_again:,} stored stages run again: {', '.join(parts)}; --code ignore takes them as they are"


def continued(plan: Plan, missing: Mapping[str, str], store: Store) -> str | None:
    """Returns which stages go on from the kept state of a shorter training, in one line; None where none does."""
    starts = store.states.starts(plan.jobs[job] for job in missing)
    jobs = [(plan.jobs[job].stage, first) for job, first in starts.items()]
    counts = Counter((stage.name, first, stage.n_updates) for stage, first in jobs)
    if not counts:
        return None
    parts = [f"{n:,} of {name} (after {first:,} of {most:,} updates)" for (name, first, most), n in counts.items()]
    return f"{counted(len(starts), 'stage')} from kept states: {', '.join(parts)}"


def summary(plan: Plan, missing: Mapping[str, str]) -> str:
    """Returns how many stages of a plan would run, and why, in one line."""
    counts = Counter(missing.values())
    summed = ", ".join(f"{n:,} {reason}" for reason, n in counts.items())
    return f"{len(missing):,} of {counted(len(plan.jobs), 'stage')} would run" + (f": {summed}" if summed else "")
