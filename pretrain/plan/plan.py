"""Experiment to trials, trials to shared stages, stages to packs."""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from pretrain.config import DataConfig, Experiment, Settings, SweptValue, fields
from pretrain.config.digests import sha256, sha256_of_json
from pretrain.data import Dataset
from pretrain.learn.randomness import VariationSource
from pretrain.learn.stage import Stage
from pretrain.plan import redraws, snapshots, stages
from pretrain.plan.cost import job_memory
from pretrain.plan.job import Job
from pretrain.plan.memory import Noted, needs_of
from pretrain.plan.named import Fingerprint, Named, NamedStages, jobs_along
from pretrain.plan.stages import Spec

MAX_PACK = 64  # stages, of packs whose seconds nobody knows; and of those that take long
LARGEST_PACK = 1024  # of those that take little, which otherwise are more work to start and to store than to train


@dataclasses.dataclass(frozen=True)
class Trial:
    """One row of results: a path of jobs."""

    id: str
    seed: int
    repeat: int
    point: Mapping[str, SweptValue] = dataclasses.field(hash=False)
    jobs: tuple[str, ...]  # ids, stages of pretraining first, the fine-tuning last
    source: DataConfig  # images of pretraining; other trials may share its stages and have others to test
    redrawn: str = ""  # source of variation that it draws anew, beside the trial of the same seed, which does not


@dataclasses.dataclass(frozen=True)
class Pack:
    """Jobs of one static stage on the same images, run as one program."""

    stage: Stage
    jobs: tuple[Job, ...]
    passed: "tuple[Pack, ...]" = ()  # of the same trials with fewer updates, whose outcomes it leaves, the fewest first

    @property
    def left(self) -> tuple[Job, ...]:
        """The jobs whose outcomes it leaves."""
        return (*self.jobs, *(job for pack in self.passed for job in pack.jobs))

    @property
    def data(self) -> DataConfig:
        """The images that all jobs read."""
        return self.jobs[0].data

    def of_lanes(self, lanes: Collection[int]) -> "Pack":
        """Returns the pack of some of its lanes."""
        jobs = tuple(self.jobs[lane] for lane in sorted(lanes))
        return Pack(self.stage, jobs, tuple(part.of_lanes(lanes) for part in self.passed))


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trials of an experiment and the jobs they share, parents before children."""

    trials: tuple[Trial, ...]
    jobs: Mapping[str, Job]

    @property
    def compared(self) -> "Plan":
        """The trials that the question compares, and their jobs."""
        return self.of(trial for trial in self.trials if not trial.redrawn)

    @property
    def redrawn(self) -> "Plan":
        """The trials that draw a source of variation anew, and their jobs."""
        return self.of(trial for trial in self.trials if trial.redrawn)

    def of(self, trials: Iterable[Trial]) -> "Plan":
        """Returns the plan of some of its trials."""
        trials = tuple(trials)
        used = {job for trial in trials for job in trial.jobs}
        return Plan(trials, {name: job for name, job in self.jobs.items() if name in used})

    def of_jobs(self, ids: Collection[str]) -> "Plan":
        """Returns a plan of some of its jobs, and no trials."""
        return Plan((), {name: job for name, job in self.jobs.items() if name in ids})


def plan(experiment: Experiment, datasets: Mapping[DataConfig, Dataset], fingerprint: Fingerprint) -> Plan:
    """Plans every trial of an experiment on its datasets.

    Raises:
      ConfigError: a dataset is too small for a field, or layers do not fit.
    """
    trials: dict[str, Trial] = {}
    sources = [*VariationSource, redraws.SPLIT] if experiment.study.variation else []
    redrawn: dict[VariationSource | str, dict[str, Trial]] = {source: {} for source in sources}
    jobs: dict[str, Job] = {}
    named_stages = NamedStages(datasets, fingerprint, experiment.study.keep_states)
    # A share of the labels is a number of its own on each of several sets, and so stays as it was swept.
    has_sets = len(stages.sets_of(point.settings for point in experiment.points)) > 1
    for number, point in enumerate(experiment.points):
        of_data: dict[DataConfig, tuple[list[Named], DataConfig, dict[str, SweptValue], str]] = {}
        for seed, repeat in itertools.product(range(experiment.seeds), range(experiment.repeats)):
            settings = point.settings.at_seed(seed)
            if settings.data not in of_data:
                staged = named_stages(settings)
                values = _resolved(point.values, settings, staged[-1].spec, has_sets)
                of_data[settings.data] = staged, settings.pretraining_data, values, sha256_of_json(values)
            staged, source, values, point_id = of_data[settings.data]
            seeded = [(each, redraws.seed_of(each.spec.stage, seed, repeat)) for each in staged]
            path = jobs_along(seeded, jobs, number, seed)
            # Named by settings alone, so that a trial keeps its name when its program changes.
            trial_id = sha256(" ".join([str(seed), point_id, *(job.settings_id for job in path)]))
            trial = Trial(trial_id[:16], seed, repeat, values, tuple(job.id for job in path), source)
            # Two points are one where `all` is a number that is swept, too.
            trials.setdefault(trial_id, trial)
            for anew, those in redrawn.items():
                if isinstance(anew, VariationSource):
                    drawn, name, split = named_stages.redrawn(seeded, anew), anew.name, seed
                else:  # the next seed's split, with all other draws as they are
                    name, split = anew, (seed + 1) % experiment.seeds
                    other = point.settings.at_seed(split)
                    drawn = [(each, redraws.seed_of(each.spec.stage, seed, repeat)) for each in named_stages(other)]
                changed = tuple(job.id for job in jobs_along(drawn, jobs, number, split))
                own_id = sha256(f"{trial_id} {name}")
                those.setdefault(own_id, dataclasses.replace(trial, id=own_id[:16], jobs=changed, redrawn=name.lower()))
    paths = [trial.jobs for trial in trials.values()]
    # A source from which no trial draws is left out: its trials are those that there are.
    kept = [those.values() for those in redrawn.values() if [trial.jobs for trial in those.values()] != paths]
    return Plan((*trials.values(), *itertools.chain(*kept)), jobs)


def _resolved(
    values: Mapping[str, SweptValue], settings: Settings, last: Spec, has_sets: bool
) -> dict[str, SweptValue]:
    """Returns a point's values, with the number of layers or of labels that stands for all of them, or a share."""
    resolved: dict[str, SweptValue] = {
        "finetune.frozen_layers": stages.frozen_layers(settings, len(last.stage.stack.layers))
    }
    if not has_sets:
        resolved["finetune.labels"] = last.stage.rows.n
    return {name: resolved.get(name, fields.get(settings, name)) for name in values}


