"""Settings of a trial: data, encoder, pretraining and fine-tuning, as frozen dataclasses."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import tyro
from annotated_types import Ge, Gt, Lt, MinLen
from pydantic.dataclasses import dataclass

from pretrain.config.effects import Unless, When, canonical
from pretrain.config.endings import EndingConfig, NoEndingConfig
from pretrain.config.fields import STRICT, TRACED, bare, hints, replace_all, with_values
from pretrain.config.kinds import (
    Activation,
    ClassWeights,
    Count,
    Norm,
    Penalty,
    Rate,
    Sampling,
    SweptValue,
    Switch,
    TaskKind,
)
from pretrain.config.layers import LayerWord, Word, read_word
from pretrain.config.methods import AutoencoderConfig, Method, MethodConfig, PcaConfig
from pretrain.config.optimizers import AdamConfig, OptimizerConfig
from pretrain.config.views import VIEWS, Views, ViewWord


class Home(NamedTuple):
    """Marks a field of fine-tuning that a part of its stage reads which is not its method's update."""

    part: Literal["start", "layers", "rows", "rule", "schedule"]


Share = Annotated[float, Gt(0), Lt(1)]
Stop = Literal["none", "validation"]


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """The examples: where they come from, how they are split and scaled."""

    name: Annotated[str, MinLen(1)] = "mnist"
    """The packaged `mnist`; mnist_basic, mnist_rot, mnist_back_rand, rectangles or convex, made on demand; the path of
    an .npz file, of a directory of .npy files, of a folder of pictures by class, or of a table, .csv, .tsv or .parquet;
    FILE.py:FUNCTION, which returns a dictionary of arrays; or the name of a TensorFlow Datasets image classification
    set. pretrain/data/README.md lists the names of arrays."""
    dir: str = "~/tensorflow_datasets"
    """Directory that holds prepared TensorFlow Datasets."""
    target: str = ""
    """Column of a table that holds the targets."""
    task: Literal["auto", TaskKind] = "auto"
    """Meaning of the targets: a class, several labels of 0 and 1, or numbers; auto sees it in the training rows."""
    drop: tuple[str, ...] = ()
    """Columns of a table to leave out."""
    missing: tuple[str, ...] = ()
    """Texts and numbers, such as -999, that stand for missing values in input columns of a table, beside empty cells;
    and ?, -, NA, N/A, nan, null and none do among more than 20 numbers."""
    categories: tuple[str, ...] = ()
    """Columns of a table whose numbers are codes: a column of 0 and 1 for each."""
    group: str = ""
    """Column of a table, or array of a row each, whose equal values stay together in one split, and which is no input;
    a row without a value is a group of its own."""
    time: str = ""
    """Column of a table, or array of a row each, of numbers or dates, or `order`, that of the rows: the last rows are
    test rows, and those before them validation rows, where the data have none; it is no input."""
    validation: Count | Share = 5000
    """Training rows held out for validation, where the data have no validation rows: a count, or a share of the rows
    with a label."""
    test: Count | Share = 0.2
    """Rows held out for the test, where the data have no test rows: a count, or a share of the rows with a label."""
    splits: Literal["fixed", "fresh"] = "fixed"
    """Cut of the held-out rows: the same for all seeds, the first rows where data come with test rows and in no order
    of classes, at random and stratified by class otherwise; or at random for each seed."""
    cut: Annotated[int, Ge(0), When("splits", ("fixed",))] = 0
    """Number of a fixed cut; all but 0 are at random."""
    inputs: Literal["auto", "columns", "series", "images", "volumes"] = "auto"
    """Form of a row of an array: columns; or a series, an image or a volume, of which channels are scaled apart. auto:
    bytes and multiples of 1/255 are images, or volumes where three axes are 8 or more; of other numbers, those that are
    smooth along one axis are series, along two images, along three volumes, along none columns."""
    size: Count = 32
    """Height and width that pictures of a folder are brought to (pixels)."""
    scaling: Literal["auto", "none", "unit", "standardise"] = "auto"
    """Inputs as the encoder reads them: unit, in [0, 1]; standardise, mean 0 and deviation 1 over the training rows,
    column by column or channel by channel; none, as they are. auto: unit for bytes, none for numbers that lie in
    [0, 1], and standardise otherwise."""
    scale_from: Literal["auto", "train", "all"] = "auto"
    """Rows that decide scales, fills of missing values and categories: training rows with a label, or all that
    pretraining may read. auto: all, unless those without a label are of another population."""
    unlabelled: Annotated[int, Ge(0)] | Literal["all"] = "all"
    """Rows without a label that pretraining reads, or `all` (rows)."""
    pretrain_on: Literal["both", "train", "unlabelled"] = "both"
    """Rows that pretraining reads: those with a label, those without, or both."""
    greyscale: Switch = False
    """Turn colour images to one channel (ITU-R BT.601 luma)."""
    shuffled_pixels: Switch = False
    """Shuffle every pixel over the images of its split: each keeps its distribution, and images show nothing."""


