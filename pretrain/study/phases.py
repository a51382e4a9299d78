"""The curves of pretraining, from a run's tables, once for all arms that share it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.study.arms import Arm
from pretrain.study.comparisons import ENCODER

_PRETRAINED_OTHERWISE = ("pca", "wrong_data")  # encoders whose phases are not those of the others
_METRICS = ("mse", "validation_mse")


class Pretraining(NamedTuple):
    """Curves of the phases of one pretraining."""

    point: dict[str, object]  # those of an arm's swept values that decide it
    phases: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]  # by name, then metric: updates [n], values [seeds, n]


def pretrainings(curves: pa.Table, arms: Sequence[Arm], most: int) -> tuple[list[Pretraining], int]:
    """Returns the first ones of a run's distinct pretrainings, and how many there are.

    Settings of fine-tuning decide nothing of them but what an encoder is pretrained on, so that arms which differ only
    there share one. Phases that reconstruct nothing, and trials that diverged, are left out.
    """
    table = curves.select(["trial_id", "stage", "metric"]).unify_dictionaries()
    (trials, trial_names), (stages, stage_names), (metrics, metric_names) = (
        _codes(table[name]) for name in ("trial_id", "stage", "metric")
    )
    of_phases = np.isin(stages, [code for code, name in enumerate(stage_names) if name.startswith("pretrain/")])
    pretrained = {trial_names[code] for code in np.unique(trials[of_phases])}
    number_of = {name: code for code, name in enumerate(trial_names)}
    found: dict[str, tuple[dict[str, object], list[int]]] = {}
    for arm in arms:
        point = {name: value for name, value in arm.point.items() if _decides(name, value)}
        by_seed = {seed: trial for seed, trial in zip(arm.seeds, arm.trial_ids, strict=True) if trial in pretrained}
        if by_seed:
            found.setdefault(repr(point), (point, [number_of[trial] for trial in by_seed.values()]))
    steps, values = curves["step"].to_numpy(), curves["value"].to_numpy()
    result = []
    for point, lanes in list(found.values())[:most]:
        rows = np.flatnonzero(of_phases & np.isin(trials, lanes))
        phases: dict[str, dict] = {}
        for stage in np.unique(stages[rows]):
            for metric in _METRICS:
                kept = rows[(stages[rows] == stage) & _is(metrics[rows], metric, metric_names)]
                if len(kept):
                    known, columns = np.unique(steps[kept], return_inverse=True)
                    matrix = np.full((len(lanes), len(known)), np.nan)
                    matrix[np.searchsorted(np.sort(lanes), trials[kept]), columns] = values[kept]
                    phases.setdefault(stage_names[stage], {})[metric] = known, matrix
        result += [Pretraining(point, phases)] if phases else []
    return result, len(found)


def _decides(name: str, value: object) -> bool:
    """Returns whether a swept value decides what pretraining comes to."""
    return not name.startswith("finetune.") or (name == ENCODER and value in _PRETRAINED_OTHERWISE)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Returns a column of few distinct texts as numbers [rows], and the texts by number."""
    encoded = column.combine_chunks()
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def _is(codes: np.ndarray, name: str, names: Sequence[str]) -> np.ndarray:
    return codes == names.index(name) if name in names else np.zeros(codes.shape, bool)
