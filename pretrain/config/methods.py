"""A config class for each method, the purpose for which layers, or a whole network, are trained.

They are joined in a union by ``kind``. What ends a trial is in ``FinetuneConfig``.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, WrapSerializer, WrapValidator
from pydantic.dataclasses import dataclass

from pretrain.config.effects import Unless, When
from pretrain.config.fields import STRICT, TRACED, ConfigError
from pretrain.config.kinds import ClassWeights, Count, Penalty, Rate, Switch
from pretrain.config.method import Inputs, LayerFacts, Method
from pretrain.config.own_methods import OWN, validated_by, written
from pretrain.config.views import Probability, TwoViews

_NOISY = Unless("corruption", ("none",))


@dataclass(frozen=True, config=STRICT)
class AutoencoderConfig(Method):
    """An autoencoder: codes that reconstruct the layer's inputs."""

    kind: Literal["autoencoder"] = "autoencoder"
    """What a layer is trained for: an autoencoder; rbm, a restricted Boltzmann machine; supervised, a classifier on the
    layer's codes, which reads the labelled subset of fine-tuning; pca, principal components, in closed form; of two
    views of an input, contrastive (SimCLR), redundancy (Barlow Twins), variance (VICReg) or teacher (BYOL); masked, a
    predictor of hidden parts; of columns, vime, which finds swapped values; or FILE.py:NAME, a method of your own."""
    loss: Literal["mse", "cross_entropy"] = "mse"
    """Squared error, mean over units; or Bernoulli cross-entropy, sum over units (nats), of values in [0, 1]."""
    output: Annotated[Literal["linear", "sigmoid"], When("loss", ("mse",))] = "linear"
    """Activation of the reconstructed images under mse; cross_entropy has sigmoid everywhere."""
    tied: Switch = False
    """Decode with the transpose of the encoder's kernel, so that only the decoder's bias is its own."""
    corruption: Literal["none", "masking", "gaussian", "salt_and_pepper", "swap"] = "none"
    """Noise on the layer's inputs in training; the targets of reconstruction stay clean. Swap puts values of other rows
    of the batch in the place of columns, those of one category together."""
    corruption_level: Annotated[Penalty, _NOISY] = 0.3
    """Probability of a value to be lost under all but gaussian (fraction), whose standard deviation it is."""
    corruption_schedule: Annotated[Literal["constant", "linear"], _NOISY] = "constant"
    """Corruption level over the updates of a stage: held, or taken evenly to zero."""
    sparsity: Literal["none", "kl", "l1"] = "none"
    """Sparse codes: by the KL divergence of each unit's mean over a batch from a target rate, summed over units (nats),
    or by their absolute values, summed over units."""
    sparsity_weight: Annotated[Penalty, When("sparsity", ("kl", "l1"))] = 0.001
    """Weight of the sparsity term in the loss."""
    sparsity_target: Annotated[float, Gt(0), Lt(1), TRACED, When("sparsity", ("kl",))] = 0.05
    """Target rate of kl (fraction)."""
    contractive: Switch = False
    """Whether the squared Frobenius norm of the encoder's Jacobian, mean over the batch, joins the loss."""
    contraction_weight: Annotated[Penalty, When("contractive", (True,))] = 1e-5
    """Weight of the norm in the loss."""
    variational: Switch = False
    """Whether codes are the means of a Gaussian that the decoder is given draws of, whose KL divergence from a standard
    Gaussian (nats, sum over units) joins the loss."""
    kl_weight: Annotated[Penalty, When("variational", (True,))] = 1e-5
    """Weight of the divergence in the loss; 1 beside cross_entropy makes it the negative evidence lower bound."""
    trains_deep: ClassVar[bool] = True

    @property
    def reads_layout(self) -> bool:
        return self.corruption == "swap"

    def at_inputs(self, inputs: Inputs) -> Method:
        if self.corruption == "swap":
            self.needs_columns(inputs, "corruption", self.corruption)
        return self

    @property
    def decodes_into_unit_interval(self) -> bool:
        return self.loss == "cross_entropy" or self.output == "sigmoid"

    def of_deep_layer(self, number: int, depth: int) -> Method:
        # Only the topmost codes can be variational, and only images be decoded by another loss.
        is_variational = self.variational and number == depth - 1
        return dataclasses.replace(self, variational=is_variational, loss="mse" if number else self.loss)

    def after_greedy(self) -> Method:
        return dataclasses.replace(self, tied=False, output="linear")  # as the stages before have decided

    def check_deep(self, layers: Sequence[LayerFacts], before: Sequence[Method]) -> None:
        top = layers[-1]
        if self.contractive and len(layers) > 1:
            remedy = "has no closed form over several layers; set pretrain.training to greedy"
            raise ConfigError("pretrain.method.contractive", True, remedy)
        if self.tied:
            for layer in layers:
                self.needs_dense(layer, "tied", True)
        self.check_layer(top._replace(below=None))
        if before and self.variational and not getattr(before[-1], "variational", False):
            remedy = "needs a topmost layer pretrained so; make it variational, or set pretrain.training to end_to_end"
            raise ConfigError("pretrain.method.variational", True, remedy)
        if before and self.loss == "cross_entropy" and not before[0].decodes_into_unit_interval:
            remedy = "needs images decoded in [0, 1], which the lowest layer's stage does not leave; set it to mse"
            raise ConfigError("pretrain.method.loss", self.loss, remedy)

    def check_layer(self, layer: LayerFacts) -> None:
        if self.corruption in ("masking", "salt_and_pepper", "swap") and self.corruption_level > 1:
            remedy = f"is the probability of a value to be lost under {self.corruption}; lower it to 1 or less"
            raise ConfigError("pretrain.method.corruption_level", self.corruption_level, remedy)
        if self.loss == "cross_entropy":
            self.needs_bounded(layer.below, "loss", self.loss)
        if self.sparsity == "kl":
            self.needs_bounded(layer.activation, "sparsity", self.sparsity, ", or take l1")
        for switch in ("tied", "contractive", "variational"):
            if getattr(self, switch):
                self.needs_dense(layer, switch, True)

    def check_interval(self, low: float, high: float) -> None:
        if self.loss == "cross_entropy":
            self.needs_unit_interval(low, high, "loss", self.loss, "mse")
        elif self.output == "sigmoid":
            self.needs_unit_interval(low, high, "output", self.output, "linear")


