"""Experiment to trials, trials to shared stages, stages to packs."""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pretrain.config import DataConfig, Experiment, Settings, SweptValue, fields
from pretrain.config.digests import sha256_of_json
from pretrain.data import Dataset
from pretrain.learn.program import Program
from pretrain.learn.stage import Stage
from pretrain.plan import sizes, snapshots, stages
from pretrain.plan.cost import job_memory
from pretrain.plan.identity import traced_program
from pretrain.plan.job import Job
from pretrain.plan.memory import Noted, needs_of
from pretrain.plan.stages import Spec

MAX_PACK = 64  # stages; beyond this a larger pack saves little and commits late

# From a stage, the stage before it and the dataset that it reads to the fingerprint of its program.
Fingerprint = Callable[[Spec, Stage | None, Dataset], str]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One row of results: a path of jobs."""

    id: str
    seed: int
    repeat: int
    point: Mapping[str, SweptValue] = dataclasses.field(hash=False)
    jobs: tuple[str, ...]  # ids, stages of pretraining first, the fine-tuning last
    source: DataConfig  # images of pretraining; other trials may share its stages and have others to test


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


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trials of an experiment and the jobs they share, parents before children."""

    trials: tuple[Trial, ...]
    jobs: Mapping[str, Job]


def plan(experiment: Experiment, datasets: Mapping[DataConfig, Dataset], fingerprint: Fingerprint) -> Plan:
    """Plans every trial of an experiment on its datasets.

    Raises:
      ConfigError: a dataset is too small for a field, or layers do not fit.
    """
    trials: dict[str, Trial] = {}
    jobs: dict[str, Job] = {}
    for point in experiment.points:
        known: dict[DataConfig, tuple[_Staged, DataConfig, dict[str, SweptValue]]] = {}  # of seeds, by their data
        for seed, repeat in itertools.product(range(experiment.seeds), range(experiment.repeats)):
            settings = point.settings.at_seed(seed)
            if settings.data not in known:
                staged = _staged(settings, datasets, fingerprint)
                values = _resolved(point.values, settings, staged.specs[-1])
                known[settings.data] = staged, settings.pretraining_data, values
            staged, source, values = known[settings.data]
            path = _path(staged, seed, repeat)
            jobs.update((job.id, job) for job in path)
            # Named by settings alone, so that a trial keeps its name when its program changes.
            trial_id = sha256_of_json({"seed": seed, "point": values, "jobs": [job.settings_id for job in path]})
            # Two points are one where `all` is a number that is swept, too.
            trials.setdefault(
                trial_id, Trial(trial_id[:16], seed, repeat, values, tuple(job.id for job in path), source)
            )
    return Plan(tuple(trials.values()), jobs)


class _Staged(NamedTuple):
    """The stages of one point on its data, with the digests that name them."""

    specs: Sequence[Spec]
    contents: Sequence[str]
    programs: Sequence[str]
    traced: Sequence[Program]


def _staged(settings: Settings, datasets: Mapping[DataConfig, Dataset], fingerprint: Fingerprint) -> _Staged:
    sizes.check(settings, datasets)
    specs = stages.specs(settings, datasets)
    parents = [None, *(spec.stage for spec in specs)]
    asked = [(spec, parent, datasets[spec.data]) for spec, parent in zip(specs, parents, strict=False)]
    contents = [sha256_of_json(spec.content) for spec in specs]
    return _Staged(specs, contents, [fingerprint(*each) for each in asked], [traced_program(*each) for each in asked])


def _resolved(values: Mapping[str, SweptValue], settings: Settings, last: Spec) -> dict[str, SweptValue]:
    """Returns a point's values, with the number of layers or of labels that stands for all of them."""
    resolved = {
        "finetune.frozen_layers": stages.frozen_layers(settings, len(last.stage.stack.layers)),
        "finetune.labels": last.stage.rows.n,
    }
    return {name: resolved.get(name, fields.get(settings, name)) for name in values}


def packs(
    jobs: Iterable[Job],
    done: Collection[str],
    memory: int,
    n_devices: int,
    n_workers: int = 1,
    begun: Collection[tuple[str, ...]] = (),
    noted: Noted = MappingProxyType({}),
) -> list[Pack]:
    """Cuts the jobs that are not done into packs, parents' packs before children's.

    Args:
      jobs: parents before children.
      done: ids of jobs that need not run.
      memory: bytes that a pack may take, with the examples on all devices.
      n_devices: devices that share a pack; cuts are even, so that packs of a stage share a compilation.
      n_workers: packs that can run at once.
      begun: ids of the jobs of packs in training, which stay together if none of them is done.
      noted: temporaries of programs.
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
    groups: dict[tuple[Stage, DataConfig, tuple[Stage, ...]], list[Job]] = {}
    for job in todo.values():
        groups.setdefault((job.stage, job.data, _passed_stages(job, passed)), []).append(job)
    for members in groups.values():
        # Temporaries of dense layers come to about a trial.
        needs = needs_of(members[0], noted, n_devices, unknown=job_memory(members[0].traced))
        n_fitting = max(0, memory - needs.examples - needs.temporaries) // needs.trial
        fitting = min(MAX_PACK, n_fitting) // n_devices * n_devices
        fair = -(-len(members) // (n_workers * n_devices)) * n_devices
        most = max(n_devices, min(fitting, fair))
        result += cut(_pack(members, passed), most)
    # Parents before children, and what ends trials last.
    return sorted(result, key=lambda pack: (pack.stage.stack.head is not None, pack.jobs[0].depth))


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


def _path(staged: _Staged, seed: int, repeat: int) -> list[Job]:
    """Returns the jobs of one trial."""
    path: list[Job] = []
    for spec, content, program, traced in zip(*staged, strict=True):
        before, of_stage = path[-1] if path else None, _seed(spec, seed, repeat)
        settings = {"content": content, "seed": of_stage, "parent": before.settings_id if before else None}
        parent, parent_stage = (before.id, before.stage) if before else (None, None)
        path.append(
            Job(
                job_id(content, of_stage, program, parent),
                sha256_of_json(settings),
                program,
                content,
                spec.stage,
                spec.config,
                of_stage,
                parent,
                parent_stage,
                spec.data,
                len(path),
                traced,
            )
        )
    return path


def job_id(content: str, seed: int, program: str, parent: str | None) -> str:
    """Returns a stage's id, by all that decides its outcome."""
    return sha256_of_json({"content": content, "seed": seed, "program": program, "parent": parent})


def _seed(spec: Spec, seed: int, repeat: int) -> int:
    """Returns the seed of a stage's draws.

    Repeats share what reads no labels, so that only the rest has draws of its own, and some stages draw nothing at all.
    """
    if not spec.config.method.is_random:
        return 0
    return seed + (repeat << 16) if "labels" in spec.stage.reads else seed
