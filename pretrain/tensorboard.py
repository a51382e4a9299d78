"""A run's curves as TensorBoard event files."""

import importlib.util
import re
import shutil
from pathlib import Path

import pyarrow as pa

from pretrain.fields import ConfigError
from pretrain.study import summary


def require() -> None:
    """Checks that event files can be written.

    Raises:
      ConfigError: tensorboardX is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise ConfigError("tensorboard", True, "needs tensorboardX; pip install 'pretrain[tensorboard]'")


def write(trials: pa.Table, curves: pa.Table, directory: Path) -> None:
    """Writes a directory of event files a trial, in place of those that were there.

    Curves are scalars tagged ``<stage>/<metric>`` at their steps; a trial's swept fields and results are its
    hyperparameters and their metrics.

    Raises:
      ConfigError: a trial's id is no name for a directory.
      OSError: a file could not be written.
    """
    from tensorboardX import SummaryWriter

    results = summary.metrics(trials)
    fields = ["seed", "repeat", *summary.swept_fields(trials)]
    measured = {}
    for row in curves.to_pylist():
        measured.setdefault(row["trial_id"], []).append(row)
    for trial in trials.to_pylist():
        if not re.fullmatch("[0-9a-f]+", trial["trial_id"]):
            raise ConfigError("trial_id", trial["trial_id"], "is none that this program writes")
        place = directory / trial["trial_id"]
        shutil.rmtree(place, ignore_errors=True)
        with SummaryWriter(str(place), write_to_disk=True) as writer:
            for row in measured.get(trial["trial_id"], ()):
                writer.add_scalar(f"{row['stage']}/{row['metric']}", row["value"], row["step"])
            settings = {name: _plain(trial[name]) for name in fields if trial.get(name) is not None}
            scores = {name: trial[name] for name in results if trial[name] is not None}
            writer.add_hparams(settings, scores, name="hparams", global_step=0)


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) else str(value)
