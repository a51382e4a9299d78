"""Codes that the code of a checkpoint's author made, against ours: padding, activation and scaling fit no shape."""

import jax.numpy as jnp
import numpy as np

from pretrain.config import DataConfig, FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.data import Dataset, given
from pretrain.data.files import read_npz
from pretrain.data.inputs_file import inputs_of
from pretrain.learn.stack import Stack
from pretrain.plan.imported import Imported

FIELD = "finetune.reference"
TOLERANCE = 1e-3  # of the largest code of a layer


def check(section: FinetuneConfig, found: Imported, stack: Stack, data: DataConfig, dataset: Dataset) -> None:
    """Checks that imported weights make the codes of a reference.

    Args:
      section: of fine-tuning, whose ``reference`` is an .npz archive: ``x``, raw rows [N, ...], ``codes``, those of the
        topmost layer, and where it has them ``codes_0``, …, those of each layer; of torch channels first.
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
    inputs = inputs_of(data, dataset)
    rows = inputs.scaling.as_read(given.read(arrays["x"], inputs, FIELD).rows).reshape(-1, *stack.example)
    for key, number in sorted(wanted.items(), key=lambda item: item[1]):
        if key in arrays:
            ours = np.asarray(stack.encoding(found.params, number + 1)(jnp.asarray(rows)))
            _check_layer(name, number, _as_theirs(ours, found.layout), arrays[key])


def _as_theirs(codes: np.ndarray, layout: str) -> np.ndarray:
    """Returns codes [N, *sides, C] in a layout, flattened: [N, units]."""
    codes = np.moveaxis(codes, -1, 1) if layout == "torch" else codes
    return codes.reshape(len(codes), -1)


def _check_layer(name: str, number: int, ours: np.ndarray, theirs: np.ndarray) -> None:
    where = f"of layer {number}"
    if theirs.dtype.kind != "f" or theirs.reshape(len(theirs), -1).shape != ours.shape:
        given_as = f"{theirs.dtype}{list(theirs.shape)}"
        raise ConfigError(FIELD, name, f"has codes {where} of {given_as}, where ours are float32{list(ours.shape)}")
    flat = theirs.reshape(len(theirs), -1).astype(float)
    largest = np.abs(flat).max() or 1.0
    difference = float(np.abs(ours - flat).max() / largest)
    if not difference <= TOLERANCE:
        remedy = (
            "compare padding, activation and the scale of inputs (encoder.layers, encoder.activation, data.scaling)"
        )
        raise ConfigError(FIELD, name, f"has other codes {where}, by {difference:.2g} of the largest; {remedy}")
