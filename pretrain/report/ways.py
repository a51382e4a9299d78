"""The verdict on several ways to pretrain: which validation rows choose, what it gains, and how many were compared."""

from pretrain.config.counts import some
from pretrain.report import verdicts
from pretrain.report.names import brief, short, treatment_of, value_name
from pretrain.study.comparisons import Comparison
from pretrain.study.ways import KIND, OF_PRETRAINING, Ways

_MOST_NAMED = 6  # ways


def named(found: Ways) -> str:
    """Returns pretraining in several ways, as the treatment of a question."""
    names = [name(each) for each in (found.best, *found.others)]
    return f"{treatment_of(found.best)} in any of {len(names)} ways ({some(sorted(names), _MOST_NAMED)})"


def name(comparison: Comparison) -> str:
    """Returns the name of a way to pretrain: its method, and what else of pretraining is swept."""
    fields = comparison.shared
    swept = {field: value for field, value in fields.items() if field.startswith(OF_PRETRAINING) and value is not None}
    others = [f"{brief(field, fields)}={short(value)}" for field, value in swept.items() if field != KIND]
    return f"{short(swept[KIND])} ({', '.join(others)})" if others else short(swept[KIND])


def verdict(found: Ways) -> str:
    """Returns the verdict on the way that is best on validation rows, and a count of those on the others."""
    best, others = found
    start = f"Of {len(others) + 1} ways to pretrain, {name(best)} is best on validation rows"
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
