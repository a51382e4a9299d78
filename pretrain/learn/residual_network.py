"""ResNet-18 up to its pooled features, as torchvision builds it, with its batch normalisation folded."""

import functools
import math
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Key

from pretrain.learn.annotations import Array
from pretrain.learn.codes import in_blocks
from pretrain.learn.convolution import convolve, largest, padded
from pretrain.learn.layers import LayerError, Params

STEM = "conv1"
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # features and stride of layer1, layer2, layer3, layer4
BLOCKS = ("0", "1")  # of each
_N_BLOCKS = len(STAGES) * len(BLOCKS)
_DEVIATION = 0.8796256610342398  # of a standard normal that is cut off at 2
_MOST_ROWS = 100  # at once, in loops: windows side by side are 9 to 49 times as large as what they read


class ResNet18(nn.Module):
    """ResNet-18 (He et al., 2016): [B, H, W, C] to its features [B, 512], means over the sides of the last stage.

    Parameters have torchvision's names, ``layer1/0/conv1/kernel``, and are those of each convolution with the batch
    normalisation behind it: fixed statistics make the two one convolution with a bias. Kernels start from He et al.'s
    (2015) normal; those that end a block are divided by the square root of the number of blocks, so that features
    without normalisation stay of one size (Zhang et al., 2019); biases start from zero.
    """

    activation: ClassVar[str] = "relu"

    @nn.compact
    def __call__(self, inputs: Float[Array, "rows *sides channels"]) -> Float[Array, "rows features"]:
        if inputs.ndim != 4 or inputs.shape[2] == 1:
            raise ValueError("resnet18 reads images [H, W, C], and neither series nor volumes")
        params = {
            name: self.param(name, functools.partial(_fresh, kernels=within))
            for name, within in kernels(inputs.shape[-1]).items()
        }
        n_rows, of_images = inputs.shape[0], functools.partial(_features, params)
        if isinstance(n_rows, int) and n_rows > _MOST_ROWS:  # of an exported program it is a symbol
            return in_blocks(of_images, inputs, _MOST_ROWS)
        return of_images(inputs)

    def decoder(self, shape: tuple[int, ...]) -> nn.Module:
        """Raises LayerError, for nothing turns pooled features back into images."""
        remedy = "take weights from a file (finetune.encoder_init weights), or pretrain it by --pretrain.method.kind"
        raise LayerError(f"its pooled features leave no image; {remedy} supervised")


def kernels(channels: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """Returns the shapes of kernels on images of so many channels, by names within ``conv1``, ``layer1``, …."""
    width = STAGES[0][0]
    made: dict[str, dict[str, tuple[int, ...]]] = {STEM: {"": (7, 7, channels, width)}}
    for number, (features, _) in enumerate(STAGES, 1):
        within = made[f"layer{number}"] = {}
        for block in BLOCKS:
            within[f"{block}/conv1"] = (3, 3, width, features)
            within[f"{block}/conv2"] = (3, 3, features, features)
            if width != features:
                within[f"{block}/downsample/0"] = (1, 1, width, features)
            width = features
    return made


def _fresh(key: Key[Array, ""], kernels: Mapping[str, tuple[int, ...]]) -> Params:
    """Returns the first parameters of convolutions with kernels of some shapes, by one draw: twenty compile slower."""
    sizes = [math.prod(shape) for shape in kernels.values()]
    drawn = jax.random.truncated_normal(key, -2, 2, (sum(sizes),)) / _DEVIATION
    made: dict[tuple[str, ...], jax.Array] = {}
    for (name, shape), part in zip(kernels.items(), jnp.split(drawn, np.cumsum(sizes)[:-1]), strict=True):
        variance = 2 / math.prod(shape[:-1]) / (_N_BLOCKS if name.endswith("conv2") else 1)
        path = tuple(filter(None, name.split("/")))
        made[*path, "kernel"], made[*path, "bias"] = part.reshape(shape) * math.sqrt(variance), jnp.zeros(shape[-1])
    return traverse_util.unflatten_dict(made)


def _features(params: Params, images: jax.Array) -> jax.Array:
    """Returns the features of images: [B, H, W, C] to [B, 512]."""
    values = largest(nn.relu(_convolved(params[STEM], images, 2)), 3, 2, 1)
    for number, (_, stride) in enumerate(STAGES, 1):
        for name in BLOCKS:
            block, stride = params[f"layer{number}"][name], stride if name == BLOCKS[0] else 1
            inner = _convolved(block["conv2"], nn.relu(_convolved(block["conv1"], values, stride)), 1)
            if "downsample" in block:
                values = _convolved(block["downsample"]["0"], values, stride)
            values = nn.relu(inner + values)
    return values.mean(axis=(1, 2))


def _convolved(layer: Params, images: jax.Array, stride: int) -> jax.Array:
    """Returns a convolution padded by half its window, with its bias.

    On a CPU it is by slices outside of loops, too, where XLA's own takes seven times as long for these shapes.
    """
    window = layer["kernel"].shape[0]
    sums = padded(images, layer["kernel"], stride, (window // 2,) * 2, convolve)
    return sums + jnp.broadcast_to(layer["bias"], sums.shape)
