"""Outcomes and progress of packs; records of stages: results, curves and versions."""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa

from pretrain.learn.layers import Params
from pretrain.plan.plan import Pack

_CONSTANT = 0.01  # of the targets' deviation
_COUNTS = "rows"  # of each stage, in the metadata of curves


class Outcome(NamedTuple):
    """Outcomes of a pack's jobs; every array has the jobs as its leading axis."""

    params: Params
    curves: dict[str, np.ndarray]  # [T, total steps], NaN where not measured
    results: dict[str, np.ndarray]  # [T]
    seconds: float  # wall clock of the pack, per job
    test: str = ""  # fingerprint of the test images and labels behind the results
    # Of jobs that end a trial, by held-out split as in ``test_scores``: the arrays of ``Prediction``, [T, N, ...], and
    # the shared ``test_targets``, [N, ...]; None of other jobs.
    predictions: dict[str, np.ndarray] | None = None

    def diverged(self) -> np.ndarray:
        """Returns whether each job met a NaN or an infinity: [T] bool."""
        watched = [*jax.tree.leaves(self.params), *self.results.values()]
        rows = [np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1) for leaf in watched]
        return ~np.logical_and.reduce(rows)


class Progress(NamedTuple):
    """Progress of a pack: everything it needs to go on as if it had never stopped."""

    step: int  # updates made
    seconds: float  # wall clock so far
    arrays: dict[str, Any]  # states and curves by path, nested; the jobs are the leading axis


@dataclasses.dataclass(frozen=True)
class Record:
    """Results of a stored stage."""

    status: str  # "ok", "diverged", or "collapsed" where it predicts the same of all examples
    results: dict[str, float | None]  # None where not finite
    seconds: float  # wall clock
    test: str = ""  # fingerprint of the test images and labels behind the results


class StoredAs(NamedTuple):
    """The origin of a stored stage: its program, versions and parent."""

    id: str
    program: str  # its fingerprint
    versions: dict[str, str]  # of packages
    parent: str | None = None  # id


def records_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Returns the record of each of a pack's stages, as JSON holds it."""
    results = {name: values.tolist() for name, values in outcome.results.items()}
    diverged = outcome.diverged()
    collapsed = predicts_alike(outcome.predictions, len(diverged))
    return [
        {
            "status": "diverged" if diverged[lane] else "collapsed" if collapsed[lane] else "ok",
            # JSON knows neither NaN nor infinity.
            "results": {name: value[lane] if np.isfinite(value[lane]) else None for name, value in results.items()},
            "seconds": outcome.seconds,
            "test": outcome.test,
        }
        for lane in range(len(diverged))
    ]


def predicts_alike(predictions: Mapping[str, np.ndarray] | None, n_jobs: int) -> np.ndarray:
    """Returns whether each job predicts the same of all held-out examples, though their targets differ: [T] bool.

    Predictions are alike if all are one class, or if logits of labels, or numbers, vary by less than a hundredth.
    """
    if not predictions:
        return np.zeros(n_jobs, bool)

    def joined(name: str, axis: int) -> np.ndarray:
        return np.concatenate([predictions[f"{split}_{name}"] for split in ("validation", "test")], axis=axis)

    targets = joined("targets", 0)
    if "test_classes" in predictions:
        classes = joined("classes", 1)
        return (classes == classes[:, :1]).all(axis=1) & (targets != targets[0]).any()
    if predictions["test_scores"].dtype == np.float16:
        # Of rare labels, logits may order examples well though all are below zero.
        return (joined("scores", 1).astype(np.float32).std(axis=1) < _CONSTANT).all(axis=1)
    return (joined("scores", 1).std(axis=1) < _CONSTANT * targets.std(axis=0)).all(axis=1)


def curves_of(pack: Pack, outcome: Outcome) -> pa.Table:
    """Returns curves in long form, stage after stage.

    Stages are measured alike unless they may stop early: then the metadata hold their numbers of rows.
    """
    names = sorted(outcome.curves)
    measured = pack.stage.measured(names)
    steps = {name: np.flatnonzero(measured[name]) for name in names}
    metric = np.repeat(np.arange(len(names), dtype=np.int32), [len(steps[name]) for name in names])
    values = np.concatenate([outcome.curves[name][:, steps[name]] for name in names], axis=1)
    n_jobs = len(pack.jobs)
    table = pa.table(
        {
            "metric": pa.DictionaryArray.from_arrays(np.tile(metric, n_jobs), names),
            "step": np.tile(np.concatenate([steps[name] + 1 for name in names]).astype(np.int32), n_jobs),
            "value": values.reshape(-1),
        }
    )
    if not pack.stage.stops_early:
        return table
    made = table["step"].to_numpy().reshape(n_jobs, -1) <= outcome.results["finetune_updates"][:, None]
    counts = json.dumps(made.sum(axis=1).tolist())
    return table.filter(pa.array(made.reshape(-1))).replace_schema_metadata({_COUNTS: counts})


def curves_by_stage(table: pa.Table, n_stages: int) -> list[pa.Table]:
    """Returns the curves of each of a pack's stages, from ``curves_of``."""
    counts = (table.schema.metadata or {}).get(_COUNTS.encode())
    sizes = json.loads(counts) if counts else [len(table) // n_stages] * n_stages
    return [table.slice(end - size, size) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]
