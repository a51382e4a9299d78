"""A stack: an encoder's layers, the modules trained beside each, and the layers in training."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from pretrain.learn.annotations import Array, Codes, Outputs
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches, Repeat, TokenDecoder, windows
from pretrain.learn.codes import standardised
from pretrain.learn.layers import (
    ACTIVATIONS,
    Convolution,
    Dense,
    MaxPooling,
    Params,
    Residual,
    Shapes,
    activation_of,
    apply,
    encode,
    flat,
    fresh,
    scaled,
    shapes_of,
)
from pretrain.learn.modes import switch_of
from pretrain.learn.products import product
from pretrain.learn.randomness import Purpose, key_for
from pretrain.learn.tasks import NO_TASK, Task

FLOAT = jnp.float32


class Companion(NamedTuple):
    """A module that is trained beside an encoder layer, with parameters of its own."""

    module: nn.Module
    reads: Literal["codes", "inputs"] = "codes"  # of the layer
    activation: str = "identity"  # of its output
    kernel: Literal["own", "tied", "scaled"] = "own"  # or the encoder's, transposed; or that times a variance
    starts_at: Literal["random", "zero"] = "random"
    joins_deep: bool = True  # whether it takes part where layers above its own are trained with it
    is_alone: bool = False  # whether it takes part only where its layer is trained alone


Companions = tuple[tuple[str, Companion], ...]  # by side, as in ("decoder", ...)


class DenseDecoder(nn.Module):
    """A linear map from codes [B, ...] back to what a layer read: [B, *shape]."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: Float[Array, "rows ..."]) -> Float[Array, "rows ..."]:
        codes, size = flat(codes), math.prod(self.shape)
        kernel = self.param("kernel", nn.initializers.he_normal(), (codes.shape[-1], size))
        bias = self.param("bias", nn.initializers.zeros, (size,))
        sums = product(codes, kernel) + jnp.broadcast_to(bias, (len(codes), size))
        return sums if len(self.shape) == 1 else sums.reshape(len(codes), *self.shape)


class ConvolutionDecoder(nn.Module):
    """A convolution of codes [B, h, w, units] that are repeated ``stride`` times along each axis: [B, *shape].

    Unlike a transposed convolution, it leaves no checkerboard (Odena et al., 2016).
    """

    shape: tuple[int, ...]  # height, width, channels; of volumes depth first
    window: int
    stride: int

    @nn.compact
    def __call__(self, codes: Float[Array, "rows *s units"]) -> Float[Array, "rows *sides channels"]:
        *sides, channels = self.shape
        for axis in range(1, len(self.shape)):
            codes = jnp.repeat(codes, self.stride, axis=axis)
        wide = codes[(slice(None), *map(slice, sides))]
        return Convolution(channels, self.window, name="convolution")(wide)


