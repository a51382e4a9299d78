"""What is trained: the settings of data, encoder, pretraining and fine-tuning, as frozen dataclasses.

Three kinds of field decide how trials share work, and each is declared at the field's type:

- a plain field is *static*: a shape, a name or a count, part of the compiled program;
- a ``Traced`` field is a number that the compiled program takes as an argument, so trials that differ only there
  share one compilation;
- a ``Start`` field decides only where training starts, so it is no part of the program at all.
"""

from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Lt, MinLen
from pydantic.dataclasses import dataclass

from pretrain.config.fields import START, STRICT, TRACED

Count = Annotated[int, Gt(0)]
Rate = Annotated[float, Gt(0), TRACED]
Penalty = Annotated[float, Ge(0), TRACED]
Decay = Annotated[float, Ge(0), Lt(1), TRACED]
Switch = Annotated[bool, tyro.conf.FlagConversionOff]  # --field True, so that a script can pass either value
Activation = Literal["elu", "relu", "gelu", "sigmoid", "tanh", "identity"]
Sampling = Literal["epoch", "fresh"]


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
    shuffled_pixels: Switch = False
    """Shuffle every pixel over the images of its split: each keeps its distribution, and images show nothing."""


@dataclass(frozen=True, config=STRICT)
class EncoderConfig:
    """The encoder: a stack of dense layers."""

    widths: Annotated[tuple[Count, ...], MinLen(1)] = (300, 150)
    """Units of each layer, from the images up (units)."""
    activation: Activation = "elu"
    """Activation of every encoder layer; a decoder layer has that of the codes it reconstructs."""


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
    """What a phase trains a layer for: by default, that its codes reconstruct what it reads."""

    kind: Literal["reconstruction", "rbm", "supervised", "pca"] = "reconstruction"
    """An autoencoder; a restricted Boltzmann machine, trained by contrastive divergence; a classifier on the layer's
    codes, which reads the labelled subset of fine-tuning; or principal components, found in closed form."""
    loss: Literal["mse", "cross_entropy"] = "mse"
    """Squared error, mean over units; or Bernoulli cross-entropy, sum over units (nats), of values in [0, 1];
    this and what follows up to kl_weight is of reconstruction."""
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
    """Weight of the sparsity term in the loss."""
    sparsity_target: Annotated[float, Gt(0), Lt(1), TRACED] = 0.05
    """Target rate of kl (fraction)."""
    contractive: Switch = False
    """Whether the squared Frobenius norm of the encoder's Jacobian, mean over the batch, joins the loss."""
    contraction_weight: Penalty = 1e-5
    """Weight of the norm in the loss."""
    variational: Switch = False
    """Whether codes are the means of a Gaussian that the decoder is given draws of, whose KL divergence from a standard
    Gaussian (nats, sum over units) joins the loss."""
    kl_weight: Penalty = 1e-5
    """Weight of the divergence in the loss; 1 beside cross_entropy makes it the negative evidence lower bound."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Visible units of an rbm: values in [0, 1], or any."""
    visible_deviation: Rate = 1.0
    """Standard deviation of gaussian visible units, given the hidden ones."""
    gibbs_steps: Count = 1
    """Steps of an rbm's Markov chain in every update: k of CD-k (steps)."""
    persistent: Switch = False
    """Whether an rbm's chains go on from update to update (persistent CD), rather than start at the batch."""


@dataclass(frozen=True, config=STRICT)
class PretrainConfig:
    """Pretraining, by default greedy: each phase trains one encoder layer and its decoder on unlabelled images."""

    training: Literal["greedy", "end_to_end", "greedy_then_end_to_end"] = "greedy"
    """Layer after layer; all layers at once, as one deep autoencoder; or all at once after layer by layer."""
    epochs: Count = 4
    """Passes over the unlabelled images in each phase (epochs)."""
    end_to_end_epochs: Count = 4
    """Passes over the unlabelled images in which all layers are trained at once, if they are (epochs)."""
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
    wrong_data: Annotated[str, MinLen(1)] = "noise"
    """What encoder_init wrong_data is pretrained on: `noise`, which is the images with their pixels shuffled, or the
    name of another dataset with images of the same size."""
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclass(frozen=True, config=STRICT)
class FinetuneConfig:
    """Supervised fine-tuning of the encoder and a linear head on the labelled subset."""

    encoder_init: Annotated[
        Literal["pretrained", "he", "matched", "permuted", "rotated", "pca", "wrong_data"], START
    ] = "pretrained"
    """Encoder weights at the start: from pretraining, or a fresh He initialisation. Between the two, each
    control keeps another property of a pretrained layer: matched, the mean and deviation of its weights; permuted, the
    weights but not their places; rotated, the singular values but not the directions. Beside them, pca takes principal
    components, and wrong_data is pretrained on pretrain.wrong_data."""
    fresh_layers: Annotated[int, Ge(0), START] = 0
    """Encoder layers, from the top down, that start afresh (He) whatever encoder_init says (layers)."""
    head_init: Annotated[Literal["random", "zero", "ridge"], START] = "random"
    """Head at the start: a fresh He initialisation, zero, or fitted in closed form: a ridge regression of the labelled
    subset's class indicators on its codes."""
    ridge_penalty: Rate = 0.01
    """Penalty of a ridge-fitted head (fraction of the codes' mean variance)."""
    codes: Annotated[Literal["raw", "standardised", "whitened"], START] = "raw"
    """What the head reads: the encoder's codes; codes to which the unlabelled images' mean and standard deviation,
    unit by unit and as they are before fine-tuning, give mean 0 and deviation 1; or, by their covariance, also
    correlation 0."""
    readout: Literal["none", "ridge", "logistic", "knn"] = "none"
    """Read-out of the encoder as it starts, in place of training: ridge regression, its penalty chosen on validation
    images; logistic regression to convergence, penalised by l2; or nearest neighbours, their number chosen likewise."""
    frozen_layers: Annotated[int, Ge(0)] = 0
    """Encoder layers, from the images up, that fine-tuning leaves as they are (layers)."""
    unfreeze_at: Annotated[int, Ge(0), TRACED] = 0
    """Updates that train the head only, before the encoder layers that are not frozen join in (updates)."""
    rate_factor: Penalty = 1.0
    """Learning rate of encoder layers, relative to the head's."""
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
