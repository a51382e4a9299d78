"""What is said of arms that fail in some seeds, in experiments whose truth is known.

    python -m tests.bench.failures [--experiments 2000]

Simulated experiments of 6, 8, 16 and 32 seeds through ``compare``, as pretrain/study/README.md lists them.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple
from unittest import mock

import numpy as np

from pretrain.config import StudyConfig
from pretrain.runs import baselines
from pretrain.study import comparisons
from pretrain.study.arms import Arm
from pretrain.study.comparisons import compare

SEEDS = (6, 8, 16, 32)
METRIC, INIT = "test_accuracy", "finetune.encoder_init"
ROWS = 1000  # of test rows
LOST = np.nan  # a trial that diverged


class Experiment(NamedTuple):
    """One experiment: results [seeds] of both arms, which of their trials failed, and what is true where both train."""

    treated: np.ndarray  # NaN where a trial diverged
    untreated: np.ndarray
    failed: np.ndarray  # [2, seeds]
    truth: float | None  # the difference where both train; None where nothing may be claimed at all
    chance: float = 0.1
    rows: int = ROWS  # of a seed's test
    in_common: float | None = None  # part of them that another seed has, too; None where all share a split


class Said(NamedTuple):
    """Shares of experiments."""

    wrong: float  # that claim what is not so of the seeds where both train
    unstable: float
    falsely: float  # unstable, though no trial failed
    favoured: float  # that call the arm better which failed in more seeds
    unjudged: float  # for both arms are at chance


Kind = Callable[[np.random.Generator, int], Experiment]


def arm(init: str, values: np.ndarray, experiment: Experiment, rng: np.random.Generator) -> Arm:
    """An arm's trials, with validation rows of their own, and the margin of as many test rows."""
    chance = experiment.chance
    kept = np.flatnonzero(np.isfinite(values))
    lost = tuple((int(seed), 0) for seed in np.flatnonzero(np.isnan(values)))
    results = {METRIC: values[kept], "validation_accuracy": values[kept] + rng.normal(0, 0.005, len(kept))}
    results["test_accuracy_chance"] = np.full(len(kept), chance)
    results["test_accuracy_chance_margin"] = np.full(len(kept), 2 * np.sqrt(chance * (1 - chance) / experiment.rows))
    if experiment.in_common is not None:
        results["test_rows_in_common"] = np.full(len(kept), experiment.in_common)
    return Arm({INIT: init}, tuple(kept.tolist()), tuple(f"{init}{seed}" for seed in kept), lost, (), (), results)


def sound(rng: np.random.Generator, n: int, mean: float = 0.9, spread: float = 0.01) -> np.ndarray:
    """Results of two arms [2, seeds] that share what a seed brings."""
    return mean + rng.normal(0, spread, n) + rng.normal(0, spread, (2, n))


def collapsing(
    rates: tuple[float, float], effect: float = 0.0, equal_means: bool = False, spread: float = 0.01
) -> Kind:
    """Trials fall to chance at these rates; the treatment is better by an effect where it trains."""

    def draw(rng: np.random.Generator, n: int) -> Experiment:
        values, failed = (
            sound(rng, n, 0.9 if spread < 0.05 else 0.7, spread),
            rng.random((2, n)) < np.array(rates)[:, None],
        )
        better = rates[0] * 0.8 / (1 - rates[0]) if equal_means else effect
        values += np.array([[better - 0.1 * equal_means], [-0.1 * equal_means]])
        return Experiment(*np.where(failed, 0.1 + rng.normal(0, 0.01, (2, n)), values), failed, better)

    return draw


def diverging(share: float, worst: float) -> Kind:
    """A share of the treatment's trials diverges, by as much of its own luck; where nothing is better."""

    def draw(rng: np.random.Generator, n: int) -> Experiment:
        own = rng.normal(0, 0.01, (2, n))
        values = 0.9 + rng.normal(0, 0.01, n) + own
        order = np.argsort(worst * own[0] / 0.01 + np.sqrt(1 - worst**2) * rng.normal(size=n))
        failed = np.zeros((2, n), bool)
        failed[0, order[: round(share * n)]] = True
        return Experiment(*np.where(failed, LOST, values), failed, 0.0 if not worst else None)

    return draw


def weak(mean: float, spreads: tuple[float, float], chance: float = 0.5) -> Kind:
    """Arms whose trials vary around a low level, and none of which fails."""

    def draw(rng: np.random.Generator, n: int) -> Experiment:
        values = mean + rng.normal(size=(2, n)) * np.array(spreads)[:, None]
        return Experiment(*values, np.zeros((2, n), bool), 0.0, chance)

    return draw


def jumping(rng: np.random.Generator, n: int) -> Experiment:
    """The treatment is better in every seed, by a jump in 40 % of them."""
    base = 0.6 + rng.normal(0, 0.01, n)
    treated = base + 0.02 + rng.normal(0, 0.003, n) + 0.3 * (rng.random(n) < 0.4)
    return Experiment(treated, base, np.zeros((2, n), bool), 0.14, 0.5)


def at_chance(n_collapsed: int, spread: float = 0.005) -> Kind:
    """Two arms on labels that have nothing to do with the inputs: luck of the rows, and of networks; nothing is so."""

    def draw(rng: np.random.Generator, n: int) -> Experiment:
        rows = rng.normal(0, np.sqrt(0.09 / ROWS), (2, 1))
        values = 0.1 + rows + rng.normal(0, spread, (2, n))
        values[:, :n_collapsed] = 0.08
        return Experiment(*values, np.zeros((2, n), bool), None)

    return draw


