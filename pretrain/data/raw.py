"""Rows as a source has them, before they are scaled: their form, by which rows to come are read alike."""

from typing import Literal, NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.data import forms
from pretrain.data.inputs import blocks

_LUMA = (0.299, 0.587, 0.114)
_BYTE_STEPS = 1e-4  # greatest distance of a number from a byte, in steps of a byte, as ``scaling.as_bytes``
_OF_A_BYTE = np.float32(1 / 255)  # by which XLA multiplies where a program divides a byte by 255
_BLOCK = 1024  # images in memory as floats at once


class Raw(NamedTuple):
    """The rows of a source, and what they are before a ``Scaling``."""

    form: forms.Form
    shape: tuple[int, ...]  # of a row at the source
    kind: Literal["bytes", "numbers"]  # at the source
    is_read_as_bytes: bool  # whether they are bytes, or numbers that are multiples of 1/255
    time: int = 0  # axis along which series go on; 0 of others
    greyscale: bool = False

    @classmethod
    def of(cls, given: np.ndarray, read: np.ndarray, form: forms.Form, padded: int, greyscale: bool) -> "Raw":
        """Returns what training rows are, as a source gives them [N, ...], and as they are scaled [N, ...]."""
        kind: Literal["bytes", "numbers"] = "bytes" if given.dtype == np.uint8 else "numbers"
        time = (padded or forms.time_axis(given)) if form == "series" else 0
        return cls(form, given.shape[1:], kind, read.dtype == np.uint8, time, greyscale)

    def as_trained(self, rows: np.ndarray, field: str) -> np.ndarray:
        """Returns rows to come [N, *shape] in the form that training rows were scaled in, each for itself.

        Args:
          rows: numbers; of bytes uint8.
          field: the name that faults have.

        Raises:
          ConfigError: rows are of another shape or type, or not all of an image are finite; names what differs.
        """
        self._check(rows, field)
        made = forms.as_form(rows, self.form, self.time, len(self.shape))
        if self.greyscale:
            made = luma(made)
        if made.dtype == np.uint8 and not self.is_read_as_bytes:
            return made.astype(np.float32)
        if self.is_read_as_bytes and made.dtype != np.uint8:
            return _on_byte_steps(made)
        return made

    def _check(self, rows: np.ndarray, field: str) -> None:
        was = f"the run's are {described(self.shape, self.kind)}"
        if rows.dtype.kind not in "buif":
            raise ConfigError(field, str(rows.dtype), f"is no type of numbers; {was}")
        kind = "bytes" if rows.dtype == np.uint8 else "numbers"
        if rows.shape[1:] != self.shape or rows.ndim != len(self.shape) + 1:
            shape = " × ".join(map(str, rows.shape)) or "a single number"
            remedy = f"is no [N, {', '.join(map(str, self.shape))}]; give rows as {was}"
            raise ConfigError(field, shape, remedy)
        if kind != self.kind and self.is_read_as_bytes:
            raise ConfigError(field, str(rows.dtype), f"differs in scale from the run's rows; {was}")
        are_whole = rows.dtype.kind != "f" or self.form not in ("images", "volumes")
        if not are_whole and any(not np.isfinite(block).all() for block in blocks(rows)):
            raise ConfigError(field, "NaN", "or infinity lies in an image, which must be whole; leave out those rows")


def described(shape: tuple[int, ...], kind: str) -> str:
    """Returns the shape and type of a row in words."""
    return f"[{', '.join(map(str, shape))}] of {'uint8' if kind == 'bytes' else 'numbers'}"


def _on_byte_steps(rows: np.ndarray) -> np.ndarray:
    """Returns numbers near multiples of 1/255 as programs read bytes, to the bit: float32."""
    made = np.empty(rows.shape, np.float32)
    start = 0
    for block in blocks(rows):
        steps = block.astype(np.float64) * 255
        nearest = np.rint(steps)
        is_near = (np.abs(steps - nearest) <= _BYTE_STEPS) & (nearest >= 0) & (nearest <= 255)
        made[start : start + len(block)] = np.where(is_near, nearest.astype(np.float32) * _OF_A_BYTE, block)
        start += len(block)
    return made


def luma(images: np.ndarray) -> np.ndarray:
    """Turns images [N, H, W, 1 or 3] to one channel (ITU-R BT.601 luma): [N, H, W, 1]; of bytes, rounded to bytes."""
    if images.shape[-1] == 1:
        return images
    # A block at a time: the float copy of a whole colour dataset would be twelve times its size.
    grey = np.empty(images.shape[:3], np.uint8 if images.dtype == np.uint8 else np.float32)
    for start in range(0, len(images), _BLOCK):
        block = slice(start, start + _BLOCK)
        values = images[block] @ np.array(_LUMA, np.float32)
        grey[block] = np.rint(values) if grey.dtype == np.uint8 else values
    return grey[..., None]
