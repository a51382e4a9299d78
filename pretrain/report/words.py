"""A run's conclusions in sentences; every word follows from numbers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.data.findings import MISSING
from pretrain.report import gains, health, over_datasets, phrases, prospects, rankings, tuning, verdicts
from pretrain.report import ways as of_ways
from pretrain.report.cells import values
from pretrain.report.names import (
    arm_name,
    arms,
    brief,
    capital,
    listed,
    metric_name,
    percent,
    treatment_of,
    value,
)
from pretrain.report.phrases import at_level, unit
from pretrain.report.why import why
from pretrain.study.answer import Answer
from pretrain.study.arms import distinct, without_idle
from pretrain.study.comparisons import ENCODER, Comparison, by_family
from pretrain.study.over_datasets import groups
from pretrain.study.statistics import LEVEL
from pretrain.study.ways import OF_PRETRAINING, Ways, ways

_MOST_NAMED = 4  # treatments that a question names
_VERY_MANY, _FEW_SEEDS = 300, 8  # arms and seeds, with which the best one's interval is too short
_MOST_WORDS = 60  # of a headline
_MOST_STATED = 2  # statements on several datasets, or on ways to pretrain, in a headline


def question(answer: Answer) -> str:
    """Returns the question of a run."""
    compared = answer.comparisons
    if not compared:
        n = len(distinct(answer.arms))
        return f"Which of {n:,} arms is best?" if n > 1 else "How good is one arm?"
    treatments, found = list(dict.fromkeys(map(treatment_of, compared))), _ways(answer)
    named = treatments if len(treatments) <= _MOST_NAMED else [f"{len(treatments)} values of {compared[0].field}"]
    swept = without_idle(compared[0].shared)
    if found:
        named = [of_ways.named(found[0]) if each == treatment_of(found[0].best) else each for each in named]
        swept = {name: value for name, value in swept.items() if not name.startswith(OF_PRETRAINING)}
    others = ["dataset" if name == "data.name" else brief(name, compared[0].shared) for name in swept]
    where = f", at each {listed(others)}" if others else ""
    verb = "Does" if len(treatments) == 1 else "Do"
    asked = f"{verb} {listed(named)} change {metric_name(answer.metric)}{where}, and by how much?"
    if answer.factorials:
        ends = [arm_name(arm.point) for arm in (answer.factorials[-1].first, answer.factorials[-1].last)]
        asked += f" What is the gap between {ends[0]} and {ends[1]} made of?"
    return asked


def conclusion(answer: Answer, experiment: Experiment) -> str:
    """Returns the fate of arms that are lost as a whole, or not pretrained, and the verdicts, or else the best arm.

    Of several datasets the verdicts are on these and on most like them.
    """
    of_datasets, _ = _over_datasets(answer)
    judged = of_datasets or [_of_labels(_verdict(answer), answer, experiment)]
    sentences = [lost(answer, experiment), *judged]
    return " ".join(filter(None, sentences)) or explanation(answer)[0]


def _verdict(answer: Answer) -> str:
    """Returns the verdicts: of ways to pretrain the one that validation chooses, and of all else each comparison's."""
    found = _ways(answer)
    named = {each.identity for group in found for each in (group.best, *group.others)}
    rest = [each for each in answer.comparisons if each.identity not in named]
    return " ".join(filter(None, [*map(of_ways.verdict, found), verdicts.verdict(rest)]))


def _ways(answer: Answer) -> list[Ways]:
    """Returns the settings in which ways to pretrain are compared; none where they are too many for a headline."""
    found = ways(answer)
    return found if len(found) <= _MOST_STATED else []


def headline(answer: Answer, experiment: Experiment) -> str:
    """Returns the conclusion, counted where there are so many comparisons that nobody would read it as a headline.

    The verdicts on pretraining are not counted, where it is compared beside other things.
    """
    whole, compared = conclusion(answer, experiment), answer.comparisons
    is_short = len(verdicts.verdict(compared).split()) <= _MOST_WORDS
    if len(compared) < 2 or is_short or any(_over_datasets(answer)) or _ways(answer):
        return whole
    asked, explored = by_family(compared)
    of_pretraining = [each for each in asked if (each.field, each.treatment) == (ENCODER, "pretrained")]
    judged = verdicts.verdict(of_pretraining)
    if of_pretraining and len(judged.split()) <= _MOST_WORDS and len(of_pretraining) < len(compared):
        rest = [each for each in compared if each.is_exploratory or each.treatment != "pretrained"]
        first, *more = dict.fromkeys(map(treatment_of, rest))
        of_one = f"{len(rest):,} comparisons of {first}"
        judged += f" Of {counted(len(rest), 'other comparison') if more or len(rest) == 1 else of_one}{_after(rest)}, "
        judged += f"{verdicts.tally(rest)}."
    else:
        judged = verdicts.counts(asked, _after(asked)) if asked else ""
        judged = f"{judged} {verdicts.verdict(explored)}".strip()
    return " ".join(filter(None, [lost(answer, experiment), _of_labels(judged, answer, experiment)]))