def split_a_seed(means: tuple[float, float], rows: int = 60, of: int = 300, shared: float = 0.5) -> Kind:
    """Arms that are right so often on rows of a small table, of which each seed tests some; chance is one in two.

    So large a share of the variance of being right is a row's own, which all networks share: luck, of arms at chance.
    """

    def draw(rng: np.random.Generator, n: int) -> Experiment:
        right = np.array(means)[:, None, None]
        own, of_row = rng.random((2, n, of)) < right, rng.random((2, 1, of)) < right
        is_right = np.where(rng.random((1, n, of)) < np.sqrt(shared), of_row, own)
        cuts = np.argsort(rng.random((n, of)), axis=1)[:, :rows]
        values = np.take_along_axis(is_right, cuts[None], axis=2).mean(axis=2)
        truth = means[0] - means[1]
        in_common = baselines.rows_in_common(list(cuts))
        return Experiment(*values, np.zeros((2, n), bool), truth or None, 0.5, rows, in_common)

    return draw


KINDS: dict[str, Kind] = {
    **{f"one arm collapses in {rate:.0%}": collapsing((rate, 0)) for rate in (0.02, 0.1, 0.3)},
    **{f"both arms in {rate:.0%}": collapsing((rate, rate)) for rate in (0.02, 0.1, 0.3)},
    **{f"one arm in {rate:.0%}, equal means": collapsing((rate, 0), equal_means=True) for rate in (0.02, 0.1, 0.3)},
    "one arm in 10%, others ± 10 points": collapsing((0.1, 0), spread=0.07),
    "one arm in 20%, +1.5 points where it trains": collapsing((0.2, 0), 0.015),
    "a quarter of one arm diverges at random": diverging(0.25, 0),
    "half of one arm at random": diverging(0.5, 0),
    "half, partly the worse (r = .5)": diverging(0.5, 0.5),
    "the worse half": diverging(0.5, 1),
    "weak arms, AUROC .60 ± .05": weak(0.6, (0.05, 0.05)),
    ".60 ± .06 and ± .02": weak(0.6, (0.06, 0.02)),
    ".53 ± .03": weak(0.53, (0.03, 0.03)),
    ".55 ± .06 and ± .02": weak(0.55, (0.06, 0.02)),
    "better in every seed, by a jump in 40%": jumping,
    "both arms at chance": at_chance(0),
    "both at chance, a collapsed trial each": at_chance(1),
}
SPLITS: dict[str, Kind] = {  # 60 of 300 rows each
    "both arms at chance": split_a_seed((0.5, 0.5)),
    "both at chance, every network alike": split_a_seed((0.5, 0.5), shared=1.0),
    ".56 and .62": split_a_seed((0.62, 0.56)),
    ".60 and .66": split_a_seed((0.66, 0.60)),
}


def judged(experiment: Experiment, rng: np.random.Generator) -> tuple[bool, ...]:
    """Whether the words on an experiment are wrong, unstable, falsely so, and in favour of what fails more."""
    sides = zip(("pretrained", "he"), experiment[:2], strict=True)
    (found,) = compare([arm(init, values, experiment, rng) for init, values in sides], METRIC, StudyConfig())
    word = found.failures.verdict if found.verdict == "unstable" else found.verdict
    claims = {"helps": 1, "hurts": -1}.get(word, 0)
    truth = experiment.truth
    is_wrong = (claims != 0 and claims != np.sign(truth or 0)) or (word == "no difference" and abs(truth or 0) > 0.005)
    fails_more = np.sign(np.diff(experiment.failed.sum(axis=1))[0])  # of the baseline
    is_unstable = found.verdict == "unstable"
    return (
        is_wrong,
        is_unstable,
        is_unstable and not experiment.failed.any(),
        claims * fails_more < 0,
        found.both_at_chance,
    )


def said(kind: Kind, n: int, n_experiments: int) -> Said:
    rng = np.random.default_rng(n)
    with mock.patch.object(comparisons, "seeds_to_settle", return_value=None):  # half of the time, and in no verdict
        return Said(*np.mean([judged(kind(rng, n), rng) for _ in range(n_experiments)], axis=0))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    show(parser.parse_args(arguments).experiments)


def show(n_experiments: int) -> None:
    """Prints a row a kind: words that are wrong, and unstable; and at the end what must not be."""
    favoured, falsely = 0.0, 0.0
    print("| seeds | " + " | ".join(map(str, SEEDS)) + " |\n|---|" + "---|" * len(SEEDS))
    for name, kind in KINDS.items():
        rates = [said(kind, n, n_experiments) for n in SEEDS]
        shown = (f"{100 * each.wrong:.1f} %, {100 * each.unstable:.0f} %" for each in rates)
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
        favoured = max([favoured, *(each.favoured for each in rates)])
        falsely = max([falsely, *(each.falsely for each in rates)])
    print("\nA split a seed: words that are wrong, and arms that are not judged, for both are at chance")
    for name, kind in SPLITS.items():
        rates = [said(kind, n, n_experiments) for n in SEEDS]
        shown = (f"{100 * each.wrong:.1f} %, {100 * each.unjudged:.0f} %" for each in rates)
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
    print(f"At most in favour of what fails more: {100 * favoured:.1f} %; falsely unstable: {100 * falsely:.1f} %")


if __name__ == "__main__":
    main()
