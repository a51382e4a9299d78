"""Verdicts of comparisons, in sentences."""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from pretrain.config.counts import counted
from pretrain.report.alone import alone
from pretrain.report.names import (
    capital,
    comparison_name,
    listed,
    p_value,
    percent,
    setting,
    treatment_of,
    value_name,
)
from pretrain.report.phrases import (
    after,
    earlier_look,
    ends_for_new_rows,
    interval,
    is_of_these_rows,
    lost,
    on_new_rows,
    settled,
    these_rows,
    unfinished,
)
from pretrain.report.why import too_few
from pretrain.study.comparisons import Comparison, by_family
from pretrain.study.networks import Pair
from pretrain.study.sequential import Look, in_need_of_seeds, unsettled
from pretrain.study.speed import SHARE, Speed
from pretrain.study.statistics import FEWEST_SEEDS

_MOST_NAMED = 4  # comparisons of a treatment that are named one by one
_MOST_TOLD = 3  # comparisons that explore, one by one
_MOST_WORDS = 50  # of a sentence that has several clauses
# Of one comparison, and of several.
_CERTAIN = {
    "helps": ("helps", "help"),
    "hurts": ("hurts", "hurt"),
    "no difference": ("makes no difference that matters", "make no difference that matters"),
}
_VERDICTS = {
    **_CERTAIN,
    "inconclusive": ("is inconclusive", "are inconclusive"),
    "unstable": ("is unstable", "are unstable"),
    **{
        f"{kind} on these rows": (f"{one} on these rows, open for new ones", f"{many} on these rows, open for new ones")
        for kind, (one, many) in _CERTAIN.items()
    },
    "not judged": ("is not judged, both arms at chance", "are not judged, both arms at chance"),
}


def verdict(compared: Sequence[Comparison], sound: str = "no trial failed") -> str:
    """Returns the verdicts of a run's comparisons in a few sentences; nothing without comparisons.

    Those of the question are named, or counted where a treatment has many; those that explore are counted. ``sound`` is
    what is known where no trial is known to have failed.
    """
    asked, explored = by_family(compared)
    by_treatment: dict[str, list[Comparison]] = {}
    for comparison in asked:
        by_treatment.setdefault(treatment_of(comparison), []).append(comparison)
    sentences = []
    for name, group in by_treatment.items():
        if len(group) > _MOST_NAMED:
            sentences += _sentences(capital(name), _counted(group))
            continue
        if len(asked) == 1 and group[0].n >= FEWEST_SEEDS and not group[0].both_at_chance:
            sentences.append(failing(group[0]) if group[0].verdict == "unstable" else alone(group[0], sound))
            continue
        clauses = [predicate(comparison) for comparison in group if comparison.verdict != "unstable"]
        sentences += _sentences(capital(name), clauses)
        sentences += [failing(comparison) for comparison in group if comparison.verdict == "unstable"]
    if explored:
        sentences.append(_explored(explored, set(by_treatment)))
    return " ".join(sentences)


def _explored(compared: Sequence[Comparison], asked: Collection[str]) -> str:
    """Returns the verdicts of comparisons that explore, each with its place and difference where they are few.

    Args:
      asked: treatments of the question's own, which need no name where they are one.
    """
    n = counted(len(compared), "exploratory comparison")
    start = f"Of {n}" if len(compared) > 1 else "The exploratory comparison"
    if len(compared) > _MOST_TOLD:
        return f"{start}, adjusted apart, {tally(compared)}."
    names = {treatment_of(comparison) for comparison in compared}
    is_known = len(names) == 1 and names == {*asked}
    clauses = []
    for place, comparison in enumerate(compared):
        where = f" {setting(comparison.shared)}".rstrip()
        shown = interval(comparison) + _reason(comparison)
        subject = "" if is_known and (place or len(compared) == 1) else "it " if is_known else treatment_of(comparison)
        phrase = f"{_VERDICTS[outcome(comparison)][0]}{where} ({shown})"
        clauses.append(f"{subject.strip()} {phrase}".strip())
    joined = listed(clauses) if len(compared) < 3 else "; ".join(clauses)
    return f"{start}, adjusted apart, {joined}."


def outcome(comparison: Comparison) -> str:
    """Returns a comparison's verdict, that it has none, or that it is open for new rows."""
    if comparison.both_at_chance:
        return "not judged"
    if comparison.verdict != "unstable" and is_of_these_rows(comparison):
        return f"{comparison.verdict} on these rows"
    return comparison.verdict


def tally(compared: Sequence[Comparison]) -> str:
    """Returns how many comparisons came out how, as in ``3 help and 1 is inconclusive``, or ``all help``."""
    counts = Counter(map(outcome, compared))
    if len(counts) == 1 and len(compared) > 1:
        return f"all {_VERDICTS[outcome(compared[0])][1]}"
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


