"""Why two corners of a factorial differ, in sentences that follow from its numbers."""

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.metrics import metric_of, split_of
from pretrain.report.names import arm_name, capital, listed, metric_name, percent, setting, treatment, value
from pretrain.study.arms import CORNERS
from pretrain.study.attribution import Attribution
from pretrain.study.factorial import Cause, Factorial
from pretrain.study.statistics import FEWEST_SEEDS, Estimate, holm

_START, _LATER = "post_update_accuracy after batch 1", "post_update_accuracy after batch 20"
_EARLY = ("after batch 1", "after batch 20")  # of causes on validation rows that are put in words
_CHANGE = "logit_change"
_MATTERS = 0.05  # of accuracy after batch 1; a gap that certainly is smaller is no slow start
_MOST_WORDS = 30  # on shares, in the sentence on their gap
_PART = 0.25  # of the gap; a change that may make more is not said to have no part in it


def too_few(n: int, fewest: int = FEWEST_SEEDS) -> str:
    """Returns the reason why so few seeds are inconclusive, whatever they come to, beside the fewest that are not."""
    return f"{counted(n, 'seed')} {'settles' if n == 1 else 'settle'} nothing, at least {fewest} can"


def why(factorial: Factorial, level: float) -> str:
    """Returns the causes of the gap between a factorial's corners."""
    where = setting(factorial.setting) if not factorial.others else ""
    where = f"{capital(where)}: " if where else ""
    if factorial.n < 2:
        return where + _one_seed(factorial)
    if factorial.is_original_question and _START in factorial.causes:
        return where + _original_question(factorial, level)
    return where + _all_factors(factorial, level)


def seeds(factorial: Factorial) -> str:
    """Returns how many seeds a factorial has, and in how many of them its cells train."""
    some = f", each cell where it trains, in {factorial.n:,} at least" if factorial.n < factorial.seeds else ""
    return f"{counted(factorial.seeds, 'seed')}{some}"


def factor_names(factorial: Factorial) -> dict[str, str]:
    """Returns a factorial's factors in words, by field."""
    called = {factor.field: treatment(factor.field, factor.on, factor.off) for factor in factorial.factors}
    alike = [name for name, times in Counter(called.values()).items() if times > 1]
    return {field: f"{field}: {name}" if name in alike else name for field, name in called.items()}


def certain(effects: Mapping[str, tuple[Estimate, float]], n: int, level: float) -> dict[str, Estimate]:
    """Returns the effects that differ from zero, all of them being looked at.

    Args:
      effects: by name, each with its p-value by itself.
      n: seeds; fewer than six settle nothing.
      level: of the intervals, which must leave zero out, too.
    """
    if n < FEWEST_SEEDS or not effects:
        return {}
    adjusted = holm([p_value for _, p_value in effects.values()])
    return {
        name: effect
        for (name, (effect, _)), p_value in zip(effects.items(), adjusted, strict=True)
        if p_value <= 1 - level + 1e-12 and (effect.low > 0 or effect.high < 0)
    }


def _one_seed(factorial: Factorial) -> str:
    metric = _START if _START in factorial.causes else factorial.end
    cause, where = factorial.causes[metric], "after batch 1" if metric == _START else "in the end"
    last, first = (value(level, metric, 2) for level in (cause.last, cause.first))
    return (
        f"One seed settles nothing: {where} {_corner(factorial.last.point)} is at {last} and "
        f"{_corner(factorial.first.point)} at {first}; run more with --seeds."
    )


def _original_question(factorial: Factorial, level: float) -> str:
    """Returns the causes of a slow start of the pretrained, frozen network, if there is one."""
    start, end = factorial.causes[_START], factorial.causes[factorial.end]
    last, first = (value(level, factorial.end) for level in (end.last, end.first))
    measure = split_of(factorial.end)[1]
    if measure != "accuracy":
        last, first = f"{metric_name(measure)} {last}", f"{metric_name(measure)} {first}"
    at = "is at" if measure == "accuracy" else "is at an accuracy of"
    gap, (init, frozen) = start.parts.gap, (start.parts.shares[field] for field in CORNERS)
    sentence = (
        f"{_cause(start.parts, factorial.n, level)}: after batch 1 the pretrained, frozen network {at} "
        f"{start.last:.2f} and the trainable one from scratch (He) at {start.first:.2f}, a gap of {gap.mean:+.2f} of "
        f"which freezing makes {frozen} and pretraining {init}. In the end the former tests at {last} and the latter "
        f"at {first}, {_direction(factorial, level)} ({end.parts.gap}; {seeds(factorial)}, "
        f"{percent(level)} intervals)."
    )
    return " ".join([sentence, *_later(factorial), *_mechanism(factorial), *_remedies(factorial)])


def _later(factorial: Factorial) -> list[str]:
    """Returns the rest of the gap halfway through the first epoch, and its share of each change."""
    if _LATER not in factorial.causes:
        return []
    parts = factorial.causes[_LATER].parts
    init, frozen = (parts.shares[field] for field in CORNERS)
    return [f"After batch 20 the gap is {parts.gap}, freezing making {frozen} and pretraining {init}."]