def _of_labels(judged: str, answer: Answer, experiment: Experiment) -> str:
    """Returns verdicts after the labelled subset that they are of, where all seeds share it."""
    ways, splits = (set(values(answer, experiment, name)) for name in ("finetune.label_subset", "data.splits"))
    sizes = sorted({size for size in values(answer, experiment, "finetune.labels") if size})
    if not judged or not sizes or ways != {"first"} or "fresh" in splits:
        return judged
    counts = dict.fromkeys((sizes[0], sizes[-1])) if all(isinstance(size, int) for size in sizes) else ()
    range_of = f"{' to '.join(f'{size:,}' for size in counts)} " if counts else ""
    # A set of a library's is one of images.
    are_images = not any(PurePath(name).suffix or "/" in name for name in values(answer, experiment, "data.name"))
    start = judged[:2] if judged[:2].isupper() else judged[:2].lower()
    return f"For these {range_of}labelled {'images' if are_images else 'rows'}, {start}{judged[2:]}"


def _over_datasets(answer: Answer) -> tuple[list[str], list[str]]:
    """Returns the statements on several datasets: those of a headline, and the others."""
    judged = groups(answer)
    n_own = sum(not group.is_exploratory for group in judged) or len(judged)
    stated, most = over_datasets.statements(judged, answer.metric), min(n_own, _MOST_STATED)
    return stated[:most], stated[most:]


def _after(compared: Sequence[Comparison]) -> str:
    updates = phrases.after(compared)
    return f" after {updates}" if updates else ""


def lost(answer: Answer, experiment: Experiment) -> str:
    """Returns the fate of arms without a trial to compare, and of pretraining that learned nothing; or nothing."""
    sentences = [_missing(answer), health.lost(answer.faults, experiment), health.failed(answer.faults, experiment)]
    return " ".join(filter(None, sentences))


def _missing(answer: Answer) -> str:
    """Returns the arms of which no trial could be trained, in a sentence; or nothing."""
    gone = [point for each in answer.findings if each.kind == MISSING for point in each.figures["arms"]]
    return f"Of {arms(gone)} no trial could be trained." if gone else ""


def warnings(answer: Answer, experiment: Experiment) -> list[str]:
    """Returns reasons to doubt a run's verdicts, a sentence each."""
    of_data = [f"{finding}." for finding in answer.findings if finding.severity == "doubt"]
    return [
        *of_data,
        *prospects.warnings(answer),
        *tuning.warnings(answer),
        *health.warnings(answer.faults, experiment),
        *rankings.warnings(answer),
    ]


def basis(answer: Answer, experiment: Experiment) -> str:
    """Returns the basis of a conclusion, and its conditions."""
    return f"{certainty(answer, experiment)} {conditions(answer, experiment)}"


def certainty(answer: Answer, experiment: Experiment) -> str:
    """Returns how sure a conclusion is: seeds, pairing, data, lost trials, and how often verdicts are wrong."""
    lost = sum(arm.n_diverged for arm in answer.arms)
    trials = f"trials that diverged: {lost:,}" if lost else "no trial diverged"
    names = values(answer, experiment, "data.name")
    data = " and ".join(map(str, names)) if len(names) < 3 else counted(len(names), "dataset")
    n_arms = counted(len(distinct(answer.arms)), "arm")
    return (
        f"It rests on {counted(answer.n_seeds, 'seed')} of {n_arms} on {data}, paired within a seed: arms share label"
        f" subset, head and batch order; {trials}.{_error_rate(answer)}"
    )


def _error_rate(answer: Answer) -> str:
    """Returns how often verdicts call an effect that is not there, in a sentence; nothing where training failed."""
    n_own = len(by_family(answer.comparisons)[0])
    before = f"it was {verdicts.looked(answer.history.before)}" if answer.history.before else ""
    if not n_own or any(each.failures.any for each in answer.comparisons):
        return f" {capital(before)}." if before else ""
    whose = "the question's" if n_own < len(answer.comparisons) else "the"
    among = f" among {whose} {n_own:,} comparisons" if n_own > 1 else ""
    most = f"at most {percent(1 - LEVEL)} of such runs would report one{among}"
    if before:
        most = f"more than {percent(1 - LEVEL)} of such runs may report one{among}, for {before}"
    if not any(comparison.new_rows for comparison in answer.comparisons):
        return f" Were there no effect, {most}."
    same = any(phrases.is_of_these_rows(comparison) for comparison in answer.comparisons)
    return f" Were there no effect on new rows, {most}{'; on these rows alone likewise' if same else ''}."


