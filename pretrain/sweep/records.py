"""What is kept of a stage besides its parameters: its record, its curves, and what made it."""

import dataclasses
import itertools
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.sweep.execute import Outcome
from pretrain.sweep.plan import Pack

_COUNTS = "rows"  # of each stage, in the metadata of curves


@dataclasses.dataclass(frozen=True)
class Record:
    """What a stored stage came to, besides its parameters."""

    status: str  # "ok" or "diverged"
    results: dict[str, float | None]  # None where not finite
    seconds: float  # wall clock
    test: str = ""  # fingerprint of the test images and labels that results are of


class StoredAs(NamedTuple):
    """A stored stage with the settings of another: what made it."""

    id: str
    program: str  # its fingerprint
    versions: dict[str, str]  # of packages
    parent: str | None = None  # id


def records_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Returns the record of each of a pack's stages, as JSON holds it."""
    results = {name: values.tolist() for name, values in outcome.results.items()}
    return [
        {
            "status": "diverged" if diverged else "ok",
            "results": {name: _finite_or_none(results[name][lane]) for name in results},
            "seconds": outcome.seconds,
            "test": outcome.test,
        }
        for lane, diverged in enumerate(outcome.diverged())
    ]


def _finite_or_none(value: float) -> float | None:
    """JSON knows neither NaN nor infinity."""
    return value if np.isfinite(value) else None


def curves_of(pack: Pack, outcome: Outcome) -> pa.Table:
    """Returns what was measured, in long form, stage after stage.

    Stages are measured alike, unless one has stopped early: then their numbers of rows stand in the metadata.
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
    """Returns what was measured of each of a pack's stages, from ``curves_of``."""
    counts = (table.schema.metadata or {}).get(_COUNTS.encode())
    sizes = json.loads(counts) if counts else [len(table) // n_stages] * n_stages
    return [table.slice(end - size, size) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]
