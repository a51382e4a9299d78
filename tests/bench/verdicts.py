"""How often verdicts are wrong, intervals cover and ranges of seeds hold, in experiments whose truth is known.

    python -m tests.bench.verdicts [--experiments 2000] [--only noise failures]

Simulated experiments of 6, 8, 16 and 32 seeds through the functions that make a run's sentence, each figure beside that
of an audit (``published.py``) and its goal; hours, half of them for metrics of new rows (``rows.py``).
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import sklearn
from scipy import special

from pretrain.config import Experiment, StudyConfig
from pretrain.study import families
from pretrain.study.power import seeds_needed, seeds_to_settle
from pretrain.study.sequential import Look, looks
from pretrain.study.statistics import LEVEL, effect_p, estimate, nil_p, verdict
from pretrain.study.tuning import best_by_seed
from tests.bench import crossovers, failures, noise, published, rows, variation, winners
from tests.bench import families as of_families

SEEDS = (6, 8, 16, 32)
RATES = 8
SMALLEST = 0.005
# Sizes of effects, in deviations of a difference, and of the deviation in smallest effects that matter.
EFFECTS = tuple(itertools.product((0.0, 0.1, 0.2, 0.4, 0.7), (2.0, 4.0)))


class Rates(NamedTuple):
    """Shares of experiments."""

    wrong: float  # with a verdict of an effect that is not there
    covered: float  # whose interval, or all of whose intervals, hold the truth


class Held(NamedTuple):
    """Shares of experiments whose range of seeds holds the truth."""

    of_all: float
    least: float  # of one effect
    of_inconclusive: float  # which are those that anybody is shown a range of
    low: float  # end of a range relative to the truth, median
    high: float


def covers(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Whether intervals of differences [..., seeds] hold zero; most of them by Student's, which lie within them."""
    n = values.shape[-1]
    margins = -special.stdtrit(n - 1, (1 - level) / 2) * values.std(axis=-1, ddof=1) / math.sqrt(n)
    held = np.abs(values.mean(axis=-1)) <= margins
    for place in np.argwhere(~held):
        found = estimate(values[tuple(place)], level)
        held[tuple(place)] = found.low <= 0 <= found.high
    return held


def calls_one(values: np.ndarray, level: float = LEVEL) -> bool:
    """Whether an effect is called in any of several comparisons [comparisons, seeds]."""
    n, sizes = values.shape[-1], np.sqrt(np.square(values).sum(axis=-1))
    # Sums as small as that have p-values far above any that count.
    far = np.abs(values.sum(axis=-1)) > 1.2 * sizes
    effect = [effect_p(row, 1 - level) if is_far else 1.0 for row, is_far in zip(values, far, strict=True)]
    p_values = families.adjusted(effect, [nil_p(row, SMALLEST) for row in values], [True] * len(values))
    return any(
        p_value <= 1 - level
        and verdict(estimate(row, level), p_value, n, SMALLEST, 1 - level, p_nil) in ("helps", "hurts")
        for row, (p_value, p_nil) in zip(values, p_values, strict=True)
    )


def tuned_arms(rng: np.random.Generator, n: int) -> np.ndarray:
    """Differences [seeds] between two arms that are as good as each other, each tuned by each seed among 8 rates.

    The arms are best at different rates. What a trial's training came to shows on validation and on test rows, which
    have noise of their own, too.
    """
    of_seed = rng.normal(0, 0.02, n)
    by_rate = 0.88 - 0.003 * np.square(np.arange(RATES) - 2.0)[:, None]
    sides = []
    for curve in (by_rate, by_rate[::-1]):
        trained = curve + of_seed + rng.normal(0, 0.01, (RATES, n))
        validation, test = (trained + rng.normal(0, noise, (RATES, n)) for noise in (0.01, 0.003))
        sides.append(test[best_by_seed(validation), np.arange(n)])
    return sides[0] - sides[1]


def several(rng: np.random.Generator, n: int, settings: int, treatments: int) -> np.ndarray:
    """Differences [comparisons, seeds] of several treatments from one baseline in several settings, none better."""
    of_seed, noise = rng.normal(0, 0.02, n), rng.normal(0, 0.01, (settings, treatments + 1, n))
    values = of_seed + noise
    return (values[:, 1:] - values[:, :1]).reshape(settings * treatments, n)


def of_tuned_arms(n: int, n_experiments: int) -> Rates:
    rng = np.random.default_rng(n)
    found = np.array([tuned_arms(rng, n) for _ in range(n_experiments)])
    return Rates(np.mean([calls_one(values[None]) for values in found]), covers(found).mean())


