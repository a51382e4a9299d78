"""The curves of pretraining, from a run's tables, once for all arms that share it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.study.arms import Arm, key
from pretrain.study.comparisons import ENCODER
from pretrain.study.curves import Curve, Curves
from pretrain.study.watched import Watched

_PRETRAINED_OTHERWISE = ("pca", "wrong_data", "weights")  # encoders whose phases are not those of the others
_METRICS = ("mse", "loss")  # the first that a phase has
CHANCE = "chance_loss"  # of a loss, where it is recorded


class Pretraining(NamedTuple):
    """Curves of the phases of one pretraining."""

    point: dict[str, Any]  # those of an arm's swept values that decide it
    phases: dict[str, dict[str, Curve]]  # errors by name, then metric: updates [n], values [seeds, n]
    others: dict[str, dict[str, Curve]] = {}  # metrics beside them  # noqa: RUF012  # never changed in place


def pretrainings(curves: Curves, arms: Sequence[Arm], most: int) -> tuple[list[Pretraining], int]:
    """Returns the first ones of a run's distinct pretrainings, and how many there are.

    Arms that differ in settings of fine-tuning only share one, unless their encoders are pretrained on other data.
    Phases without updates, and trials that diverged, are left out.
    """
    stages = [stage for stage in curves.stages if stage.startswith("pretrain/")]
    pretrained = set().union(*(curves.trials_of(stage) for stage in stages))
    distinct: dict[Any, tuple[dict[str, Any], set[str]]] = {}
    for arm in arms:
        point = decisive(arm.point)
        by_seed = {seed: trial for seed, trial in zip(arm.seeds, arm.trial_ids, strict=True) if trial in pretrained}
        if by_seed:
            distinct.setdefault(key(point), (point, set(by_seed.values())))
    result = []
    for point, trials in list(distinct.values())[:most]:
        phases = {stage: metrics for stage in stages if (metrics := _measured(curves, stage, trials))}
        others = {stage: _beside(curves, stage, trials, phases[stage]) for stage in phases}
        result += [Pretraining(point, phases, others)] if phases else []
    return result, len(distinct)


def from_start(pretraining: Pretraining, stages: Iterable[Watched]) -> Pretraining:
    """Returns a pretraining whose curves on validation rows begin with the mean error before the first update."""
    phases = {name: dict(metrics) for name, metrics in pretraining.phases.items()}
    for each in stages:
        name = f"validation_{each.metric}"
        measured = phases.get(each.stage, {})
        is_own = key(decisive(each.arm.point)) == key(pretraining.point)
        if is_own and name in measured and measured[name][0][0] > 0 and each.is_measured.all():
            updates, values = measured[name]
            first = np.full((len(values), 1), np.mean(each.before_held_out))
            measured[name] = np.concatenate([[0], updates]), np.concatenate([first, values], axis=1)
    return pretraining._replace(phases=phases)


def decisive(point: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of an arm's swept values that decide its pretraining."""
    return {name: value for name, value in point.items() if _decides(name, value)}


def _measured(curves: Curves, stage: str, trials: Collection[str]) -> dict[str, Curve]:
    """Returns a phase's error on both kinds of rows, as far as it was measured: updates [n], values [trials, n]."""
    for metric in _METRICS:
        if measured := _curves(curves, stage, trials, metric):
            return measured | (_curves(curves, stage, trials, CHANCE) if metric == "loss" else {})
    return {}


def _beside(curves: Curves, stage: str, trials: Collection[str], errors: Collection[str]) -> dict[str, Curve]:
    """Returns the other metrics of a phase, as ``_measured``."""
    names = sorted({name.removeprefix("validation_") for name in curves.metrics} - {*errors, CHANCE})
    return {key: curve for name in names for key, curve in _curves(curves, stage, trials, name).items()}


def _curves(curves: Curves, stage: str, trials: Collection[str], metric: str) -> dict[str, Curve]:
    """Returns a metric on both kinds of rows, as far as it was measured."""
    measured = {}
    for name in (metric, f"validation_{metric}"):
        lines = {trial: steps for trial, (steps, _) in curves.of(name, stage).items() if trial in trials}
        if lines:
            steps = np.unique(np.concatenate(list(lines.values())))
            measured[name] = steps, curves.values(list(lines), name, steps, stage)
    return measured


def reconstruct(pretrainings: Sequence[Pretraining]) -> bool:
    """Returns whether all phases are measured by what they reconstruct, and not by another loss."""
    return all("mse" in metrics for each in pretrainings for metrics in each.phases.values())


def _decides(name: str, value: object) -> bool:
    """Returns whether a swept value decides the outcome of pretraining."""
    return not name.startswith("finetune.") or (name == ENCODER and value in _PRETRAINED_OTHERWISE)
