"""The verdict on several ways to pretrain: which validation rows choose, what it gains, and how many were compared."""

from collections.abc import Mapping
from typing import Any

from pretrain.config.counts import some
from pretrain.report import verdicts
from pretrain.report.names import brief, short, treatment_of, value_name
from pretrain.study.ways import KIND, OF_PRETRAINING, Ways

_MOST_NAMED = 6  # ways


def named(found: Ways) -> str:
    """Returns pretraining in several ways, as the treatment of a question."""
    names = [name(each.shared) for each in (found.best, *found.others)]
    return f"{treatment_of(found.best)} in any of {len(names)} ways ({some(sorted(names), _MOST_NAMED)})"


def name(fields: Mapping[str, Any]) -> str:
    """Returns the name of a way to pretrain: its method, and what else of pretraining is swept."""
    swept = {field: value for field, value in fields.items() if field.startswith(OF_PRETRAINING) and value is not None}
    kind = swept.pop(KIND, None)
    others = ", ".join(f"{brief(field, fields)}={short(value)}" for field, value in swept.items())
    return f"{short(kind)} ({others})" if kind and others else short(kind or others or "pretrained")


def verdict(found: Ways) -> str:
    """Returns the verdict on the way that is best on validation rows, and a count of those on the others."""
    best, others = found
    start = f"Of {len(others) + 1} ways to pretrain, {name(best.shared)} is best on validation rows"
    kept = {field: value for field, value in best.shared.items() if not field.startswith(OF_PRETRAINING)}
    alone, n = best._replace(shared=kept), len(others)
    if best.verdict == "unstable":
        first = f"{start}. {verdicts.failing(alone)}"
    else:
        against = {"he": "the network from scratch"}.get(best.baseline, value_name(best.field, best.baseline))
        first = f"{start}; against {against} it {verdicts.predicate(alone)}."
    rest = verdicts.tally(others)
    if n == 1:
        return f"{first} The other {rest[2:]}."
    return f"{first} {f'The other {n:,} {rest[4:]}' if rest.startswith('all ') else f'Of the other {n:,}, {rest}'}."
