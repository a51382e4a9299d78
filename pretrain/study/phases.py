"""The curves of pretraining, from a run's tables, once for all arms that share it."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.study.arms import Arm, key
from pretrain.study.comparisons import ENCODER
from pretrain.study.curves import Curve, Curves

_PRETRAINED_OTHERWISE = ("pca", "wrong_data")  # encoders whose phases are not those of the others
_METRICS = ("mse", "validation_mse")


class Pretraining(NamedTuple):
    """Curves of the phases of one pretraining."""

    point: dict[str, Any]  # those of an arm's swept values that decide it
    phases: dict[str, dict[str, Curve]]  # by name, then metric: updates [n], values [seeds, n]


def pretrainings(curves: Curves, arms: Sequence[Arm], most: int) -> tuple[list[Pretraining], int]:
    """Returns the first ones of a run's distinct pretrainings, and how many there are.

    Arms that differ in settings of fine-tuning only share one, unless their encoders are pretrained on other data.
    Phases without reconstruction, and trials that diverged, are left out.
    """
    stages = [stage for stage in curves.stages if stage.startswith("pretrain/")]
    pretrained = set().union(*(curves.trials_of(stage) for stage in stages))
    distinct: dict[Any, tuple[dict[str, Any], set[str]]] = {}
    for arm in arms:
        point = {name: value for name, value in arm.point.items() if _decides(name, value)}
        by_seed = {seed: trial for seed, trial in zip(arm.seeds, arm.trial_ids, strict=True) if trial in pretrained}
        if by_seed:
            distinct.setdefault(key(point), (point, set(by_seed.values())))
    result = []
    for point, trials in list(distinct.values())[:most]:
        phases = {stage: metrics for stage in stages if (metrics := _measured(curves, stage, trials))}
        result += [Pretraining(point, phases)] if phases else []
    return result, len(distinct)


def _measured(curves: Curves, stage: str, trials: Collection[str]) -> dict[str, Curve]:
    """Returns a phase's metrics, as far as they were measured: updates [n], values [trials, n]."""
    measured = {}
    for metric in _METRICS:
        lines = {trial: steps for trial, (steps, _) in curves.of(metric, stage).items() if trial in trials}
        if lines:
            steps = np.unique(np.concatenate(list(lines.values())))
            measured[metric] = steps, curves.values(list(lines), metric, steps, stage)
    return measured


def _decides(name: str, value: object) -> bool:
    """Returns whether a swept value decides the outcome of pretraining."""
    return not name.startswith("finetune.") or (name == ENCODER and value in _PRETRAINED_OTHERWISE)