@dataclass(frozen=True, config=STRICT)
class RbmConfig(Method):
    """A restricted Boltzmann machine, trained by contrastive divergence."""

    kind: Literal["rbm"] = "rbm"
    """What a layer is trained for: a restricted Boltzmann machine; other kinds are autoencoder, supervised, pca,
    contrastive, redundancy, variance, teacher, masked, vime."""
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Visible units: values in [0, 1], or any."""
    visible_deviation: Annotated[Rate, When("visible", ("gaussian",))] = 1.0
    """Standard deviation of gaussian visible units, given the hidden ones."""
    gibbs_steps: Count = 1
    """Steps of the Markov chain in every update: k of CD-k (steps)."""
    persistent: Switch = False
    """Whether chains go on from update to update (persistent CD), rather than start at the batch."""

    @property
    def decodes_into_unit_interval(self) -> bool:
        return self.visible == "bernoulli"

    def check_layer(self, layer: LayerFacts) -> None:
        self.needs_dense(layer, "kind", self.kind)
        if self.visible == "bernoulli":
            self.needs_bounded(layer.below, "visible", self.visible)
        self.needs_bounded(layer.activation, "kind", self.kind)

    def check_interval(self, low: float, high: float) -> None:
        if self.visible == "bernoulli":
            self.needs_unit_interval(low, high, "visible", self.visible, "gaussian")


@dataclass(frozen=True, config=STRICT)
class SupervisedConfig(Method):
    """A linear classifier on the layer's codes, trained with it on the labelled subset of fine-tuning."""

    kind: Literal["supervised"] = "supervised"
    """What a layer is trained for: a classifier on its codes; other kinds are autoencoder, rbm, pca,
    contrastive, redundancy, variance, teacher, masked, vime."""
    class_weights: ClassWeights = "none"
    """Weights of classes in the loss to minimise, as of `finetune.class_weights`."""
    reads_labels: ClassVar[bool] = True
    decodes: ClassVar[bool] = False


