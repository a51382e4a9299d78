"""Verdicts for new rows like those of the test, by the variance components of each comparison."""

import math
from collections.abc import Sequence

import numpy as np

from pretrain.config import StudyConfig
from pretrain.config.metrics import metric_of
from pretrain.study import families
from pretrain.study.arms import Arm, by_seed
from pretrain.study.attribution import Attribution, Effect, effects
from pretrain.study.comparisons import Comparison, smallest_of
from pretrain.study.factorial import Factorial
from pretrain.study.power import largest_error, seeds_to_settle, smallest_p
from pretrain.study.row_parts import Part, RowParts
from pretrain.study.rows import Components, ForNewRows, for_new_rows, interval
from pretrain.study.statistics import FEWEST_SEEDS, Estimate, with_one_off

_TIMES = (1, 2, 4, 8, 16)  # the rows that a mean as it is takes
_MOST_TIMES = 64  # open comparisons, beyond which only the first is tried


def judged(
    compared: Sequence[Comparison],
    arms: Sequence[Arm],
    rows: RowParts | None,
    study: StudyConfig,
    part: Part = "comparisons",
) -> list[Comparison]:
    """Returns comparisons that say what holds for new rows; those that an earlier look settled as it judged them.

    A verdict holds for new rows where p by all components, too, adjusted as that over seeds, is small enough:
    of a difference from zero, or, of *no difference*, from the smallest effect that matters on both sides.

    Args:
      compared: over seeds, of one metric.
      rows: their components, or whence these come; None where nothing is known of rows.
      part: of the answer that they are in.
    """
    parts = rows.of(still, arms, part) if (still := [each for each in compared if not each.look]) and rows else []
    if not rows or not any(parts):
        return list(compared)
    found = [each and for_new_rows(_gains(one), each) for one, each in zip(still, parts, strict=True)]
    smallest = [smallest_of(each.metric, each.untreated, study) for each in still]
    adjusted = _adjusted(found, smallest, still, [each for each in compared if each.look])
    made: list[Comparison] = []
    for place, comparison in enumerate(still):
        of_rows, on_new, verdict = parts[place], found[place], comparison.failures.verdict
        if not of_rows or not on_new or comparison.both_at_chance:
            made.append(comparison)
            continue
        p_value, alpha = adjusted[place][verdict == "no difference"], 1 - comparison.level
        holds = verdict != "inconclusive" and p_value <= alpha
        one = comparison._replace(
            new_rows=_interval(comparison, on_new), p_new_rows=p_value, holds_for_new_rows=holds, rows=of_rows
        )
        if comparison.seeds_to_settle or (verdict != "inconclusive" and not holds):
            alike = [
                both
                for both, other in zip(adjusted, still, strict=True)
                if other.is_exploratory == comparison.is_exploratory
            ]
            n_open = max(1, sum(max(both) > alpha for both in alike))
            one = _settling(one, of_rows, smallest[place], min(rows.level, comparison.level), n_open)
        made.append(one)
    of_still = iter(made)
    return [each if each.look else next(of_still) for each in compared]


def attributed(factorial: Factorial, rows: RowParts | None, level: float) -> Factorial:
    """Returns a factorial whose gap in the result, and shares of it, have intervals and p-values for new rows.

    It stays as it is where their variance is not known, as of cells that train in other seeds.
    """
    parts = rows.of_effects(factorial) if rows else {}
    cause, fields = factorial.causes[factorial.end], [factor.field for factor in factorial.factors]
    if not parts or not all(parts.values()):
        return factorial
    cells = {corner: by_seed(arm.results[factorial.end], arm) for corner, arm in factorial.cells.items()}
    on_new = {
        effect: for_new_rows(values, part)
        for effect, values in effects(cells, fields).items()
        if (part := parts[effect])
    }
    over, measure = cause.parts, metric_of(factorial.end)
    widest = measure.high - measure.low

    def of(effect: Effect, seen: Estimate) -> Estimate:
        found = interval(on_new[effect], seen, level)
        return found.within(-widest, widest) if len(effect) < 2 else found

    made = Attribution(
        of((), over.gap),
        {name: of((name,), seen) for name, seen in over.shares.items()},
        {pair: of(pair, seen) for pair, seen in over.interactions.items()},
        {
            name: max(p_value, on_new[(name,) if isinstance(name, str) else name].p_apart())
            for name, p_value in over.p_values.items()
        },
        max(over.gap_p_value, on_new[()].p_apart()),
        is_for_new_rows=True,
    )
    return factorial._replace(causes={**factorial.causes, factorial.end: cause._replace(parts=made)})