def predicate(comparison: Comparison) -> str:
    """Returns the verdict of a comparison that is not unstable, without its subject."""
    where = setting(comparison.shared)
    where = (f" {where}" if where else "") + unfinished(comparison)
    shown, n = (
        interval(comparison) + on_new_rows(comparison),
        counted(comparison.n, "seed") + lost(comparison) + earlier_look(comparison),
    )
    if comparison.verdict in _CERTAIN and not comparison.both_at_chance:
        phrase = _CERTAIN[comparison.verdict][0]
        p = max(comparison.p_value, comparison.p_new_rows or 0)
        if is_of_these_rows(comparison):
            phrase += f" on {these_rows(comparison)}"
            shown, p = interval(comparison, on_these=True), comparison.p_value
            n += f"; open for new ones, {ends_for_new_rows(comparison)}{settled(comparison)}"
        tested = f", p {p_value(p)}" if comparison.verdict != "no difference" else ""
        return f"{phrase}{where} ({shown}{tested}, {n})"
    if comparison.both_at_chance:
        return f"is not judged{where}, where both arms are at chance ({shown}, {n})"
    if comparison.n < FEWEST_SEEDS:
        return f"is inconclusive{where} ({shown}; {too_few(comparison.n)}{lost(comparison)})"
    return f"is inconclusive{where} ({shown}{_reason(comparison)}, {n}{settled(comparison)})"


def _reason(comparison: Comparison) -> str:
    """Returns the p-value by which a comparison is inconclusive although its interval excludes zero; or nothing."""
    excludes_zero = comparison.shown.low > 0 or comparison.shown.high < 0
    is_open = comparison.verdict == "inconclusive" and excludes_zero and not comparison.both_at_chance
    return f", p {p_value(comparison.p_value)}" if is_open else ""


def failing(comparison: Comparison) -> str:
    """Returns how often both arms failed, and the difference over all seeds and where both train."""
    found, where = comparison.failures, setting(comparison.shared)
    whose, without = f"with {treatment_of(comparison)}", "without"
    if "=" in whose:
        sides = (comparison.treatment, comparison.baseline)
        whose, without = (f"with {value_name(comparison.field, side)}" for side in sides)
    of, other_of = found.sizes
    start = f"Unstable{f' {where}' if where else ''}{unfinished(comparison)}: {found.treated:,} of "
    start += f"{counted(of, 'seed')} fail {whose}, {found.untreated:,}{f' of {other_of:,}' if other_of != of else ''} "
    start += f"{without} (p {p_value(found.p_value)}). "
    if not comparison.n:
        return start + (
            "No seed has both arms." if found.of_untreated is None else "No value is left of at least one arm."
        )
    n_both = int(np.sum(found.both_train))
    all_seeds = "Over all seeds"
    if comparison.n_diverged:
        is_filled = comparison.n == found.of
        all_seeds += f", {'diverged trials at chance' if is_filled else 'but those that diverged'},"
    start += f"{all_seeds} {interval(comparison)}; "
    if not n_both:
        return f"{start}in none both train." if comparison.seeds else f"{start}of one arm none is left."
    sound = comparison.new_rows or found.difference
    shown = interval(comparison._replace(difference=sound)) + on_new_rows(comparison)
    which = (
        f"in the {n_both:,} where both train" if comparison.seeds else f"without them, of {n_both:,} an arm at least"
    )
    if n_both < FEWEST_SEEDS:
        return f"{start}{which}, too few to judge, {shown}."
    judged = {"helps": ", where it helps", "hurts": ", where it hurts", "no difference": ", no difference that matters"}
    these = " on these rows" if is_of_these_rows(comparison) else ""
    p = comparison.p_value if these else max(comparison.p_value, comparison.p_new_rows or 0)
    there = f" (p {p_value(p)}{judged.get(found.verdict, '')}{these})"
    there += f", which is not the overall effect{settled(comparison)}."
    return f"{start}{which}{',' * (not comparison.seeds)} {shown}{there}"


def _improves(comparison: Comparison) -> bool:
    return any(length and length.trend == "improves" for length in comparison.lengths)


def _counted(group: Sequence[Comparison]) -> list[str]:
    """Returns how many comparisons came out how, with the largest of each kind that has a direction."""
    clauses = []
    for kind, (phrase, _) in _VERDICTS.items():
        alike = [comparison for comparison in group if outcome(comparison) == kind]
        if alike:
            clause = f"{phrase} in {len(alike)} of {len(group)} settings{_rates(alike) if kind == 'unstable' else ''}"
            if kind in ("helps", "hurts"):
                most = max(alike, key=lambda comparison: abs(comparison.difference.mean))
                clause += f", most {setting(most.shared)} ({interval(most)})"
            clauses.append(clause)
    if updates := after(group):
        clauses[0] += f" after {updates}"
    if n_open := sum(_improves(comparison) for comparison in group):
        clauses.append(f"arms were still improving in {n_open} of {len(group)} settings")
    return clauses


