"""Codes that the code of a checkpoint's author made, against ours: padding, activation and scaling fit no shape."""

import math

import jax.numpy as jnp
import numpy as np

from pretrain.config import DataConfig, FinetuneConfig
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.data import Dataset, given
from pretrain.data.files import read_npz
from pretrain.data.findings import Finding
from pretrain.data.inputs_file import inputs_of
from pretrain.data.raw import Raw
from pretrain.learn.layers import Convolution
from pretrain.learn.stack import Stack
from pretrain.plan import described
from pretrain.plan.imported import Imported

FIELD = "finetune.reference"
TOLERANCE = 1e-3  # of the largest code of a layer
_BYTE_STEPS = 1e-3  # greatest distance of x from a byte, in steps of a byte


def check(section: FinetuneConfig, found: Imported, stack: Stack, data: DataConfig, dataset: Dataset) -> Finding:
    """Returns the finding that imported weights make the codes of a reference, with the largest difference.

    Args:
      section: of fine-tuning, whose ``reference`` is an .npz archive: ``x``, raw rows [N, ...], ``codes``, those of the
        topmost layer, and where it has them ``codes_0``, …, those of each layer; of torch channels first. Images may be
        flattened or [N, 1, H, W], and bytes divided by 255.
      found: the weights.
      stack: of the encoder alone.
      data: by which rows are read and scaled.
      dataset: that was read so.

    Raises:
      ConfigError: it cannot be read, or codes differ by more than ``TOLERANCE``; names the first layer that differs.
    """
    name, depth = section.reference, len(stack.layers)
    if dataset.records:
        raise ConfigError(FIELD, name, "holds an array x, and rows are a table's; give data as an array")
    try:
        arrays = read_npz(path_of(FIELD, name))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(FIELD, name, f"cannot be read ({reason}); save x and codes by numpy.savez") from None
    wanted = {f"codes_{number}": number for number in range(depth)} | {"codes": depth - 1}
    if "x" not in arrays or not arrays.keys() & wanted.keys() or arrays.keys() - wanted.keys() - {"x"}:
        has = ", ".join(sorted(arrays)) or "nothing"
        raise ConfigError(FIELD, name, f"holds {has}; give x, codes and, of single layers, {', '.join(wanted)}")
    inputs, largest = inputs_of(data, dataset), 0.0
    x = given.read(_as_source(arrays["x"], dataset.raw), inputs, FIELD).rows
    rows = inputs.scaling.as_read(x).reshape(-1, *stack.example)
    for key, number in sorted(wanted.items(), key=lambda item: item[1]):
        if key in arrays:
            ours = np.asarray(stack.encoding(found.params, number + 1)(jnp.asarray(rows)))
            layer = f"layer {number} ({_words(stack, number)})"
            difference = _difference(name, layer, _as_theirs(ours, found.layout), arrays[key])
            if not difference <= TOLERANCE:
                is_located = all(f"codes_{each}" in arrays for each in range(number))
                raise ConfigError(FIELD, name, _other(number, difference, stack, dataset, is_located))
            largest = max(largest, difference)
    line = f"{FIELD}: {name!r}: codes agree to {largest:.1g} of the largest over {counted(len(rows), 'row')}"
    return Finding("reading", line, figures={"difference": largest, "rows": len(rows)})


def _as_source(x: np.ndarray, raw: Raw) -> np.ndarray:
    """Returns rows as the source has them: images that are flattened or [N, 1, H, W], and bytes divided by 255."""
    if raw.form == "images" and x.shape[1:] != raw.shape:
        sides, n_channels = raw.shape[:2], math.prod(raw.shape[2:])
        if x.shape[1:] == (n_channels, *sides):  # as torch has them
            x = np.moveaxis(x, 1, -1)
        if n_channels == 1 and x.shape[1:] in ((math.prod(sides),), sides, (*sides, 1)):
            x = x.reshape(-1, *raw.shape)
    if raw.kind == "bytes" and x.dtype.kind == "f" and x.size and np.isfinite(x).all():
        steps = x.astype(float) * 255
        if steps.min() >= 0 and np.abs(steps - np.rint(steps)).max() <= _BYTE_STEPS and steps.max() <= 255.5:
            return np.rint(steps).astype(np.uint8)
    return x


def _as_theirs(codes: np.ndarray, layout: str) -> np.ndarray:
    """Returns codes [N, *sides, C] in a layout, flattened: [N, units]."""
    codes = np.moveaxis(codes, -1, 1) if layout == "torch" else codes
    return codes.reshape(len(codes), -1)


def _difference(name: str, layer: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Returns the largest difference of codes of a layer, of the largest code."""
    if theirs.dtype.kind != "f" or theirs.reshape(len(theirs), -1).shape != ours.shape:
        given_as = f"{theirs.dtype}{list(theirs.shape)}"
        wanted = f"float32{list(ours.shape)}"
        remedy = f"has codes of {layer} of {given_as}, where ours are {wanted}; pooling counts as a layer"
        raise ConfigError(FIELD, name, remedy)
    flat = theirs.reshape(len(theirs), -1).astype(float)
    return float(np.abs(ours - flat).max() / (np.abs(flat).max() or 1.0))


def _other(number: int, difference: float, stack: Stack, dataset: Dataset, is_located: bool) -> str:
    """Returns what differs, what is done here, and what else may be the cause."""
    words = _words(stack, number) if is_located else _words(stack, 0, number)
    activation = getattr(stack.layers[number], "activation", "none")
    is_same = any(isinstance(layer, Convolution) for layer in stack.layers[: number + 1])
    here = f"{words}{' (padded as SAME of TensorFlow)' * is_same}, activation {activation}"
    here += f", inputs by {dataset.scaling.method}"
    locate = "" if is_located else f"; codes_0 to codes_{number} in it would name the first layer that differs"
    return (
        f"has other codes of layer {number}, by {difference:.2g} of the largest; compare padding, activation and the "
        f"scale of inputs (encoder.layers, encoder.activation, data.scaling): here {here}; else names may "
        f"be exchanged or kernels transposed (finetune.weights_names, finetune.weights_layout){locate}"
    )


def _words(stack: Stack, first: int, last: int = -1) -> str:
    """Returns the words of layers, or of one."""
    layers = stack.layers[first : max(first, last) + 1]
    known = ((layer, described.described(layer)) for layer in layers)
    return " ".join(described.word(each) if each else type(layer).__name__ for layer, each in known)
