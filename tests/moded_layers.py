"""Layers with a mode: dropout and batch normalisation, alone and within a module."""

import flax.linen as nn
import jax


class Block(nn.Module):
    """A dense layer with batch normalisation and dropout."""

    features: int = 6

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        sums = nn.Dense(self.features)(inputs.reshape(len(inputs), -1))
        codes = nn.relu(nn.BatchNorm(not train, momentum=0.8)(sums))
        return nn.Dropout(0.3, deterministic=not train)(codes)


def layers() -> list[nn.Module]:
    return [Block(), nn.BatchNorm(momentum=0.5)]
