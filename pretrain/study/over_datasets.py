"""Treatments on several datasets, from an answer: of a run that sweeps them, or of numbers that somebody brings."""

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.metrics import metric_of
from pretrain.study import datasets
from pretrain.study.answer import Answer
from pretrain.study.arms import hashable, key
from pretrain.study.comparisons import Comparison
from pretrain.study.datasets import Effect, Group
from pretrain.study.rows import for_new_rows
from pretrain.study.statistics import Estimate, step_of

FIELDS = ("data.name", "data.dir", "data.target")  # that name a dataset, together
_UNLIKE = 10  # times the least baseline, from which on datasets have no scale in common
EffectOf = Callable[[str, Comparison, int], Effect]  # by a dataset's name, a comparison on it and the metric's sign


class _Pair(NamedTuple):
    """A treatment and its baseline on one dataset."""

    dataset: str
    treatment: Any
    others: dict[str, Any]  # swept fields besides
    comparison: Comparison | None  # None where no seed has both arms


def paired(name: str, comparison: Comparison, sign: int) -> Effect:
    """Returns the effect on a dataset of arms whose seeds are pairs, for new rows where that is known."""
    arms = comparison.treated, comparison.untreated
    found = datasets.of_pairs(name, sign * (arms[0] - arms[1]), _has_failed(comparison), step_of(*arms))
    if not comparison.rows or found.has_failed:
        return found
    on_new = for_new_rows(sign * comparison.where_both_train, comparison.rows)
    return found._replace(variance=on_new.error**2, freedom=on_new.freedom)


def groups(
    answer: Answer, fields: Sequence[str] = FIELDS, effect: EffectOf = paired, field: str = "", baseline: Any = None
) -> list[Group]:
    """Returns each treatment on all datasets, at each setting of the fields that no dataset decides alone.

    Args:
      answer: whose arms and comparisons are of several datasets.
      fields: that name a dataset; nothing is returned where they have one value.
      effect: returns the effect on a dataset.
      field: that is compared, and its baseline; those of the comparisons by default.
    """
    if answer.comparisons and not field:
        field, baseline = answer.comparisons[0].field, answer.comparisons[0].baseline
    fields = [name for name in fields if any(name in arm.point for arm in answer.arms)]
    if not fields or not field or field in fields:
        return []
    pairs = _pairs(answer, fields, field, baseline)
    conditions = _conditions(pairs)
    found: dict[Hashable, list[_Pair]] = {}
    for pair in pairs:
        setting = {name: pair.others.get(name) for name in conditions}
        found.setdefault((hashable(pair.treatment), key(setting)), []).append(pair)
    alike = [of_one for of_one in found.values() if len({pair.dataset for pair in of_one}) > 1]
    explores = [any(pair.comparison and pair.comparison.is_exploratory for pair in of_one) for of_one in alike]
    made = []
    for of_one, is_exploratory in zip(alike, explores, strict=True):
        setting = {name: of_one[0].others[name] for name in conditions if of_one[0].others.get(name) is not None}
        of_group = _group(answer, of_one, setting, effect, explores.count(is_exploratory))
        made.append(of_group._replace(field=field, baseline=baseline, is_exploratory=is_exploratory))
    return sorted(made, key=lambda each: each.is_exploratory)


def _pairs(answer: Answer, fields: Sequence[str], field: str, baseline: Any) -> list[_Pair]:
    """Returns all pairs that are compared, or would be had not every seed of one arm diverged."""
    compared = {key({**each.shared, each.field: each.treatment}): each for each in answer.comparisons}
    known = {key(arm.point) for arm in answer.arms}
    pairs = []
    for arm in answer.arms:
        treatment, point = arm.point.get(field), arm.point
        is_pair = treatment != baseline and treatment is not None and key({**point, field: baseline}) in known
        if is_pair or key(point) in compared:
            # A colon ends a part of a path, so that short names are of the parts that differ.
            dataset = ":".join(str(point[name]) for name in fields if point.get(name) is not None)
            others = {name: value for name, value in point.items() if name not in (field, *fields)}
            comparison = compared.get(key(point))
            pairs.append(_Pair(dataset, treatment, others, comparison if comparison and comparison.n else None))
    return pairs


def _conditions(pairs: Sequence[_Pair]) -> list[str]:
    """Returns the fields of which a dataset has several values; those of one each, as a batch size, part none."""
    names = dict.fromkeys(itertools.chain.from_iterable(pair.others for pair in pairs))
    values = {name: {(pair.dataset, hashable(pair.others.get(name))) for pair in pairs} for name in names}
    n = len({pair.dataset for pair in pairs})
    return [name for name, there in values.items() if len(there) > n]


def _group(answer: Answer, pairs: Sequence[_Pair], setting: dict[str, Any], effect: EffectOf, n_groups: int) -> Group:
    measure = metric_of(answer.metric)
    sign = 1 if measure.higher_is_better else -1
    bases = [abs(float(np.mean(pair.comparison.untreated))) for pair in pairs if pair.comparison]
    is_relative = measure.high != 1 and measure.unit is None and bool(bases) and min(bases) > 0
    is_relative = is_relative and (measure.low >= 0 or max(bases) > _UNLIKE * min(bases))
    effects = []
    for pair in pairs:
        if pair.comparison is None:
            effects.append(datasets.lost(pair.dataset))
            continue
        found = effect(pair.dataset, pair.comparison, sign)
        found = found._replace(
            has_failed=found.has_failed or _has_failed(pair.comparison),
            verdict="inconclusive" if pair.comparison.holds_for_new_rows is False else pair.comparison.verdict,
            difference=pair.comparison.shown,
        )
        effects.append(_scaled(found, 1 / abs(float(np.mean(pair.comparison.untreated)))) if is_relative else found)
    sound = [pair.comparison for pair in pairs if pair.comparison and not _has_failed(pair.comparison)]
    made = datasets.group(pairs[0].treatment, setting, effects, answer.level, n_groups, sign)
    return made._replace(
        is_relative=is_relative, is_for_new_rows=bool(sound) and all(each.rows is not None for each in sound)
    )


def _has_failed(comparison: Comparison) -> bool:
    return comparison.failures.any or comparison.both_at_chance


def _scaled(effect: Effect, factor: float) -> Effect:
    shown = effect.difference
    return effect._replace(
        mean=factor * effect.mean,
        median=factor * effect.median,
        variance=factor**2 * effect.variance,
        difference=shown and Estimate(*(factor * end for end in shown)),
    )