def packs(
    jobs: Iterable[Job],
    done: Collection[str],
    memory: int,
    n_devices: int,
    seconds: Callable[[Job], float] | None = None,
    fewest: int = MAX_PACK,
    begun: Collection[tuple[str, ...]] = (),
    noted: Noted = MappingProxyType({}),
    starts: Mapping[str, int] = MappingProxyType({}),
) -> list[Pack]:
    """Cuts the jobs that are not done into packs, parents' packs before children's.

    Args:
      jobs: parents before children.
      done: ids of jobs that need not run.
      memory: bytes that a pack may take, with the examples on all devices.
      n_devices: devices that share a pack; cuts are even, so that packs of a stage share a compilation.
      seconds: the share of a pack of a job like one, which says how many make a pack of a good length.
      fewest: jobs up to which packs may last longer than that, memory allowing.
      begun: ids of the jobs of packs in training, which stay together if none of them is done.
      noted: temporaries of programs.
      starts: the update from which jobs go on, by their ids; those of a pack have the same.
    """
    todo = {job.id: job for job in jobs if job.id not in done}
    passed = snapshots.passed(todo.values())
    for shorter in passed.values():
        for job in shorter:
            del todo[job.id]
    result = []
    for ids in begun:
        members = [todo[each] for each in ids if each in todo]
        if len(members) == len(ids) and len({_passed_stages(job, passed) for job in members}) == 1:
            result.append(_pack(members, passed))
            for each in ids:
                del todo[each]
    groups: dict[tuple[Stage, DataConfig, tuple[Stage, ...], int], list[Job]] = {}
    for job in todo.values():
        alike = job.stage, job.data, _passed_stages(job, passed), starts.get(job.id, 0)
        groups.setdefault(alike, []).append(job)
    for members in groups.values():
        # Temporaries of dense layers come to about a trial.
        needs = needs_of(members[0], noted, n_devices, unknown=job_memory(members[0].traced))
        n_fitting = max(0, memory - needs.examples - needs.temporaries) // needs.trial
        most = fewest
        if seconds and len(members) > fewest:
            most = max(fewest, _power_of_two(1 / max(seconds(members[0]), 1 / LARGEST_PACK)))
        fitting = min(most, n_fitting) // n_devices * n_devices
        result += cut(_pack(members, passed), max(n_devices, fitting))
    # Parents before children, and what ends trials last.
    return sorted(result, key=lambda pack: (pack.stage.stack.head is not None, pack.jobs[0].depth))


def _power_of_two(most: float) -> int:
    """Returns the largest power of two up to a number, and at least 1."""
    return 1 << max(0, int(most).bit_length() - 1)


def cut(pack: Pack, most: int) -> list[Pack]:
    """Cuts a pack into even ones of at most so many jobs."""
    n_parts = -(-len(pack.jobs) // most)
    size = -(-len(pack.jobs) // n_parts)

    def part(whole: Pack, at: int) -> Pack:
        return Pack(whole.stage, whole.jobs[at : at + size], tuple(part(shorter, at) for shorter in whole.passed))

    return [part(pack, at) for at in range(0, len(pack.jobs), size)]


def _passed_stages(job: Job, passed: Mapping[str, Sequence[Job]]) -> tuple[Stage, ...]:
    return tuple(shorter.stage for shorter in passed.get(job.id, ()))


def _pack(members: Sequence[Job], passed: Mapping[str, Sequence[Job]]) -> Pack:
    """Returns the pack of some jobs, which pass jobs of the same stages."""
    lanes = zip(*(passed.get(job.id, ()) for job in members), strict=True)
    shorter = tuple(Pack(jobs[0].stage, jobs) for jobs in lanes)
    return Pack(members[0].stage, tuple(members), shorter)
