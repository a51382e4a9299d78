"""How often intervals hold a difference on new rows, in experiments whose truth is known: present, and for new rows.

    python -m tests.bench.rows [--experiments 2000]

Each simulated trial predicts each of its test rows; two arms are as good as each other on all rows that there might be.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.config.kinds import TaskKind
from pretrain.runs.influences import influence
from pretrain.runs.measures import Predictions
from pretrain.study.rows import components, for_new_rows, interval
from pretrain.study.statistics import estimate, sign_flip, verdict

SEEDS = (6, 8, 16, 32)
SMALLEST = 0.005
Simulated = tuple[np.ndarray, np.ndarray | None]  # differences [seeds, rows], and groups [rows]


class Rates(NamedTuple):
    """Shares of experiments."""

    present: float  # whose interval over seeds holds zero
    covered: float  # whose interval for new rows does
    wrong: float  # called an effect on new rows
    longer: float  # median length of the latter, relative to the former


def hits(rng: np.random.Generator, n: int, logits: Sequence[np.ndarray], noise: float = 0.2) -> np.ndarray:
    """Differences [seeds, rows] of right predictions between two arms by their rows' logits, each seed a bit better."""
    shape = (n, len(logits[0]))
    chances = (1 / (1 + np.exp(-rows - rng.normal(0, noise, (n, 1)))) for rows in logits)
    treated, untreated = (rng.random(shape) < chance for chance in chances)
    return treated.astype(float) - untreated


def alike(rng: np.random.Generator, n: int, rows: int) -> Simulated:
    """Rows that are as hard for both arms."""
    logits = rng.normal(3, 2, rows)
    return hits(rng, n, (logits, logits)), None


def apart(rng: np.random.Generator, n: int, rows: int) -> Simulated:
    """Rows each of which one of the arms has learned better."""
    logits = rng.normal(3, 2, rows) + rng.normal(0, 1.5, (2, rows))
    return hits(rng, n, logits), None


def quiet(rng: np.random.Generator, n: int, rows: int) -> Simulated:
    """Seeds that hardly change what arms predict."""
    logits = 4 * (rng.normal(3, 2, rows) + rng.normal(0, 1.5, (2, rows)))
    return hits(rng, n, logits, 0.02), None


def own_splits(rng: np.random.Generator, n: int, rows: int) -> Simulated:
    """A fifth of the rows a seed."""
    values, _ = apart(rng, n, rows)
    held = np.argsort(rng.random((n, rows)), axis=1) < rows // 5
    return np.where(held, values, np.nan), None


def grouped(rng: np.random.Generator, n: int, rows: int, size: int = 10) -> Simulated:
    """Groups of ten rows on which arms differ alike, with an intraclass correlation of 0.3."""
    groups = np.arange(rows) // size
    shared, alone = rng.normal(0, 1, (2, groups[-1] + 1)), rng.normal(0, 1, (2, rows))
    return hits(rng, n, rng.normal(3, 2, rows) + 2 * (0.55 * shared[:, groups] + 0.84 * alone)), groups


