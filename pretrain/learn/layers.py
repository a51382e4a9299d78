"""Layers: any linen modules from [B, *in] to [B, *out], and what runs a stack of them.

A layer's parameters are those of its module; a stack's are ``{"layers_0": ..., "layers_1": ...}``. Shapes are asked of
the modules, never computed from their widths.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import errors, traverse_util
from jaxtyping import Float, Key, Shaped

from pretrain.learn.annotations import Array, Codes
from pretrain.learn.convolution import convolve, native, padded
from pretrain.learn.modes import DRAWS, STATISTICS, evaluated, initial, joined, switch_of, trained
from pretrain.learn.modes import apply as apply
from pretrain.learn.norms import HasNorm, normalised
from pretrain.learn.products import product

Params = dict[str, Any]  # nested; leaves are arrays
Layers = tuple[nn.Module, ...]
AnyArray: TypeAlias = Any  # of JAX or NumPy, or the shape of one
ACTIVATIONS = {
    "elu": nn.elu,
    "relu": nn.relu,
    "gelu": nn.gelu,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "identity": lambda values: values,
}


class Dense(HasNorm, nn.Module):
    """A dense layer, ``activation(inputs @ kernel + bias)``: [B, ...], flattened, to [B, features].

    Kernels start from He et al.'s (2015) truncated normal, variance 2 / fan_in, corrected for the truncation at two
    standard deviations (TensorFlow 1's ``sqrt(1.3 * 2 / fan_in)`` is within 0.3 % of it); biases from zero.
    """

    features: int
    activation: str = "identity"
    norm: str = "none"

    @nn.compact
    def __call__(self, inputs: Float[Array, "rows ..."], train: bool = False) -> Float[Array, "rows features"]:
        inputs = flat(inputs)
        kernel = self.param("kernel", nn.initializers.he_normal(), (inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        sums = product(inputs, kernel) + jnp.broadcast_to(bias, (inputs.shape[0], self.features))
        return ACTIVATIONS[self.activation](normalised(sums, self.norm, train))


class Convolution(HasNorm, nn.Module):
    """A convolution with SAME padding: [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features].

    It goes over the three axes of volumes [B, D, H, W, C]. Along a side of 1, as series [B, T, 1, C] have one, the
    window is 1. Kernels and biases start as those of ``Dense``.
    """

    features: int
    window: int
    stride: int = 1
    activation: str = "identity"
    is_native: bool = False  # whether by XLA's own convolution, which is slow in a loop on a CPU
    norm: str = "none"

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "rows *sides channels"], train: bool = False
    ) -> Float[Array, "rows *s features"]:
        if inputs.ndim < 4:
            raise ValueError("a convolution reads images [H, W, C], series [T, 1, C] or volumes [D, H, W, C]")
        window = (self.window if size > 1 else 1 for size in inputs.shape[1:-1])
        kernel = self.param("kernel", nn.initializers.he_normal(), (*window, inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        sums = (native if self.is_native else convolve)(inputs, kernel, self.stride)
        sums = sums + jnp.broadcast_to(bias, sums.shape)
        return ACTIVATIONS[self.activation](normalised(sums, self.norm, train))


class PaddedConvolution(HasNorm, nn.Module):
    """A convolution with as many zeros before each side as after it: [B, H, W, C] to [B, h, w, features].

    Sides come to floor((H + 2 padding - window) / stride) + 1. Else it is as ``Convolution``.
    """

    features: int
    window: int
    stride: int
    padding: int
    activation: str = "identity"
    is_native: bool = False
    norm: str = "none"

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "rows *sides channels"], train: bool = False
    ) -> Float[Array, "rows *s features"]:
        if inputs.ndim < 4:
            raise ValueError("a convolution reads images [H, W, C], series [T, 1, C] or volumes [D, H, W, C]")
        window, padding = zip(
            *((self.window, self.padding) if n > 1 else (1, 0) for n in inputs.shape[1:-1]), strict=True
        )
        kernel = self.param("kernel", nn.initializers.he_normal(), (*window, inputs.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        sums = padded(inputs, kernel, self.stride, padding, native if self.is_native else convolve)
        sums = sums + jnp.broadcast_to(bias, sums.shape)
        return ACTIVATIONS[self.activation](normalised(sums, self.norm, train))


class MaxPooling(nn.Module):
    """The largest value of each window, without overlap or padding: [B, H, W, C] to [B, H // window, W // window, C].

    Along a side of 1, as series [B, T, 1, C] have one, the window is 1. Values past the last window are left out.
    """

    window: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "rows *sides channels"]) -> Float[Array, "rows *s channels"]:
        if inputs.ndim < 4:
            raise ValueError("pooling reads images [H, W, C], series [T, 1, C] or volumes [D, H, W, C]")
        for axis, size in enumerate(inputs.shape[1:-1], 1):
            if 1 < size < self.window:
                raise ValueError(f"a window of {self.window} does not fit {size} pixels")
            if size > 1:
                whole = jax.lax.slice_in_dim(inputs, 0, size // self.window * self.window, axis=axis)
                sides = whole.shape[:axis], whole.shape[axis + 1 :]
                inputs = whole.reshape(*sides[0], size // self.window, self.window, *sides[1]).max(axis + 1)
        return inputs


class Residual(HasNorm, nn.Module):
    """A residual block (He et al., 2016): two convolutions of window 3, each normalised, and a shortcut.

    [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features], volumes likewise; the shortcut is projected where
    shapes differ.
    """

    features: int
    stride: int = 1
    activation: str = "identity"
    is_native: bool = False  # as of ``Convolution``
    norm: str = "group"

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "rows *sides channels"], train: bool = False
    ) -> Float[Array, "rows *s features"]:
        activate = ACTIVATIONS[self.activation]
        convolution = functools.partial(Convolution, self.features, is_native=self.is_native)
        values = convolution(3, self.stride, name="lower")(inputs)
        values = activate(normalised(values, self.norm, train, "lower_norm"))
        values = normalised(convolution(3, name="upper")(values), self.norm, train, "upper_norm")
        if inputs.shape != values.shape:
            inputs = convolution(1, self.stride, name="shortcut")(inputs)
        return activate(values + inputs)


def outside_of_loops(layer: nn.Module) -> nn.Module:
    """Returns a layer whose convolutions are XLA's own, which are the fastest where no loop is around them."""
    return layer.clone(is_native=True) if getattr(layer, "is_native", None) is False else layer


class LayerError(Exception):
    """A module that cannot be a layer; the message says why, and the remedy."""


class Shapes(NamedTuple):
    """Shapes of one layer of a stack."""

    inputs: tuple[int, ...]  # of one example
    outputs: tuple[int, ...]
    params: Params  # of jax.ShapeDtypeStruct; with running statistics where the layer has any


@functools.lru_cache(maxsize=256)
def shapes_of(layers: tuple[nn.Module, ...], example: tuple[int, ...]) -> tuple[Shapes, ...]:
    """Returns the shapes of every layer of a stack, given those of one example.

    Raises:
      LayerError: a module does not take its input, draws at random in evaluation, or has other state than parameters
        and running statistics.
    """
    shapes = []
    for layer in layers:
        inputs = jax.ShapeDtypeStruct((2, *example), jnp.float32)
        name = type(layer).__name__
        try:
            # The key is made inside: of a program that is being traced, shapes that are remembered must leave no trace.
            variables = jax.eval_shape(lambda inputs, layer=layer: initial(layer, jax.random.key(0), inputs), inputs)
            params, state = joined(variables), sorted(variables.keys() - {"params"})
            if state and not (state == [STATISTICS] and switch_of(layer)):
                raise LayerError(_with_state(name, state))
            outputs = jax.eval_shape(functools.partial(evaluated, layer), params, inputs)
        except LayerError:
            raise
        except errors.InvalidRngError:
            raise LayerError(_with_draws(name)) from None
        except Exception as error:  # a module is code, and may fail in any way
            reason = " ".join(str(error).split())[:200]
            raise LayerError(f"{name} fails on {list(example)} values an example ({reason})") from None
        if not isinstance(outputs, jax.ShapeDtypeStruct) or outputs.ndim < 2 or outputs.shape[0] != 2:
            raise LayerError(f"{name} does not turn [B, ...] into one array [B, ...]")
        if outputs.dtype != jnp.float32:
            raise LayerError(f"{name} turns float32 into {outputs.dtype}; its codes must be float32")
        if STATISTICS in variables.get("params", {}):
            raise LayerError(f"{name} has a parameter {STATISTICS}, the name of running statistics; give it another")
        _check_params(name, params)
        if switch_of(layer):
            _check_training(name, layer, params, inputs, outputs)
        shapes.append(Shapes(example, outputs.shape[1:], params))
        example = outputs.shape[1:]
    return tuple(shapes)


_SWITCHED = "__call__(self, inputs, train: bool = False)"


def _with_draws(name: str) -> str:
    remedy = f"draw in training alone, as {_SWITCHED} says it, or set deterministic=True"
    return f"{name} draws at random whenever it is applied, where codes must be the same each time; {remedy}"


def _with_state(name: str, state: Sequence[str]) -> str:
    if state == [STATISTICS]:
        remedy = f"take its mode as an argument, {_SWITCHED}, and give BatchNorm use_running_average=not train"
        return f"{name} has running statistics ({STATISTICS}), and no argument by which they are updated; {remedy}"
    remedy = f"a layer may have parameters, and {STATISTICS} of nn.BatchNorm"
    return f"{name} has state besides parameters ({', '.join(state)}); {remedy}"


def _check_training(name: str, layer: nn.Module, params: Params, inputs: Any, outputs: Any) -> None:
    """Checks that a module has outputs and statistics of the same shapes in training as in evaluation.

    Raises:
      LayerError: it fails, draws from another stream, or has others.
    """
    try:
        made, state = jax.eval_shape(
            lambda params, inputs: trained(layer, params, inputs, jax.random.key(0)), params, inputs
        )
    except errors.InvalidRngError as error:
        reason = f"draws from a stream that it has not ({' '.join(str(error).split())[:200]}); name it {DRAWS}"
        raise LayerError(f"{name}, in training, {reason}") from None
    except Exception as error:  # a module is code, and may fail in any way
        raise LayerError(f"{name} fails in training ({' '.join(str(error).split())[:200]})") from None
    if (made, state) != (outputs, params.get(STATISTICS)):
        raise LayerError(f"{name} has other outputs or statistics in training than in evaluation: in shape or kind")


def _check_params(name: str, params: Params) -> None:
    """Checks that a module's parameters are float32 arrays in nested dictionaries of plain names."""
    for path, leaf in traverse_util.flatten_dict(params).items():
        named = "/".join(map(str, path))
        if not isinstance(leaf, jax.ShapeDtypeStruct) or leaf.dtype != jnp.float32:
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise LayerError(f"{name} has a parameter {named} of {kind}; parameters must be float32 arrays")
        if any("/" in part for part in path):
            raise LayerError(f"{name} has a parameter {named}, whose name holds a slash; name it without")


def encode(
    layers: Sequence[nn.Module],
    params: Params,
    inputs: Float[Array, "rows ..."],
    start: int = 0,
    stop: int | None = None,
) -> Float[Array, "rows ..."]:
    """Applies layers ``start`` up to, not including, ``stop``: [B, *in] to codes [B, *out]."""
    for number, layer in enumerate(layers[:stop]):
        if number >= start:
            # A layer without parameters has no place among them.
            inputs = apply(layer, params.get(f"layers_{number}", {}), inputs)
    return inputs


def scaled(inputs: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Returns uint8 images as float32 in [0, 1]; codes, already float32, as they are."""
    return inputs.astype(jnp.float32) / 255 if inputs.dtype == jnp.uint8 else inputs


def flat(values: Float[Array, "rows ..."]) -> Codes:
    """Returns values [B, ...] as vectors [B, D]."""
    return values.reshape(values.shape[0], -1) if values.ndim > 2 else values


def activation_of(layer: nn.Module) -> str:
    """Returns the ``known_activation`` of a layer's codes; ``identity`` where it has none."""
    return known_activation(layer) or "identity"


def known_activation(layer: nn.Module) -> str | None:
    """Returns the activation of a layer's codes by its field ``activation``; None where it has none that is known.

    A function is the named one that it equals, or else that of its bounds: ``sigmoid`` in [0, 1], ``tanh`` in [-1, 1],
    ``identity`` beyond.
    """
    given = getattr(layer, "activation", None)
    if callable(given):
        return _probed(given)
    return given if isinstance(given, str) and given in ACTIVATIONS else None


@functools.lru_cache(maxsize=256)
def _probed(function: Callable[[jax.Array], jax.Array]) -> str | None:
    """Returns the named activation that a function equals, or that has its bounds; None where it fails."""
    asked = np.concatenate([np.linspace(-30, 30, 241), [-1e4, 1e4]]).astype(np.float32)
    try:
        with jax.ensure_compile_time_eval():  # it is asked for while programs are traced, too
            found = np.asarray(function(jnp.asarray(asked)))
            known = {name: np.asarray(each(jnp.asarray(asked))) for name, each in ACTIVATIONS.items()}
    except Exception:  # it is code of the user's, and may be of anything but numbers
        return None
    if found.shape != asked.shape or not np.isfinite(found).all():
        return None
    for name, values in known.items():
        if np.allclose(found, values, rtol=1e-5, atol=1e-6):
            return name
    return "sigmoid" if found.min() >= 0 and found.max() <= 1 else "tanh" if np.abs(found).max() <= 1 else "identity"


@functools.partial(jax.jit, static_argnums=(0, 1))
def fresh(layer: nn.Module, example: tuple[int, ...], key: Key[Array, ""]) -> Params:
    """Returns a layer's initial parameters, with running statistics where it has any."""
    return joined(initial(layer, key, jnp.zeros((1, *example))))
