"""Several ways to pretrain that are compared with one network: which validation rows choose, and its verdict."""

from collections.abc import Hashable
from typing import NamedTuple

from pretrain.study.answer import Answer
from pretrain.study.arms import key
from pretrain.study.comparisons import ENCODER, Comparison, by_family, pairs_of
from pretrain.study.looks import best

OF_PRETRAINING, KIND = "pretrain.", "pretrain.method.kind"


class Ways(NamedTuple):
    """The question's own comparisons of pretraining in several ways, at one setting of all else."""

    best: Comparison  # on validation rows, mean over seeds
    others: list[Comparison]


def ways(answer: Answer) -> list[Ways]:
    """Returns comparisons of methods that pretrain, with what validation chooses among them; none of one method."""
    groups: dict[Hashable, list[Comparison]] = {}
    for each in by_family(answer.comparisons)[0]:
        if (each.field, each.treatment) == (ENCODER, "pretrained"):
            rest = {name: value for name, value in each.shared.items() if not name.startswith(OF_PRETRAINING)}
            groups.setdefault(key(rest), []).append(each)
    found = []
    for group in groups.values():
        if len({each.shared.get(KIND) for each in group}) < 2:
            continue
        arms = [treated for treated, _ in pairs_of(group, answer.arms)]
        if chosen := best(arms, answer.metric):
            (first,) = (each for each, arm in zip(group, arms, strict=True) if arm is chosen)
            found.append(Ways(first, [each for each in group if each is not first]))
    return found
