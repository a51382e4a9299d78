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
from pretrain.learn.model import Counterpart
from pretrain.learn.phase import Phase
from pretrain.learn.readout import Readout
from pretrain.learn.stage import Stage
from pretrain.sweep import canonical
from pretrain.sweep.cost import job_memory

FORMAT = 1  # of stages; raised when the same spec trains to other parameters
Numbers = float | tuple[float, ...]  # of a stage, or of each layer
Choice = str | int
_OF_LAYERS = ("unfreeze_at", "rate_factor")  # numbers of fine-tuning, one a layer
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
        _check_sizes(settings, datasets)
        swept = {name: fields.get(settings, name) for name in point}
        specs = _specs(settings, datasets)
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


class _Spec(NamedTuple):
    """What the jobs of a stage of one point have in common, whatever their seed."""

    stage: Stage
    numbers: Mapping[str, Numbers]
    choices: Mapping[str, Choice]
    data: DataConfig
    content: dict  # of the id


def _specs(settings: Experiment, datasets: Mapping[DataConfig, Dataset]) -> list[_Spec]:
    """Returns the stages of one point's trials: of pretraining first, and last the fine-tuning or read-out."""
    specs = []
    if settings.finetune.encoder_init != "he":
        specs = _pretraining(settings, datasets[settings.pretraining_data])
    config = canonical.finetuning(settings.finetune)
    dataset, depth = datasets[settings.data], len(settings.encoder.widths)
    shape = (dataset.train.images.shape[1], settings.encoder.widths, _activations(settings))
    n_classes, whitens = len(dataset.class_names), config.codes == "whitened"
    if config.readout != "none":
        stage = Readout(config, *shape, n_classes, config.readout, config.labels, whitens)
        return [*specs, _spec(stage, config, settings.data, dataset)]
    layers = [settings.at_layer(layer).finetune for layer in range(depth)]
    of_layers = {name: tuple(float(getattr(layer, name)) for layer in layers) for name in _OF_LAYERS}
    stage = Finetune(config, *shape, n_classes, whitens)
    return [*specs, _spec(stage, config, settings.data, dataset, of_layers)]


def _pretraining(settings: Experiment, dataset: Dataset) -> list[_Spec]:
    """Returns the phases of one point's trials, from the images up, and last one of all layers at once if there is."""
    activations, widths = _activations(settings), settings.encoder.widths
    image_size, specs = dataset.train.images.shape[1], []
    counterparts: tuple[Counterpart, ...] = ()
    made, training = 0, settings.pretrain.training
    if training == "end_to_end":
        counterparts = canonical.counterparts_end_to_end(settings.pretrain.objective, activations)
    else:
        for layer in range(len(widths)):
            layer_settings = settings.at_layer(layer).pretrain
            if settings.finetune.encoder_init == "pca":
                layer_settings = dataclasses.replace(layer_settings, objective=ObjectiveConfig(kind="pca"))
            config = canonical.phase(layer_settings, layer)
            counterparts += (canonical.counterpart(config.objective, layer, activations),)
            supervised = config.objective.kind == "supervised"
            n_examples = settings.finetune.labels if supervised else len(dataset.train.images)
            shape = (image_size, widths[: layer + 1], activations[: layer + 1], n_examples, counterparts, layer)
            n_classes = len(dataset.class_names) if any(each.decoder == "none" for each in counterparts) else 0
            stage = Phase(config, *shape, n_classes, made if config.carry_step_count else 0)
            labelled = {"label_subset": settings.finetune.label_subset} if supervised else {}
            specs.append(_spec(stage, config, settings.pretraining_data, dataset, choices=labelled))
            made += stage.total_steps
    if training != "greedy" and settings.finetune.encoder_init != "pca":
        config = canonical.end_to_end(settings.pretrain)
        shape = (image_size, widths, activations, len(dataset.train.images), counterparts, 0)
        stage = Phase(config, *shape, made_before=made if config.carry_step_count else 0)
        specs.append(_spec(stage, config, settings.pretraining_data, dataset))
    return specs