def measured(measure: str, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """A metric of scores [..., rows, outputs] without ties, as ``runs.measures`` has it but all at once: [...]."""
    if measure in ("r2", "rmse"):
        squares = np.mean(np.square(scores - targets), axis=(-2, -1))
        return np.sqrt(squares) if measure == "rmse" else 1 - squares / np.var(targets)
    if measure == "balanced_accuracy":
        hits = scores.argmax(axis=-1) == targets
        return np.mean([hits[..., targets == each].mean(axis=-1) for each in np.unique(targets)], axis=0)
    truth = targets[np.argsort(scores[..., 0] - scores[..., 1], axis=-1)]  # from the surest positive on
    positives, places = truth.sum(axis=-1), np.arange(1, len(targets) + 1)
    if measure == "average_precision":
        return np.sum(truth * np.cumsum(truth, axis=-1) / places, axis=-1) / positives
    below = np.sum(truth * (len(targets) - places), axis=-1) - positives * (positives - 1) / 2  # pairs in order
    return below / positives / (len(targets) - positives)


def of_metric(measure: str) -> Callable[[np.random.Generator, int, int], Simulated]:
    """Experiments of a metric that is no mean over rows: its differences, and its influences on each row."""

    def simulated(rng: np.random.Generator, n: int, rows: int) -> Simulated:
        task: TaskKind = "regression" if measure in ("r2", "rmse", "mae") else "classification"
        if task == "regression":
            targets = rng.normal(size=(rows, 1)) * np.exp(0.3 * rng.normal(size=(rows, 1)))
            signal = targets
        else:
            targets = rng.choice(3, rows, p=(0.6, 0.3, 0.1)) if measure == "balanced_accuracy" else rng.choice(2, rows)
            signal = 1.5 * (targets[:, None] == np.arange(targets.max() + 1))
        learned = rng.normal(0, 0.7, (2, 1, *signal.shape))
        strengths, noise = rng.normal(size=(2, n, 1, 1)), rng.normal(size=(2, n, *signal.shape))
        scores = signal * (1 + 0.05 * strengths) + learned + 0.4 * noise
        classes = None if task == "regression" else scores.argmax(axis=-1)
        wholes = measured(measure, scores, targets)
        differences = np.zeros((n, rows))
        for arm, seed in np.ndindex(2, n):
            predicted = Predictions(scores[arm, seed], None if classes is None else classes[arm, seed], targets)
            values = influence(measure, task, predicted, None)
            assert values is not None
            differences[seed] += (1 - 2 * arm) * (values + wholes[arm, seed])
        return differences, None

    return simulated


CELLS: dict[str, tuple[Callable[[np.random.Generator, int, int], Simulated], int]] = {
    "alike on 200 rows": (alike, 200),
    "alike on 1,000 rows": (alike, 1000),
    "arms differ on 200 rows": (apart, 200),
    "arms differ on 1,000 rows": (apart, 1000),
    "quiet seeds, 200 rows": (quiet, 200),
    "quiet seeds, 1,000 rows": (quiet, 1000),
    "own splits of 150 rows": (own_splits, 150),
    "own splits of 569 rows": (own_splits, 569),
    "50 groups of 10 rows": (grouped, 500),
    "100 groups of 10 rows": (grouped, 1000),
    "AUROC, 300 rows": (of_metric("auroc"), 300),
    "average precision, 300 rows": (of_metric("average_precision"), 300),
    "balanced accuracy, 300 rows": (of_metric("balanced_accuracy"), 300),
    "R², 300 rows": (of_metric("r2"), 300),
    "RMSE, 300 rows": (of_metric("rmse"), 300),
}


def of_rows(name: str, n: int, n_experiments: int) -> Rates:
    """Simulates experiments of n seeds."""
    simulated, rows = CELLS[name]
    rng, found = np.random.default_rng(n), []
    for _ in range(n_experiments):
        values, groups = simulated(rng, n, rows)
        differences = np.nanmean(values, axis=1)
        seen, on_new = estimate(differences), for_new_rows(differences, components(values, groups))
        whole = interval(on_new, seen)
        p_value = max(sign_flip(differences), on_new.p_apart())
        wrong = p_value <= 0.05 and verdict(whole, p_value, n, SMALLEST) in ("helps", "hurts")
        length = (whole.high - whole.low) / max(seen.high - seen.low, 1e-12)
        found.append((seen.low <= 0 <= seen.high, whole.low <= 0 <= whole.high, wrong, length))
    present, covered, wrong, _ = np.mean(found, axis=0)
    return Rates(present, covered, wrong, float(np.median([each[3] for each in found])))


def show(n_experiments: int) -> None:
    """Prints a line a kind of experiment."""
    print("\n| new rows: present interval covers; that for new rows; wrong |" + " | ".join(map(str, SEEDS)) + " |")
    print("|---|" + "---|" * len(SEEDS))
    for name in CELLS:
        rates = [of_rows(name, n, n_experiments) for n in SEEDS]
        shown = (f"{100 * e.present:.0f}; {100 * e.covered:.1f}; {100 * e.wrong:.1f} %" for e in rates)
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    show(parser.parse_args().experiments)
