"""A config class for each update rule, joined in a union by ``kind``."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from pydantic import Field
from pydantic.dataclasses import dataclass

from pretrain.config.effects import ABSENT, LATE, Unless
from pretrain.config.fields import STRICT
from pretrain.config.kinds import Decay, Penalty, Rate, Switch


@dataclass(frozen=True, config=STRICT)
class Scheduled:
    """A learning rate with its schedule, which every rule has."""

    learning_rate: Rate = 0.01
    """Peak step size (per update)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after warm-up: held, or taken to zero along half a cosine over the stage's updates."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    """Updates over which the learning rate rises linearly to its peak (updates)."""
    clip_norm: Annotated[Penalty, Unless("clip_norm", (0.0, ABSENT)), LATE] = 0.0
    """Norm of the gradient of all parameters in training, that of l2 included, to which a longer one is shortened; 0
    shortens none."""
    corrects_bias: ClassVar[bool] = False  # by a count of updates, which may go on from stage to stage


@dataclass(frozen=True, config=STRICT)
class AdamConfig(Scheduled):
    """Adam (Kingma and Ba, 2015)."""

    kind: Literal["adam"] = "adam"
    """Update rule: adam, adamw (with decoupled weight decay) or sgd."""
    beta1: Decay = 0.9
    """Decay of the first moment (fraction kept per update)."""
    beta2: Decay = 0.999
    """Decay of the second moment (fraction kept per update)."""
    epsilon: Rate = 1e-8
    """Added to the root of the second moment."""
    epsilon_inside: Switch = False
    """Add epsilon before the bias correction of the second moment, as TensorFlow 1 does, rather than after it."""
    corrects_bias: ClassVar[bool] = True


@dataclass(frozen=True, config=STRICT)
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    # A rule of its own, which shares the fields of Adam; its literal narrows none of Adam's.
    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    """Update rule: adam, adamw (with decoupled weight decay) or sgd."""
    weight_decay: Penalty = 0.0
    """Decay of kernels (fraction of the kernel per unit of learning rate)."""


@dataclass(frozen=True, config=STRICT)
class SgdConfig(Scheduled):
    """Gradient descent on batches, with momentum."""

    kind: Literal["sgd"] = "sgd"
    """Update rule: adam, adamw (with decoupled weight decay) or sgd."""
    momentum: Decay = 0.0
    """Momentum (fraction of the last update kept)."""


OptimizerConfig = Annotated[AdamConfig | AdamWConfig | SgdConfig, Field(discriminator="kind")]
