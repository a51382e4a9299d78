"""How often verdicts are wrong, intervals cover and ranges of seeds hold, in experiments whose truth is known.

    python -m tests.bench.verdicts [--experiments 2000]

Simulated experiments of 6, 8, 16 and 32 seeds, as pretrain/study/README.md lists them; an hour, half of it for new rows
(``rows.py``).
"""

import argparse
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from pretrain.config import Experiment, StudyConfig
from pretrain.study import families
from pretrain.study.power import seeds_needed, seeds_to_settle
from pretrain.study.sequential import looks
from pretrain.study.statistics import LEVEL, effect_p, estimate, nil_p, verdict
from pretrain.study.tuning import best_by_seed
from tests.bench import crossovers, failures, rows, winners
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    n_experiments = parser.parse_args(arguments).experiments
    print("| seeds | " + " | ".join(map(str, SEEDS)) + " |\n|---|" + "---|" * len(SEEDS))
    for name, simulated in (
        ("each arm tuned among 8 rates", of_tuned_arms),
        ("18 comparisons", of_18_comparisons),
        ("6 comparisons at 4 looks, of n, 2n, 3n and 4n seeds", of_looks),
    ):
        rates = [simulated(n, n_experiments) for n in SEEDS]
        shown = (f"{100 * each.wrong:.1f} %, {100 * each.covered:.1f} %" for each in rates)
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
    held = [of_ranges(n, n_experiments) for n in SEEDS]
    shown = (f"{100 * each.of_all:.0f} % ({100 * each.least:.0f} %)" for each in held)
    print("| range of seeds that would settle it: holds the truth (of the worst effect) | " + " | ".join(shown) + " |")
    print(
        "| of inconclusive experiments | " + " | ".join(f"{100 * each.of_inconclusive:.0f} %" for each in held) + " |"
    )
    print("| its ends, relative to the truth | " + " | ".join(f"{e.low:.2g} to {e.high:.2g}" for e in held) + " |\n")
    failures.show(n_experiments)
    of_families.main(["--experiments", str(n_experiments)])
    crossovers.main(["--experiments", str(max(1, n_experiments // 4))])
    winners.main(["--experiments", str(n_experiments)])
    rows.show(n_experiments)


if __name__ == "__main__":
    main()