@dataclass(frozen=True, config=STRICT)
class PcaConfig(Method):
    """Principal components of the layer's inputs, in closed form."""

    kind: Literal["pca"] = "pca"
    """What a layer is trained for: principal components; other kinds are autoencoder, rbm, supervised,
    contrastive, redundancy, variance, teacher, masked, vime."""
    makes_updates: ClassVar[bool] = False
    is_random: ClassVar[bool] = False

    def check_layer(self, layer: LayerFacts) -> None:
        self.needs_dense(layer, "kind", self.kind)

    def check_size(self, n_inputs: int, n_codes: int, layers: object) -> None:
        if n_codes > n_inputs:
            remedy = f"has a layer of {n_codes} units that reads {n_inputs} values, which have no more components"
            raise ConfigError("encoder.layers", layers, f"{remedy}; narrow it")


@dataclass(frozen=True, config=STRICT)
class ContrastiveConfig(TwoViews):
    """Contrast: the two views of an input have codes more alike than those of other inputs (Chen et al., 2020)."""

    kind: Literal["contrastive"] = "contrastive"
    """What a layer is trained for: contrast of two views; other kinds are autoencoder, rbm, supervised, pca,
    redundancy, variance, teacher, masked, vime."""
    negatives: Literal["all", "other_view"] = "all"
    """Others beside the counterpart of a view: both views of all other inputs of the batch, or the other view alone."""
    temperature: Rate = 0.5
    """Divisor of cosine similarities."""


@dataclass(frozen=True, config=STRICT)
class RedundancyConfig(TwoViews):
    """Barlow Twins: over a batch, a unit correlates with itself in the other view, and with no other unit."""

    kind: Literal["redundancy"] = "redundancy"
    """What a layer is trained for: units that are alike in two views and correlate with no other; other kinds are
    autoencoder, rbm, supervised, pca, contrastive, variance, teacher, masked, vime."""
    off_diagonal: Penalty = 0.005
    """Weight of correlations between units."""


@dataclass(frozen=True, config=STRICT)
class VarianceConfig(TwoViews):
    """VICReg: two views are alike, each unit varies over a batch, and no two units covary (Bardes et al., 2022)."""

    kind: Literal["variance"] = "variance"
    """What a layer is trained for: units that are alike in two views, vary, and do not covary; other kinds are
    autoencoder, rbm, supervised, pca, contrastive, redundancy, teacher, masked, vime."""
    invariance_weight: Penalty = 25.0
    """Weight of the squared difference of the views, mean over units."""
    variance_weight: Penalty = 25.0
    """Weight of what units' standard deviations lack of 1, mean over units."""
    covariance_weight: Penalty = 1.0
    """Weight of squared covariances between units, sum over pairs, by unit."""


@dataclass(frozen=True, config=STRICT)
class TeacherConfig(TwoViews):
    """BYOL: a view's prediction is what a slower copy of the network makes of the other view (Grill et al., 2020)."""

    kind: Literal["teacher"] = "teacher"
    """What a layer is trained for: predictions of what a slower copy of the network makes of the other view; other
    kinds are autoencoder, rbm, supervised, pca, contrastive, redundancy, variance, masked, vime."""
    predictor: tuple[Count, ...] = (128,)
    """Units of the predictor's hidden layers between the projector and the loss; none compares projections (units)."""
    momentum: Annotated[float, Ge(0), Le(1), TRACED, When("stops_gradient", (True,))] = 0.99
    """Share of itself that the teacher keeps in the first update, the rest coming from the student; it rises to 1 by
    half a cosine over the stage. At 0 the teacher is the student throughout (SimSiam: Chen and He, 2021) (fraction)."""
    stops_gradient: Switch = True
    """Whether targets are constant in an update. Without it the student has itself as its teacher, and may make all
    inputs alike: for showing such a collapse alone."""

    def of_deep_layer(self, number: int, depth: int) -> Method:
        return self if number == depth - 1 else dataclasses.replace(self, projector=(), predictor=())


