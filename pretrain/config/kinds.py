"""Kinds of field that sections of a config have in common.

A plain field is *static*: a shape, a name or a count, part of the compiled program. A *traced* field is a number that
the compiled program takes as an argument, so that trials that differ only there share one compilation.
"""

from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Lt

from pretrain.config.fields import TRACED

SweptValue = bool | int | float | str | tuple[int | str, ...]
Count = Annotated[int, Gt(0)]
Rate = Annotated[float, Gt(0), TRACED]
Penalty = Annotated[float, Ge(0), TRACED]
Decay = Annotated[float, Ge(0), Lt(1), TRACED]
Switch = Annotated[bool, tyro.conf.FlagConversionOff]  # --field True, so that a script can pass either value
Activation = Literal["elu", "relu", "gelu", "sigmoid", "tanh", "identity"]
Norm = Literal["auto", "none", "group", "layer", "batch"]
ClassWeights = Literal["none", "balanced"]
Sampling = Literal["epoch", "fresh"]
TaskKind = Literal["classification", "multilabel", "regression"]
