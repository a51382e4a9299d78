"""``python launch.py predict RUN ROWS --out FILE``: predictions of rows to come."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pretrain.commands import options, rows
from pretrain.commands.rows import OfRows


@dataclasses.dataclass(frozen=True)
class PredictCommand(OfRows):
    """Writes the predictions of rows: class and probabilities, labels, or numbers in their units."""

    ensemble: bool = False
    """Predict by all seeds of the arm together, in the place of one."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns the exit code: 0 done, 1 the file could not be written.

    Raises:
      ConfigError: an option cannot be read, the run is not there, or rows differ from its training rows.
      DamageError: a file of the run is missing or not as it was written.
    """
    command = options.parse(PredictCommand, argv, "predict")
    model, given, out = rows.opened(command, command.ensemble)
    parts = list(rows.in_chunks(model, given, model.evaluate))
    predictions = np.concatenate([part.predictions for part in parts])
    values = {"prediction": predictions}
    if predictions.ndim > 1 and out.suffix.lower() != ".npy":  # a column an output
        values = {name: predictions[:, place] for place, name in enumerate(model.classes)}
    if model.has_probabilities:
        shares = np.concatenate([part.probabilities for part in parts])
        values |= {f"probability_{name}": shares[:, place] for place, name in enumerate(model.classes)}
    return rows.write(out, given, values, model.name)