def _spec(
    stage: Stage,
    config: PretrainConfig | FinetuneConfig,
    data: DataConfig,
    dataset: Dataset,
    numbers: Mapping[str, Numbers] | None = None,
    choices: Mapping[str, Choice] | None = None,
) -> _Spec:
    """Returns what decides a stage's outcome besides its seed and parent, and the stage with its numbers left out."""
    static, own = fields.split_traced(config)
    own, choices = {**own, **(numbers or {})}, {**fields.start_values(config), **(choices or {})}
    # What the stage is besides its config, which has the numbers and choices that decide the outcome, too.
    shape = {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage) if field.name != "config"}
    spec = {"kind": type(stage).__name__, **shape, "config": dataclasses.asdict(config), **(numbers or {}), **choices}
    images = {"fingerprint": dataset.fingerprint, "validation": len(dataset.validation.images)}
    content = {"format": FORMAT, "data": images, "spec": spec}
    return _Spec(dataclasses.replace(stage, config=static), own, choices, data, content)


def _activations(settings: Experiment) -> tuple[str, ...]:
    return tuple(settings.at_layer(layer).encoder.activation for layer in range(len(settings.encoder.widths)))


def _path(specs: list[_Spec], seed: int, repeat: int) -> list[Job]:
    """Returns the jobs of one trial."""
    path: list[Job] = []
    for spec in specs:
        before = path[-1] if path else None
        job_seed = _seed(spec, seed, repeat)
        job_id = _digest({**spec.content, "seed": job_seed, "parent": before and before.id})
        parent = (before and before.id, before and before.stage)
        path.append(Job(job_id, spec.stage, spec.numbers, job_seed, *parent, spec.data, spec.choices))
    return path


def _seed(spec: _Spec, seed: int, repeat: int) -> int:
    """Returns the seed of a stage's draws.

    Repeats share what reads no labels, so that only the rest has draws of its own, and components are not drawn at all.
    """
    if not isinstance(spec.stage, Phase):
        return seed + (repeat << 16)
    return {"supervised": seed + (repeat << 16), "pca": 0}.get(spec.stage.kind, seed)


def _check_sizes(settings: Experiment, datasets: Mapping[DataConfig, Dataset]) -> None:
    """Checks a point's settings against its datasets."""
    dataset, source = datasets[settings.data], datasets[settings.pretraining_data]
    for name, available in (("finetune.labels", dataset), ("pretrain.batch_size", source)):
        asked, n_images = fields.get(settings, name), len(available.train.images)
        if asked > n_images:
            raise ConfigError(name, asked, f"is more than the {n_images} training images; lower it")
    sizes = [images.train.images.shape[1] for images in (dataset, source)]
    if sizes[0] != sizes[1]:
        remedy = f"has images of {sizes[1]} values, not of {sizes[0]}; name a dataset with images of the same size"
        raise ConfigError("pretrain.wrong_data", settings.pretrain.wrong_data, remedy)
    all_components = settings.finetune.encoder_init == "pca"
    for layer, (below, above) in enumerate(itertools.pairwise((sizes[0], *settings.encoder.widths))):
        of_layer = settings.at_layer(layer)
        if (all_components or of_layer.pretrain.objective.kind == "pca") and above > below:
            remedy = f"has a layer of {above} units that reads {below} values, which have no more components; narrow it"
            raise ConfigError("encoder.widths", settings.encoder.widths, remedy)
        if of_layer.pretrain.objective.kind == "supervised" and of_layer.pretrain.batch_size > settings.finetune.labels:
            remedy = f"is more than the {settings.finetune.labels} labels that supervised phases read; lower it"
            raise ConfigError("pretrain.batch_size", of_layer.pretrain.batch_size, remedy)


def _depth(stage: Stage) -> tuple[bool, int, bool]:
    """Returns what orders stages so that parents come before their children."""
    return not isinstance(stage, Phase), len(stage.widths), isinstance(stage, Phase) and not stage.is_greedy


def _digest(content) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
