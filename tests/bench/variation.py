"""How often the shares of sources of variation lie in their intervals, in experiments whose truth is known.

    python -m tests.bench.variation [--experiments 2000]

Simulated experiments of 6, 8, 16 and 32 seeds, as pretrain/study/README.md lists them; a minute.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from pretrain.study.variation import PRETRAINING, shares

SEEDS = (6, 8, 16, 32)
NOISE = ("normal", "skew", "t4")
# Variances of sources by themselves, and of what each combination of draws adds.
MAIN = {PRETRAINING: 0.3, "labels": 0.4, "head": 0.05, "batches": 0.15}
TOGETHER = 0.1


def drawn(rng: np.random.Generator, noise: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draws with mean 0 and variance 1: normal, exponential, or of Student's distribution with 4 degrees."""
    if noise == "skew":
        return rng.exponential(1, shape) - 1
    return rng.normal(0, 1, shape) if noise == "normal" else rng.standard_t(4, shape) / np.sqrt(2)


def experiments(rng: np.random.Generator, noise: str, n: int, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Differences of the seeds of experiments [size, n], and the same with each source drawn anew.

    The encoder drawn anew is that of the next seed.
    """
    effects = {source: np.sqrt(part) * drawn(rng, noise, (size, n + 1)) for source, part in MAIN.items()}

    def noisy(values: np.ndarray) -> np.ndarray:
        return values + np.sqrt(TOGETHER) * drawn(rng, noise, (size, n))

    base = sum(effect[:, :n] for effect in effects.values())
    anew = {}
    for source, effect in effects.items():
        other = effect[:, 1:] if source == PRETRAINING else np.sqrt(MAIN[source]) * drawn(rng, noise, (size, n))
        anew[source] = noisy(base - effect[:, :n] + other)
    return noisy(base), anew


def covered(noise: str, n: int, n_experiments: int) -> dict[str, tuple[float, float, float]]:
    """Of each source the shares of experiments whose intervals of share and of deviation cover, and its mean effect
    relative to the truth."""
    base, anew = experiments(np.random.default_rng([n, NOISE.index(noise)]), noise, n, n_experiments)
    found: dict[str, list[tuple[bool, bool, float]]] = {source: [] for source in MAIN}
    for number in range(n_experiments):
        for each in shares(base[number], {source: values[number] for source, values in anew.items()})[1]:
            truth = (MAIN[each.source] + TOGETHER) / (sum(MAIN.values()) + TOGETHER)
            holds = each.share.low <= truth <= each.share.high, each.deviation.low**2 <= truth <= each.deviation.high**2
            found[each.source].append((*holds, each.deviation.mean**2 / truth))
    return {source: tuple(np.mean(values, axis=0)) for source, values in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    n_experiments = parser.parse_args(arguments).experiments
    print("| seeds | " + " | ".join(map(str, SEEDS)) + " |\n|---|" + "---|" * len(SEEDS))
    for noise in NOISE:
        rates = [covered(noise, n, n_experiments) for n in SEEDS]
        others = [np.array([values for source, values in each.items() if source != PRETRAINING]) for each in rates]
        for name, place in ((f"share, {noise}", 0), (f"deviation, {noise}", 1)):
            cells = [f"{100 * each[:, place].min():.1f} to {100 * each[:, place].max():.1f} %" for each in others]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
            chained = (f"{100 * each[PRETRAINING][place]:.1f} %" for each in rates)
            print(f"| {name}, of pretraining, by the next seed's encoder | " + " | ".join(chained) + " |")
        means = (f"{min(v[2] for v in each.values()):.2f} to {max(v[2] for v in each.values()):.2f}" for each in rates)
        print(f"| effect relative to the truth, {noise} | " + " | ".join(means) + " |")


if __name__ == "__main__":
    main()
