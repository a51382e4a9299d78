"""The networks: encoder, decoders and head, as linen modules with parameters ``{"kernel", "bias"}`` a layer."""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

# {"encoder": {"layers_0": {"kernel", "bias"}, ...}, "decoder": {...}, "head": {...}, "codes": {"mean", "scale"}}
Params = dict[str, Any]

ACTIVATIONS = {
    "elu": nn.elu,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "identity": lambda values: values,
}


class Layer(nn.Module):
    """A dense layer, ``activation(inputs @ kernel + bias)``: [..., D] to [..., units].

    Kernels start from He et al.'s (2015) truncated normal, variance 2 / fan_in, corrected for the truncation at two
    standard deviations (TensorFlow 1's ``sqrt(1.3 * 2 / fan_in)`` is within 0.3 % of it); biases from zero.
    """

    units: int
    activation: str = "identity"

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.he_normal(), (inputs.shape[-1], self.units))
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return ACTIVATIONS[self.activation](inputs @ kernel + jnp.broadcast_to(bias, (*inputs.shape[:-1], self.units)))


class Counterpart(NamedTuple):
    """What pretraining trains beside an encoder layer.

    That is a decoder layer: ``untied``, with a kernel of its own; ``tied``, with the transpose of the encoder's; or
    ``scaled``, tied, and times the variance of an rbm's Gaussian visible units. Or it is ``none`` but a classifier.
    """

    decoder: Literal["untied", "tied", "scaled", "none"] = "untied"
    output: str = "identity"  # activation of what is reconstructed
    variational: bool = False  # whether a layer beside the encoder's gives the codes' log-variance


class Encoder(nn.Module):
    """A stack of layers; ``layers_i`` has ``widths[i]`` units and ``activations[i]``."""

    widths: tuple[int, ...]
    activations: tuple[str, ...]

    def setup(self):
        self.layers = [Layer(*layer) for layer in zip(self.widths, self.activations, strict=True)]

    def __call__(self, inputs: jax.Array, start: int = 0, stop: int | None = None) -> jax.Array:
        """Applies ``layers_start`` up to, not including, ``layers_stop``: [B, D] to codes [B, widths[stop - 1]]."""
        for layer in self.layers[start:stop]:
            inputs = layer(inputs)
        return inputs


class Decoder(nn.Module):
    """The encoder's mirror: ``layers_i`` turns codes of encoder layer i back into what that layer read.

    ``widths[i]`` is the width of what encoder layer i reads, and ``activations[i]`` belongs to its reconstruction.
    """

    widths: tuple[int, ...]
    activations: tuple[str, ...]

    def setup(self):
        self.layers = [Layer(*layer) for layer in zip(self.widths, self.activations, strict=True)]

    def __call__(self, codes: jax.Array, start: int = 0, stop: int | None = None) -> jax.Array:
        """Applies the layers from the top, ``layers_{stop - 1}``, down to ``layers_start``."""
        for layer in reversed(self.layers[start:stop]):
            codes = layer(codes)
        return codes


def scaled(inputs: jax.Array) -> jax.Array:
    """Returns uint8 images as float32 in [0, 1]; codes, already float32, as they are."""
    return inputs.astype(jnp.float32) / 255 if inputs.dtype == jnp.uint8 else inputs


def standardised(codes: jax.Array, statistics: Params) -> jax.Array:
    """Returns codes [B, units] less the ``mean`` [units] of the statistics, times their ``scale`` [units].

    Where they have a ``kernel`` [units, units] instead, which whitens, the difference goes through it.
    """
    offsets = codes - jnp.broadcast_to(statistics["mean"], codes.shape)
    if "kernel" in statistics:
        return offsets @ statistics["kernel"]
    return offsets * jnp.broadcast_to(statistics["scale"], codes.shape)


def untied(params: Params) -> Params:
    """Returns decoder parameters in which layers without a kernel have the transpose of the encoder's.

    It is multiplied by the ``variance`` of Gaussian visible units where a layer has one.
    """
    return {
        name: {"kernel": params["encoder"][name]["kernel"].T * layer.get("variance", 1), **layer}
        for name, layer in params["decoder"].items()
    }
