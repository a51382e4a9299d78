"""Outcomes and progress of packs; records of stages: results, curves and versions."""

import dataclasses
import itertools
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.data import Dataset
from pretrain.learn.layers import Params
from pretrain.learn.stage import Stage
from pretrain.plan import arrays
from pretrain.plan.plan import Pack

COUNTS = "rows"  # of each stage, in the metadata of curves


class Outcome(NamedTuple):
    """Outcomes of a pack's jobs; every array has the jobs as its leading axis."""

    params: Params
    curves: dict[str, np.ndarray]  # [T, steps], NaN where not measured
    results: dict[str, np.ndarray]  # [T]
    seconds: float  # wall clock of the pack, per job
    is_finite: np.ndarray  # [T] bool
    digests: dict[str, np.ndarray]  # of parameters, by side [T] uint32
    test: str = ""  # fingerprint of the test images and labels that results are of
    variation: np.ndarray | None = None  # of predictions [T]
    # Of jobs that end a trial, by held-out split as in ``test_scores``: what ``Prediction`` holds, [T, N, ...], and
    # ``test_targets``, [N, ...], which all share; None of other jobs.
    predictions: dict[str, np.ndarray] | None = None
    stopping: Any = None  # Stopping: counters of training that may end early [T]

    def diverged(self) -> np.ndarray:
        """Returns whether each job met a NaN or an infinity: [T] bool."""
        return ~self.is_finite


class Progress(NamedTuple):
    """Progress of a pack: everything it needs to go on as if it had never stopped."""

    step: int  # updates made
    seconds: float  # wall clock so far
    arrays: dict[str, Any]  # states and curves by path, nested; the jobs are the leading axis


@dataclasses.dataclass(frozen=True)
class Record:
    """Results of a stored stage."""

    results: dict[str, float | None]  # None where not finite
    is_finite: bool  # parameters and results
    digests: dict[str, int]  # of its parameters
    seconds: float  # wall clock
    test: str  # fingerprint of the test images and labels that results are of
    variation: float | None  # of predictions; None of pretraining, and where it has no meaning
    stopping: dict[str, int] | None  # updates made, that of the best measurement, and measurements since


class StoredAs(NamedTuple):
    """The origin of a stored stage: its program, versions and parent."""

    id: str
    program: str  # its fingerprint
    versions: dict[str, str]  # of packages
    parent: str | None = None  # id


def outcome_of(
    stage: Stage,
    kept: tuple[Params, dict[str, np.ndarray], Any, Any],
    dataset: Dataset,
    seconds: float,
) -> Outcome:
    """Returns the outcome of a stage's jobs from the arrays that its program leaves, all of them on the host."""
    params, curves, results, stopping = kept
    digests = arrays.digests_of(params)
    is_finite = arrays.are_finite((params, results.values))
    predictions = arrays.kept_predictions(results.predictions, dataset) if results.predictions else None
    made = {name: curve[:, : stage.n_updates or 1] for name, curve in curves.items()}
    test = dataset.fingerprints.test
    return Outcome(
        params, made, results.values, seconds, is_finite, digests, test, results.variation, predictions, stopping
    )


def records_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Returns the record of each of a pack's stages, as JSON holds it."""
    columns: dict[str, list] = {name: values.tolist() for name, values in outcome.results.items()}
    stopping = outcome.stopping and outcome.stopping._asdict()
    counts = {name: stopping[name].tolist() for name in ("updates", "best_update", "n_since")} if stopping else {}
    variation = [None] * len(outcome.is_finite) if outcome.variation is None else outcome.variation.tolist()
    return [
        {
            "results": {name: _finite_or_none(values[lane]) for name, values in columns.items()},
            "is_finite": bool(is_finite),
            "digests": {side: int(values[lane]) for side, values in outcome.digests.items()},
            "seconds": outcome.seconds,
            "test": outcome.test,
            "variation": _finite_or_none(variation[lane]),
            "stopping": {name: values[lane] for name, values in counts.items()} or None,
        }
        for lane, is_finite in enumerate(outcome.is_finite)
    ]


def _finite_or_none(value: float | None) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if value is not None and np.isfinite(value) else None


def curves_of(pack: Pack, outcome: Outcome) -> pa.Table:
    """Returns curves in long form, stage after stage, whose numbers of rows stand in the metadata."""
    masks = {name: pack.stage.mask(name) for name in outcome.curves}
    ends = outcome.stopping and outcome.stopping.updates
    names, columns, counts = arrays.curve_rows(outcome.curves, masks, ends)
    columns["metric"] = pa.DictionaryArray.from_arrays(columns["metric"], names)
    return pa.table(columns).replace_schema_metadata({COUNTS: json.dumps(counts.tolist())})


def curves_by_stage(table: pa.Table) -> list[pa.Table]:
    """Returns the curves of each of a pack's stages, from ``curves_of``."""
    sizes = json.loads(table.schema.metadata[COUNTS.encode()])
    return [table.slice(end - size, size) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]
