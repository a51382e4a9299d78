"""Broken arms: trials that diverged or collapsed, networks at chance, useless reconstructions, constant codes."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import StudyConfig
from pretrain.config.baselines import READOUT, condition, is_baseline
from pretrain.config.metrics import CHANCE, COMPONENTS, MARGIN, MEAN, RECONSTRUCTION, VARIANCE, metric_of, split_of
from pretrain.study.arms import CORNERS, Arm, cut
from pretrain.study.comparisons import smallest_of
from pretrain.study.failures import above_chance, is_at_chance
from pretrain.study.levels import Level
from pretrain.study.watched import Watched

Kind = Literal[
    "diverged",
    "collapsed",
    "failed",
    "at chance",
    "did not train",
    "level",
    "low rank",
    "overfitted",
    "reconstruction",
    "components",
    "constant units",
    "below raw inputs",
]
_EXPLAINED = 0.01  # of the error of the training inputs' mean, below which a reconstruction is no better
_WORSE = 1.05  # times the error of principal components, beyond which a reconstruction is worse, if by so much of
# the variance as above, too: of two errors near zero neither is much worse
_CONSTANT = 0.5  # of the units, from which on codes count as constant


class Fault(NamedTuple):
    """A fault of an arm."""

    arm: Arm
    kind: Kind
    n: int  # trials that it is true of
    of: int  # trials of the arm
    value: float = np.nan  # of the arm, mean over trials: the result, the part of variance, or the share of units
    baseline: float = np.nan  # for comparison: chance, or the components' part; NaN of other kinds
    stage: str = ""  # of pretraining; or that in which most trials diverged; or the read-out of raw inputs
    seeds: tuple[int, ...] = ()  # of trials that failed
    level: Level | None = None  # that a pretext metric came to

    @property
    def is_whole(self) -> bool:
        """Whether it is true of every trial."""
        return self.n == self.of


def faults_of(
    arms: Sequence[Arm],
    metric: str = "test_accuracy",
    pretraining: Iterable[Watched] = (),
    failed: Mapping[int, Collection[int]] = MappingProxyType({}),
    study: StudyConfig | None = None,
) -> list[Fault]:
    """Returns the faults of each arm, arm by arm; consequences of the first are left out.

    Args:
      metric: that is compared, as a column's name, by which an arm may be at chance.
      pretraining: stages of the arms' pretraining.
      failed: the seeds in which arms failed whose failures no comparison reports, by the arm's ``id``.
      study: by which some arms are baselines on raw inputs.
    """
    faults, stages = [], list(pretraining)
    raw = [arm for arm in arms if study and is_baseline(arm.point, study.baselines) and arm.trial_ids]
    for arm in arms:
        n = len(arm.trial_ids) + arm.n_diverged
        if arm.n_diverged:
            stage = max(sorted(set(arm.failed_stages)), key=arm.failed_stages.count, default="")
            faults.append(Fault(arm, "diverged", arm.n_diverged, n, stage=stage))
        if not arm.trial_ids:
            continue
        if arm.n_collapsed:
            faults.append(Fault(arm, "collapsed", arm.n_collapsed, n))
        if fell := set(failed.get(id(arm), ())) - {seed for seed, _ in (*arm.collapsed, *arm.diverged)}:
            faults.append(Fault(arm, "failed", sum(seed in fell for seed in arm.seeds), n, seeds=tuple(sorted(fell))))
        if arm.n_collapsed < len(arm.trial_ids) and is_at_chance(arm, metric):
            faults.append(_at_chance(arm, n, metric))
        if study and raw and not is_baseline(arm.point, study.baselines):
            faults += _below(arm, raw, metric, study)
        faults += _without_consequences(
            [fault for each in stages if each.arm is arm for fault in _pretraining(each)],
            _reconstruction(arm, n),
            _constant_units(arm, n),
        )
    return faults


def _without_consequences(
    pretraining: Sequence[Fault], reconstruction: Sequence[Fault], constant: Sequence[Fault]
) -> list[Fault]:
    """Returns faults of pretraining, its reconstruction and its codes, but for those that others imply."""
    if any(fault.kind in ("did not train", "level") for fault in pretraining):
        reconstruction = ()
    if any(fault.kind == "reconstruction" for fault in reconstruction):
        pretraining = [fault for fault in pretraining if fault.kind != "low rank"]
    if any(fault.kind in ("level", "low rank") for fault in pretraining):
        constant = ()
    return [*pretraining, *reconstruction, *constant]


def unexplained(trials: pa.Table, error: str = RECONSTRUCTION) -> np.ndarray:
    """Returns the part of the test inputs' variance that each pretraining leaves: [trials that measured it]."""
    columns = set(trials.column_names) & {error, VARIANCE}
    shares = _shares({name: trials[name].cast(pa.float64()).to_numpy() for name in columns}, error)
    return shares[np.isfinite(shares)]