@dataclass(frozen=True, config=STRICT)
class MaskedConfig(Method):
    """Masked autoencoding: hidden parts of an input are predicted from the others (He et al., 2022)."""

    kind: Literal["masked"] = "masked"
    """What a layer is trained for: predictions of hidden patches, windows or columns; other kinds are autoencoder, rbm,
    supervised, pca, contrastive, redundancy, variance, teacher,
    vime."""
    share: Annotated[float, Gt(0), Lt(1)] = 0.75
    """Share of patches of an image, windows of a series or columns of a table that is hidden, as many in every input;
    above the lowest layer, of the codes below (fraction)."""
    patch: Count = 4
    """Side of a patch (pixels), or length of a window (steps), at most half of the longest side; columns have none, and
    of an encoder that cuts patches, as 64p4, these are hidden."""
    decodes: ClassVar[bool] = False
    trains_deep: ClassVar[bool] = True
    reads_layout: ClassVar[bool] = True
    skips_pooling: ClassVar[bool] = True

    def at_inputs(self, inputs: Inputs) -> Method:
        if inputs.form == "columns" and self.patch != MaskedConfig.patch:
            remedy = "has no effect on columns, which are hidden one by one; leave it out"
            raise ConfigError("pretrain.method.patch", self.patch, remedy)
        side = max(inputs.shape[:-1], default=0)
        if inputs.form != "columns" and self.patch > max(most := -(-side // 2), MaskedConfig.patch):
            remedy = f"is more than half of the {side} values of a side, of which some stay; give {most} at most"
            raise ConfigError("pretrain.method.patch", self.patch, remedy)
        return self


@dataclass(frozen=True, config=STRICT)
class VimeConfig(Method):
    """VIME: from rows with values of other rows, what they were, and which values changed (Yoon et al., 2020)."""

    kind: Literal["vime"] = "vime"
    """What a layer is trained for: to find and to mend swapped values; other kinds are autoencoder, rbm, supervised,
    pca, contrastive, redundancy, variance, teacher, masked."""
    swap: Probability = 0.3
    """Probability that a column has the value of another row of the batch; those of one category go together
    (fraction)."""
    reconstruction_weight: Penalty = 2.0
    """Weight of the squared error of all values, mean over them."""
    mask_weight: Penalty = 1.0
    """Weight of the cross-entropy (nats) of which values changed, mean over all."""
    trains_deep: ClassVar[bool] = True
    reads_layout: ClassVar[bool] = True

    def at_inputs(self, inputs: Inputs) -> Method:
        self.needs_columns(inputs, "kind", self.kind)
        return self

    def of_deep_layer(self, number: int, depth: int) -> Method:
        return AutoencoderConfig() if number else self  # changes are of the lowest layer's inputs

    def check_deep(self, layers: Sequence[LayerFacts], before: Sequence[Method]) -> None:
        if before and not isinstance(before[0], VimeConfig):
            remedy = "needs a lowest layer pretrained so; make it vime, or set pretrain.training to end_to_end"
            raise ConfigError("pretrain.method.kind", self.kind, remedy)


@dataclass(frozen=True, config=STRICT)
class WeightsConfig(Method):
    """An encoder's parameters from a checkpoint, which no layer is trained for, and no config names."""

    kind: Literal["weights"] = "weights"
    """Origin of the parameters."""
    makes_updates: ClassVar[bool] = False
    is_random: ClassVar[bool] = False
    decodes: ClassVar[bool] = False


MethodConfig = Annotated[
    AutoencoderConfig
    | RbmConfig
    | SupervisedConfig
    | PcaConfig
    | ContrastiveConfig
    | RedundancyConfig
    | VarianceConfig
    | TeacherConfig
    | MaskedConfig
    | VimeConfig,
    *(Field(discriminator="kind"), WrapValidator(validated_by(OWN)), WrapSerializer(written), OWN),
]


def deep(method: Method) -> Method:
    """Returns the method for training all layers at once, given the method of single layers."""
    return method if method.trains_deep else AutoencoderConfig()
