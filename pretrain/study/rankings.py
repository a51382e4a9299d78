"""Rankings that disagree: settings by the pretext error and by results, pretrainings by probes and by fine-tuning."""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of, split_of
from pretrain.study import epochs, statistics
from pretrain.study.arms import Arm, by_seed, cut, key
from pretrain.study.comparisons import smallest_of
from pretrain.study.statistics import FEWEST_SEEDS, Estimate

_FEWEST = 3  # settings
_LIKE = "pretrain.optimizer."  # begins fields that leave the pretext error the same quantity, as do
_ALSO = ("pretrain.l2", *epochs.FIELDS)
_INIT, _FROZEN, _READOUT = "finetune.encoder_init", "finetune.frozen_layers", "finetune.readout"
_UNTRAINED = ("he", "none")


class PretextChoice(NamedTuple):
    """How well the pretext error chooses among an arm's settings of pretraining."""

    fields: tuple[str, ...]  # that differ
    setting: dict[str, Any]  # the other swept fields
    settings: int
    seeds: int
    error: str  # name of the pretext error
    correlation: Estimate  # Spearman's, of falling error with the metric on validation rows, mean over seeds
    change: Estimate  # of the metric on test rows, by choosing by the error rather than by validation rows
    p_value: float  # of the change, by a sign-flip test
    smallest: float  # change that matters
    metric: str

    def is_worse(self, level: float) -> bool:
        """Whether choosing by the error costs, for certain, as much as matters."""
        sign = 1 if metric_of(self.metric).higher_is_better else -1
        loses = sign * self.change.mean <= -self.smallest and self.change.low * self.change.high > 0
        return self.seeds >= FEWEST_SEEDS and loses and self.p_value <= 1 - level + 1e-12


class Reversal(NamedTuple):
    """Two pretrainings of which one is better by a probe, and the other by fine-tuning, for certain."""

    first: dict[str, Any]  # the better one by the probe, but for the probe
    second: dict[str, Any]
    probe: dict[str, Any]  # read-out, frozen layers
    probed: Estimate  # first less second, with intervals that hold for all pairs at once (Bonferroni)
    tuned: Estimate
    seeds: int
    pairs: int  # of pretrainings that were ranked both ways
    metric: str


def pretext_choices(
    arms: Sequence[Arm], losses: Mapping[str, float], metric: str, level: float, study: StudyConfig
) -> list[PretextChoice]:
    """Returns how the pretext error chooses, wherever three settings or more of one pretext task are swept.

    Args:
      arms: of the run, at every setting.
      losses: of pretraining at its end, by trial, for methods that reconstruct nothing.
      study: with the smallest effect that matters.
    """
    groups: dict[Hashable, list[Arm]] = {}
    columns = (epochs.ERROR, f"validation_{split_of(metric)[1]}", metric)
    for arm in (epochs.with_errors(arm, losses) for arm in arms):
        if epochs.is_measured(arm, columns):
            groups.setdefault(key({name: arm.point[name] for name in arm.point if not _varies(name)}), []).append(arm)
    return [found for group in groups.values() if (found := _choice(group, columns, level, study))]


def reversals(arms: Sequence[Arm], metric: str, level: float) -> list[Reversal]:
    """Returns pairs of pretrainings that probes and fine-tuning rank differently, the most certain first.

    A probe is a read-out, or fine-tuning with frozen layers; intervals hold for all pairs at once (Bonferroni).
    """
    ways: dict[Hashable, dict[Hashable, dict[Hashable, Arm]]] = {}  # by the rest of fine-tuning, way, pretraining
    for arm in arms:
        if arm.trial_ids and arm.point.get(_INIT) not in _UNTRAINED and metric in arm.results:
            rest = {name: each for name, each in arm.point.items() if name.startswith(("finetune.", "data."))}
            way = {name: rest.pop(name) for name in (_FROZEN, _READOUT) if name in rest}
            rest.pop(_INIT, None)
            pretraining = {name: each for name, each in arm.point.items() if name == _INIT or name not in {*rest, *way}}
            ways.setdefault(key(rest), {}).setdefault(key(way), {})[key(pretraining)] = arm
    ranked = [pair for each in ways.values() for pair in _ranked(each)]
    within = 1 - (1 - level) / max(1, 2 * len(ranked))
    return sorted(filter(None, (_reversal(*pair, metric, within, len(ranked)) for pair in ranked)), key=_closeness)


