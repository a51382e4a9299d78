"""Names and sentences as people read them; every word follows from numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from pretrain.study.answer import Answer
from pretrain.study.arms import CORNERS
from pretrain.study.attribution import Attribution
from pretrain.study.budgets import BudgetCurve
from pretrain.study.comparisons import ENCODER, Comparison
from pretrain.study.sequential import Look
from pretrain.study.statistics import FEWEST_SEEDS, LEVEL, Estimate

_START = "post_update_accuracy after batch 1"
_MOST_NAMED = 4  # comparisons that a sentence tells one by one


def arm_name(point: Mapping[str, object]) -> str:
    """Returns an arm's name: for the four corners as one says it, otherwise its swept values."""
    if set(point) == set(CORNERS):
        encoder = "He" if point[CORNERS[0]] == "he" else point[CORNERS[0]]
        frozen = point[CORNERS[1]]
        return f"{encoder}, {f'{frozen} frozen' if frozen else 'trainable'}"
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={_short(value)}" for name, value in point.items()) or "all trials"


def treatment(field: str, value: object, baseline: object) -> str:
    """Returns what one does to get from the baseline to a value of the compared field."""
    if (field, value, baseline) == (ENCODER, "pretrained", "he"):
        return "pretraining"
    return f"{field.rsplit('.', 1)[-1]}={_short(value)} instead of {_short(baseline)}"


def setting(shared: Mapping[str, object]) -> str:
    """Returns where a comparison was made: the swept fields that both of its arms share."""
    told = []
    for name, value in shared.items():
        if name == CORNERS[1]:
            told.append(f"with {value} layers frozen" if value else "with all layers trainable")
        elif name == "finetune.labels":
            told.append(f"at {value:,} labels")
        else:
            told.append(f"at {name.rsplit('.', 1)[-1]}={_short(value)}")
    return " ".join(told)


def verdict(compared: Sequence[Comparison]) -> str:
    """Returns the verdicts of a run's comparisons in a sentence or two; nothing without comparisons."""
    sentences = []
    for what in dict.fromkeys(treatment(one.field, one.treatment, one.baseline) for one in compared):
        group = [one for one in compared if treatment(one.field, one.treatment, one.baseline) == what]
        clauses = [_clause(one) for one in group] if len(group) <= _MOST_NAMED else _counted(group)
        sentences.append(f"{what[0].upper()}{what[1:]} {'; '.join(clauses)}.")
    return " ".join(sentences)


def _clause(one: Comparison) -> str:
    where = setting(one.shared)
    where = f" {where}" if where else ""
    difference = interval(one)
    match one.verdict:
        case "helps" | "hurts":
            return f"{one.verdict}{where} ({difference}, p {_p(one.p_value)}, {one.n} seeds)"
        case "no difference":
            return f"makes no difference that matters{where} ({difference}, {one.n} seeds)"
    if one.n < FEWEST_SEEDS:
        return f"is inconclusive{where} ({difference}; {one.n} seeds settle nothing, at least {FEWEST_SEEDS} can)"
    return f"is inconclusive{where} ({difference}, {one.n} seeds; about {one.seeds_to_settle:,} would settle it)"


def _counted(group: Sequence[Comparison]) -> list[str]:
    """Returns how many comparisons came out how, with the largest of each kind that has a direction."""
    phrases = {"helps": "helps", "hurts": "hurts", "no difference": "makes no difference that matters"}
    clauses = []
    for kind in (*phrases, "inconclusive"):
        found = [one for one in group if one.verdict == kind]
        if found:
            clause = f"{phrases.get(kind, 'is inconclusive')} in {len(found)} of {len(group)} settings"
            if kind in ("helps", "hurts"):
                most = max(found, key=lambda one: abs(one.difference.mean))
                clause += f", most {setting(most.shared)} ({interval(most)})"
            clauses.append(clause)
    return clauses


def explanation(answer: Answer) -> str:
    """Returns what makes the difference between the corners, what budgets show, or which arm is best."""
    if not answer.best:
        return "Every trial diverged; lower the learning rates."
    told = [budget(curve) for curve in answer.budgets]
    if answer.causes:
        told.append(_corners(answer))
    if told:
        return " ".join(told)
    test = answer.best_test
    margin = f" [{test.low:.3f}, {test.high:.3f}]{_at(answer.level)}" if np.isfinite(test.high) else ""
    n = len(set(answer.best.seeds))
    return f"Best on validation is {arm_name(answer.best.point)}; it tests at {test.mean:.3f}{margin} (n = {n} seeds)."


