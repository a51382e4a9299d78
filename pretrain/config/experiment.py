"""An experiment: settings of its trials, the way it is run, and its question; validated when built."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import tyro
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pretrain.config import baselines, checks, grids, metrics
from pretrain.config.complaints import misplaced
from pretrain.config.fields import STRICT, ConfigError, Faults, bare, fields, join, replace_all, with_values
from pretrain.config.kinds import Count, Switch
from pretrain.config.settings import Settings, SweptValue
from pretrain.config.suggestions import suggestion


@dataclass(frozen=True, config=STRICT)
class EngineConfig:
    """Where packs run, and what each asks for there."""

    name: Literal["local", "ray", "slurm"] = "local"
    """This process, a Ray cluster (`pip install -e '.[ray]'`) or Slurm (`.[slurm]`); `--engine NAME` for
    short. The store must be on a file system that all workers share."""
    address: str = ""
    """ray: the cluster's address, `auto` for the one on this machine; empty starts one here. slurm: `local` runs the
    jobs as processes of this machine; empty submits them."""
    distributed: Switch = False
    """local: this is one of several processes, each started with the same command on its host, that share every pack;
    see `pretrain.execute.hosts`."""
    cpus: Count = 2
    """Cores that a pack asks for on ray and slurm (cores)."""
    gpus: Annotated[float, Ge(0)] = 0.0
    """GPUs that a pack asks for; on ray also a fraction of one, shared with other packs (GPUs)."""
    memory: Annotated[float, Gt(0)] = 4.0
    """Memory that a pack asks for on ray and slurm, to which packs are cut (GB)."""
    retries: Annotated[int, Ge(0)] = 5
    """Times that a pack is run again after its worker or node was lost, at least once, and that a job is queued again
    after it was preempted or out of time; a pack that raises is run again once."""
    time_limit: Count = 240
    """slurm: limit of a job (minutes); a pack that needs longer goes on in its next job."""
    partition: str = ""
    """slurm: partition; empty takes the cluster's default."""
    parallel: Count = 256
    """slurm: jobs of an array that run at once."""
    workers: Count = 1
    """slurm: workers of a job, each with so many `cpus`, `gpus` and so much `memory`; as many as a node has devices
    make one job a node (workers)."""
    detach: Switch = False
    """slurm: leave as soon as the jobs are submitted, with one more after them that writes the report; the same command
    looks after them again; `--detach` for short."""
    flags: tuple[str, ...] = ()
    """slurm: further sbatch options, each as `account=mine` or `exclusive`."""


@dataclass(frozen=True, config=STRICT)
class StudyConfig:
    """The question asked of the trials; no field of it changes a trial."""

    compare: Annotated[str, MinLen(1)] = "finetune.encoder_init"
    """Swept field whose values are compared, seed by seed; where it is not swept, the first swept field is."""
    metric: metrics.MetricName = metrics.AUTO
    """Result that is compared: accuracy, balanced_accuracy, auroc, average_precision or loss of classes; r2, rmse, mae
    or loss of numbers; or FILE.py:NAME, one of your own; on test rows, or as in validation_accuracy on validation rows.
    auto: accuracy; of several labels auroc, of numbers r2."""
    smallest_effect: Annotated[float, Gt(0), Lt(1)] = 0.005
    """Smallest difference that matters: what certainly lies below it is no difference. Of accuracies, AUROC, average
    precision and R² it is a difference; of losses and errors a fraction of the baseline's mean."""
    tune: tuple[str, ...] = ()
    """Swept fields that are no condition: each arm chooses their values for each seed, by the metric on validation rows
    (Bouthillier et al., 2021). `--tune field=value,value` sweeps a field and names it here."""
    tune_labels: Count | Literal["train", "all"] = "train"
    """Validation rows with a label that may choose: a number, `train`, as many as fine-tuning has labels at most, or
    `all` (rows)."""
    family: tuple[str, ...] = ()
    """Comparisons that the question is about, each named as `field=value`: of several values of a field any, of several
    fields all. Their p-values are adjusted for one another only; the others explore, and are adjusted among themselves.
    By default all comparisons are the question's."""
    intervals: Literal["one-by-one", "simultaneous"] = "one-by-one"
    """Intervals of differences: each at 95 % by itself, or all of a family at once (Bonferroni's t)."""
    until_conclusive: Switch = False
    """Add `seeds` more seeds until no comparison of the question is inconclusive, or open for new rows where more seeds
    may settle it, or there are `study.most_seeds`, and judge each time so strictly that all times together err in at
    most 5 %; `--until-conclusive` for short."""
    variation: Switch = False
    """Train each trial anew for each source of variation - pretraining, label subset, head, batches, and the split of
    the data where each seed has its own - with only that source drawn anew, and split the variation of differences over
    seeds among them; `--variation` for short."""
    baselines: Switch = False
    """Set raw inputs beside the arms: linear, nearest neighbours and boosted trees, each on the same labelled rows and
    tuned on validation rows. Nothing is judged by them; an encoder below the best of them is named; `--baselines` for
    short."""
    keep_states: Switch = False
    """Keep the state of finished training, the optimizer's and the method's own included, and let the same stages of
    more epochs or updates go on from there, to the same bits; not where an update depends on how many there are, as
    under a cosine schedule."""
    most_seeds: Annotated[Count, Le(1 << 16)] = 32
    """Seeds at which `until_conclusive` ends, conclusive or not (seeds)."""


class Point(NamedTuple):
    """A point of a sweep."""

    values: dict[str, SweptValue]  # by dotted name
    settings: Settings


