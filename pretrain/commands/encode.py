"""``python launch.py encode RUN ROWS --out FILE``: codes of rows to come."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pretrain.commands import options, rows
from pretrain.commands.rows import OfRows


@dataclasses.dataclass(frozen=True)
class EncodeCommand(OfRows):
    """Writes the codes of rows by a run's encoder: a column a code, named code_0, code_1, …"""

    layers: int | None = None
    """Layers that rows go through, from the lowest; by default all."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 the file could not be written.

    Raises:
      ConfigError: an option cannot be read, the run is not there, or rows differ from its training rows.
      DamageError: a file of the run is missing or not as it was written.
    """
    command = options.parse(EncodeCommand, argv, "encode")
    model, given, out = rows.opened(command)
    parts = rows.in_chunks(model, given, lambda part: model.encode(part, command.layers))
    codes = np.concatenate([part.reshape(len(part), -1) for part in parts])
    return rows.write(out, given, {"code": codes}, model.name)
