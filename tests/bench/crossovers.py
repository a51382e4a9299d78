"""How often crossovers are stated, and how often they and label equivalents cover, where gains are known.

python -m tests.bench.crossovers [--experiments 500]
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.study.budgets import crossover, equivalent

SEEDS = (6, 8, 16, 32)
LABELS = np.array([50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000])
_PLACE = (np.log(LABELS) - np.log(LABELS[0])) / np.log(LABELS[-1] / LABELS[0])
_BASELINE = 0.95 - 0.4 * np.exp(-2.5 * _PLACE)
# Gains in points, at both ends of a line over the logarithm of labels, or by budget; deviation of a difference.
GAINS = {
    "+4 to -4 points, deviation 1": (4 - 8 * _PLACE, 1.0),
    "+4 to -4, deviation 2": (4 - 8 * _PLACE, 2.0),
    "+1 to -1, deviation 1": (1 - 2 * _PLACE, 1.0),
    "+1 to -1, deviation 2": (1 - 2 * _PLACE, 2.0),
    "+3 to +0.1, deviation 1": (3 - 2.9 * _PLACE, 1.0),
    "+3 to 0, deviation 1": (3 - 3 * _PLACE, 1.0),
    "+2, then 0, deviation 1": (np.where(_PLACE < 0.5, 2.0, 0.0), 1.0),
}


class Stated(NamedTuple):
    """Shares of experiments; coverage is NaN where nothing is stated, or there is no crossover."""

    stated: float  # with a crossover
    covered: float  # of those stated, whose interval holds the truth
    equivalents: float  # intervals that hold the truth, of the least of the first, the middle and the last budget


def simulated(gains: np.ndarray, deviation: float, n: int, n_experiments: int) -> Stated:
    """Experiments with so many seeds, of gains [budgets] and a deviation in points."""
    rng, found, held = np.random.default_rng(n), [], []
    truth = np.interp(0, -gains, np.log(LABELS)) if gains[-1] < 0 else np.nan
    rising = _BASELINE + gains / 100
    checked = (0, len(LABELS) // 2, len(LABELS) - 1)
    worths = [np.interp(rising[k], _BASELINE, np.log(LABELS), left=-np.inf, right=np.inf) for k in checked]
    for _ in range(n_experiments):
        of_seed, noise = rng.normal(0, 0.02, (n, 1)), rng.normal(0, deviation / 100 / np.sqrt(2), (2, n, len(LABELS)))
        treated, baseline = rising + of_seed + noise[0], _BASELINE + of_seed + noise[1]
        found.append(crossover(LABELS, treated - baseline))
        with np.errstate(divide="ignore"):
            ends = [np.log(equivalent(LABELS, treated[:, k], baseline)[1:]) for k in checked]
        held.append([low - 1e-9 <= worth <= high + 1e-9 for worth, (low, high) in zip(worths, ends, strict=True)])
    stated = [each for each in found if each]
    covered = [np.log(each.low) <= truth <= np.log(each.high) for each in stated]
    share = np.mean(covered) if covered and gains[-1] < 0 else np.nan
    return Stated(len(stated) / n_experiments, share, np.mean(held, axis=0).min())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=500)
    n_experiments = parser.parse_args(arguments).experiments
    print("| seeds | " + " | ".join(map(str, SEEDS)) + " |\n|---|" + "---|" * len(SEEDS))
    for name, (gains, deviation) in GAINS.items():
        rows = [simulated(gains, deviation, n, n_experiments) for n in SEEDS]
        covered = [f", {100 * row.covered:.0f} %" if np.isfinite(row.covered) else "" for row in rows]
        shown = [f"{100 * row.stated:.0f} %{each}" for row, each in zip(rows, covered, strict=True)]
        shown = [f"{each}; {100 * row.equivalents:.0f} %" for each, row in zip(shown, rows, strict=True)]
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
