"""A run's curves as arrays: its table is read once, and each metric is grouped by trial once."""

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

Curve = tuple[np.ndarray, np.ndarray]  # updates after which a trial was measured, ascending, and values


class Curves:
    """The curves of a run's trials."""

    def __init__(self, table: pa.Table):
        columns = table.unify_dictionaries()
        self._trials, self._trial_names = _codes(columns["trial_id"])
        self._stages, self._stage_names = _codes(columns["stage"])
        self._metrics, self._metric_names = _codes(columns["metric"])
        self._steps, self._values = columns["step"].to_numpy(), columns["value"].to_numpy()
        self.stages = [self._stage_names[code] for code in np.unique(self._stages)]
        self.metrics = [self._metric_names[code] for code in np.unique(self._metrics)]  # of all stages
        self.of = functools.cache(self._of)

    def _of(self, metric: str, stage: str = "finetune") -> dict[str, Curve]:
        """Returns the curve of each trial that has one."""
        if metric not in self.metrics or stage not in self.stages:
            return {}
        is_metric = self._metrics == self._metric_names.index(metric)
        rows = np.flatnonzero(is_metric & (self._stages == self._stage_names.index(stage)))
        rows = rows[np.lexsort((self._steps[rows], self._trials[rows]))]
        steps, values = self._steps[rows], self._values[rows]
        trials, starts = np.unique(self._trials[rows], return_index=True)
        bounds = zip(trials, starts, np.append(starts, len(rows))[1:], strict=True)
        return {self._trial_names[trial]: (steps[start:end], values[start:end]) for trial, start, end in bounds}

    def trials_of(self, stage: str) -> set[str]:
        """Returns the trials of which a stage was measured."""
        is_stage = self._stages == self._stage_names.index(stage)
        return {self._trial_names[code] for code in np.unique(self._trials[is_stage])}

    def values(
        self, trial_ids: Sequence[str], metric: str, steps: Sequence[int] | np.ndarray, stage: str = "finetune"
    ) -> np.ndarray:
        """Returns a metric of trials after some updates of a stage: [trials, steps], NaN where it was not measured."""
        curves, result = self.of(metric, stage), np.full((len(trial_ids), len(steps)), np.nan)
        for row, trial in zip(result, trial_ids, strict=True):
            if trial in curves:
                updates, values = curves[trial]
                _, columns, places = np.intersect1d(steps, updates, assume_unique=True, return_indices=True)
                row[columns] = values[places]
        return result


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Returns a column of few distinct texts as numbers [rows], and the texts by number."""
    encoded = column.combine_chunks()
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
