"""The five cells of a report's first screen: rows, failures, comparisons, datasets, and the choice among settings."""

from typing import Any

from pretrain.config import Experiment
from pretrain.config.counts import counted, some
from pretrain.config.fields import get
from pretrain.data.findings import MISSING
from pretrain.report import over_datasets
from pretrain.report.names import arm_name, listed, percent
from pretrain.report.short_names import short_names
from pretrain.report.verdicts import looked
from pretrain.study.answer import Answer, look_of
from pretrain.study.arms import distinct
from pretrain.study.comparisons import by_family
from pretrain.study.over_datasets import groups
from pretrain.study.sequential import looks
from pretrain.study.statistics import LEVEL

_MOST_NAMED = 3  # arms, and datasets


def cells(answer: Answer, experiment: Experiment) -> dict[str, str]:
    """Returns the five cells by name, each of a few words."""
    read = "".join(
        f"; the test rows of {name} were read by {n:,} runs of this store"
        for name, n in answer.history.often_read.items()
    )
    return {
        "Rows": _rows(answer, experiment) + read,
        "Failures": failures(answer) + _missing(answer),
        "Comparisons": _comparisons(answer, experiment),
        "Datasets": _datasets(answer, experiment),
        "Best of": _choice(answer),
    }


def values(answer: Answer, experiment: Experiment, field: str) -> list[Any]:
    """Returns the values that a field has in the arms."""
    usual = get(experiment, field)
    swept = (arm.point.get(field) for arm in answer.arms)  # None where the arm's grid does not sweep it
    return list(dict.fromkeys(usual if value is None else value for value in swept))


def _rows(answer: Answer, experiment: Experiment) -> str:
    own = "fresh" in values(answer, experiment, "data.splits")
    split = "each on a split of its own" if own else "all on one split"
    known = [each for each in by_family(answer.comparisons)[0] if each.rows]
    if not known:
        return f"intervals over seeds, {split}"
    counts = sorted({each.rows.rows for each in known if each.rows})
    range_of = listed([f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))]).replace(" and ", " to ")
    unit = "groups" if any(each.rows and each.rows.is_grouped for each in known) else "rows"
    n_open = sum(each.holds_for_new_rows is False and each.failures.verdict != "inconclusive" for each in known)
    still = f"; open for new ones: {n_open:,} of {counted(len(known), 'comparison')}" if n_open else ""
    return f"new ones like these {range_of} {unit}, and seeds, {split}{still}"


def failures(answer: Answer) -> str:
    """Returns in how many seeds training failed, arm by arm."""
    lost = {
        arm_name({**each.shared, each.field: side}): f"{n:,} of {counted(of, 'seed')}"
        for each in answer.comparisons
        for side, n, of in zip(
            (each.treatment, each.baseline),
            (each.failures.treated, each.failures.untreated),
            each.failures.sizes,
            strict=True,
        )
        if n
    }
    if lost:
        return some([f"{name}: {n}" for name, n in lost.items()], _MOST_NAMED)
    n = sum(len(arm.trial_ids) + arm.n_diverged for arm in distinct(answer.arms))
    if diverged := sum(arm.n_diverged for arm in distinct(answer.arms)):
        return f"{diverged:,} of {counted(n, 'trial')} diverged"
    return f"none of {counted(n, 'trial')}"


def _missing(answer: Answer) -> str:
    """Returns how many trials could not be trained."""
    return "".join(f"; {each.figures['missing']:,} more missing" for each in answer.findings if each.kind == MISSING)


def _comparisons(answer: Answer, experiment: Experiment) -> str:
    own, explored = by_family(answer.comparisons)
    parts = [f"{len(own):,}, judged together at {percent(LEVEL)}" if len(own) > 1 else str(len(own))]
    if explored:
        parts.append(f"{len(explored):,} more explore")
    if experiment.study.until_conclusive:
        parts.append(f"look {look_of(answer, experiment).number} of at most {len(looks(experiment))}")
    if before := answer.history.before:
        parts.append(looked(before))
    elif own and not experiment.study.until_conclusive:
        parts.append("looked at once")
    return "; ".join(parts)


def _datasets(answer: Answer, experiment: Experiment) -> str:
    if stated := over_datasets.cell(groups(answer), answer.metric):
        return stated
    names = list(short_names(list(map(str, values(answer, experiment, "data.name")))).values())
    return f"{names[0]} only" if len(names) == 1 else f"{len(names)}: {some(names, _MOST_NAMED)}"


def _choice(answer: Answer) -> str:
    if answer.tuned:
        sizes = sorted({arm.n_settings for arm in answer.tuned})
        range_of = listed([f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1]))]).replace(" and ", " to ")
        return f"{range_of} settings an arm, chosen on validation rows for each seed"
    n = len(distinct(answer.arms))
    is_chosen = n > 1 and not answer.comparisons
    return f"{n:,} arms, chosen on validation rows" if is_chosen else "one setting: nothing was chosen"
