"""Experiment to trials, trials to shared stages, stages to packs."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping

from pretrain import fields
from pretrain.config import Experiment, SweptValue
from pretrain.data import Dataset
from pretrain.fields import ConfigError
from pretrain.learn.finetune import Finetune
from pretrain.learn.phase import Phase
from pretrain.learn.stage import Stage

FORMAT = 1  # of stages; raised when the same spec trains to other parameters
MAX_PACK = 64  # stages; beyond this a larger pack saves little and commits late


@dataclasses.dataclass(frozen=True)
class Job:
    """One stage to be trained: the static stage, its numbers and seed, and the job it starts from."""

    id: str  # SHA-256 of all that decides the outcome
    stage: Stage
    numbers: Mapping[str, float] = dataclasses.field(hash=False)
    seed: int
    parent: str | None  # id
    label_method: str | None = None


@dataclasses.dataclass(frozen=True)
class Trial:
    """One row of results: a path of jobs."""

    id: str
    seed: int
    point: Mapping[str, SweptValue] = dataclasses.field(hash=False)
    jobs: tuple[str, ...]  # ids, phases first, the fine-tuning last


@dataclasses.dataclass(frozen=True)
class Pack:
    """Jobs of one static stage, run as one program."""

    stage: Stage
    jobs: tuple[Job, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trials of an experiment and the jobs they share, parents before children."""

    trials: tuple[Trial, ...]
    jobs: Mapping[str, Job]


def plan(experiment: Experiment, dataset: Dataset) -> Plan:
    """Plans every trial of an experiment on a dataset.

    Raises:
      ConfigError: the dataset is too small for a field.
    """
    trials, jobs = [], {}
    for point in experiment.points():
        settings = experiment.at(point)
        _check_sizes(settings, dataset)
        for seed in range(experiment.seeds):
            path = _path(settings, dataset, seed)
            jobs.update((job.id, job) for job in path)
            ids = tuple(job.id for job in path)
            trial_id = _digest(
                {"seed": seed, "point": {name: fields.get(settings, name) for name in point}, "jobs": ids}
            )
            trials.append(Trial(trial_id[:16], seed, point, ids))
    return Plan(tuple(trials), jobs)


def packs(jobs: Iterable[Job], done: Collection[str], memory: int, n_devices: int) -> list[Pack]:
    """Cuts the jobs that are not done into packs, parents' packs before children's.

    Args:
      jobs: parents before children.
      done: ids of jobs that need not run.
      memory: bytes that a pack may take.
      n_devices: devices that share a pack; cuts are even, so that packs of a stage share a compilation.
    """
    groups: dict[Stage, list[Job]] = {}
    for job in jobs:
        if job.id not in done:
            groups.setdefault(job.stage, []).append(job)
    result = []
    for stage, members in sorted(groups.items(), key=lambda group: _depth(group[0])):
        # Jobs that start alike stand side by side, so that each way to start is one call.
        members = sorted(members, key=lambda job: (job.parent is not None, job.label_method or ""))
        most = max(n_devices, min(MAX_PACK, memory // job_memory(stage)) // n_devices * n_devices)
        n_packs = -(-len(members) // most)
        size = -(-len(members) // n_packs)
        result += [Pack(stage, tuple(members[at : at + size])) for at in range(0, len(members), size)]
    return result


def job_memory(stage: Stage) -> int:
    """Returns the estimated bytes that one job of a stage takes while it runs, besides the images that all share."""
    n_weights = n_parameters(stage)
    # Parameters, gradients and two Adam moments, once more for what a program returns.
    total = 4 * 4 * n_weights * 2
    if stage.encoded:
        total += 4 * stage.widths[stage.encoded - 1] * stage.n_examples
    elif isinstance(stage, Finetune):
        total += stage.image_size * stage.n_examples
    return total + 4 * len(stage.curve_names) * stage.total_steps


def n_parameters(stage: Stage) -> int:
    """Returns the number of parameters that a stage hands on."""
    sizes = (stage.image_size, *stage.widths)
    encoder = sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))
    if isinstance(stage, Finetune):
        return encoder + (sizes[-1] + 1) * stage.n_classes
    return encoder + sum((fan_in + 1) * fan_out for fan_out, fan_in in itertools.pairwise(sizes))


def _path(settings: Experiment, dataset: Dataset, seed: int) -> list[Job]:
    """Returns the jobs of one trial."""
    image_size = dataset.train.images.shape[1]
    data = {"fingerprint": dataset.fingerprint, "validation": len(dataset.validation.images), "pixels": image_size}
    path: list[Job] = []

    def add(stage: Stage, config, parent: str | None, label_method: str | None = None) -> None:
        static, numbers = fields.split_traced(config)
        stage = dataclasses.replace(stage, config=static)
        spec = {"kind": type(stage).__name__, "widths": stage.widths, "activation": stage.activation}
        spec["config"] = dataclasses.asdict(config)
        content = {"format": FORMAT, "data": data, "spec": spec, "seed": seed, "parent": parent}
        path.append(Job(_digest(content), stage, numbers, seed, parent, label_method))

    widths, activation = settings.encoder.widths, settings.encoder.activation
    if settings.finetune.encoder_init == "pretrained":
        for layer in range(len(widths)):
            # The lowest phase has nothing frozen below it and no phase before it: fields about those must not split it.
            inert = {} if layer else {"cache_codes": True, "carry_step_count": False}
            config = dataclasses.replace(settings.pretrain, **inert)
            stage = Phase(config, image_size, widths[: layer + 1], activation, len(dataset.train.images))
            add(stage, config, path[-1].id if path else None)
    config = settings.finetune
    if not config.frozen_layers:
        config = dataclasses.replace(config, cache_codes=True)
    stage = Finetune(config, image_size, widths, activation, len(dataset.class_names))
    add(stage, config, path[-1].id if path else None, config.label_subset)
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