@dataclass(frozen=True, config=STRICT)
class Experiment(Settings):
    """A question asked of the data: the settings of its trials, the grid to sweep and the seeds to repeat it with."""

    sweep: Annotated[tuple[dict[str, tuple[SweptValue, ...]], ...], tyro.conf.Suppress] = ()
    """Grids of swept values by dotted field name; a grid is the product of its fields, the sweep the union of its
    grids."""
    seeds: Annotated[Count, Le(1 << 16)] = 8
    """Repetitions; arms of one seed share label subset, head initialisation and batch order (seeds)."""
    repeats: Annotated[Count, Le(1 << 16)] = 1
    """Fine-tunings of each seed, which share its pretraining and differ in every later draw (fine-tunings)."""
    run_dir: Annotated[str, MinLen(1)] = "runs/run-{id}"
    """Directory of this run's tables and figures; {id} in its last part is the experiment's, and the name without -{id}
    a link to the newest."""
    tags: tuple[Annotated[str, MinLen(1)], ...] = ()
    """Words by which `launch.py runs --tag` finds the run; they change nothing else."""
    store: Annotated[str, MinLen(1)] = "runs/store"
    """Directory of trained stages, shared by runs."""
    code: Literal["match", "ignore"] = "match"
    """Stored stages that a run takes: those that this code would train alike; or, under ignore, all of the same
    settings and data, whatever code trained them."""
    defaults: Literal["protocol", "data"] = "protocol"
    """Fields that nobody chose: as the config has them, where they fit the data at all; or, under data, label budgets,
    widths, batches, noise of pretraining, splits and metric that follow the data."""
    ways: Switch = False
    """Pretrain in each way that fits the rows, beside that of `pretrain.method`: contrastive, redundancy and masked of
    images; contrastive and masked of series and volumes; contrastive, masked and vime of columns."""
    engine: EngineConfig = EngineConfig()
    study: StudyConfig = StudyConfig()
    save_every: Annotated[float, Ge(0)] = 60.0
    """Time between two saves of a pack in training, from which an interrupted one goes on (seconds)."""

    def __post_init__(self) -> None:
        checks.check_texts(self)
        for name, values in (pair for each in (*self.sweep, self.per_layer) for pair in each.items()):
            for value in values if name.endswith(".kind") else ():
                join(Settings, name, value)
        faults, swept = Faults(), {name for grid in self.sweep for name in grid}
        swept |= {"pretrain.method.kind"} if self.ways else set()
        for check in (
            lambda: checks.check_sweep(self.sweep, self.finetune),
            lambda: checks.check_tuned(self.sweep, self.study.tune, self.study.compare),
            self._check_compared,
            lambda: checks.check_family(self.study.family, swept),
            self._check_points,
        ):
            with faults.noted():
                check()
        if self.study.until_conclusive and self.study.most_seeds < self.seeds:
            remedy = f"is less than the first batch of seeds {self.seeds}; raise it, or lower seeds"
            faults.append(ConfigError("study.most_seeds", self.study.most_seeds, remedy))
        faults.check()

    def _check_compared(self) -> None:
        if self.study.compare not in fields(Settings):
            near = suggestion(self.study.compare, fields(Settings), "--help lists them")
            raise ConfigError("study.compare", self.study.compare, f"is no field; {near}")

    def _check_points(self) -> None:
        """Checks each point of the sweep, which is no point where a swept name or value is wrong."""
        faults = Faults()
        for point in self.points:
            with faults.noted():  # the second relies on the first
                checks.check_per_layer(point.settings, point.values)
                checks.check_trial(point.settings)
        faults.check()

    @functools.cached_property
    def points(self) -> tuple[Point, ...]:
        """Each distinct point of the sweep, then baselines; a single one of no values without a sweep.

        Raises:
          ConfigError: a name is no field of a trial's settings, or a value does not fit its field.
        """
        points = list(grids.points(self.sweep))
        if self.study.baselines:
            points = list(baselines.with_baselines(points, self.finetune.encoder_init))
        return tuple(Point(values, self.at(values)) for values in points)

    @functools.cached_property
    def whole(self) -> "Experiment":
        """The experiment with all seeds that it may come to under `study.until_conclusive`."""
        return self.with_others({"seeds": self.study.most_seeds}) if self.study.until_conclusive else self

    def with_others(self, values: Mapping[str, int | str]) -> "Experiment":
        """Returns the experiment with fields set that no trial's settings hold, unchecked, and the same points."""
        changed = with_values(self, values)
        vars(changed)["points"] = self.points
        return changed

    def at(self, values: Mapping[str, SweptValue]) -> Settings:
        """Returns the settings of the trials at a point of the sweep.

        Raises:
          ConfigError: a name is no field of a trial's settings, or a value does not fit its field.
        """
        settings = bare(Settings, {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)})
        for name in values:
            if name in fields(Experiment) and (name not in fields(Settings) or name == "per_layer"):
                raise ConfigError("sweep", name, "is the same for all trials of a run; start a run for each value")
        return replace_all(settings, values)


def to_json(experiment: Experiment) -> str:
    """Returns an experiment as indented JSON."""
    return TypeAdapter(Experiment).dump_json(experiment, indent=2).decode()


def from_json(text: str) -> Experiment:
    """Returns the experiment that ``to_json`` wrote, equal to the original.

    >>> experiment = Experiment(seeds=3, sweep=({"finetune.encoder_init": ("pretrained", "he")},))
    >>> from_json(to_json(experiment)) == experiment
    True

    Raises:
      ConfigError: the text is no JSON or no valid experiment.
    """
    try:
        return TypeAdapter(Experiment).validate_json(text)
    except ValidationError as error:
        name, value, what = misplaced(error, fields(Experiment))
        raise ConfigError(name or "experiment", value, what) from None
