"""Experiment to trials, trials to shared stages, stages to packs."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping

from pretrain.config import DataConfig, Experiment, SweptValue, fields
from pretrain.data import Dataset
from pretrain.learn.phase import Phase
from pretrain.learn.stage import Stage
from pretrain.sweep import stages
from pretrain.sweep.cost import job_memory
from pretrain.sweep.stages import Choice, Numbers, Spec

MAX_PACK = 64  # stages; beyond this a larger pack saves little and commits late


@dataclasses.dataclass(frozen=True)
class Job:
    """One stage to be trained: the static stage, its numbers and seed, and the job it starts from."""

    id: str  # SHA-256 of all that decides the outcome
    stage: Stage
    numbers: Mapping[str, Numbers] = dataclasses.field(hash=False)
    seed: int
    parent: str | None  # id
    parent_stage: Stage | None
    data: DataConfig
    choices: Mapping[str, Choice] = dataclasses.field(hash=False)  # values of the start fields


@dataclasses.dataclass(frozen=True)
class Trial:
    """One row of results: a path of jobs."""

    id: str
    seed: int
    repeat: int
    point: Mapping[str, SweptValue] = dataclasses.field(hash=False)
    jobs: tuple[str, ...]  # ids, phases first, the fine-tuning last


@dataclasses.dataclass(frozen=True)
class Pack:
    """Jobs of one static stage on the same images, run as one program."""

    stage: Stage
    jobs: tuple[Job, ...]

    @property
    def data(self) -> DataConfig:
        """The images that all jobs read."""
        return self.jobs[0].data


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trials of an experiment and the jobs they share, parents before children."""

    trials: tuple[Trial, ...]
    jobs: Mapping[str, Job]


def plan(experiment: Experiment, datasets: Mapping[DataConfig, Dataset]) -> Plan:
    """Plans every trial of an experiment on its datasets.

    Raises:
      ConfigError: a dataset is too small for a field.
    """
    trials, jobs = [], {}
    for point in experiment.points():
        settings = experiment.at(point)
        stages.check_sizes(settings, datasets)
        swept = {name: fields.get(settings, name) for name in point}
        specs = stages.specs(settings, datasets)
        for seed, repeat in itertools.product(range(experiment.seeds), range(experiment.repeats)):
            path = _path(specs, seed, repeat)
            jobs.update((job.id, job) for job in path)
            ids = tuple(job.id for job in path)
            trial_id = _digest({"seed": seed, "point": swept, "jobs": ids})
            trials.append(Trial(trial_id[:16], seed, repeat, point, ids))
    return Plan(tuple(trials), jobs)


def packs(
    jobs: Iterable[Job],
    done: Collection[str],
    memory: int,
    n_devices: int,
    n_workers: int = 1,
    begun: Collection[tuple[str, ...]] = (),
) -> list[Pack]:
    """Cuts the jobs that are not done into packs, parents' packs before children's.

    Args:
      jobs: parents before children.
      done: ids of jobs that need not run.
      memory: bytes that a pack may take.
      n_devices: devices that share a pack; cuts are even, so that packs of a stage share a compilation.
      n_workers: packs that can run at once.
      begun: ids of the jobs of packs in training, which stay together if none of them is done.
    """
    todo = {job.id: job for job in jobs if job.id not in done}
    result = []
    for ids in begun:
        if all(job in todo for job in ids):
            members = tuple(todo.pop(job) for job in ids)
            result.append(Pack(members[0].stage, members))
    groups: dict[tuple[Stage, DataConfig], list[Job]] = {}
    for job in todo.values():
        groups.setdefault((job.stage, job.data), []).append(job)
    for (stage, _), members in groups.items():
        # Jobs that start alike stand side by side, so that each way to start is one call.
        members = sorted(members, key=lambda job: (job.parent is not None, sorted(job.choices.items())))
        fitting = min(MAX_PACK, memory // job_memory(stage)) // n_devices * n_devices
        fair = -(-len(members) // (n_workers * n_devices)) * n_devices
        most = max(n_devices, min(fitting, fair))
        n_packs = -(-len(members) // most)
        size = -(-len(members) // n_packs)
        result += [Pack(stage, tuple(members[at : at + size])) for at in range(0, len(members), size)]
    return sorted(result, key=lambda pack: _depth(pack.stage))


def _path(specs: list[Spec], seed: int, repeat: int) -> list[Job]:
    """Returns the jobs of one trial."""
    path: list[Job] = []
    for spec in specs:
        before = path[-1] if path else None
        job_seed = _seed(spec, seed, repeat)
        job_id = _digest({**spec.content, "seed": job_seed, "parent": before and before.id})
        parent = (before and before.id, before and before.stage)
        path.append(Job(job_id, spec.stage, spec.numbers, job_seed, *parent, spec.data, spec.choices))
    return path


def _seed(spec: Spec, seed: int, repeat: int) -> int:
    """Returns the seed of a stage's draws.

    Repeats share what reads no labels, so that only the rest has draws of its own, and components are not drawn at all.
    """
    if not isinstance(spec.stage, Phase):
        return seed + (repeat << 16)
    return {"supervised": seed + (repeat << 16), "pca": 0}.get(spec.stage.kind, seed)


def _depth(stage: Stage) -> tuple[bool, int, bool]:
    """Returns what orders stages so that parents come before their children."""
    return not isinstance(stage, Phase), len(stage.widths), isinstance(stage, Phase) and not stage.is_greedy


def _digest(content) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