def _shares(results: Mapping[str, np.ndarray], error: str = RECONSTRUCTION, of: str = VARIANCE) -> np.ndarray:
    """Returns an error as a part of the test inputs' variance: [trials], or none where it was not measured."""
    if error not in results or of not in results:
        return np.zeros(0)
    return results[error] / np.where(results[of] > 0, results[of], np.nan)


def _at_chance(arm: Arm, n: int, metric: str) -> Fault:
    """Returns the fault of an arm that predicts no better than the same for every example does, but for luck."""
    values, levels, margins = (arm.results[f"{metric}{end}"] for end in ("", CHANCE, MARGIN))
    above = above_chance(arm, metric, metric) - margins
    return Fault(arm, "at chance", int(np.sum(above <= 0)), n, float(np.mean(values)), float(np.mean(levels)))


def _below(arm: Arm, raw: Sequence[Arm], metric: str, study: StudyConfig) -> list[Fault]:
    """Returns whether an encoder's arm is below raw inputs by more than matters, seed by seed.

    Of the baselines on its rows that is asked which validation rows choose, so that no choice is made on test rows.
    """
    same = [each for each in raw if condition(each.point) == condition(arm.point)]
    if arm.point.get(CORNERS[0]) == "none" or not same:
        return []
    sign = 1 if metric_of(metric).higher_is_better else -1
    by = f"validation_{split_of(metric)[1]}"
    best = max(same, key=lambda each: sign * np.nanmean(each.results.get(by, each.results[metric])))
    paired = set(arm.units) & set(best.units)
    values, levels = (cut(each, paired).results[metric] for each in (arm, best))
    gains = sign * (values - levels)
    if not paired or np.isnan(gains).any() or np.mean(gains) > -smallest_of(metric, levels, study):
        return []
    means = float(np.mean(values)), float(np.mean(levels))
    return [Fault(arm, "below raw inputs", int(np.sum(gains < 0)), len(gains), *means, best.point[READOUT])]


def _pretraining(watched: Watched) -> list[Fault]:
    """Returns what became of a stage of pretraining in most of the trials that failed, where most did."""
    bad = Counter(state for state in watched.states if state != "learns")
    if 2 * bad.total() <= len(watched.states):
        return []
    ((outcome, n_bad),) = bad.most_common(1)
    level, reached = None, watched.reached
    kind: Kind = "level"
    match outcome:
        case "did not train":
            kind, values, before = "did not train", watched.last, watched.start
        case "low rank":
            kind, values, before = "low rank", watched.rank, watched.untrained_rank
        case "overfitted":
            kind, values, before = "overfitted", watched.last, watched.best
        case _:
            assert reached  # or it would have no such outcome
            level, values, before = reached
    means = float(np.mean(values)), float(np.mean(before))
    return [Fault(watched.arm, kind, n_bad, len(watched.states), *means, watched.stage, level=level)]


def _reconstruction(arm: Arm, n: int) -> list[Fault]:
    """Returns whether pretraining reconstructs no better than the mean, or than principal components, of its inputs."""
    shares, linear = _shares(arm.results), _shares(arm.results, COMPONENTS)
    of_mean = _shares(arm.results, of=MEAN if MEAN in arm.results else VARIANCE)
    n_bad = int(np.sum(of_mean > 1 - _EXPLAINED))
    if 2 * n_bad > len(of_mean):
        return [Fault(arm, "reconstruction", n_bad, n, float(np.nanmean(of_mean)))]
    is_linear = "pca" in (arm.point.get("finetune.encoder_init"), arm.point.get("pretrain.method.kind"))
    n_bad = int(np.sum(shares > np.maximum(_WORSE * linear, linear + _EXPLAINED))) if len(linear) else 0
    if is_linear or 2 * n_bad <= len(shares):
        return []
    return [Fault(arm, "components", n_bad, n, float(np.nanmean(shares)), float(np.nanmean(linear)))]


def _constant_units(arm: Arm, n: int) -> list[Fault]:
    """Returns whether most of an arm's codes are the same for all examples, as those of dead or saturated units are."""
    shares = arm.results.get("constant_units", np.zeros(0))
    n_bad = int(np.sum(shares >= _CONSTANT))
    return [Fault(arm, "constant units", n_bad, n, float(np.nanmean(shares)))] if 2 * n_bad > len(shares) else []
