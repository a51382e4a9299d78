"""Where the variation of a difference over seeds comes from: one source drawn anew at a time.

Beside each seed's trials there is one more for each source of variation, in which only that source is drawn anew. Half
the mean squared change is the variance that the source accounts for, by itself and together with others: its total
effect (Jansen, 1999, "Analysis of variance designs for model output"). Sources that act together count in each, so
shares may add up to more than one. Test rows need no trials: other rows would change a seed's difference by the
variances of rows and of residuals (`rows.py`) over as many rows, whether seeds share a split or not.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import special

from pretrain.config import StudyConfig
from pretrain.study import failures
from pretrain.study.arms import Arm, arms, by_seed, cut, hashable, key
from pretrain.study.choice import choose
from pretrain.study.comparisons import Comparison, pairs_of
from pretrain.study.rows import Components, for_new_rows
from pretrain.study.statistics import LEVEL, Estimate

SOURCES = ("pretraining", "labels", "head", "batches")
ROWS = "rows"  # of the test, drawn anew from stored predictions
SPLIT = "split"  # of the data, where each seed has its own
PRETRAINING = SOURCES[0]
_OF_NEXT = (PRETRAINING, SPLIT)  # sources of which a redraw is the next seed's, and so in two trials
ENOUGH = 8  # seeds; with fewer a share is an order of magnitude
_LARGE = 0.5  # share from which on a source is named as what to add
_CHAINED = 1.5  # variance of a mean of squares of which neighbours share one of two draws, relative to independent ones

Next = Literal["datasets", "rows", "labels", "seeds"]


class Share(NamedTuple):
    """A source's part in the variation of a difference."""

    source: str
    deviation: Estimate  # square root of its variance, in the metric's unit
    share: Estimate  # of the variance over seeds


class Variation(NamedTuple):
    """The variation of one comparison's difference over seeds, and where it comes from."""

    field: str
    treatment: object
    baseline: object
    shared: dict[str, object]
    n: int  # seeds that have all trials
    deviation: float  # of the difference over seeds
    shares: tuple[Share, ...]  # the largest first
    fixed: tuple[str, ...]  # sources that are not drawn anew, for no trial of the comparison draws from them
    next: Next  # what to add
    metric: str
    level: float


def variations(
    compared: Sequence[Comparison],
    trials: pa.Table,
    redrawn: pa.Table,
    study: StudyConfig,
    arms_of: Callable[[pa.Table], list[Arm]] = arms,
) -> dict[int, Variation | None]:
    """Returns the variation of the question's own comparisons by place; None of those with too few sound seeds."""
    sources = redrawn["redrawn"].unique().to_pylist()
    parts = [trials, *(redrawn.filter(pc.equal(redrawn["redrawn"], each)).drop_columns("redrawn") for each in sources)]
    columns = [arms_of(choose(part, study).trials if study.tune else part) for part in parts]
    own = {place: each for place, each in enumerate(compared) if not each.is_exploratory}
    return {place: _variation(each, sources, columns) for place, each in own.items()}


def _variation(comparison: Comparison, sources: Sequence[str], columns: Sequence[list[Arm]]) -> Variation | None:
    values = [_differences(comparison, column) for column in columns]
    seeds = sorted(set.intersection(*map(set, values)))
    if len(seeds) < 2:
        return None
    base, *anew = (np.array([column[seed] for seed in seeds]) for column in values)
    changing = {source: column for source, column in zip(sources, anew, strict=True) if (column != base).any()}
    deviation, found = shares(base, changing, comparison.level)
    return Variation(
        *(comparison.field, comparison.treatment, comparison.baseline, comparison.shared),
        *(len(seeds), deviation, found, tuple(source for source in SOURCES if source not in changing)),
        *(following(comparison, found), comparison.metric, comparison.level),
    )


def _differences(comparison: Comparison, run: Sequence[Arm]) -> dict[int, float]:
    """Returns treatment less baseline by seed, of the seeds in which neither failed."""
    metric, (pair,) = comparison.metric, pairs_of([comparison], run)
    lost = set[int]().union(*failures.failed(pair, metric))
    treated, untreated = (_by_seed(arm, metric) for arm in pair)
    return {seed: treated[seed] - untreated[seed] for seed in (treated.keys() & untreated.keys()) - lost}


def _by_seed(arm: Arm, metric: str) -> dict[int, float]:
    """Returns an arm's metric by seed, mean over repeats."""
    measured = np.isfinite(arm.results[metric])
    kept = cut(arm, {unit for unit, is_measured in zip(arm.units, measured, strict=True) if is_measured})
    values = by_seed(kept.results[metric], kept)
    return dict(zip(dict.fromkeys(kept.seeds), map(float, values), strict=True))


