"""Finished runs, for notebooks: their tables, and the parameters of any of their stages."""

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config import Experiment, from_json
from pretrain.config.fields import ConfigError, nearest
from pretrain.data import inputs_file
from pretrain.data.inputs_file import Inputs
from pretrain.sweep import sample_file as samples
from pretrain.sweep.sample_file import Samples

_COLUMNS = {
    "trials": ("trial_id", "seed", "repeat", "status", "test_accuracy", "validation_accuracy"),
    "curves": ("trial_id", "stage", "step", "metric", "value"),
    "stages": ("trial_id", "stage", "stage_id"),
    "timings": ("stage_id", "stage", "seed", "run_seconds"),
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run; tables are Arrow's, and ``run.trials.to_pandas()`` gives a data frame."""

    experiment: Experiment
    trials: pa.Table
    curves: pa.Table
    stages: pa.Table
    timings: pa.Table


def load_run(path: Path | str) -> Run:
    """Returns a run from its directory; nothing in it can execute anything.

    Raises:
      ConfigError: it is no directory of a finished run, or a file in it is damaged.
    """
    path = Path(path).expanduser()
    try:
        text = (path / "experiment.json").read_text()
    except (OSError, ValueError) as error:
        raise ConfigError("run", str(path), f"is no run: experiment.json cannot be read ({error})") from None
    return Run(from_json(text), **{name: _read_table(path, name) for name in _COLUMNS})


def load_params(path: Path | str, trial_id: str, stage: str = "finetune", store: Path | str | None = None) -> dict:
    """Returns the parameters of a trial after one of its stages, as nested dictionaries of NumPy arrays.

    Args:
      path: the run's directory.
      trial_id: the trial, or the beginning of its id.
      stage: ``finetune``, or a phase as in ``pretrain/0``.
      store: where the stages are, if not where the run left them.

    Raises:
      ConfigError: there is no such run, trial or stage, or the stage is not, or no longer, stored in full.
    """
    from pretrain.sweep.store import Store, StoreError  # takes a second, and tables do not need it

    run = load_run(path)
    by_stage = _stages_of(run, trial_id)
    if stage not in by_stage:
        raise ConfigError("stage", stage, f"is none of trial {trial_id}'s: {', '.join(by_stage)}")
    root, faults = store or run.experiment.store, []
    opened = Store(root, warn=faults.append, read_only=True)
    try:
        if opened.verified([by_stage[stage]]):
            return opened.params(by_stage[stage])
    except StoreError as error:
        faults.append(str(error))
    reason = faults[0] if faults else "it has no such stage; run the experiment again, or name another store"
    raise ConfigError("store", str(root), f"cannot give {stage} of trial {trial_id}: {reason}")


def load_samples(path: Path | str) -> Samples | None:
    """Returns the filters and reconstructions that a run left to look at; None if it left none.

    Raises:
      ConfigError: their file is damaged.
    """
    file = Path(path).expanduser() / samples.FILE
    try:
        return samples.read(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        remedy = f"is damaged: {file.name} cannot be read ({str(error)[:120]}); delete it, or run its command again"
        raise ConfigError("run", str(path), remedy) from None


def load_inputs(path: Path | str) -> list[Inputs]:
    """Returns how rows of each of a run's data become inputs of its encoders, those of fine-tuning first.

    Raises:
      ConfigError: the run has no such file, or it is damaged.
    """
    file = Path(path).expanduser() / inputs_file.FILE
    try:
        return inputs_file.read(file)
    except (OSError, ValueError) as error:
        remedy = f"has no sound {file.name} ({str(error)[:120]}); run its command again"
        raise ConfigError("run", str(path), remedy) from None


def devices(path: Path) -> str:
    """Returns what a run was computed on, as its answer.json tells; nothing if that cannot be read."""
    try:
        told = json.loads((path / "answer.json").read_text())["machine"]["devices"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return told if isinstance(told, str) else ""


def _stages_of(run: Run, trial_id: str) -> dict[str, str]:
    """Returns the stages of a trial, named by its id or the beginning of it: id by name."""
    rows = run.stages.to_pylist()
    known = dict.fromkeys(row["trial_id"] for row in rows)
    found = [name for name in known if name.startswith(trial_id)] if trial_id else []
    if len(found) != 1:
        near = f"; did you mean {nearest(trial_id, known)!r}?" if known and not found else ""
        raise ConfigError("trial_id", trial_id, f"names {len(found)} of the run's {len(known)} trials{near}")
    return {row["stage"]: row["stage_id"] for row in rows if row["trial_id"] == found[0]}


def _read_table(path: Path, name: str) -> pa.Table:
    file = path / f"{name}.parquet"
    if not file.is_file():
        raise ConfigError("run", str(path), f"is not finished: it has no {file.name}; run its command again")
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError("run", str(path), f"is damaged: {file.name} cannot be read ({reason})") from None
    missing = [column for column in _COLUMNS[name] if column not in table.column_names]
    if missing:
        remedy = f"is damaged: {file.name} has no column {missing[0]}; run its command again"
        raise ConfigError("run", str(path), remedy)
    return table