def _varies(name: str) -> bool:
    return name.startswith(_LIKE) or name in _ALSO


def _choice(
    group: Sequence[Arm], columns: tuple[str, str, str], level: float, study: StudyConfig
) -> PretextChoice | None:
    fields = sorted({name for arm in group for name in arm.point if _varies(name)})
    units = set.intersection(*(set(arm.units) for arm in group))
    # Of epochs alone ``epochs`` reports it.
    if len(group) < _FEWEST or not units or set(fields) <= set(epochs.FIELDS):
        return None
    same = [cut(arm, units) for arm in group]
    errors, validations, values = (np.array([by_seed(arm.results[name], arm) for arm in same]) for name in columns)
    metric, seeds = columns[-1], np.arange(values.shape[1])
    merits = validations if metric_of(metric).higher_is_better else -validations
    changes = values[np.argmin(errors, axis=0), seeds] - values[np.argmax(merits, axis=0), seeds]
    varied = (np.ptp(errors, axis=0) > 0) & (np.ptp(merits, axis=0) > 0)
    ranks = [stats.rankdata(each[:, varied], axis=0) for each in (-errors, merits)]
    correlations = [float(np.corrcoef(*pair)[0, 1]) for pair in zip(*(each.T for each in ranks), strict=True)]
    return PretextChoice(
        tuple(fields),
        {name: value for name, value in group[0].point.items() if not _varies(name)},
        len(group),
        len(seeds),
        epochs.error_name(same),
        statistics.estimate(np.array(correlations or [0.0]), level).within(-1, 1),
        statistics.estimate(changes, level, statistics.step_of(values.ravel())),
        statistics.sign_flip(changes),
        smallest_of(metric, values, study),
        metric,
    )


def _ranked(ways: Mapping[Hashable, Mapping[Hashable, Arm]]) -> Iterator[tuple[Arm, Arm, Arm, Arm]]:
    """Yields each two pretrainings by a probe, and the same two fine-tuned as a whole."""

    def is_probe(arm: Arm) -> bool:
        return arm.point.get(_READOUT, "none") not in (None, "none") or bool(arm.point.get(_FROZEN))

    by_kind: dict[bool, list[Mapping[Hashable, Arm]]] = {True: [], False: []}
    for each in ways.values():
        by_kind[is_probe(next(iter(each.values())))].append(each)
    for probe, tuned in itertools.product(by_kind[True], by_kind[False]):
        for first, second in itertools.combinations([name for name in probe if name in tuned], 2):
            yield probe[first], probe[second], tuned[first], tuned[second]


def _reversal(
    first: Arm, second: Arm, first_tuned: Arm, second_tuned: Arm, metric: str, level: float, pairs: int
) -> Reversal | None:
    run = (first, second, first_tuned, second_tuned)
    units = set.intersection(*(set(arm.units) for arm in run))
    same = [cut(arm, units) for arm in run]
    values = [by_seed(arm.results[metric], arm) for arm in same]
    seeds = len(values[0])
    if seeds < FEWEST_SEEDS or not np.isfinite(values).all():
        return None
    step = statistics.step_of(*values)
    probed, tuned = (statistics.estimate(values[at] - values[at + 1], level, step) for at in (0, 2))
    if min(probed.low * probed.high, tuned.low * tuned.high) <= 0 or probed.mean * tuned.mean > 0:
        return None
    if (probed.mean > 0) is not metric_of(metric).higher_is_better:
        first, second = second, first
        probed, tuned = probed.turned(), tuned.turned()
    probe = {name: first.point[name] for name in (_READOUT, _FROZEN) if first.point.get(name) is not None}
    better, worse = ({name: arm.point[name] for name in arm.point if name not in probe} for arm in (first, second))
    return Reversal(better, worse, probe, probed, tuned, seeds, pairs, metric)


def _closeness(found: Reversal) -> float:
    """Returns by how little the less certain of both rankings leaves zero out, in widths of its interval."""
    return max(-min(abs(each.low), abs(each.high)) / (each.high - each.low) for each in (found.probed, found.tuned))