def _corners(answer: Answer) -> str:
    """Returns the answer to the seed's question: what makes the pretrained, frozen network start slowly, if it does."""
    start, end, n = answer.causes[_START], answer.causes["test_accuracy"], answer.n_corner_seeds
    if n < 2:
        return (
            f"One seed settles nothing: after batch 1 the pretrained, frozen network is at {start.last:.2f} and the "
            f"He, trainable one at {start.first:.2f}; run more with --seeds."
        )
    gap, shares = start.parts.gap, start.parts.shares
    return (
        f"{_cause(start.parts)}: after batch 1 the pretrained, frozen network is at {start.last:.2f} and the He, "
        f"trainable one at {start.first:.2f}, a gap of {gap.mean:+.2f} of which freezing makes {shares['freezing']} "
        f"and pretraining {shares['pretraining']}; in the end the former tests at {end.last:.3f} and the latter at "
        f"{end.first:.3f}, {_end(end.parts.gap)} ({end.parts.gap}; {n} seeds, {percent(answer.level)} intervals)."
    )


def _cause(start: Attribution) -> str:
    if start.gap.high >= 0:
        return "No slow start" if start.gap.low <= 0 else "The opposite of a slow start"
    slows = [name for name, share in start.shares.items() if share.high < 0]
    if slows == ["freezing"]:
        return "Freezing the encoder, not pretraining it, makes the slow start"
    if slows == ["pretraining"]:
        return "Pretraining the encoder, not freezing it, makes the slow start"
    return "Pretraining and freezing both make the slow start" if slows else "What makes the slow start stays open"


def _end(difference: Estimate) -> str:
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "not told apart"


def budget(curve: BudgetCurve) -> str:
    """Returns what a comparison at many budgets shows, in a few sentences."""
    what = treatment(*_of(curve))
    sure = (curve.low > 0) | (curve.high < 0)
    where = setting(curve.shared)
    told = [f"Gain of {what} against labels{f' {where}' if where else ''}:"]
    if sure.any():
        band = f"{percent(curve.level)} band over all budgets"
        told.append(f"it differs from zero at {_listed(curve.labels[sure])} labels ({band});")
    else:
        told.append("at no budget does the band over all budgets leave zero out;")
    told.append(f"over all budgets it is {points(curve.area)} on average.")
    if curve.crossover and sure.any():  # else noise makes a sign change anywhere
        low, high = (f"{end:,.0f}" for end in curve.crossover[1:])
        told.append(
            f"It changes its sign at about {curve.crossover.mean:,.0f} labels [{low}, {high}] "
            f"(so do {curve.crossing:.0%} of bootstrap samples)."
        )
    middle = len(curve.labels) // 2
    for place in dict.fromkeys((0, middle)):
        worth = curve.equivalents[place]
        told.append(
            f"With it, {curve.labels[place]:,} labels are worth {_worth(worth.mean, curve)} without "
            f"[{_worth(worth.low, curve)}, {_worth(worth.high, curve)}]."
        )
    return " ".join(told)


def percent(level: float) -> str:
    """Returns a level as in ``98.75 %``."""
    return f"{100 * level:.4g} %"


def interval(one: Comparison) -> str:
    """Returns a comparison's difference with its interval, and the interval's level where it is not 95 %."""
    return points(one.difference) + _at(one.level)


def progress(look: Look, planned: Sequence[Look], compared: Sequence[Comparison]) -> str:
    """Returns what a look of several has shown: what is still inconclusive, and whether more seeds follow."""
    still = [one for one in compared if one.verdict == "inconclusive"]
    told = f"look {look.number} of at most {len(planned)}, {look.seeds} seeds, {percent(look.level)} intervals: "
    if not still:
        return told + ("all comparisons are settled" if compared else "there is nothing to compare")
    names = [f"{treatment(one.field, one.treatment, one.baseline)} {setting(one.shared)}".strip() for one in still]
    named = "; ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])
    after = planned[look.number :]
    then = f"next look at {after[0].seeds} seeds" if after else "study.most_seeds is reached"
    return f"{told}{len(still)} of {len(compared)} comparisons inconclusive ({named}); {then}"


def points(difference: Estimate) -> str:
    """Returns a difference of accuracies in percentage points, with its interval."""
    if not np.isfinite(difference.low):
        return f"{100 * difference.mean:+.1f} points"
    return f"{100 * difference.mean:+.1f} points [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _at(level: float) -> str:
    """Returns the level of an interval just told, where it is not the usual one."""
    return "" if level == LEVEL else f" at {percent(level)}"


def _of(curve: BudgetCurve) -> tuple[str, object, object]:
    return curve.field, curve.treatment, curve.baseline


def _worth(labels: float, curve: BudgetCurve) -> str:
    if np.isinf(labels):
        return f"more than {curve.labels[-1]:,}"
    return f"{labels:,.0f}" if labels else f"less than {curve.labels[0]:,}"


def _listed(numbers: Sequence[int]) -> str:
    *first, last = [f"{number:,}" for number in numbers]
    return f"{', '.join(first)} and {last}" if first else last


def _p(value: float) -> str:
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
