"""Why two corners of a factorial differ, in sentences that follow from its numbers."""

import numpy as np

from pretrain.study.arms import CORNERS
from pretrain.study.attribution import Attribution
from pretrain.study.factorial import Cause, Factorial
from pretrain.study.names import arm_name, listed, metric_name, percent, treatment
from pretrain.study.statistics import Estimate

_START, _LATER = "post_update_accuracy after batch 1", "post_update_accuracy after batch 20"
_END = "test_accuracy"
_TOLD = ("validation_accuracy after batch 1", "validation_accuracy after batch 20", _END)
_CHANGE = "logit_change"


def why(found: Factorial, level: float) -> str:
    """Returns what makes the gap between a factorial's corners."""
    if found.n < 2:
        return _one_seed(found)
    if found.is_seeds_question and _START in found.causes:
        return _seeds_question(found, level)
    return _all_factors(found, level)


def factor_names(found: Factorial) -> dict[str, str]:
    """Returns a factorial's factors in words, by field."""
    return {factor.field: treatment(factor.field, factor.on, factor.off) for factor in found.factors}


def _one_seed(found: Factorial) -> str:
    metric = _START if _START in found.causes else _END
    cause, where = found.causes[metric], "after batch 1" if metric == _START else "in the end"
    return (
        f"One seed settles nothing: {where} {_corner(found.last.point)} is at {cause.last:.2f} and "
        f"{_corner(found.first.point)} at {cause.first:.2f}; run more with --seeds."
    )


def _seeds_question(found: Factorial, level: float) -> str:
    """Returns what makes the pretrained, frozen network start slowly, if it does."""
    start, end = found.causes[_START], found.causes[_END]
    gap, (init, frozen) = start.parts.gap, (start.parts.shares[field] for field in CORNERS)
    told = (
        f"{_cause(start.parts)}: after batch 1 the pretrained, frozen network is at {start.last:.2f} and the He, "
        f"trainable one at {start.first:.2f}, a gap of {gap.mean:+.2f} of which freezing makes {frozen} "
        f"and pretraining {init}; in the end the former tests at {end.last:.3f} and the latter at "
        f"{end.first:.3f}, {_direction(end.parts.gap)} ({end.parts.gap}; {found.n} seeds, {percent(level)} intervals)."
    )
    return " ".join([told, *_later(found), *_mechanism(found), *_remedies(found)])


def _later(found: Factorial) -> list[str]:
    """Returns what is left of the gap when the first epoch is halfway through, and whose it is."""
    if _LATER not in found.causes:
        return []
    parts = found.causes[_LATER].parts
    init, frozen = (parts.shares[field] for field in CORNERS)
    return [f"After batch 20 the gap is {parts.gap}, freezing making {frozen} and pretraining {init}."]


def _mechanism(found: Factorial) -> list[str]:
    """Returns what the first updates did to the logits, where that was diagnosed."""
    if _CHANGE not in found.diagnostics:
        return []
    first, last = found.diagnostics[_CHANGE]
    if not (first.high < last.low or last.high < first.low):
        both = f"{_rms(last)} and {_rms(first)}"
        return [f"That their first updates move the logits differently is not certain ({both}, root mean square)."]
    ratio = max(first.mean, last.mean) / min(first.mean, last.mean)
    more = "more" if last.mean > first.mean else "less"
    return [
        f"The pretrained, frozen network's first update moves the logits by {_rms(last)}, the other's by {_rms(first)} "
        f"(root mean square): {ratio:.3g} times {more}."
    ]


def _remedies(found: Factorial) -> list[str]:
    """Returns what other changes, each by itself, do to the accuracy of the slow network after batch 1."""
    effects = found.remedies.get(_START, {})
    if not effects:
        return []
    fields = {factor.field: factor for factor in found.others}
    ordered = sorted(effects.items(), key=lambda item: -item[1].mean)
    told = [f"{treatment(field, fields[field].on, fields[field].off)} {effect}" for field, effect in ordered]
    return [f"Each alone, other changes move the pretrained, frozen network's accuracy after batch 1: {listed(told)}."]


def _all_factors(found: Factorial, level: float) -> str:
    """Returns which factors certainly have a share in the gap between the outermost corners, and which may not."""
    names, told = factor_names(found), []
    for metric in _TOLD:
        if metric in found.causes:
            told.append(f"{metric_name(metric)} goes from {_split(found.causes[metric], names)}")
    ends = f"From {_corner(found.first.point)} to {_corner(found.last.point)} ({2 ** len(found.factors)} cells, "
    ends += f"{found.n} seeds, {percent(level)} intervals): "
    return " ".join([f"{ends}{'; '.join(told)}.", *_strongest_interaction(found, names)])


def _split(cause: Cause, names: dict[str, str]) -> str:
    shares = sorted(cause.parts.shares.items(), key=lambda item: -abs(item[1].mean))
    sure = [f"{names[field]} {share}" for field, share in shares if share.low > 0 or share.high < 0]
    rest = [names[field] for field, share in shares if share.low <= 0 <= share.high]
    gap = f"{cause.first:.2f} to {cause.last:.2f}, a gap of {cause.parts.gap}"
    made = f"made by {listed(sure)}" if sure else "of which no share is certain"
    return f"{gap}, {made}" + (f" (not certainly by {listed(rest)})" if sure and rest else "")


def _strongest_interaction(found: Factorial, names: dict[str, str]) -> list[str]:
    metric = next((metric for metric in _TOLD if metric in found.causes), None)
    pairs = found.causes[metric].parts.interactions if metric else {}
    sure = {pair: value for pair, value in pairs.items() if value.low > 0 or value.high < 0}
    where = metric_name(metric or "")
    if not sure:
        return [f"Of {where}, no two changes certainly add more or less together than apart."]
    pair, value = max(sure.items(), key=lambda item: abs(item[1].mean))
    both = " and ".join(names[field] for field in pair)
    more = "more" if value.mean > 0 else "less"
    return [f"Changes interact: to {where}, {both} add {abs(value.mean):.3f} {more} together than apart ({value})."]


def _cause(start: Attribution) -> str:
    if start.gap.high >= 0:
        return "No slow start" if start.gap.low <= 0 else "The opposite of a slow start"
    slows = [field for field, share in start.shares.items() if share.high < 0]
    if slows == [CORNERS[1]]:
        return "Freezing the encoder, not pretraining it, makes the slow start"
    if slows == [CORNERS[0]]:
        return "Pretraining the encoder, not freezing it, makes the slow start"
    return "Pretraining and freezing both make the slow start" if slows else "What makes the slow start stays open"


def _corner(point: dict[str, object]) -> str:
    return f"the network with {arm_name(point)}" if "=" in arm_name(point) else f"the {arm_name(point)} network"


def _direction(difference: Estimate) -> str:
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "not told apart"


def _rms(change: Estimate) -> str:
    if not np.isfinite(change.low):
        return f"{change.mean:.2f}"
    return f"{change.mean:.2f} [{change.low:.2f}, {change.high:.2f}]"