def _rates(compared: Sequence[Comparison]) -> str:
    """Returns how often both arms of comparisons fail, over all of their seeds."""
    found = [each.failures for each in compared]
    seeds = [sum(each.sizes[side] for each in found) for side in (0, 1)]
    treated, untreated = sum(each.treated for each in found), sum(each.untreated for each in found)
    return f", where {treated:,} of {seeds[0]:,} seeds fail with it and {untreated:,} of {seeds[1]:,} without"


def counts(compared: Sequence[Comparison], after: str = "") -> str:
    """Returns how many of many comparisons came out how, with the difference of the smallest p."""
    of = f"Of {counted(len(compared), 'comparison')} of {compared[0].field}{after}, {tally(compared)}"
    if unstable := [each for each in compared if each.verdict == "unstable"]:
        of += _rates(unstable)
    shown = [each for each in compared if each.n]
    if not shown:
        return f"{of}."
    most = min(shown, key=lambda each: (each.p_value, -abs(each.difference.mean)))
    p = f", p {p_value(max(most.p_value, most.p_new_rows or 0))}" if np.isfinite(most.difference.low) else ""
    return f"{of}; the smallest p is that of {comparison_name(most)} ({interval(most)}{p})."


def speed(compared: Sequence[Comparison]) -> str:
    """Returns the arms that learn faster, in a sentence; nothing where learning was not measured."""
    timed = [comparison for comparison in compared if comparison.speed]
    if not timed:
        return ""
    start = f"To {SHARE:.0%} of the better arm's final {timed[0].speed.of}".replace("%", " %")
    if len(timed) > _MOST_NAMED:
        counts = Counter(comparison.speed.learns(comparison.level) for comparison in timed)
        phrases = {"faster": "faster", "more slowly": "more slowly", "not certain": "with no certain difference"}
        parts = [f"{phrase} in {counts[name]}" for name, phrase in phrases.items() if counts[name]]
        return f"{start}, {timed[0].field} learns {listed(parts)} of {len(timed)} settings."
    parts = [f"{comparison_name(comparison)} {_gets_there(comparison.speed)}" for comparison in timed]
    return f"{start}, {'; '.join(parts)}."


def _gets_there(speed: Speed) -> str:
    if speed.ratio is None:
        n = [int(np.isfinite(side).sum()) for side in (speed.treated, speed.untreated)]
        return f"gets there in {n[0]} of {counted(len(speed.treated), 'seed')}, the baseline in {n[1]}"
    if not speed.is_settled:
        n = len(speed.treated)
        return f"takes a number of updates that {counted(n, 'seed')} {'do' if n > 1 else 'does'} not settle"
    return f"takes {updates_ratio(speed)} times the updates"


def updates_ratio(speed: Speed) -> str:
    """Returns by how many times the updates of the baseline a treatment learns, with the interval."""
    if speed.ratio is None:
        return "–"
    if not speed.is_settled:
        return f"not settled at {counted(len(speed.treated), 'seed')}"
    return f"{speed.ratio.mean:.2f} [{speed.ratio.low:.2f}, {speed.ratio.high:.2f}]"


def of_networks(pair: Pair, seed: int) -> str:
    """Returns how two networks of a seed differ on the same test rows."""
    name = capital(comparison_name(pair.comparison))
    return (
        f"{name}, the two networks of seed {seed}: of {pair.rows:,} test rows {pair.treated:,} are right with it alone "
        f"and {pair.untreated:,} without it alone (McNemar, p {p_value(pair.p_value)}); that is about these two "
        "networks, not about how they were trained."
    )


def looked(before: Sequence[int]) -> str:
    """Returns at which numbers of seeds the same arms were judged before, though nobody declared it."""
    return f"judged {counted(len(before), 'time')} before, on fewer seeds ({listed([f'{n:,}' for n in before])})"


def progress(look: Look, planned: Sequence[Look], compared: Sequence[Comparison]) -> str:
    """Returns the state after a look of several: inconclusive comparisons, and whether more seeds follow."""
    still, n_asked = unsettled(compared), len(by_family(compared)[0])
    seeds = counted(look.seeds, "seed")
    start = f"look {look.number} of at most {len(planned)}, {seeds}, {percent(look.level)} intervals: "
    if not still:
        return start + ("all comparisons are settled" if compared else "there is nothing to compare")
    names = [comparison_name(comparison) for comparison in still]
    named = "; ".join([*names[:_MOST_NAMED], *(["…"] if len(names) > _MOST_NAMED else [])])
    after = planned[look.number :]
    then = f"next look at {counted(after[0].seeds, 'seed')}" if after else "study.most_seeds is reached"
    if not in_need_of_seeds(still):
        then = "seeds alone would not settle them, more test rows would"
    state = "open, some for new rows only" if any(map(is_of_these_rows, still)) else "inconclusive"
    return f"{start}{len(still)} of {n_asked} comparisons {state} ({named}); {then}"
