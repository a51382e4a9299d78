"""A run's conclusions in sentences; every word follows from numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import get
from pretrain.config.metrics import metric_of, split_of
from pretrain.report import health, prospects, tuning
from pretrain.report.names import (
    arm_name,
    brief,
    capital,
    difference,
    listed,
    metric_name,
    percent,
    setting,
    short,
    treatment,
    value,
)
from pretrain.report.why import too_few, why
from pretrain.study.answer import Answer
from pretrain.study.budgets import BudgetCurve
from pretrain.study.comparisons import Comparison
from pretrain.study.epochs import EpochCurve
from pretrain.study.power import SeedRange
from pretrain.study.sequential import Look, unsettled
from pretrain.study.speed import SHARE, Speed
from pretrain.study.statistics import FEWEST_SEEDS, LEVEL

_MOST_NAMED = 4  # comparisons of a treatment that are named one by one
_MOST_WORDS = 50  # of a sentence that has several clauses
_MOST_BUDGETS = 6  # that a sentence lists
# Of one comparison, and of several.
_VERDICTS = {
    "helps": ("helps", "help"),
    "hurts": ("hurts", "hurt"),
    "no difference": ("makes no difference that matters", "make no difference that matters"),
    "inconclusive": ("is inconclusive", "are inconclusive"),
}


def question(answer: Answer) -> str:
    """Returns what a run asks, as a question."""
    compared = answer.comparisons
    if not compared:
        return f"Which of {len(answer.arms):,} arms is best?" if len(answer.arms) > 1 else "How good is one arm?"
    treatments = list(dict.fromkeys(treatment(one.field, one.treatment, one.baseline) for one in compared))
    named = treatments if len(treatments) <= _MOST_NAMED else [f"{len(treatments)} values of {compared[0].field}"]
    others = [brief(name, compared[0].shared) for name in compared[0].shared]
    where = f", at each {listed(others)}" if others else ""
    verb = "Does" if len(treatments) == 1 else "Do"
    asked = f"{verb} {listed(named)} change {metric_name(answer.metric)}{where}, and by how much?"
    if answer.factorials:
        ends = [arm_name(arm.point) for arm in (answer.factorials[-1].first, answer.factorials[-1].last)]
        asked += f" What is the gap from {ends[0]} to {ends[1]} made of?"
    return asked


def verdict(compared: Sequence[Comparison]) -> str:
    """Returns the verdicts of a run's comparisons in a few sentences; nothing without comparisons.

    Those of the question are named, or counted where a treatment has many; those that explore are counted.
    """
    own = [one for one in compared if not one.is_exploratory]
    explored = [one for one in compared if one.is_exploratory]
    sentences = []
    for what in dict.fromkeys(treatment(one.field, one.treatment, one.baseline) for one in own):
        group = [one for one in own if treatment(one.field, one.treatment, one.baseline) == what]
        clauses = [_clause(one) for one in group] if len(group) <= _MOST_NAMED else _counted(group)
        sentences += _sentences(f"{what[0].upper()}{what[1:]}", clauses)
    if explored:
        n = counted(len(explored), "exploratory comparison")
        alone = f"The exploratory comparison, adjusted apart, {_VERDICTS[explored[0].verdict][0]}."
        sentences.append(f"Of {n}, adjusted apart, {tally(explored)}." if len(explored) > 1 else alone)
    return " ".join(sentences)


def conclusion(answer: Answer, experiment: Experiment) -> str:
    """Returns what became of arms that are lost as a whole, and the verdicts, or what else a run shows."""
    return " ".join(filter(None, [lost(answer, experiment), verdict(answer.comparisons)])) or explanation(answer)[0]


def lost(answer: Answer, experiment: Experiment) -> str:
    """Returns what became of arms of which nothing is left to compare; nothing where there are none."""
    return health.lost(answer.findings, experiment)


def warnings(answer: Answer, experiment: Experiment) -> list[str]:
    """Returns reasons why a run's verdicts are not what they may seem."""
    return [*prospects.warnings(answer), *tuning.warnings(answer), *health.warnings(answer.findings, experiment)]


def tally(compared: Sequence[Comparison]) -> str:
    """Returns how many comparisons came out how, as in ``3 help and 1 is inconclusive``, or ``all help``."""
    counts = Counter(one.verdict for one in compared)
    if len(counts) == 1 and len(compared) > 1:
        return f"all {_VERDICTS[compared[0].verdict][1]}"
    return listed([f"{n:,} {_VERDICTS[kind][n > 1]}" for kind, n in counts.most_common()])


def _sentences(subject: str, clauses: Sequence[str]) -> list[str]:
    """Returns clauses on a subject as sentences, each of as many as are read at once."""
    sentences: list[str] = []
    for clause in clauses:
        longer = f"{sentences[-1]}; {clause}" if sentences else ""
        if longer and len(longer.split()) <= _MOST_WORDS:
            sentences[-1] = longer
        else:
            sentences.append(f"{'It' if sentences else subject} {clause}")
    return [f"{sentence}." for sentence in sentences]


