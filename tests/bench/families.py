"""How often families of comparisons err at all, judged once or at looks, where effects are known.

    python -m tests.bench.families [--experiments 2000]

Effects are in points, of which half a point is the smallest that matters; comparisons share a baseline three by three.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from pretrain.config import Experiment, StudyConfig
from pretrain.study import families
from pretrain.study.sequential import Look, looks
from pretrain.study.statistics import FINEST_LEVEL, LEVEL, Estimate, effect_p, estimate, nil_p, step_of, verdict

SEEDS = (6, 8, 16, 32)
SMALLEST = 0.5
TIGHT, USUAL = 0.28, 1.6  # deviations of a difference
FAMILIES = {
    "4 at the boundary": ([0.5] * 4, TIGHT),
    "4, half without an effect, half at the boundary": ([0.0, 0.5] * 2, TIGHT),
    "18 at the boundary": ([0.5] * 18, TIGHT),
    "18, half without an effect, half at the boundary": ([0.0, 0.5] * 9, TIGHT),
    "18 at half of it": ([0.25] * 18, TIGHT),
    "18 without an effect": ([0.0] * 18, TIGHT),
    "18, half +1 point": ([0.0, 1.0] * 9, 0.7),
}
FOUR = (8, 32)  # seeds of a batch, and at most
AT_LOOKS = {
    "6 comparisons, 3 of +1 point, at 8, 16, 24, 32 seeds": ([0.0, 1.0] * 3, USUAL, FOUR),
    "18, 9 of +1 point": ([0.0, 1.0] * 9, USUAL, FOUR),
    "6, all of +1 point": ([1.0] * 6, USUAL, FOUR),
    "1 without an effect": ([0.0], USUAL, FOUR),
    "6 without an effect": ([0.0] * 6, USUAL, FOUR),
    "18 without an effect": ([0.0] * 18, USUAL, FOUR),
    "6, 3 without an effect, 3 at the boundary, deviation 0.3": ([0.0, 0.5] * 3, 0.28, FOUR),
    "18, 9 of +1 point, at 12, 24, 36, 48 seeds": ([0.0, 1.0] * 9, USUAL, (12, 48)),
    "18 without an effect, deviation 0.8, at 8, 16, … 64 seeds": ([0.0] * 18, 0.8, (8, 64)),
    "60 at the boundary, deviation 0.8, at 8, 16, 24, 32 seeds": ([0.5] * 60, 0.8, FOUR),
}
FEW_ROWS = {  # test rows, and the share of seeds in which one of them separates arms
    "20 rows, +0.60 points": (20, 0.12),
    "30 rows, +0.53 points": (30, 0.16),
    "30 rows, +0.50 points": (30, 0.15),
    "60 rows, +0.58 points": (60, 0.35),
    "60 rows, +0.50 points": (60, 0.3),
    "100 rows, +0.55 points": (100, 0.55),
    "100 rows, no effect": (100, 0.0),
}


class Rates(NamedTuple):
    """Shares of experiments, and of comparisons in them."""

    wrong: float  # experiments with any wrong verdict
    within: float  # experiments with an effect called whose interval lies within the smallest that matters
    found: float  # comparisons with an effect that matters, found
    nil: float  # comparisons without one, found
    seeds: float  # of a comparison, mean


def differences(rng: np.random.Generator, effects: Sequence[float], deviation: float, n: int) -> np.ndarray:
    """Differences [comparisons, seeds]; three by three they have a baseline in common."""
    own, shared = rng.normal(0, deviation / np.sqrt(2), (2, len(effects), n))
    return np.asarray(effects)[:, None] + own - np.repeat(shared[::3], 3, axis=0)[: len(effects)]


def judged(values: np.ndarray, level: float, settled: Sequence[str] = ()) -> list[tuple[str, Estimate]]:
    """Verdicts and intervals of open comparisons [comparisons, seeds], as ``compare`` gives them.

    Sums so small that their p-values are far above any that count have none, and intervals are found where p-values
    leave a verdict open.
    """
    n, alpha = values.shape[1], 1 - level
    least = 1.2 if n < 12 or alpha < FINEST_LEVEL else -0.85 * special.ndtri(alpha / 2)
    far = np.abs(values.sum(axis=1)) > least * np.sqrt(np.square(values).sum(axis=1))
    effect = [effect_p(row, alpha) if is_far else 1.0 for row, is_far in zip(values, far, strict=True)]
    nil = [nil_p(row, SMALLEST) for row in values]
    p_values = families.adjusted(effect, nil, [True] * len(values), [(True, each) for each in settled])
    found = []
    for row, (p_effect, p_nil) in zip(values, p_values, strict=True):
        interval = estimate(row, level) if min(p_effect, p_nil) <= alpha else Estimate(0.0, -np.inf, np.inf)
        found.append((verdict(interval, p_effect, n, SMALLEST, alpha, p_nil), interval))
    return found


def simulated(effects: Sequence[float], deviation: float, planned: Sequence[Look], n_experiments: int) -> Rates:
    """Experiments whose open comparisons are judged at each of some looks."""
    rng, rates = np.random.default_rng(planned[0].seeds), []
    for _ in range(n_experiments):
        values, verdicts, within = differences(rng, effects, deviation, planned[-1].seeds), {}, False
        seeds = np.full(len(effects), planned[-1].seeds)
        for look in planned:
            still = [place for place in range(len(effects)) if place not in verdicts]
            if not still:
                break
            found = judged(values[still, : look.seeds], look.level, list(verdicts.values()))
            for place, (word, interval) in zip(still, found, strict=True):
                if word != "inconclusive":
                    verdicts[place], seeds[place] = word, look.seeds
                    within |= word != "no difference" and interval.low > -SMALLEST and interval.high < SMALLEST
        wrong = any(_is_wrong(word, effects[place]) for place, word in verdicts.items())
        matter = [verdicts.get(place) == "helps" for place, effect in enumerate(effects) if effect > SMALLEST]
        nil = [verdicts.get(place) == "no difference" for place, effect in enumerate(effects) if effect == 0]
        rates.append((wrong, within, np.mean(matter or [np.nan]), np.mean(nil or [np.nan]), seeds.mean()))
    return Rates(*np.mean(rates, axis=0))


def of_few_rows(rows: int, share: float, n: int, n_experiments: int, level: float = LEVEL) -> float:
    """How often no difference is found between accuracies on few rows, where seeds differ by none or by one."""
    rng, found = np.random.default_rng(n), []
    for _ in range(n_experiments):
        untreated = rng.integers(round(0.6 * rows), round(0.8 * rows), n) / rows
        treated = untreated + (rng.random(n) < share) / rows
        gains, step, smallest = np.round(treated - untreated, 12), step_of(treated, untreated), SMALLEST / 100
        p_values = effect_p(gains, 1 - level, step), nil_p(gains, smallest, step)
        word = verdict(estimate(gains, level, step), p_values[0], n, smallest, 1 - level, p_values[1])
        found.append(word == "no difference")
    return float(np.mean(found))


def _is_wrong(word: str, effect: float) -> bool:
    if word == "no difference":
        return effect >= SMALLEST
    return word == "hurts" or (word == "helps" and effect == 0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    n_experiments = parser.parse_args(arguments).experiments
    print("| any wrong; no difference found; +1 point found | " + " | ".join(map(str, SEEDS)) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for name, (effects, deviation) in FAMILIES.items():
        rows = [simulated(effects, deviation, [Look(1, n, LEVEL)], n_experiments) for n in SEEDS]
        assert not any(row.within for row in rows)
        print(f"| {name} | " + " | ".join(map(shown, rows)) + " |", flush=True)
    for name, (n_rows, share) in FEW_ROWS.items():
        found = [of_few_rows(n_rows, share, n, n_experiments) for n in SEEDS]
        print(f"| {name}: no difference | " + " | ".join(f"{100 * each:.1f} %" for each in found) + " |", flush=True)
    print("\n| | any wrong; no difference found; +1 point found | seeds a comparison |\n|---|---|---|")
    for name, (effects, deviation, (batch, most)) in AT_LOOKS.items():
        planned = looks(Experiment(seeds=batch, study=StudyConfig(until_conclusive=True, most_seeds=most)))
        row = simulated(effects, deviation, planned, n_experiments)
        print(f"| {name} | {shown(row)} | {row.seeds:.1f} |", flush=True)


def shown(row: Rates) -> str:
    found = "; ".join(f"{100 * share:.0f} %" for share in (row.nil, row.found) if np.isfinite(share))
    return f"{100 * row.wrong:.1f} %{'; ' * bool(found)}{found}"


if __name__ == "__main__":
    main()