@dataclass(frozen=True, config=STRICT)
class EncoderConfig:
    """The encoder: a stack of layers."""

    layers: Annotated[tuple[LayerWord, ...], MinLen(1)] = (300, 150)
    """Layers from the images up: a number of units (dense); 32c5s2, a convolution of 32 features, window 5 and stride
    2, along the steps of a series, the two axes of an image or the three of a volume, padded as TensorFlow's SAME, and
    32c5s2p2 as torch's padding 2; r64s2, a residual block of 64 features and stride 2; 64p4, patches of 4 along each
    axis, embedded in 64 with learned positions, t4, a block of attention of 4 heads, and norm, a norm of each token's
    units; mean, over all positions; max2, the largest of two along each axis; resnet18, torchvision's up to its 512
    pooled features, with its own activation; or FILE.py:FUNCTION, which returns modules of your own."""
    activation: Activation = "elu"
    """Activation of every encoder layer; a decoder layer has that of the codes it reconstructs."""
    norm: Norm = "auto"
    """Normalisation between the product and the activation of layers: none; group, over positions and groups of
    features; layer, over the features of a position; batch, over rows and positions, and by running averages wherever
    nothing is trained; auto is group in residual blocks and none elsewhere. Other words, and modules of your own, are
    as they are."""
    precision: Literal["float32", "bfloat16", "tf32"] = "float32"
    """Operands of the products of layers, decoders and heads: as they are, or rounded to bfloat16, or to TensorFloat-32
    on CUDA. Sums, parameters, losses and statistics are float32, and so are modules of your own."""


@dataclass(frozen=True, config=STRICT)
class PretrainConfig:
    """Pretraining, by default greedy: each stage trains one encoder layer for its method on unlabelled images."""

    training: Literal["greedy", "end_to_end", "greedy_then_end_to_end"] = "greedy"
    """Layer after layer; all layers at once, as one deep autoencoder; or all at once after layer by layer."""
    encoder_init: Literal["he", "weights"] = "he"
    """Encoder weights at the start of pretraining: a fresh He initialisation, or those of finetune.weights, from which
    it goes on; decoders and heads beside them start afresh."""
    epochs: Annotated[Count, When("updates", (0,))] = 4
    """Passes over the unlabelled images in each greedy stage (epochs)."""
    end_to_end_epochs: Annotated[Count, When("updates", (0,)), Unless("training", ("greedy",))] = 4
    """Passes over the unlabelled images in which all layers are trained at once, if they are (epochs)."""
    updates: Annotated[int, Ge(0)] = 0
    """Updates of each stage in place of epochs; 0 trains for epochs (updates)."""
    validate_every: Annotated[int, Ge(0)] = 0
    """Updates between two measurements on validation rows, in place of the ends of epochs; 0 measures at those
    (updates)."""
    stop: Stop = "none"
    """End of a stage: after all epochs or updates; or, under validation, once the error on validation rows has not
    fallen below its lowest for `patience` measurements, all epochs or updates being the most. What is kept are then the
    parameters at the lowest."""
    watch: tuple[Literal["neighbours", "rank"], ...] = ()
    """Measured of the topmost codes of at most 1,000 validation rows, whenever the error is: neighbours, the share of
    rows whose nearest other is of their class; rank, the effective rank. Training is the same with it."""
    patience: Annotated[Count, When("stop", ("validation",))] = 5
    """Measurements without a lower error after which a stage stops (measurements)."""
    batch_size: Count = 150
    """Images per update (images)."""
    sampling: Sampling = "epoch"
    """Batches partition a shuffled epoch (the remainder is dropped), or are drawn afresh each update."""
    l2: Penalty = 1e-4
    """L2 penalty: this times half the squared norm of the kernels in training joins the loss."""
    cache_codes: Switch = True
    """Compute the codes that feed a stage once, rather than encode every batch; equal up to float32 rounding."""
    carry_step_count: Switch = False
    """Start a stage's Adam bias correction at the number of updates made by the stages before it, as one TensorFlow 1
    optimizer shared by all stages does."""
    wrong_data: Annotated[str, MinLen(1)] = "noise"
    """Images that encoder_init wrong_data is pretrained on: `noise`, the images with their pixels shuffled, or the
    name of another dataset with images of the same size."""
    method: MethodConfig = AutoencoderConfig()
    optimizer: OptimizerConfig = AdamConfig()