def of_18_comparisons(n: int, n_experiments: int) -> Rates:
    rng = np.random.default_rng(n)
    found = np.array([several(rng, n, 6, 3) for _ in range(n_experiments)])
    return Rates(np.mean([calls_one(values) for values in found]), covers(found[:, 0]).mean())


def of_looks(n: int, n_experiments: int) -> Rates:
    """Six comparisons at four looks, after n, 2n, 3n and 4n seeds; a wrong verdict at any of them counts."""
    rng, most = np.random.default_rng(n), 4 * n
    planned = looks(Experiment(seeds=n, study=StudyConfig(until_conclusive=True, most_seeds=most)))
    found = np.array([several(rng, most, 3, 2) for _ in range(n_experiments)])
    wrong = [any(calls_one(values[:, : look.seeds], look.level) for look in planned) for values in found]
    at_once = np.all([covers(found[:, 0, : look.seeds], look.level) for look in planned], axis=0)
    return Rates(np.mean(wrong), at_once.mean())


def of_ranges(n: int, n_experiments: int) -> Held:
    """Experiments with one comparison; what settles none of them at n seeds takes one more at least."""
    rng, held, is_open, ends = np.random.default_rng(n), [], [], []
    for effect, spread in EFFECTS:
        deviation = spread * SMALLEST
        truth = max(n + 1, float(seeds_needed(effect * deviation, deviation, SMALLEST)))
        for values in rng.normal(effect * deviation, deviation, (n_experiments // len(EFFECTS), n)):
            low, high = seeds_to_settle(values, SMALLEST)
            held.append(low <= truth <= (high or math.inf))
            ends.append((low / truth, (high or math.inf) / truth))
            margin = -special.stdtrit(n - 1, 0.025) * values.std(ddof=1) / math.sqrt(n)
            is_open.append(abs(values.mean()) < margin and abs(values.mean()) + margin >= SMALLEST)
    by_effect = np.reshape(held, (len(EFFECTS), -1)).mean(axis=1)
    return Held(np.mean(held), by_effect.min(), np.mean(np.array(held)[is_open]), *np.median(ends, axis=0))


class Row(NamedTuple):
    """A figure of a cell at each number of seeds."""

    cell: str
    figure: str
    shares: Sequence[float]  # of experiments, NaN where there are none
    published: Sequence[float | None] = ()  # in %


def _row(cell: str, figure: str, shares: Sequence[float], of: Mapping[str, Sequence[float]] = published.NONE) -> Row:
    return Row(cell, figure, shares, of.get(cell, ()))


def of_noise(n_experiments: int) -> Iterator[Row]:
    """Two arms that are alike under each kind of noise, and tuned, compared 18 times or looked at four times."""
    for name in noise.NOISE:
        wrong, covered = zip(*(noise.simulated(name, n, n_experiments) for n in SEEDS), strict=True)
        yield _row(name, "wrong", wrong, published.WRONG)
        yield _row(name, "covers", covered, published.COVERS)
    for name, simulated in (
        ("each arm tuned among 8 rates", of_tuned_arms),
        ("18 comparisons", of_18_comparisons),
        ("6 comparisons at 4 looks, of n, 2n, 3n and 4n seeds", of_looks),
    ):
        rates = [simulated(n, n_experiments) for n in SEEDS]
        yield Row(name, "wrong", [each.wrong for each in rates])
        yield Row(name, "covers", [each.covered for each in rates])


def of_settling(n_experiments: int) -> Iterator[Row]:
    """Ranges of seeds that would settle a comparison."""
    held = [of_ranges(n, n_experiments) for n in SEEDS]
    yield Row("range of seeds", "holds", [each.of_all for each in held])
    yield Row("range of seeds", "holds, worst effect", [each.least for each in held])
    yield Row("range of seeds, of inconclusive experiments", "holds", [each.of_inconclusive for each in held])


def of_failures(n_experiments: int) -> Iterator[Row]:
    """Arms that collapse, diverge, are weak or at chance."""
    for name, kind in failures.KINDS.items():
        rates = [failures.said(kind, n, n_experiments) for n in SEEDS]
        yield _row(name, "wrong", [each.wrong for each in rates], published.WRONG)
        yield Row(name, "in favour of what fails more", [each.favoured for each in rates])
        yield Row(name, "falsely unstable", [each.falsely for each in rates])


def of_many(n_experiments: int) -> Iterator[Row]:
    """Families of comparisons, at once and at looks."""
    for name, (effects, deviation) in of_families.FAMILIES.items():
        rates = [of_families.simulated(effects, deviation, [Look(1, n, LEVEL)], n_experiments) for n in SEEDS]
        yield _row(name, "wrong", [each.wrong for each in rates], published.WRONG)
        yield _row(name, "no difference found", [each.nil for each in rates], published.FOUND)
    for name, (effects, deviation, (batch, most)) in of_families.AT_LOOKS.items():
        planned = looks(Experiment(seeds=batch, study=StudyConfig(until_conclusive=True, most_seeds=most)))
        row, (wrong, found) = (
            of_families.simulated(effects, deviation, planned, n_experiments),
            published.AT_LOOKS[name],
        )
        yield Row(name, "wrong", [row.wrong], [wrong])
        yield Row(name, "+1 point found", [row.found], [found])


def of_crossovers(n_experiments: int) -> Iterator[Row]:
    """Crossovers and label equivalents."""
    for name, (gains, deviation) in crossovers.GAINS.items():
        rates = [crossovers.simulated(gains, deviation, n, n_experiments) for n in SEEDS]
        stated = [each.stated for each in rates]
        yield _row(
            name, "stated" if gains[-1] < 0 else "falsely stated", stated, {**published.STATED, **published.NEVER}
        )
        yield _row(name, "covers", [each.covered for each in rates], published.COVERS)
        yield Row(name, "equivalents cover", [each.equivalents for each in rates], (94,) * 4)


def of_winners(n_experiments: int) -> Iterator[Row]:
    """The best of several arms."""
    for n_arms in winners.ARMS:
        covered = [winners.simulated(n_arms, n, n_experiments).covered for n in SEEDS]
        yield _row(f"best of {n_arms}", "covers", covered, published.COVERS)


def of_new_rows(n_experiments: int) -> Iterator[Row]:
    """Differences on new rows."""
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # half of the time
        for name in rows.CELLS:
            rates = [rows.of_rows(name, n, n_experiments) for n in SEEDS]
            yield Row(name, "wrong", [each.wrong for each in rates])
            yield _row(name, "covers", [each.covered for each in rates], published.COVERS)


def of_variation(n_experiments: int) -> Iterator[Row]:
    """Shares of sources of variation, of the source that is covered least."""
    for kind in variation.NOISE:
        rates = [variation.covered(kind, n, n_experiments) for n in SEEDS]
        covered = [min(share for share, *_ in each.values()) for each in rates]
        yield _row(f"share, {kind}", "covers", covered, published.COVERS)


GROUPS = {
    "noise": of_noise,
    "settling": of_settling,
    "failures": of_failures,
    "families": of_many,
    "crossovers": of_crossovers,
    "winners": of_winners,
    "rows": of_new_rows,
    "variation": of_variation,
}
GOALS = {  # in %, and whether less is better
    "wrong": (5.0, True),
    "in favour of what fails more": (5.0, True),
    "falsely unstable": (15.0, True),
    "falsely stated": (5.0, True),
    "covers": (93.0, False),
    "equivalents cover": (93.0, False),
    "holds": (80.0, False),
}


def reached(share: float, aim: float, fewer: bool, n_experiments: int, n_published: float = math.inf) -> bool:
    """Returns whether a share is as good as an aim in %, or within three standard errors of it."""
    chance = min(max(aim / 100, 1 / n_experiments), 1 - 1 / n_experiments)
    error = math.sqrt(chance * (1 - chance) * (1 / n_experiments + 1 / n_published))
    return math.isnan(share) or (share - aim / 100) * (1 if fewer else -1) <= 3 * error


def line(row: Row, n_experiments: int) -> str:
    """Returns a row as a line of the table."""
    goal, fewer = GOALS.get(row.figure, (None, False))
    known = [(share, aim) for share, aim in zip(row.shares, row.published, strict=False) if aim is not None]
    # The audit made as many experiments: 3 * sqrt(2) standard errors.
    repeats = all(reached(share, aim, fewer, n_experiments, n_experiments) for share, aim in known)
    meets = goal is None or all(reached(share, goal, fewer, n_experiments) for share in row.shares)
    cells = ["–" if math.isnan(share) else f"{100 * share:.1f}" for share in row.shares]
    audit = ", ".join("–" if aim is None else f"{aim:g}" for aim in row.published) or "–"
    held = "–" if not known else "yes" if repeats else "no"
    aim = "–" if goal is None else f"{'≤' if fewer else '≥'} {goal:g}: {'yes' if meets else 'no'}"
    return f"| {row.cell}: {row.figure} | {', '.join(cells)} | {audit} | {held} | {aim} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000, metavar="N")
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="NAME", help="of " + ", ".join(GROUPS)
    )
    asked = parser.parse_args(arguments)
    print(f"| % of {asked.experiments:,} experiments at 6, 8, 16, 32 seeds | here | audit | as good | goal |")
    print("|---|---|---|---|---|")
    for name in asked.only:
        for row in GROUPS[name](asked.experiments):
            if not all(map(math.isnan, row.shares)):
                print(line(row, asked.experiments), flush=True)


if __name__ == "__main__":
    main()