def _clause(one: Comparison) -> str:
    where = setting(one.shared)
    where = (f" {where}" if where else "") + unfinished(one)
    shown, n = interval(one), counted(one.n, "seed") + _lost(one)
    match one.verdict:
        case "helps" | "hurts":
            return f"{one.verdict}{where} ({shown}, p {_p(one.p_value)}, {n})"
        case "no difference":
            return f"makes no difference that matters{where} ({shown}, {n})"
    if one.both_at_chance:
        return f"is not judged{where}, where both arms are at chance ({shown}, {n})"
    if one.n < FEWEST_SEEDS:
        return f"is inconclusive{where} ({shown}; {too_few(one.n)}{_lost(one)})"
    return f"is inconclusive{where} ({shown}, {n}; {settling(one.seeds_to_settle)})"


def settling(seeds: SeedRange) -> str:
    """Returns how many seeds in all would settle a comparison."""
    if seeds.high is None:
        return f"settling it takes more than {seeds.low:,}"
    return f"{f'{seeds.low:,} to' if seeds.low < seeds.high else 'about'} {seeds.high:,} would settle it"


def _lost(one: Comparison) -> str:
    """Returns how many trials of a comparison diverged or collapsed."""
    kinds = (("diverged", one.n_diverged), ("collapsed", one.n_collapsed))
    return "".join(f", {counted(n, 'trial')} {kind}" for kind, n in kinds if n)


def unfinished(one: Comparison) -> str:
    """Returns after how many updates a comparison was made, where an arm still improved; nothing elsewhere."""
    sides = zip(one.lengths, (one.treatment, one.baseline), strict=True)
    still = [short(value) for length, value in sides if length and length.trend == "improves"]
    if not still:
        return ""
    updates = listed([f"{n:,}" for n in dict.fromkeys(length.updates for length in one.lengths if length)])
    return f" after {updates} updates, {'both' if len(still) == 2 else still[0]} still improving"


def _counted(group: Sequence[Comparison]) -> list[str]:
    """Returns how many comparisons came out how, with the largest of each kind that has a direction."""
    clauses = []
    for kind, (phrase, _) in _VERDICTS.items():
        found = [one for one in group if one.verdict == kind]
        if found:
            clause = f"{phrase} in {len(found)} of {len(group)} settings"
            if kind in ("helps", "hurts"):
                most = max(found, key=lambda one: abs(one.difference.mean))
                clause += f", most {setting(most.shared)}{unfinished(most)} ({interval(most)})"
            clauses.append(clause)
    if n_open := sum(bool(unfinished(one)) for one in group):
        clauses.append(f"arms were still improving in {n_open} of {len(group)} settings")
    return clauses


def basis(answer: Answer, experiment: Experiment) -> str:
    """Returns what a conclusion rests on and depends on."""
    return f"{certainty(answer, experiment)} {conditions(answer, experiment)}"


def certainty(answer: Answer, experiment: Experiment) -> str:
    """Returns how sure a conclusion is: seeds, pairing, data, lost trials, and how often verdicts are wrong."""
    lost = sum(arm.n_diverged for arm in answer.arms)
    trials = f"trials that diverged, and are left out: {lost:,}" if lost else "no trial diverged"
    names = _values(answer, experiment, "data.name")
    data = " and ".join(map(str, names)) if len(names) < 3 else counted(len(names), "dataset")
    return (
        f"It rests on {counted(answer.n_seeds, 'seed')} of {counted(len(answer.arms), 'arm')} on {data}, paired within"
        f" a seed: arms share label subset, head and batch order; {trials}.{_error_rate(answer)}"
    )


def _error_rate(answer: Answer) -> str:
    """Returns how often verdicts call an effect that is not there, in a sentence; nothing without comparisons."""
    n_own = sum(not one.is_exploratory for one in answer.comparisons)
    if not n_own:
        return ""
    whose = "the question's" if n_own < len(answer.comparisons) else "the"
    among = f" among {whose} {n_own:,} comparisons" if n_own > 1 else ""
    return f" Were there no effect, at most {percent(1 - LEVEL)} of such runs would report one{among}."


def conditions(answer: Answer, experiment: Experiment) -> str:
    """Returns what a conclusion depends on: splits of the data, tuning and the length of training."""
    fresh = "fresh" in _values(answer, experiment, "data.splits")
    split = "each seed on a split of the data of its own" if fresh else "on one split of the data"
    return f"Intervals are over seeds, {split}.{_training(answer, experiment)}"


