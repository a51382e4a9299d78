"""Normalisation within a layer, between its sums and its activation."""

import flax.linen as nn
from jaxtyping import Float

from pretrain.learn.annotations import Array

NORMS = ("none", "group", "layer", "batch")
MOMENTUM = 0.9  # of running averages, kept a batch


class HasNorm:
    """A module with a field ``norm``, whose mode matters under ``batch`` alone."""

    norm: str

    @property
    def has_mode(self) -> bool:
        return self.norm == "batch"


def normalised(
    sums: Float[Array, "rows ..."], norm: str, in_training: bool, name: str = "norm"
) -> Float[Array, "rows ..."]:
    """Returns sums [B, ..., features] as normalised by a submodule of some name.

    ``group``: over positions and groups of features of an example (Wu and He, 2018), 32 groups, or the next power of
    two that divides the features; ``layer``: over the features of a position (Ba et al., 2016); ``batch``: over rows
    and positions, of the batch in training, and by running averages in evaluation (Ioffe and Szegedy, 2015).
    """
    match norm:
        case "group":
            groups = next(size for size in (32, 16, 8, 4, 2, 1) if sums.shape[-1] % size == 0)
            return nn.GroupNorm(groups, name=name)(sums)
        case "layer":
            return nn.LayerNorm(name=name)(sums)
        case "batch":
            return nn.BatchNorm(not in_training, momentum=MOMENTUM, name=name)(sums)
    return sums