def shares(
    base: np.ndarray, redrawn: Mapping[str, np.ndarray], level: float = LEVEL
) -> tuple[float, tuple[Share, ...]]:
    """Returns the deviation over seeds, and the share of each source, the largest first.

    Args:
      base: differences [seeds], in the order of seeds.
      redrawn: by source the differences [seeds] of the same seeds with that source drawn anew.
    """
    base = np.asarray(base, float)
    columns = np.array([base, *redrawn.values()])
    centred = columns - columns.mean()  # to lose no digits
    variance = float(columns.var(axis=1, ddof=1).mean())
    found = []
    for source, column in redrawn.items():
        squares = np.square(base - column) / 2
        is_chained = source in _OF_NEXT
        effect = float(squares.mean())
        share = effect / variance if variance > 0 else math.nan
        found.append(
            Share(
                source,
                _deviation(effect, len(base) / (_CHAINED if is_chained else 1), level),
                _with_interval(share, _left_out(squares, centred, 2 if is_chained else 1), level),
            )
        )
    return math.sqrt(variance), tuple(sorted(found, key=lambda each: -each.share.mean))


def _deviation(effect: float, df: float, level: float) -> Estimate:
    """Returns the square root of a mean of squares of normal numbers, with its interval by chi-square."""
    ends = (df / special.chdtri(df, tail) for tail in ((1 - level) / 2, (1 + level) / 2))
    low, high = (math.sqrt(effect * end) for end in ends)
    return Estimate(math.sqrt(effect), low, high)


def _left_out(squares: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    """Returns the logarithms of shares without each block of so many seeds: [blocks].

    Args:
      squares: half the squared changes [seeds].
      columns: differences [columns, seeds], about their mean.
      size: of a block; seeds that share a draw with their neighbour are left out together.
    """
    n = len(squares)
    starts = [part[0] for part in np.array_split(np.arange(n), max(1, n // size))]

    def rest(values: np.ndarray) -> np.ndarray:
        return values.sum(axis=-1, keepdims=True) - np.add.reduceat(values, starts, axis=-1)

    m = rest(np.ones(n))
    with np.errstate(all="ignore"):
        variances = ((rest(columns**2) - rest(columns) ** 2 / m) / (m - 1)).mean(axis=0)
        return np.log(rest(squares) / m / variances)


def _with_interval(share: float, left_out: np.ndarray, level: float) -> Estimate:
    """Returns a share with its interval, by the jackknife of its logarithm; from 0 to infinity where there is none."""
    n = len(left_out)
    if n < 2 or not share > 0 or not np.isfinite(left_out).all():
        return Estimate(share, 0.0, math.inf)
    error = math.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum())
    factor = math.exp(min(-special.stdtrit(n - 1, (1 - level) / 2) * error, 700))
    return Estimate(share, share / factor, share * factor)


def with_rows(found: Sequence[Variation], compared: Sequence[Comparison]) -> tuple[Variation, ...]:
    """Returns variations with the share of test rows, of comparisons whose components over rows are known."""
    by_name = {_name(each): each for each in compared}
    return tuple(_with_rows(each, by_name[_name(each)]) if _name(each) in by_name else each for each in found)


def _name(of: Variation | Comparison) -> Hashable:
    return key({**of.shared, of.field: (hashable(of.treatment), hashable(of.baseline))})


def _with_rows(found: Variation, comparison: Comparison) -> Variation:
    parts = comparison.rows
    if not parts:
        return found
    share = of_rows(parts, found.deviation**2, found.n, found.level)
    of_mean = parts.of_rows / for_new_rows(comparison.where_both_train, parts).error ** 2
    everything = sorted([*found.shares, share], key=lambda each: -each.share.mean)
    return found._replace(shares=tuple(everything), next=following(comparison, found.shares, of_mean))


def of_rows(parts: Components, variance: float, n: int, level: float = LEVEL) -> Share:
    """Returns the share of test rows in a variance over n seeds, with its interval by the distribution of F.

    Degrees of freedom are those of mean squares over rows and of residuals (Satterthwaite, 1946), which the variance
    over seeds outweighs. Their deviation by itself has no interval, since of right and wrong it is nothing normal.
    """
    rows, residual = parts.cells / parts.n, max(parts.residual_variance, 0.0)
    row_square = max(parts.row_variance, 0.0) + residual / parts.n  # mean square over rows, by seeds
    rest = residual * (1 - 1 / parts.n)
    spread = row_square**2 / (parts.rows - 1) + rest**2 / ((parts.n - 1) * (parts.rows - 1))
    effect = (row_square + rest) / rows
    freedom = (row_square + rest) ** 2 / spread if spread else 1.0
    share = effect / variance if variance > 0 else math.nan
    ends = (share / float(special.fdtri(freedom, n - 1, tail)) for tail in ((1 + level) / 2, (1 - level) / 2))
    return Share(ROWS, Estimate(math.sqrt(effect), 0.0, math.inf), Estimate(share, *ends))


def following(comparison: Comparison, found: Sequence[Share], of_rows: float = 0.0) -> Next:
    """Returns what to add to learn more of a difference, by the largest part of its uncertainty.

    Of a settled difference on these data other datasets are what is open. Rows are, where they make most of the
    variance of the mean, labels, where another subset makes most of that over seeds; and otherwise seeds.

    Args:
      comparison: the difference.
      found: the shares of its variation over seeds, but of test rows.
      of_rows: part of the variance of its mean that test rows make, and seeds do not lessen.
    """
    if comparison.verdict != "inconclusive" and comparison.holds_for_new_rows is not False:
        return "datasets"
    if of_rows > _LARGE or comparison.rows_to_settle:
        return "rows"
    first = found[0] if found else None
    return "labels" if first and first.source == "labels" and first.share.low > _LARGE else "seeds"