# What says which checkpoint an encoder starts from, in pretraining too.
OF_CHECKPOINT = tuple(f"finetune.{name}" for name in ("weights", "weights_layout", "weights_names", "reference"))
EncoderInit = Literal["pretrained", "he", "matched", "permuted", "rotated", "pca", "wrong_data", "weights", "none"]


@dataclass(frozen=True, config=STRICT)
class Finetuning:
    """The fields of fine-tuning but for its views."""

    encoder_init: Annotated[EncoderInit, Home("start")] = "pretrained"
    """Encoder weights at the start: from pretraining, or a fresh He initialisation. Between the two, each
    control keeps another property of a pretrained layer: matched, the mean and deviation of its weights; permuted, the
    weights but not their places; rotated, the singular values but not the directions. Beside them, pca takes principal
    components, wrong_data is pretrained on pretrain.wrong_data, and weights are read from finetune.weights. Under none
    there is no encoder: the head, or the read-out, reads the inputs themselves."""
    weights: Annotated[str, When("encoder_init", ("weights",)), Home("start")] = ""
    """Checkpoint of the encoder under encoder_init weights, here or in pretrain: .safetensors, .npz, a state dict of
    PyTorch (.pt, .pth), an orbax directory, or an exported network; it must hold each parameter and nothing else."""
    weights_layout: Annotated[Literal["auto", "torch", "flax"], When("encoder_init", ("weights",)), Home("start")] = (
        "auto"
    )
    """Layout of the checkpoint: torch, dense kernels [out, in] and images channels first; flax, [in, out] and last;
    auto, as the file says, which shapes never do."""
    weights_names: Annotated[tuple[str, ...], When("encoder_init", ("weights",)), Home("start")] = ()
    """Names in the checkpoint, of arrays or of all that begin alike: `layers_0=encoder.0` takes encoder.0.* as
    layers_0/*, and `=decoder` leaves decoder.* out."""
    reference: Annotated[str, When("encoder_init", ("weights",)), Home("start")] = ""
    """Codes that the checkpoint's own code made, which ours must equal to 1e-3 of the largest: an .npz of `x`, raw
    rows, and `codes`, or `codes_0` and so on of each layer; of torch channels first. Empty compares nothing."""
    fresh_layers: Annotated[int, Ge(0), Unless("encoder_init", ("he", "none")), Home("start")] = 0
    """Encoder layers, from the top down, that start afresh (He) whatever encoder_init says (layers)."""
    head_init: Annotated[Literal["random", "zero", "ridge"], When("readout", ("none",)), Home("start")] = "random"
    """Head at the start: a fresh He initialisation, zero, or fitted in closed form: a ridge regression of the labelled
    subset's class indicators on its codes."""
    ridge_penalty: Annotated[Rate, When("head_init", ("ridge",)), When("readout", ("none",))] = 0.01
    """Penalty of a ridge-fitted head (fraction of the codes' mean variance)."""
    codes: Annotated[Literal["raw", "standardised", "whitened"], Home("start")] = "raw"
    """Inputs of the head: the encoder's codes; codes to which the unlabelled images' mean and standard deviation,
    unit by unit and as they are before fine-tuning, give mean 0 and deviation 1; or, by their covariance, also
    correlation 0."""
    readout: Literal["none", "ridge", "logistic", "linear", "knn", "trees", "own"] = "none"
    """Read-out of the encoder as it starts, in place of training: ridge regression, its penalty chosen on validation
    images; logistic regression to convergence, penalised by l2; linear, the same with its penalty chosen likewise;
    nearest neighbours, their number chosen likewise; trees, boosted by scikit-learn on the host, the least rows of a
    leaf and the number of iterations chosen likewise; or own, that of finetune.ending.kind."""
    ending: Annotated[EndingConfig, When("readout", ("own",)), Home("start")] = NoEndingConfig()
    frozen_layers: Annotated[Annotated[int, Ge(0)] | Literal["all"], Home("layers")] = 0
    """Encoder layers, from the images up, that fine-tuning leaves as they are, or `all` (layers)."""
    activation: Annotated[
        Literal["encoder", Activation], When("readout", ("none",)), Unless("encoder_init", ("none",)), Home("layers")
    ] = "encoder"
    """Activation of the layers that fine-tuning trains: that of `encoder.activation`, with which they were pretrained,
    or another. Frozen layers, and those that have their own, keep theirs."""
    unfreeze_at: Annotated[int, Ge(0), TRACED, When("readout", ("none",))] = 0
    """Updates that train the head only, before the encoder layers that are not frozen join in (updates)."""
    rate_factor: Annotated[Penalty, When("readout", ("none",))] = 1.0
    """Learning rate of encoder layers, relative to the head's."""
    labels: Annotated[Annotated[int, Ge(0)] | Share, Home("rows")] = 2000
    """Size of the labelled subset: a count, or a share of the training rows with a label; 0 takes all of them (rows).
    Over several datasets a sweep of shares fits each."""
    label_subset: Annotated[Literal["first", "random", "balanced"], Home("rows")] = "random"
    """Labelled images: the first after the validation images, the same for every seed; or of each seed a random draw,
    or one balanced over classes."""
    epochs: Annotated[Count, When("updates", (0,)), When("readout", ("none",)), Home("rows")] = 4
    """Passes over the labelled subset (epochs)."""
    updates: Annotated[int, Ge(0), When("readout", ("none",)), Home("rows")] = 0
    """Updates in place of epochs, the same for any number of labels; 0 trains for epochs (updates)."""
    batch_size: Annotated[Count, When("readout", ("none",)), Home("rows")] = 50
    """Images per update (images)."""
    sampling: Annotated[Sampling, When("readout", ("none",)), Home("rows")] = "fresh"
    """Batches partition a shuffled epoch (the remainder is dropped), or are drawn afresh each update."""
    class_weights: Annotated[ClassWeights, When("readout", ("none", "logistic"))] = "none"
    """Weights of classes in the loss to minimise: all alike; or balanced, n / (k n_c) for n_c of n labelled rows, of k
    classes, so that each class weighs as much as another; of several labels, positives and negatives of each label.
    Losses that are reported have no weights, but for `validation_weighted_loss`, by which training may then stop."""
    l2: Annotated[Penalty, When("readout", ("none", "logistic")), Home("rule")] = 5e-4
    """L2 penalty: this times half the squared norm of the trainable kernels joins the loss."""
    first_logit_change: Annotated[Penalty, When("readout", ("none",))] = 0.0
    """Change of the logits on its batch to which the first update is scaled, to match arms in it; 0 leaves that update
    as the optimizer makes it (root mean square over images and classes)."""
    cache_codes: Annotated[Switch, When("readout", ("none",)), Home("layers")] = True
    """Compute the codes of frozen layers once, rather than encode every batch; equal up to float32 rounding."""
    validate_at: Annotated[tuple[Count, ...], When("readout", ("none",)), Home("schedule")] = (1, 2, 5, 10, 20, 40)
    """Updates after which validation accuracy and loss are measured, besides the end of every epoch, or of training
    where `updates` are given (updates)."""
    validate_every: Annotated[int, Ge(0), When("readout", ("none",)), Home("schedule")] = 0
    """Updates between two measurements on validation rows, in place of the ends of epochs; 0 measures at those
    (updates)."""
    stop: Annotated[Stop, When("readout", ("none",)), Home("schedule")] = "none"
    """End of training: after all epochs or updates; or, under validation, once the validation loss has not fallen
    below its lowest for `patience` measurements, all epochs or updates being the most. What is tested and stored are
    then the parameters at the lowest."""
    patience: Annotated[Count, When("stop", ("validation",)), When("readout", ("none",)), Home("schedule")] = 5
    """Measurements without a lower validation loss after which training stops (measurements)."""
    diagnose_at: Annotated[tuple[Count, ...], When("readout", ("none",))] = ()
    """Updates that are diagnosed: change of the logits, relative update size and gradient norm layer by layer, and of
    the codes after it, effective rank, condition number and alignment with the initial codes (updates)."""
    optimizer: Annotated[OptimizerConfig, When("readout", ("none",)), Home("rule")] = AdamConfig()

    is_random: ClassVar[bool] = True  # as of methods

    @property
    def is_pretrained(self) -> bool:
        """Whether stages of pretraining come before it."""
        return self.encoder_init not in ("he", "none")

    @property
    def trains_encoder_before(self) -> bool:
        """Whether the stages before it train the encoder."""
        return self.is_pretrained and self.encoder_init != "weights"

    def n_labels(self, n_labelled: int) -> int:
        """Returns the size of the labelled subset of so many rows with a label."""
        if isinstance(self.labels, float):
            return max(1, round(self.labels * n_labelled))
        return self.labels or n_labelled

    @property
    def kind(self) -> str:
        """The method that ends a trial: fine-tuning, or a read-out."""
        return "finetuning" if self.makes_updates else self.readout

    @property
    def makes_updates(self) -> bool:
        """Whether the method trains, rather than finding its result in closed form."""
        return self.readout == "none"

    @classmethod
    def homes(cls) -> dict[str, str]:
        """Returns the part of a stage that reads each field; ``method`` where none is marked."""
        marks = {name: getattr(kind, "__metadata__", ()) for name, kind in hints(cls).items()}
        return {
            name: next((mark.part for mark in each if isinstance(mark, Home)), "method") for name, each in marks.items()
        }


