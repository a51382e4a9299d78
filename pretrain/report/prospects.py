"""Prospects of a run, in words: a line before it starts, and a warning where it can conclude nothing."""

from pretrain.config.counts import counted
from pretrain.report.names import capital, percent, sizes
from pretrain.report.why import too_few
from pretrain.study.answer import Answer
from pretrain.study.comparisons import by_family
from pretrain.study.power import POWER, fewest_seeds, smallest_p
from pretrain.study.prospects import Prospect
from pretrain.study.sequential import seeds_of
from pretrain.study.statistics import FEWEST_SEEDS


def outlook(prospect: Prospect) -> str:
    """Returns how many comparisons a run makes, from which seeds on they can show anything, and how small an effect."""
    compared = counted(prospect.n_own, "comparison")
    if prospect.n_exploratory:
        compared += f" of the question's own and {prospect.n_exploratory:,} that explore"
    fewest = prospect.first.seeds if prospect.first and len(prospect.looks) > 1 else prospect.fewest
    line = f"{compared} at {seeds_of(prospect.looks)} seeds: an effect can show from {counted(fewest, 'seed')} on"
    if not prospect.smallest_seen:
        return line
    by_comparison = ", by comparison," if prospect.n_own > 1 else ""
    how = f"with {percent(POWER)} power at the spread of {counted(prospect.spread.seeds, 'earlier seed')}"
    return f"{line}, one of {sizes(*prospect.smallest_seen, prospect.spread.metric)}{by_comparison} {how}"


def cannot_conclude(n_compared: int, seeds: int, alpha: float) -> str | None:
    """Returns a warning where so many comparisons show nothing at so many seeds, with the remedy; else None."""
    fewest = fewest_seeds(alpha, n_compared)
    if seeds >= fewest:
        return None
    if seeds < FEWEST_SEEDS:
        return f"{too_few(seeds, fewest)}: use --seeds {fewest}"
    among = f" among {n_compared:,} comparisons" if n_compared > 1 else ""
    p_value = min(1.0, n_compared * smallest_p(seeds))
    reason = f"{seeds} seeds cannot show any effect{among}, however large: the smallest p is {p_value:.2g}"
    remedies = (
        ["sweep fewer values", "or name the question's own by --study.family field=value"] if n_compared > 1 else []
    )
    return f"{reason}; {', '.join([f'use --seeds {fewest}', *remedies])}"


def warning(prospect: Prospect) -> str | None:
    """Returns the warning that a run can show no effect at all; None where it can."""
    last = prospect.looks[-1]
    return None if prospect.first else cannot_conclude(prospect.n_own, last.seeds, 1 - last.level)


def warnings(answer: Answer) -> list[str]:
    """Returns reasons to doubt a run's verdicts, a sentence each."""
    n_own = len(by_family(answer.comparisons)[0])
    reason = cannot_conclude(n_own, answer.n_seeds, 1 - answer.level) if n_own else None
    return [f"{capital(reason)}."] if reason else []
