"""Recall and precision of each class, from stored predictions on test rows."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pretrain.config import DataConfig
from pretrain.data import Dataset
from pretrain.plan.plan import Plan
from pretrain.store.store import Store

_SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("class", pa.string()),
        ("support", pa.int64()),
        ("recall", pa.float64()),
        ("precision", pa.float64()),
    ]
)


def of_trials(
    plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset], trial_ids: Collection[str]
) -> pa.Table | None:
    """Returns how well some trials predict each class, or each of several labels; None of numbers.

    Columns: ``trial_id``, ``class``, ``support`` (test rows that are of it), ``recall`` (the part of them predicted as
    such, null without support) and ``precision`` (the part of those predicted as such that are, null without any).
    """
    rows: list[dict[str, Any]] = []
    for trial in plan.trials:
        dataset = datasets[plan.jobs[trial.jobs[-1]].data]
        if trial.id in trial_ids and dataset.task != "regression":
            counted = _of_predictions(store.predictions(trial.jobs[-1], "test"), len(dataset.output_names))
            rows += [
                {"trial_id": trial.id, "class": name, **counts}
                for name, counts in zip(dataset.output_names, counted, strict=True)
            ]
    return pa.Table.from_pylist(rows, _SCHEMA) if rows else None


def _of_predictions(stored: Mapping[str, np.ndarray], n: int) -> Iterator[dict[str, Any]]:
    """Yields support, recall and precision of each of n outputs."""
    targets = stored["targets"]
    for output in range(n):
        if targets.ndim == 1:
            truth, predicted = targets == output, stored["classes"] == output
        else:
            known = ~np.isnan(targets[:, output])
            truth, predicted = targets[known, output] > 0, stored["scores"][known, output] > 0
        hits, support, called = (int(np.sum(each)) for each in (truth & predicted, truth, predicted))
        yield {
            "support": support,
            "recall": hits / support if support else None,
            "precision": hits / called if called else None,
        }