@dataclass(frozen=True, config=STRICT)
class FinetuneConfig(Views, Finetuning):
    """Supervised fine-tuning of the encoder and a linear head on the labelled subset."""

    views: Annotated[tuple[ViewWord, ...], When("readout", ("none",))] = ()
    """Augmentation: random changes of the rows of each update, in this order, those of `pretrain.method.views` or
    FILE.py:FUNCTION, of your own. Held-out rows stay as they are, and so do all where there are none."""

    has_default_views: ClassVar[bool] = False

    def of_method(self, per_layer: Mapping[str, Any]) -> "FinetuneConfig":
        """Returns the fields that the method reads, with those that differ from layer to layer.

        All others are None, and so are levels of views that are not made.
        """
        named = {name for name, home in self.homes().items() if home == "method" and name not in VIEWS} | {*self.views}
        own = {name: getattr(self, name) if name in named else None for name in self.homes()}
        return bare(type(self), {**own, **per_layer})


@dataclass(frozen=True, config=STRICT)
class Settings:
    """All fields that decide a trial, besides its seed."""

    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    per_layer: Annotated[dict[str, tuple[SweptValue, ...]], tyro.conf.Suppress] = dataclasses.field(
        default_factory=dict
    )
    """Fields that differ from layer to layer: by dotted name, a value for each layer, from the images up."""

    @property
    def goes_on(self) -> bool:
        """Whether pretraining goes on from a checkpoint."""
        trains = self.finetune.trains_encoder_before and self.finetune.encoder_init != "pca"
        return trains and self.pretrain.encoder_init == "weights"

    @property
    def reads_checkpoint(self) -> bool:
        """Whether an encoder starts from ``finetune.weights``, in pretraining or after it."""
        return self.finetune.encoder_init == "weights" or self.goes_on

    def at_layer(self, layer: int) -> "Settings":
        """Returns the settings of a layer; the lowest is 0."""
        values_here = {name: values[layer] for name, values in self.per_layer.items()}
        return with_values(replace_all(self, values_here), {"per_layer": {}})

    @property
    def greedy_method(self) -> Method:
        """The method of a greedy stage, given the settings at its layer."""
        return PcaConfig() if self.finetune.encoder_init == "pca" else canonical(self.pretrain.method)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of ``encoder.layers``."""
        return tuple(map(read_word, self.encoder.layers))

    @property
    def pretraining_data(self) -> DataConfig:
        """The data of pretraining, which are fine-tuning's unless ``encoder_init`` is ``wrong_data``."""
        if self.finetune.encoder_init != "wrong_data":
            return self.data
        other = self.pretrain.wrong_data
        changed = {"shuffled_pixels": True} if other == "noise" else {"name": other}
        return dataclasses.replace(self.data, **changed)

    @property
    def finetuning_data(self) -> DataConfig:
        """The data of fine-tuning, which does not depend on the rows that pretraining reads."""
        return dataclasses.replace(self.data, unlabelled="all", pretrain_on="both")

    def at_seed(self, seed: int) -> "Settings":
        """Returns the settings of a seed; fresh splits have a cut for each seed."""
        return with_values(self, {"data.cut": seed}) if self.data.splits == "fresh" else self

    def at_seeds(self, seeds: int) -> list["Settings"]:
        """Returns the settings of all seeds, each once."""
        return [self.at_seed(seed) for seed in range(seeds if self.data.splits == "fresh" else 1)]
