"""How good the best of several arms is said to be, where all are as good as each other.

python -m tests.bench.winners [--experiments 2000]
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretrain.study.statistics import estimate
from pretrain.study.winner import chosen

SEEDS = (6, 8, 16, 32)
ARMS = (2, 5, 10, 20, 50, 300)
OWN, ROWS = 1.0, 0.3  # deviations of a seed's training, and of test and of validation rows beside it, in points


class Simulated(NamedTuple):
    """What is said of the best arm, in points and shares of experiments."""

    bias: float  # of its corrected result
    covered: float  # intervals that hold the truth
    plain_bias: float  # of its result as it is
    plain_covered: float
    length: float  # of an interval, beside that of a plain one


def simulated(n_arms: int, n: int, n_experiments: int) -> Simulated:
    """Experiments with so many arms and seeds, whose true result is zero."""
    rng, simulations = np.random.default_rng(n_arms * 100 + n), []
    for _ in range(n_experiments):
        trained = rng.normal(0, OWN, (n, n_arms))
        validation, test = trained + rng.normal(0, ROWS, (2, n, n_arms))
        place, found = chosen(validation, test)
        plain = estimate(test[:, place])
        within = (found.low <= 0 <= found.high, plain.low <= 0 <= plain.high)
        simulations.append(
            (found.mean, within[0], plain.mean, within[1], (found.high - found.low) / (plain.high - plain.low))
        )
    return Simulated(*np.mean(simulations, axis=0))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    n_experiments = parser.parse_args(arguments).experiments
    print("| best of so many arms | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |\n|---|" + "---|" * len(SEEDS))
    for n_arms in ARMS:
        rows = [simulated(n_arms, n, n_experiments) for n in SEEDS]
        shown = [
            f"{row.bias:+.2f}, {100 * row.covered:.0f} %, × {row.length:.2f} "
            f"(plain {row.plain_bias:+.2f}, {100 * row.plain_covered:.0f} %)"
            for row in rows
        ]
        print(f"| {n_arms} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
