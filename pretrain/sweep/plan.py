"""Experiment to trials, trials to shared stages, stages to packs."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from pretrain import fields
from pretrain.config import DataConfig, Experiment, FinetuneConfig, ObjectiveConfig, PretrainConfig, SweptValue
from pretrain.data import Dataset
from pretrain.fields import ConfigError
from pretrain.learn.finetune import Finetune
from pretrain.learn.phase import Phase
from pretrain.learn.stage import Stage
from pretrain.sweep.cost import job_memory

FORMAT = 1  # of stages; raised when the same spec trains to other parameters
_OUTPUTS = {"linear": "identity", "sigmoid": "sigmoid"}
MAX_PACK = 64  # stages; beyond this a larger pack saves little and commits late


@dataclasses.dataclass(frozen=True)
class Job:
    """One stage to be trained: the static stage, its numbers and seed, and the job it starts from."""

    id: str  # SHA-256 of all that decides the outcome
    stage: Stage
    numbers: Mapping[str, float] = dataclasses.field(hash=False)
    seed: int
    parent: str | None  # id
    data: DataConfig
    choices: Mapping[str, str] = dataclasses.field(hash=False)  # values of the start fields


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
        dataset = datasets[settings.data]
        _check_sizes(settings, dataset)
        swept = {name: fields.get(settings, name) for name in point}
        specs = _specs(settings, dataset)
        for seed, repeat in itertools.product(range(experiment.seeds), range(experiment.repeats)):
            path = _path(specs, settings.data, seed, repeat)
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


class _Spec(NamedTuple):
    """What the jobs of a stage of one point have in common, whatever their seed."""

    stage: Stage
    numbers: Mapping[str, float]
    choices: Mapping[str, str]
    content: dict  # of the id


def _specs(settings: Experiment, dataset: Dataset) -> list[_Spec]:
    """Returns the stages of one point's trials, phases first, the fine-tuning last."""
    image_size = dataset.train.images.shape[1]
    data = {"fingerprint": dataset.fingerprint, "validation": len(dataset.validation.images), "pixels": image_size}
    specs = []

    def add(stage: Stage, config) -> None:
        static, numbers = fields.split_traced(config)
        stage = dataclasses.replace(stage, config=static)
        spec = {"kind": type(stage).__name__, "widths": stage.widths, "activation": stage.activation}
        spec["config"] = dataclasses.asdict(config)
        choices = fields.start_values(config)
        specs.append(_Spec(stage, numbers, choices, {"format": FORMAT, "data": data, "spec": spec}))

    widths, activation = settings.encoder.widths, settings.encoder.activation
    if settings.finetune.encoder_init == "pretrained":
        for layer in range(len(widths)):
            # The lowest phase has nothing frozen below it and no phase before it: fields about those must not split it.
            inert = {} if layer else {"cache_codes": True, "carry_step_count": False}
            config = dataclasses.replace(settings.pretrain, **inert)
            config = _without_inert_objective(config)
            output = "sigmoid" if config.objective.loss == "cross_entropy" else _OUTPUTS[config.objective.output]
            shape = (image_size, widths[: layer + 1], activation, len(dataset.train.images))
            add(Phase(config, *shape, output, config.objective.tied), config)
    config, tied = _without_inert(settings.finetune), bool(specs) and settings.pretrain.objective.tied
    add(Finetune(config, image_size, widths, activation, len(dataset.class_names), tied), config)
    return specs


def _without_inert_objective(config: PretrainConfig) -> PretrainConfig:
    """Returns a phase's settings with those of its objective that decide nothing at their defaults."""
    objective, default = config.objective, ObjectiveConfig()
    inert = [] if objective.corruption != "none" else ["corruption_level", "corruption_schedule"]
    inert += [] if objective.sparsity != "none" else ["sparsity_weight"]
    inert += [] if objective.sparsity == "kl" else ["sparsity_target"]
    inert += [] if objective.contractive else ["contraction_weight"]
    inert += [] if objective.loss == "mse" else ["output"]
    objective = dataclasses.replace(objective, **{name: getattr(default, name) for name in inert})
    return dataclasses.replace(config, objective=objective)


def _without_inert(config: FinetuneConfig) -> FinetuneConfig:
    """Returns a fine-tuning's settings with those that decide nothing beside the others at one value."""
    inert = {}
    if not config.frozen_layers:
        inert["cache_codes"] = True
    if config.updates:
        inert["epochs"] = 1
    if config.head_init != "ridge":
        inert["ridge_penalty"] = FinetuneConfig.ridge_penalty
    return dataclasses.replace(config, **inert)


def _path(specs: list[_Spec], data: DataConfig, seed: int, repeat: int) -> list[Job]:
    """Returns the jobs of one trial."""
    path: list[Job] = []
    for spec in specs:
        # Repeats share the phases, so only the fine-tuning has draws of its own.
        own = seed + (repeat << 16) if spec is specs[-1] else seed
        parent = path[-1].id if path else None
        job_id = _digest({**spec.content, "seed": own, "parent": parent})
        path.append(Job(job_id, spec.stage, spec.numbers, own, parent, data, spec.choices))
    return path


def _check_sizes(settings: Experiment, dataset: Dataset) -> None:
    available = len(dataset.train.images)
    for name in ("finetune.labels", "pretrain.batch_size"):
        if fields.get(settings, name) > available:
            raise ConfigError(
                name, fields.get(settings, name), f"is more than the {available} training images; lower it"
            )


def _depth(stage: Stage) -> tuple[bool, int]:
    return isinstance(stage, Finetune), len(stage.widths)


def _digest(content) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