def _adjusted(
    found: Sequence[ForNewRows | None],
    smallest: Sequence[float],
    compared: Sequence[Comparison],
    settled: Sequence[Comparison],
) -> list[tuple[float, float]]:
    """Returns p-values of no effect and of one that matters, adjusted as ``compare`` does, with rates of failure."""
    rates = [each for each in compared if smallest_p(each.failures.n_apart) <= 1 - each.level]
    none = [1.0] * len(rates)
    bounded = zip(found, smallest, strict=True)
    return families.adjusted(
        [*(each.p_apart() if each else 1.0 for each in found), *none],
        [*(each.p_within(bound) if each else 1.0 for each, bound in bounded), *none],
        [not each.is_exploratory for each in (*compared, *rates)],
        [
            (not each.is_exploratory, each.failures.verdict if each.holds_for_new_rows else "inconclusive")
            for each in settled
        ],
    )[: len(compared)]


def _gains(comparison: Comparison) -> np.ndarray:
    """Returns by how much the treatment is better: [seeds where both train]."""
    gains = comparison.where_both_train
    return gains if metric_of(comparison.metric).higher_is_better else -gains


def _interval(comparison: Comparison, found: ForNewRows) -> Estimate:
    """Returns the difference with its interval for new rows."""
    measure, seen = metric_of(comparison.metric), comparison.failures.difference or comparison.difference
    if not measure.higher_is_better:
        seen = Estimate(-seen.mean, -seen.high, -seen.low)
    gain, widest = interval(found, seen, 1 - (1 - comparison.level) / comparison.n_at_once), measure.high - measure.low
    difference = gain if measure.higher_is_better else Estimate(-gain.mean, -gain.high, -gain.low)
    return difference.within(-widest, widest)


def _settling(comparison: Comparison, parts: Components, smallest: float, level: float, n_open: int) -> Comparison:
    """Returns an open comparison with the seeds that would settle it for new rows, and the rows where seeds would not.

    Seeds would not where the part of rows in the variance is more than leaves 80 % power for a mean as it is. Rows are
    then so many that their part is half of that, or a few times as many where that gives the range of seeds an end.
    """
    gains = with_one_off(_gains(comparison), comparison.step)
    mean, seen = float(np.mean(gains)), float(np.var(gains, ddof=1))
    allowed = largest_error(mean, smallest, level, n_open) ** 2
    share = comparison.n / len(gains)  # of seeds, of which not all count
    if parts.of_rows <= allowed or len(gains) < FEWEST_SEEDS:
        seeds = seeds_to_settle(gains, smallest, level, n_open, parts.of_rows)
        return comparison._replace(seeds_to_settle=seeds.scaled(share))
    found = []
    for times in _TIMES[: None if n_open <= _MOST_TIMES else 1]:
        rows = times * parts.rows * parts.of_rows / (allowed / 2)
        digits = 10 ** max(0, math.floor(math.log10(rows)) - 1)
        more = math.ceil(rows / digits) * digits
        # Each seed's difference varies less on more rows.
        of_cells = max(parts.residual_variance, 0) * parts.n / parts.cells * (1 - parts.rows / more)
        steadier = mean + (gains - mean) * math.sqrt(max(1 - of_cells / seen, 0) if seen else 1)
        seeds = seeds_to_settle(steadier, smallest, level, n_open, parts.of_rows * parts.rows / more)
        found.append(comparison._replace(seeds_to_settle=seeds.scaled(share), rows_to_settle=more))
        if seeds.high is not None:
            return found[-1]
    return found[0]