class Enlarged(nn.Module):
    """Codes [B, h, w, units], each at all positions of the window that it is the largest value of: [B, *shape].

    Positions past the last window have the codes beside them.
    """

    shape: tuple[int, ...]
    window: int

    @nn.compact
    def __call__(self, codes: Float[Array, "rows *s units"]) -> Float[Array, "rows *sides units"]:
        for axis, size in enumerate(self.shape[:-1], 1):
            codes = jnp.take(codes, np.minimum(np.arange(size) // self.window, codes.shape[axis] - 1), axis=axis)
        return codes


def mirror(layer: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Returns the decoder of a layer that reads examples of a shape; its output is linear.

    A module may give its own by a method ``decoder(shape)``; by default a dense layer is mirrored by a dense one, a
    convolution by a convolution, pooling and a mean by repetition, a layer of tokens by a linear map of each, and an
    unknown module by a linear map.
    """
    if hasattr(layer, "decoder"):
        # Past flax's wrapper, by which a module that is made here would be a part of the layer. No type has it: modules
        # of the user's may.
        return cast(nn.Module, inspect.unwrap(type(layer).decoder)(layer, shape))  # type: ignore[attr-defined]
    if isinstance(layer, Convolution):
        return ConvolutionDecoder(shape, layer.window, layer.stride)
    if isinstance(layer, Residual):
        return ConvolutionDecoder(shape, 3, layer.stride)
    if isinstance(layer, MaxPooling):
        return Enlarged(shape, layer.window)
    if isinstance(layer, Patches | Attention | LayerNorm):
        return TokenDecoder(shape, windows(shape[:-1], layer.window if isinstance(layer, Patches) else 1))
    if isinstance(layer, Mean):
        return Repeat(shape)
    return DenseDecoder(shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """The static part of a stack; hashable."""

    layers: tuple[nn.Module, ...]  # from the images up to the topmost in training
    example: tuple[int, ...]  # shape of an image
    companions: tuple[Companions, ...] = ()  # of each layer; none where only a head is trained beside the encoder
    start: int = 0  # the lowest layer in training
    encoded: int = 0  # layers that the examples of a step have been through already
    head: Any = None  # a module from the topmost codes to a prediction's outputs
    task: Task = NO_TASK  # of methods that read labels
    padded: bool = False  # whether examples are series of unlike lengths, whose padding no reconstruction owes
    precision: str = "float32"  # of products; see ``products``

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stack) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key[0])

    @functools.cached_property
    def _key(self) -> tuple:
        # As text, for 3 and 3.0 are equal, but not in a module; and as modules, for a file of the user's may change.
        return repr(self), self.layers, self.companions, self.head

    @property
    def top(self) -> int:
        """The topmost layer."""
        return len(self.layers) - 1

    @property
    def shapes(self) -> tuple[Shapes, ...]:
        """The shapes of every layer."""
        return shapes_of(self.layers, self.example)

    @property
    def n_codes(self) -> int:
        """Values of the topmost codes, flattened; those of an image where there are no layers."""
        return math.prod(self.shapes[-1].outputs if self.layers else self.example)

    @property
    def whole(self) -> "Stack":
        """The stack as it is measured: from the images up."""
        return dataclasses.replace(self, start=0, encoded=0)

    @functools.cached_property
    def in_modes(self) -> tuple[tuple[str, int], ...]:
        """The modules in training that have a mode of training, by side and layer."""
        found = []
        for number in range(self.start, len(self.layers)):
            beside = self.companions[number] if self.companions else ()
            joins = ((side, each.module) for side, each in beside if self.joins(number, each))
            modules = (("encoder", self.layers[number]), *joins)
            found += [(side, number) for side, module in modules if switch_of(module)]
        return tuple(found)

    @property
    def reconstructs(self) -> bool:
        """Whether the stack turns its codes back into images."""
        return bool(self.companions) and all(dict(each).get("decoder") for each in self.companions)

    def joins(self, layer: int, companion: Companion) -> bool:
        """Returns whether a companion of a layer in training is trained with it."""
        if companion.is_alone:
            return self.start == self.top
        return layer == self.top or companion.joins_deep

    def companion(self, side: str, layer: int) -> Companion:
        """Returns a layer's companion."""
        return dict(self.companions[layer])[side]

    def read(self, params: Params, inputs: Shaped[Array, "rows ..."]) -> Float[Array, "rows ..."]:
        """Returns the inputs of the lowest layer in training: images or cached codes [B, ...] to [B, *in]."""
        return encode(self.layers, params.get("encoder", {}), scaled(inputs), self.encoded, self.start)

    def codes(self, params: Params, inputs: Shaped[Array, "rows ..."]) -> Codes:
        """Returns the topmost codes of images or cached codes: [B, ...] to [B, units], flattened."""
        return flat(encode(self.layers, params.get("encoder", {}), scaled(inputs), self.encoded))

    def logits(self, params: Params, inputs: Shaped[Array, "rows ..."]) -> Outputs:
        """Returns the outputs of a network for images or cached codes: [B, ...] to [B, outputs].

        Args:
          params: ``encoder`` parameters from layer ``encoded`` up, ``head`` parameters, and under ``codes`` the
            statistics by which codes are standardised before the head reads them.
          inputs: images, or codes of encoder layer ``encoded - 1``.

        Returns:
          Logits of classes or labels, or numbers.
        """
        return apply(self.head, params["head"], standardised(self.codes(params, inputs), params["codes"]))

    def encoding(self, params: Params, n_layers: int | None = None) -> Callable[[jax.Array], jax.Array]:
        """Returns the function from images [B, ...] to codes of the lowest layers [B, ...]; of all by default."""
        return lambda images: encode(self.layers, params.get("encoder", {}), scaled(images), 0, n_layers)


def layer_shapes(stack: Stack, layer: int) -> Params:
    """Returns the shapes of an encoder layer's parameters and its companions', side by side."""
    shapes = stack.shapes[layer]
    sides = {"encoder": shapes.params}
    for side, companion in stack.companions[layer] if stack.companions else ():
        inputs = shapes.outputs if companion.reads == "codes" else shapes.inputs
        sides[side] = dict(shapes_of((companion.module,), inputs)[0].params)
        if companion.kernel != "own":
            del sides[side]["kernel"]
        if companion.kernel == "scaled":
            sides[side]["variance"] = jax.ShapeDtypeStruct((), FLOAT)
    return sides


def stack_shapes(stack: Stack) -> Params:
    """Returns the shapes of all parameters of a stack: by side, then by layer."""
    shapes: Params = {}
    for number in range(len(stack.layers)):
        for side, params in layer_shapes(stack, number).items():
            shapes.setdefault(side, {})[f"layers_{number}"] = params
    return shapes


def fresh_layer(stack: Stack, layer: int, seed: jax.Array | int) -> Params:
    """Returns the initial parameters of an encoder layer and its companions, side by side.

    They are the modules' own initial ones; but companions that start at zero do, and a variance starts at one.
    """
    shapes = stack.shapes[layer]
    sides = {"encoder": fresh(stack.layers[layer], shapes.inputs, key_for(seed, Purpose.ENCODER_INIT, layer))}
    for side, companion in stack.companions[layer] if stack.companions else ():
        wanted = layer_shapes(stack, layer)[side]
        if companion.starts_at == "zero" or companion.kernel != "own":
            sides[side] = {
                name: (jnp.ones if name == "variance" else jnp.zeros)(leaf.shape) for name, leaf in wanted.items()
            }
        else:
            inputs = shapes.outputs if companion.reads == "codes" else shapes.inputs
            sides[side] = fresh(companion.module, inputs, key_for(seed, Purpose.DECODER_INIT, layer))
    return sides


def decoder_params(stack: Stack, params: Params, layer: int, side: str = "decoder") -> Params:
    """Returns the parameters of a layer's decoder, with the encoder's kernel where it has none of its own."""
    name, kernel = f"layers_{layer}", stack.companion(side, layer).kernel
    own = params.get(side, {}).get(name, {})  # of a mean there are none
    if kernel == "own":
        return own
    transposed = params["encoder"][name]["kernel"].T
    return {"kernel": transposed * own["variance"] if kernel == "scaled" else transposed, "bias": own["bias"]}


def decode(
    stack: Stack, params: Params, codes: Float[Array, "rows ..."], start: int = 0, side: str = "decoder"
) -> tuple[Float[Array, "rows *inputs"], Float[Array, "rows *inputs"]]:
    """Turns the topmost codes back into what layer ``start`` read: [B, *in], and before the last activation."""
    sums = codes
    for number in reversed(range(start, len(stack.layers))):
        decoder = stack.companion(side, number)
        sums = apply(decoder.module, decoder_params(stack, params, number, side), codes)
        codes = ACTIVATIONS[decoder.activation](sums)
    return codes, sums


def below(layers: Sequence[nn.Module], number: int) -> str | None:
    """Returns the activation of the codes that a layer reads; None where it reads images."""
    return activation_of(layers[number - 1]) if number else None


def is_dense(layer: nn.Module) -> bool:
    """Returns whether a layer is a dense one."""
    return isinstance(layer, Dense)