def _training(answer: Answer, experiment: Experiment) -> str:
    """Returns what is known of fine-tuning's rate and length, where an arm is fine-tuned."""
    if "none" not in _values(answer, experiment, "finetune.readout"):
        return ""
    if answer.tuned:
        return f" {tuning.basis(answer, experiment)} {capital(_ends(answer))}."
    rates = _values(answer, experiment, "finetune.optimizer.learning_rate")
    tuned = f"is {rates[0]:g} for all arms, tuned for none" if len(rates) == 1 else "is swept"
    return f" Fine-tuning's learning rate {tuned}; {_ends(answer)}."


def _ends(answer: Answer) -> str:
    """Returns whether arms were trained to their end, as far as it was measured."""
    counts = Counter(length.trend for length in answer.lengths if length)
    if not counts:
        return "whether arms would still improve with more updates was not measured"
    phrases = {
        "improves": "still falls in {}",
        "level": "has levelled off in {}",
        "rises": "rises in {}",
        "open": "neither falls nor levels off for certain in {}",
        "unmeasured": "was measured too seldom in {} (set finetune.validate_every)",
    }
    n = counts.total()
    who = {trend: f"{counts[trend]} of {n} arms" if counts[trend] < n else _all_of(n) for trend in counts}
    parts = [phrase.format(who[trend]) for trend, phrase in phrases.items() if counts[trend]]
    return f"at the end of training the validation loss {listed(parts)}"


def _all_of(n: int) -> str:
    return {1: "the arm", 2: "both arms"}.get(n, f"all {n} arms")


def _values(answer: Answer, experiment: Experiment, field: str) -> list[Any]:
    """Returns the values that a field has in the arms."""
    return list(dict.fromkeys(arm.point.get(field, get(experiment, field)) for arm in answer.arms))


def explanation(answer: Answer) -> list[str]:
    """Returns what budgets show, what makes the difference between corners, or which arm is best: a text each."""
    if not answer.best:
        return ["Every trial diverged; lower the learning rates."]
    untuned = tuning.untuned(answer, verdict(answer.untuned))
    texts = [untuned] if untuned else []
    texts += [budget(curve) for curve in answer.budgets] + [why(one, answer.level) for one in answer.factorials]
    texts += [epochs(curve, answer.level) for curve in answer.epochs]
    if texts:
        return texts
    test = answer.best_test
    ends = (value(end, answer.metric) for end in (test.low, test.high))
    margin = f" [{', '.join(ends)}]{_at(answer.level)}" if np.isfinite(test.high) else ""
    n = counted(len(set(answer.best.seeds)), "seed")
    at = f"{_unit(answer.metric)[1:]} {value(test.mean, answer.metric)}".lstrip()
    return [f"Best on validation is {arm_name(answer.best.point)}; it tests at {at}{margin} (n = {n})."]


def budget(curve: BudgetCurve) -> str:
    """Returns what a comparison at many budgets shows, in a few sentences."""
    what = treatment(*_of(curve))
    sure = (curve.low > 0) | (curve.high < 0)
    where = setting(curve.shared)
    parts = [f"Gain of {what} against labels{f' {where}' if where else ''}:"]
    if sure.any():
        band = f"{percent(curve.level)} band over all budgets"
        parts.append(f"it differs from zero at {_budgets(curve, sure)} ({band});")
    else:
        parts.append("at no budget does the band over all budgets leave zero out;")
    parts.append(f"over all budgets it is {difference(curve.area, curve.metric)} on average.")
    if curve.crossover and sure.any():  # else noise makes a sign change anywhere
        low, high = (f"{end:,.0f}" for end in curve.crossover[1:])
        parts.append(
            f"It changes its sign at about {curve.crossover.mean:,.0f} labels [{low}, {high}] "
            f"(so do {curve.crossing:.0%} of bootstrap samples)."
        )
    middle = len(curve.labels) // 2
    for place in dict.fromkeys((0, middle)):
        worth = curve.equivalents[place]
        parts.append(
            f"With it, {curve.labels[place]:,} labels are worth {_worth(worth.mean, curve)} without "
            f"[{_worth(worth.low, curve)}, {_worth(worth.high, curve)}]."
        )
    return " ".join(parts)


def epochs(curve: EpochCurve, level: float) -> str:
    """Returns whether the reconstruction error would have chosen the epochs of pretraining well, in a sentence."""
    where = setting(curve.setting)
    by_error, by_validation = (_usual(chosen) for chosen in (curve.by_error, curve.by_validation))
    start = f"{where[0].upper()}{where[1:]}, choosing" if where else "Choosing"
    change, n = curve.change, counted(curve.seeds, "seed")
    is_sure = curve.seeds >= FEWEST_SEEDS and curve.p_value <= 1 - level + 1e-12
    if not is_sure or change.low <= 0 <= change.high:
        judged = "which is better is not certain"
    else:
        is_better = (change.mean > 0) is metric_of(curve.metric).higher_is_better
        judged = f"the former is {'better' if is_better else 'worse'}"
    name = metric_name(split_of(curve.metric)[1])
    chosen = f"by reconstruction error takes {by_error}, by validation {name} {by_validation}"
    return f"{start} {brief(curve.field)} {chosen}; {judged} ({difference(change, curve.metric)}, {n})."