def _mechanism(factorial: Factorial) -> list[str]:
    """Returns the effect of the first updates on the logits, where it was diagnosed."""
    if _CHANGE not in factorial.diagnostics:
        return []
    first, last = factorial.diagnostics[_CHANGE]
    if not (first.high < last.low or last.high < first.low):
        both = f"{_rms(last)} and {_rms(first)}"
        return [f"That their first updates move the logits differently is not certain ({both}, root mean square)."]
    sentence = (
        f"The pretrained, frozen network's first update moves the logits by {_rms(last)}, the other's by {_rms(first)}"
    )
    if min(first.mean, last.mean) <= 0:
        return [f"{sentence} (root mean square)."]
    ratio = max(first.mean, last.mean) / min(first.mean, last.mean)
    return [f"{sentence} (root mean square): {ratio:.3g} times {'more' if last.mean > first.mean else 'less'}."]


def _remedies(factorial: Factorial) -> list[str]:
    """Returns the effect of each other change, by itself, on the accuracy of the slow network after batch 1."""
    effects = factorial.remedies.get(_START, {})
    if not effects:
        return []
    fields = {factor.field: factor for factor in factorial.others}
    ordered = sorted(effects.items(), key=lambda item: -item[1].mean)
    moves = [f"{treatment(field, fields[field].on, fields[field].off)} {effect}" for field, effect in ordered]
    return [f"Each alone, other changes move the pretrained, frozen network's accuracy after batch 1: {listed(moves)}."]


def _all_factors(factorial: Factorial, level: float) -> str:
    """Returns which factors certainly have a share in the gap between the outermost corners, and which may not."""
    called, changes = factor_names(factorial), []
    early = [name for name in factorial.causes if name.startswith("validation_") and name.endswith(_EARLY)]
    metrics = [*early, factorial.end]
    for metric in metrics:
        cause = factorial.causes[metric]
        shares = {field: (share, cause.parts.p_values[field]) for field, share in cause.parts.shares.items()}
        split = _split(metric, cause, called, certain(shares, factorial.n, level))
        changes.append(f"{capital(metric_name(metric))} goes from {split}.")
    ends = f"The gap is from {_corner(factorial.first.point)} to {_corner(factorial.last.point)}"
    ends += f" ({2 ** len(factorial.factors)} cells, {seeds(factorial)}, {percent(level)} intervals)."
    return " ".join([ends, *changes, *_strongest_interaction(factorial, called, metrics[:1], level)])


def _split(metric: str, cause: Cause, called: dict[str, str], sure: Collection[str]) -> str:
    shares = sorted(cause.parts.shares.items(), key=lambda item: -abs(item[1].mean))
    made = [f"{called[field]} {share}" for field, share in shares if field in sure]
    rest = [called[field] for field, _ in shares if field not in sure]
    first, last = (value(level, metric, 2) for level in (cause.first, cause.last))
    gap = f"{first} to {last}, a gap of {cause.parts.gap}"
    if not made:
        return f"{gap}, of which no share is certain"
    parts = f"made by {listed(made)}" + (f" (not certainly by {listed(rest)})" if rest else "")
    return f"{gap}, {parts}" if len(parts.split()) <= _MOST_WORDS else f"{gap}. It is {parts}"


def _strongest_interaction(factorial: Factorial, called: dict[str, str], metrics: list[str], level: float) -> list[str]:
    for metric in metrics:
        parts, where = factorial.causes[metric].parts, metric_name(metric)
        pairs = {pair: (value, parts.p_values[pair]) for pair, value in parts.interactions.items()}
        sure = certain(pairs, factorial.n, level)
        if not sure:
            return [f"Of {where}, no two changes certainly add more or less together than apart."]
        pair, value = max(sure.items(), key=lambda item: abs(item[1].mean))
        both, more = " and ".join(called[field] for field in pair), "more" if value.mean > 0 else "less"
        return [f"Changes interact: to {where}, {both} add {abs(value.mean):.3f} {more} together than apart ({value})."]
    return []


def _cause(start: Attribution, n: int, level: float) -> str:
    """Returns whether there is a slow start, and its cause."""
    if n < FEWEST_SEEDS:
        return too_few(n)
    if not certain({"gap": (start.gap, start.gap_p_value)}, n, level):
        is_none = start.gap.low > -_MATTERS
        return "No slow start" if is_none else "Whether the pretrained, frozen network starts slowly is not certain"
    if start.gap.low > 0:
        return "The opposite of a slow start"
    shares = {field: (share, start.p_values[field]) for field, share in start.shares.items()}
    slows = [field for field, share in certain(shares, n, level).items() if share.high < 0]
    if len(slows) != 1:
        return "Pretraining and freezing both make the slow start" if slows else "What makes the slow start stays open"
    (other,) = set(CORNERS) - set(slows)
    named = {CORNERS[0]: "Pretraining", CORNERS[1]: "Freezing"}
    if start.shares[other].low < start.gap.mean * _PART:
        return f"{named[slows[0]]} makes the slow start; whether {named[other].lower()} has a part in it is not certain"
    return f"{named[slows[0]]} the encoder, not {named[other].lower()} it, makes the slow start"


def _corner(point: dict[str, object]) -> str:
    name = arm_name(point)
    if name.startswith("from scratch"):
        return f"the network {name}"
    return f"the network with {name}" if "=" in name else f"the {name} network"


def _direction(factorial: Factorial, level: float) -> str:
    parts = factorial.causes[factorial.end].parts
    if not certain({"gap": (parts.gap, parts.gap_p_value)}, factorial.n, level):
        return "not distinguished"
    return "better" if (parts.gap.low > 0) == metric_of(factorial.end).higher_is_better else "worse"


def _rms(change: Estimate) -> str:
    if not np.isfinite(change.low):
        return f"{change.mean:.3g}"
    return f"{change.mean:.3g} [{max(change.low, 0):.3g}, {change.high:.3g}]"