def conditions(answer: Answer, experiment: Experiment) -> str:
    """Returns the conditions of a conclusion: splits of the data, tuning and the length of training."""
    fresh = "fresh" in values(answer, experiment, "data.splits")
    split = "each seed on a split of the data of its own" if fresh else "on one split of the data"
    at_once = any(each.n_at_once > 1 for each in answer.comparisons)
    alone = ", all of them at once" if at_once else ", one by one" if len(answer.comparisons) > 1 else ""
    weights = _weights(answer, experiment)
    over = "over seeds"
    if any(comparison.new_rows for comparison in answer.comparisons):
        over = "over seeds and test rows where they are for new rows, else over seeds"
        split += "" if fresh else ", whose training rows stay"
    return f"Intervals are {over}{alone}, {split}.{_training(answer, experiment)}{weights}{_doubts(answer)}"


def _weights(answer: Answer, experiment: Experiment) -> str:
    """Returns that classes are weighed, in a sentence; nothing where they are not, or where arms say it."""
    if values(answer, experiment, "finetune.class_weights") != ["balanced"]:
        return ""
    return " The loss of fine-tuning weighs each class alike, however many rows it has (class_weights balanced)."


def _doubts(answer: Answer) -> str:
    """Returns what the verdict rests on that it should not, in a sentence; nothing of sound data."""
    kinds = list(dict.fromkeys(finding.kind for finding in answer.findings if finding.severity == "doubt"))
    return f" It is in doubt for {listed(kinds)}." if kinds else ""


def _training(answer: Answer, experiment: Experiment) -> str:
    """Returns the rate and length of fine-tuning, where an arm is fine-tuned."""
    if "none" not in values(answer, experiment, "finetune.readout"):
        return ""
    if answer.tuned:
        return f" {tuning.basis(answer, experiment)} {capital(_ends(answer))}."
    rates = values(answer, experiment, "finetune.optimizer.learning_rate")
    tuned = f"is {rates[0]:g} for all arms, tuned for none" if len(rates) == 1 else "is swept"
    return f" Fine-tuning's learning rate {tuned}; {_ends(answer)}."


def _ends(answer: Answer) -> str:
    """Returns whether arms were trained to their end, as far as it was measured."""
    counts = Counter(length.trend for length in answer.lengths if length)
    if not counts:
        return "whether arms would still improve with more updates was not measured"
    clauses = {
        "improves": "still falls in {}",
        "level": "has levelled off in {}",
        "rises": "rises in {}",
        "open": "neither falls nor levels off for certain in {}",
        "unmeasured": "was measured too seldom in {} (set finetune.validate_every)",
    }
    n = counts.total()
    every = {1: "the arm", 2: "both arms"}.get(n, f"all {n} arms")
    who = {trend: f"{counts[trend]} of {n} arms" if counts[trend] < n else every for trend in counts}
    parts = [phrase.format(who[trend]) for trend, phrase in clauses.items() if counts[trend]]
    stopped = sum(length.n_stopped for length in answer.lengths if length)
    early = f"; {counted(stopped, 'trial')} stopped early" if stopped else ""
    return f"at the end of training the validation loss {listed(parts)}{early}"


def explanation(answer: Answer) -> list[str]:
    """Returns gains over budgets, causes of the difference between corners, or the best arm: a text each."""
    if not answer.best:
        lost = all(not arm.trial_ids for arm in answer.arms)
        whole = "Every trial diverged" if lost else "No arm is best: of each, more than half of the seeds failed"
        return [f"{whole}; lower the learning rates."]
    untuned = tuning.untuned(answer, verdicts.verdict(answer.untuned))
    texts = [untuned] if untuned else []
    stated, more = _over_datasets(answer)
    texts += [f"Dataset by dataset: {verdicts.verdict(answer.comparisons)}", *more] if stated else []
    if answer.apart:
        texts.append(f"Frozen and trained encoders apart, tuned alike: {verdicts.verdict(answer.apart)}")
    texts += [gains.budget(curve) for curve in answer.budgets] + [why(each, answer.level) for each in answer.factorials]
    texts += [gains.epochs(curve, answer.level) for curve in answer.epochs]
    if texts:
        return texts
    test = answer.best_test
    ends = (value(end, answer.metric) for end in (test.low, test.high))
    margin = f" [{', '.join(ends)}]{at_level(answer.level)}" if np.isfinite(test.high) else ""
    n = counted(len(answer.best.all_seeds), "seed")
    of_best = (("diverged", answer.best.n_diverged), ("collapsed", answer.best.n_collapsed))
    n += "".join(f", {counted(k, 'trial')} {kind}" for kind, k in of_best if k)
    at = f"{unit(answer.metric)[1:]} {value(test.mean, answer.metric)}".lstrip()
    n_seeds = len(set(answer.best.seeds))
    chosen = f"corrected for choosing among {answer.best_of:,}, " if min(answer.best_of, n_seeds) > 1 else ""
    if answer.best_of >= _VERY_MANY and 1 < n_seeds <= _FEW_SEEDS:
        chosen = f"corrected for choosing among {answer.best_of:,} (an interval that then covers 90 %), "
    return [f"Best on validation is {arm_name(answer.best.point)}; {chosen}it tests at {at}{margin} (n = {n})."]
