"""The end of each training, computed whenever tables are made: final values, status, early stops."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pretrain.learn.stage import Stage
from pretrain.plan.job import Job
from pretrain.store.records import Record
from pretrain.store.store import Store

_CONSTANT = 0.01  # variation of predictions that counts as none, but of classes
UPDATES, BEST, STOPPED = "finetune_updates", "finetune_best_update", "finetune_stopped"


def finals(store: Store, jobs: Sequence[Job], records: Mapping[str, Record]) -> dict[str, dict[str, float | None]]:
    """Returns the validation metrics of trained parameters by the jobs' ids: those after the update that is kept.

    That is the last, which is always followed by a validation, as is the best where training may end early. Values
    that are not finite are None.
    """
    parts = store.curves([job.id for job in jobs])
    table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    metric = table["metric"].combine_chunks()
    of_job = np.repeat(np.arange(len(jobs)), [len(part) for part in parts])
    kept = np.array([_kept_update(records[job.id], job.stage) for job in jobs])
    is_kept, numbers = table["step"].to_numpy() == kept[of_job], metric.indices.to_numpy()
    values: dict[str, dict[str, float | None]] = {job.id: {} for job in jobs}
    for number, name in enumerate(metric.dictionary.to_pylist()):
        if name.startswith("validation_"):
            rows = np.flatnonzero(is_kept & (numbers == number))
            for job, value in zip(of_job[rows], table["value"].to_numpy()[rows].tolist(), strict=True):
                values[jobs[job].id][name] = value if np.isfinite(value) else None
    return values


def ends(record: Record, stage: Stage) -> dict[str, int | bool | None]:
    """Returns how long the training of a trial's last stage was: None of a read-out."""
    if record.stopping is None:
        return {UPDATES: stage.n_updates or None}
    counts = record.stopping
    return {UPDATES: counts["updates"], BEST: counts["best_update"], STOPPED: counts["n_since"] >= stage.patience}


def status(record: Record, stage: Stage, final: Mapping[str, float | None]) -> str:
    """Returns ``ok``, ``diverged``, or ``collapsed`` where a network predicts the same of all examples."""
    if not record.is_finite or None in final.values():
        return "diverged"
    least = 0 if stage.stack.task.kind == "classification" else _CONSTANT
    return "collapsed" if record.variation is not None and _is_least(record.variation, least) else "ok"


def _is_least(variation: float, least: float) -> bool:
    return variation < least if least else variation == 0


def _kept_update(record: Record, stage: Stage) -> int:
    return record.stopping["best_update"] if record.stopping else stage.n_updates