def _usual(chosen: np.ndarray) -> str:
    """Returns what is chosen in most seeds, and in how many where not in all."""
    values, counts = np.unique(chosen, return_counts=True)
    most = int(np.argmax(counts))
    return f"{values[most]}" + (f" (in {counts[most]} of {len(chosen)} seeds)" if len(values) > 1 else "")


def _budgets(curve: BudgetCurve, sure: np.ndarray) -> str:
    """Returns the budgets at which a gain is certain, all of them or how many."""
    found = [f"{labels:,}" for labels in curve.labels[sure]]
    if len(found) <= _MOST_BUDGETS:
        return f"{listed(found)} labels"
    return f"{len(found)} of {len(curve.labels)} budgets, from {found[0]} to {found[-1]} labels"


def interval(one: Comparison) -> str:
    """Returns a comparison's difference with its interval, and the interval's level where it is not 95 %."""
    what = _unit(one.metric)
    return f"{what[1:]} {difference(one.difference, one.metric)}".lstrip() + _at(one.level)


def _unit(metric: str) -> str:
    """Returns the name of a metric after its value, but of accuracy, which goes without saying."""
    return "" if split_of(metric)[1] == "accuracy" else f" {metric_name(split_of(metric)[1])}"


def speed(compared: Sequence[Comparison]) -> str:
    """Returns which arms learn faster, whichever ends better, in a sentence; nothing where it was not measured."""
    found = [one for one in compared if one.speed]
    if not found:
        return ""
    start = f"To {SHARE:.0%} of the better arm's final accuracy".replace("%", " %")
    if len(found) > _MOST_NAMED:
        counts = Counter(one.speed.learns(one.level) for one in found)
        phrases = {"faster": "faster", "more slowly": "more slowly", "not certain": "with no certain difference"}
        parts = [f"{phrase} in {counts[name]}" for name, phrase in phrases.items() if counts[name]]
        return f"{start}, {found[0].field} learns {listed(parts)} of {len(found)} settings."
    parts = [f"{_treated(one)} {_gets_there(one.speed)}" for one in found]
    return f"{start}, {'; '.join(parts)}."


def _treated(one: Comparison) -> str:
    return f"{treatment(one.field, one.treatment, one.baseline)} {setting(one.shared)}".strip()


def _gets_there(found: Speed) -> str:
    if found.ratio is None:
        n = [int(np.isfinite(side).sum()) for side in (found.treated, found.untreated)]
        return f"gets there in {n[0]} of {counted(len(found.treated), 'seed')}, the baseline in {n[1]}"
    return f"takes {updates_ratio(found)} times the updates"


def updates_ratio(found: Speed) -> str:
    """Returns by how many times the updates of the baseline a treatment learns, with the interval."""
    if found.ratio is None:
        return "–"
    margin = f" [{found.ratio.low:.2f}, {found.ratio.high:.2f}]" if np.isfinite(found.ratio.high) else ""
    return f"{found.ratio.mean:.2f}{margin}"


def progress(look: Look, planned: Sequence[Look], compared: Sequence[Comparison]) -> str:
    """Returns what a look of several has shown: what is still inconclusive, and whether more seeds follow."""
    still, n_own = unsettled(compared), sum(not one.is_exploratory for one in compared)
    seeds = counted(look.seeds, "seed")
    start = f"look {look.number} of at most {len(planned)}, {seeds}, {percent(look.level)} intervals: "
    if not still:
        return start + ("all comparisons are settled" if compared else "there is nothing to compare")
    names = [f"{treatment(one.field, one.treatment, one.baseline)} {setting(one.shared)}".strip() for one in still]
    named = "; ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])
    after = planned[look.number :]
    then = f"next look at {counted(after[0].seeds, 'seed')}" if after else "study.most_seeds is reached"
    return f"{start}{len(still)} of {n_own} comparisons inconclusive ({named}); {then}"


def _at(level: float) -> str:
    """Returns the level of an interval just given, where it is not the usual one."""
    return "" if level == LEVEL else f" at {percent(level)}"


def _of(curve: BudgetCurve) -> tuple[str, object, object]:
    return curve.field, curve.treatment, curve.baseline


def _worth(labels: float, curve: BudgetCurve) -> str:
    if np.isinf(labels):
        return f"more than {curve.labels[-1]:,}"
    return f"{labels:,.0f}" if labels else f"less than {curve.labels[0]:,}"


def _p(value: float) -> str:
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"
