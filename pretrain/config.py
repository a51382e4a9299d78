"""What an experiment is: frozen dataclasses, validated when built.

Three kinds of field decide how trials share work, and each is declared at the field's type:

- a plain field is *static*: a shape, a name or a count, part of the compiled program;
- a ``Traced`` field is a number that the compiled program takes as an argument, so trials that differ only there
  share one compilation;
- a ``Start`` field decides only where training starts, so it is no part of the program at all.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pretrain import grids
from pretrain.fields import START, STRICT, TRACED, ConfigError, complaint, join_traced, replace

Count = Annotated[int, Gt(0)]
Rate = Annotated[float, Gt(0), TRACED]
Penalty = Annotated[float, Ge(0), TRACED]
Decay = Annotated[float, Ge(0), Lt(1), TRACED]
Switch = Annotated[bool, tyro.conf.FlagConversionOff]  # --field True, so that a script can pass either value
Activation = Literal["elu", "relu", "gelu", "sigmoid", "tanh", "identity"]
Sampling = Literal["epoch", "fresh"]
SweptValue = bool | int | float | str | tuple[int, ...]


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """The images: where they come from and how they are split."""

    name: Annotated[str, MinLen(1)] = "mnist"
    """The packaged `mnist`, the path of an .npz file with train_images, train_labels, test_images and test_labels,
    or the name of a TensorFlow Datasets image classification set."""
    dir: str = "~/tensorflow_datasets"
    """Directory that holds prepared TensorFlow Datasets."""
    validation: Count = 5000
    """Training images held out for validation, taken from the start of the training set (images)."""
    greyscale: Switch = False
    """Turn colour images to one channel (ITU-R BT.601 luma) before flattening them for the encoder."""


@dataclass(frozen=True, config=STRICT)
class EncoderConfig:
    """The encoder: a stack of dense layers."""

    widths: Annotated[tuple[Count, ...], MinLen(1)] = (300, 150)
    """Units of each layer, from the images up (units)."""
    activation: Activation = "elu"
    """Activation of every encoder layer, and of every decoder but the one that reconstructs images."""


@dataclass(frozen=True, config=STRICT)
class OptimizerConfig:
    """The optimizer of a stage, with its learning-rate schedule."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """Update rule; adamw adds decoupled weight decay to adam."""
    learning_rate: Rate = 0.01
    """Peak step size (per update)."""
    momentum: Decay = 0.0
    """Momentum of sgd (fraction kept per update); adam and adamw ignore it."""
    beta1: Decay = 0.9
    """Decay of adam's first moment (fraction kept per update)."""
    beta2: Decay = 0.999
    """Decay of adam's second moment (fraction kept per update)."""
    epsilon: Rate = 1e-8
    """Added to the root of adam's second moment."""
    weight_decay: Penalty = 0.0
    """Decoupled decay of kernels under adamw (fraction of the kernel per unit of learning rate)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after warm-up: held, or taken to zero along half a cosine over the stage's updates."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    """Updates over which the learning rate rises linearly to its peak (updates)."""


@dataclass(frozen=True, config=STRICT)
class ObjectiveConfig:
    """What a phase minimises: how well a layer's codes reconstruct what it reads, and what else is asked of them."""

    loss: Literal["mse", "cross_entropy"] = "mse"
    """Squared error, mean over units; or Bernoulli cross-entropy, sum over units (nats), of values in [0, 1]."""
    output: Literal["linear", "sigmoid"] = "linear"
    """Activation of the reconstructed images under mse; cross_entropy has sigmoid everywhere."""
    tied: Switch = False
    """Decode with the transpose of the encoder's kernel, so that only the decoder's bias is its own."""
    corruption: Literal["none", "masking", "gaussian", "salt_and_pepper"] = "none"
    """Noise on what the layer reads in training, while what it is to reconstruct stays clean."""
    corruption_level: Penalty = 0.3
    """Probability of a value to be lost under masking and salt_and_pepper (fraction); deviation of gaussian noise."""
    corruption_schedule: Literal["constant", "linear"] = "constant"
    """Corruption level over the updates of a phase: held, or taken evenly to zero."""
    sparsity: Literal["none", "kl", "l1"] = "none"
    """Sparse codes: by the KL divergence of each unit's mean over a batch from a target rate, summed over units (nats),
    or by their absolute values, summed over units."""
    sparsity_weight: Penalty = 0.001
    """Times the sparsity term joins the loss."""
    sparsity_target: Annotated[float, Gt(0), Lt(1), TRACED] = 0.05
    """Target rate of kl (fraction)."""
    contractive: Switch = False
    """Whether the squared Frobenius norm of the encoder's Jacobian, mean over the batch, joins the loss."""
    contraction_weight: Penalty = 1e-5
    """Times the norm joins the loss."""


