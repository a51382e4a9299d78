"""What an experiment is: what is trained, how it is run, and what is asked of it; validated when built."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pretrain.config import checks, grids
from pretrain.config.fields import STRICT, ConfigError, complaint, join_traced, replace
from pretrain.config.settings import (
    Count,
    DataConfig,
    EncoderConfig,
    FinetuneConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
    Switch,
)

__all__ = [
    "DataConfig",
    "EncoderConfig",
    "EngineConfig",
    "Experiment",
    "FinetuneConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "StudyConfig",
    "SweptValue",
    "from_json",
    "to_json",
]

SweptValue = bool | int | float | str | tuple[int, ...]


@dataclass(frozen=True, config=STRICT)
class EngineConfig:
    """Where packs run, and what each asks for there."""

    name: Literal["local", "ray", "slurm"] = "local"
    """This process, a Ray cluster (`pip install 'pretrain[ray]'`) or Slurm (`pretrain[slurm]`); `--engine NAME` for
    short. The store must be on a file system that all workers share."""
    address: str = ""
    """ray: the cluster's address, `auto` for the one on this machine; empty starts one here. slurm: `local` runs the
    jobs as processes of this machine; empty submits them."""
    distributed: Switch = False
    """local: this is one of several processes, each started with the same command on its host, that share every pack;
    see `pretrain.sweep.hosts`."""
    cpus: Count = 2
    """Cores that a pack asks for on ray and slurm (cores)."""
    gpus: Annotated[float, Ge(0)] = 0.0
    """GPUs that a pack asks for; on ray also a fraction of one, shared with other packs (GPUs)."""
    memory: Annotated[float, Gt(0)] = 4.0
    """Memory that a pack asks for on ray and slurm, to which packs are cut (GB)."""
    retries: Annotated[int, Ge(0)] = 5
    """Times that a pack is run again after its worker or node was lost, or its job preempted or out of time."""
    time_limit: Count = 240
    """slurm: limit of a job (minutes); a pack that needs longer goes on in its next job."""
    partition: str = ""
    """slurm: partition; empty takes the cluster's default."""
    parallel: Count = 256
    """slurm: jobs of an array that run at once."""
    flags: tuple[str, ...] = ()
    """slurm: further sbatch options, each as `account=mine` or `exclusive`."""


@dataclass(frozen=True, config=STRICT)
class StudyConfig:
    """What the trials are asked; none of it changes what is trained."""

    compare: Annotated[str, MinLen(1)] = "finetune.encoder_init"
    """Swept field whose values are compared, seed by seed; where it is not swept, the first swept field is."""
    metric: Literal["test_accuracy", "validation_accuracy"] = "test_accuracy"
    """Result that is compared."""
    smallest_effect: Annotated[float, Gt(0), Lt(1)] = 0.005
    """Smallest difference that matters (fraction): what certainly lies below it is no difference."""
    until_conclusive: Switch = False
    """Add `seeds` more seeds until no comparison is inconclusive, or there are `study.most_seeds`, and judge each time
    so strictly that all times together err in at most 5 %; `--until-conclusive` for short."""
    most_seeds: Annotated[Count, Le(1 << 16)] = 32
    """Seeds at which `until_conclusive` ends, conclusive or not (seeds)."""


_OF_A_RUN = ("study", "sweep", "per_layer", "seeds", "repeats", "run_dir", "store", "engine", "save_every")


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """A question asked of the data: the stages to run, the grid to sweep and the seeds to repeat it with."""

    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    sweep: Annotated[tuple[dict[str, tuple[SweptValue, ...]], ...], tyro.conf.Suppress] = ()
    """Grids of swept values by dotted field name; a grid is the product of its fields, the sweep the union of its
    grids."""
    per_layer: Annotated[dict[str, tuple[SweptValue, ...]], tyro.conf.Suppress] = dataclasses.field(
        default_factory=dict
    )
    """Fields that differ from layer to layer: by dotted name, a value for each layer, from the images up."""
    seeds: Annotated[Count, Le(1 << 16)] = 8
    """Repetitions; arms of one seed share label subset, head initialisation and batch order (seeds)."""
    repeats: Annotated[Count, Le(1 << 16)] = 1
    """Fine-tunings of each seed, which share its pretraining and differ in every later draw (fine-tunings)."""
    run_dir: Annotated[str, MinLen(1)] = "runs/run"
    """Directory of this run's tables and figures."""
    store: Annotated[str, MinLen(1)] = "runs/store"
    """Directory of trained stages, shared by runs."""
    engine: EngineConfig = EngineConfig()
    study: StudyConfig = StudyConfig()
    save_every: Annotated[float, Ge(0)] = 60.0
    """Time between two saves of a pack in training, from which an interrupted one goes on (seconds)."""

    def __post_init__(self):
        points = list(self.points())
        deepest = max(len(self.at(point).encoder.widths) for point in points)
        checks.check_per_layer(self.per_layer, deepest, self.sweep)
        checks.check_sweep(self.sweep, self.finetune)
        for point in points:
            checks.check(self.at(point))
        if self.study.until_conclusive and self.study.most_seeds < self.seeds:
            remedy = f"is less than the first batch of seeds {self.seeds}; raise it, or lower seeds"
            raise ConfigError("study.most_seeds", self.study.most_seeds, remedy)

    def points(self) -> Iterator[dict[str, SweptValue]]:
        """Returns each distinct point of the sweep as swept values by dotted name; one empty point without a sweep."""
        for grid in self.sweep:
            for name in grid:
                if name.partition(".")[0] in _OF_A_RUN:
                    raise ConfigError("sweep", name, "is the same for all trials of a run; start a run for each value")
        return grids.points(self.sweep)

    def at(self, point: Mapping[str, SweptValue]) -> "Experiment":
        """Returns this experiment without its sweep, its fields set to the point's values.

        Raises:
          ConfigError: a name is no field of an experiment, or a value does not fit its field.
        """
        experiment = join_traced(self, {"sweep": ()})
        for name, value in point.items():
            experiment = replace(experiment, name, value)
        return experiment

    def at_layer(self, layer: int) -> "Experiment":
        """Returns this experiment with all fields as they are for one layer, the lowest is 0."""
        experiment = join_traced(self, {"per_layer": {}})
        for name, values in self.per_layer.items():
            experiment = replace(experiment, name, values[layer])
        return experiment

    @property
    def pretraining_data(self) -> DataConfig:
        """The images of pretraining: those of fine-tuning, unless the encoder starts from others."""
        if self.finetune.encoder_init != "wrong_data":
            return self.data
        other = self.pretrain.wrong_data
        changed = {"shuffled_pixels": True} if other == "noise" else {"name": other}
        return dataclasses.replace(self.data, **changed)


def to_json(experiment: Experiment) -> str:
    """Returns an experiment as indented JSON."""
    return TypeAdapter(Experiment).dump_json(experiment, indent=2).decode()


def from_json(text: str) -> Experiment:
    """Returns the experiment that ``to_json`` wrote, equal to the original.

    Raises:
      ConfigError: the text is no JSON or no valid experiment.
    """
    try:
        return TypeAdapter(Experiment).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(".".join(map(str, first["loc"])) or "experiment", first["input"], complaint(error)) from None
