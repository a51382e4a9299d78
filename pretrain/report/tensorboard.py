"""A run's curves as TensorBoard event files."""

import importlib.util
import itertools
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from pretrain.config.fields import ConfigError
from pretrain.study import summary

_SAFE = re.compile("[0-9a-f]+")


def is_installed() -> bool:
    """Returns whether event files can be written."""
    return importlib.util.find_spec("tensorboardX") is not None


def require() -> None:
    """Checks that event files can be written.

    Raises:
      ConfigError: tensorboardX is not installed.
    """
    if not is_installed():
        raise ConfigError("tensorboard", True, "needs tensorboardX; pip install -e '.[tensorboard]'")


def write(trials: pa.Table, curves: pa.Table, stages: pa.Table, directory: Path) -> None:
    """Writes a directory of event files a trial, and one a phase, which trials may share.

    A trial's is named by its id and holds its fine-tuning's curves, and its swept fields and results as
    hyperparameters; a phase's is named ``pretrain-<number>-<beginning of its stage's id>``. A curve is tagged
    ``<stage>/<metric>``. Earlier files of the same names go.

    Raises:
      ConfigError: an id is no name for a directory.
      OSError: a file could not be written.
    """
    from tensorboardX.summary import hparams  # an extra, which only this needs

    ids = {(row["trial_id"], row["stage"]): row["stage_id"] for row in stages.to_pylist()}
    rows = {trial["trial_id"]: trial for trial in trials.to_pylist()}
    settings, results = ["seed", "repeat", *summary.swept_fields(trials)], summary.metrics(trials)
    written = set()
    for trial_id, stage, measured in _by_stage(curves):
        stage_id = ids[trial_id, stage]
        if stage_id in written:
            continue
        written.add(stage_id)
        if stage != "finetune":
            _write_events(directory, f"{stage.replace('/', '-')}-", stage_id[:16], _scalars(stage, measured))
            continue
        fields = {name: _plain(rows[trial_id][name]) for name in settings if rows[trial_id][name] is not None}
        scores = {name: rows[trial_id][name] for name in results if rows[trial_id][name] is not None}
        about = ((part, 0) for part in hparams(fields, scores))
        _write_events(directory, "", trial_id, itertools.chain(about, _scalars(stage, measured)))


def _by_stage(curves: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """Yields the curves of each trial's stages, which lie together: the trial's id, the stage's name, the rows."""
    first, keys = 0, zip(curves["trial_id"].to_pylist(), curves["stage"].to_pylist(), strict=True)
    for (trial_id, name), group in itertools.groupby(keys):
        n_rows = sum(1 for _ in group)
        yield trial_id, name, curves.slice(first, n_rows)
        first += n_rows


def _scalars(stage: str, curves: pa.Table) -> Iterator[tuple[object, int]]:
    """Yields a summary of all that was measured after each update, with the update's number."""
    from tensorboardX.proto.summary_pb2 import Summary

    columns = (curves[name].to_pylist() for name in ("step", "metric", "value"))
    by_step = sorted(zip(*columns, strict=True), key=lambda row: row[0])
    for step, rows in itertools.groupby(by_step, key=lambda row: row[0]):
        values = [Summary.Value(tag=f"{stage}/{metric}", simple_value=value) for _, metric, value in rows]
        yield Summary(value=values), step


def _write_events(directory: Path, prefix: str, identity: str, summaries: Iterator[tuple[object, int]]) -> None:
    from tensorboardX.writer import FileWriter

    if not _SAFE.fullmatch(identity):
        raise ConfigError("run", identity, "is no id that this program writes; run the experiment again")
    place = directory / f"{prefix}{identity}"
    shutil.rmtree(place, ignore_errors=True)
    writer = FileWriter(str(place))
    try:
        for values, step in summaries:
            writer.add_summary(values, step)
    finally:
        writer.close()


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) else str(value)