@dataclass(frozen=True, config=STRICT)
class PretrainConfig:
    """Greedy layer-wise pretraining: each phase trains one encoder layer and its decoder on unlabelled images."""

    epochs: Count = 4
    """Passes over the unlabelled images in each phase (epochs)."""
    batch_size: Count = 150
    """Images per update (images)."""
    sampling: Sampling = "epoch"
    """Batches partition a shuffled epoch (the remainder is dropped), or are drawn afresh each update."""
    l2: Penalty = 1e-4
    """L2 penalty: this times half the squared norm of the phase's two kernels joins the loss."""
    cache_codes: Switch = True
    """Compute the codes that feed a phase once, rather than encode every batch; equal up to float32 rounding."""
    carry_step_count: Switch = False
    """Start a phase's Adam bias correction at the number of updates made by the phases before it, as one TensorFlow 1
    optimizer shared by all phases does."""
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclass(frozen=True, config=STRICT)
class FinetuneConfig:
    """Supervised fine-tuning of the encoder and a linear head on the labelled subset."""

    encoder_init: Annotated[Literal["pretrained", "he"], START] = "pretrained"
    """Encoder weights at the start: from pretraining, or a fresh He initialisation."""
    head_init: Annotated[Literal["random", "ridge"], START] = "random"
    """Head at the start: a fresh He initialisation, or fitted in closed form: a ridge regression of the labelled
    subset's class indicators on its codes."""
    ridge_penalty: Rate = 0.01
    """Penalty of a ridge-fitted head (fraction of the codes' mean variance)."""
    codes: Annotated[Literal["raw", "standardised"], START] = "raw"
    """What the head reads: the encoder's codes, or codes to which every unit's mean and standard deviation over the
    unlabelled images, as they are before fine-tuning, give mean 0 and standard deviation 1."""
    frozen_layers: Annotated[int, Ge(0)] = 0
    """Encoder layers, from the images up, that fine-tuning leaves as they are (layers)."""
    labels: Count = 2000
    """Size of the labelled subset (images)."""
    label_subset: Annotated[Literal["first", "random", "balanced"], START] = "first"
    """Labelled images: the first after the validation images, a random draw, or a random draw balanced over classes."""
    epochs: Count = 4
    """Passes over the labelled subset (epochs)."""
    updates: Annotated[int, Ge(0)] = 0
    """Updates in place of epochs, the same for any number of labels; 0 trains for epochs (updates)."""
    batch_size: Count = 50
    """Images per update (images)."""
    sampling: Sampling = "fresh"
    """Batches partition a shuffled epoch (the remainder is dropped), or are drawn afresh each update."""
    l2: Penalty = 5e-4
    """L2 penalty: this times half the squared norm of the trainable kernels joins the loss."""
    first_logit_change: Penalty = 0.0
    """Change of the logits on its batch to which the first update is scaled, to match arms in it; 0 leaves that update
    as the optimizer makes it (root mean square over images and classes)."""
    cache_codes: Switch = True
    """Compute the codes of frozen layers once, rather than encode every batch; equal up to float32 rounding."""
    validate_at: tuple[Count, ...] = (1, 2, 5, 10, 20, 40)
    """Updates after which validation accuracy and loss are measured, besides the end of every epoch, or of training
    where `updates` are given (updates)."""
    diagnose_at: tuple[Count, ...] = ()
    """Updates that are diagnosed: change of the logits, relative update size and gradient norm layer by layer, and of
    the codes after it, effective rank, condition number and alignment with the initial codes (updates)."""
    optimizer: OptimizerConfig = OptimizerConfig()


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


_OF_A_RUN = ("study", "sweep", "seeds", "repeats", "run_dir", "store", "engine", "save_every")


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
        for point in self.points():
            self.at(point)._check()
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

    def _check(self) -> None:
        """Checks what no single field can: that the stages fit together."""
        finetune, depth = self.finetune, len(self.encoder.widths)
        self._check_objective()
        if finetune.frozen_layers > depth:
            remedy = (
                f"is more layers than the encoder has; at most {depth}, or widen encoder.widths {self.encoder.widths}"
            )
            raise ConfigError("finetune.frozen_layers", finetune.frozen_layers, remedy)
        if finetune.batch_size > finetune.labels:
            remedy = f"is larger than finetune.labels {finetune.labels}; lower it"
            raise ConfigError("finetune.batch_size", finetune.batch_size, remedy)

    def _check_objective(self) -> None:
        """Checks that codes lie where an objective needs them."""
        objective, activation = self.pretrain.objective, self.encoder.activation
        if objective.loss == "cross_entropy" and len(self.encoder.widths) > 1 and activation != "sigmoid":
            remedy = f"needs codes between 0 and 1; set encoder.activation to sigmoid, not {activation!r}"
            raise ConfigError("pretrain.objective.loss", objective.loss, remedy)
        if objective.sparsity == "kl" and activation != "sigmoid":
            remedy = f"needs codes between 0 and 1; set encoder.activation to sigmoid, not {activation!r}, or take l1"
            raise ConfigError("pretrain.objective.sparsity", objective.sparsity, remedy)


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
