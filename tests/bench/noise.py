"""Two arms that are as good as each other, under several kinds of noise, judged as a run judges them."""

from collections.abc import Callable
from unittest import mock

import numpy as np

from pretrain.config import StudyConfig
from pretrain.study import comparisons
from tests.bench.failures import METRIC, Experiment, arm

Draw = Callable[[np.random.Generator, int], np.ndarray]


def added(own: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]) -> Draw:
    """Results [2, seeds] of two arms that share what a seed brings, each with noise of its own."""
    return lambda rng, n: 0.8 + rng.normal(0, 0.01, n) + 0.01 * own(rng, (2, n))


def counted(rows: int) -> Draw:
    """Shares of so many test rows."""
    return lambda rng, n: rng.binomial(rows, np.clip(0.8 + rng.normal(0, 0.01, n), 0, 1), (2, n)) / rows


def _one_sided(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    values = rng.normal(0, 0.3, shape)
    values[0] += 1 - rng.exponential(1, shape[1])
    return values


NOISE: dict[str, Draw] = {
    "normal": added(lambda rng, shape: rng.normal(0, 1, shape)),
    "heavy tails": added(lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3)),
    "skewed": added(lambda rng, shape: 1 - rng.exponential(1, shape)),
    "skewed in one arm": added(_one_sided),
    "counts of 100 rows": counted(100),
    "counts of 1,000 rows": counted(1000),
}


def simulated(name: str, n: int, n_experiments: int) -> tuple[float, float]:
    """Returns the shares of experiments that call an effect, and whose interval holds the truth."""
    rng, found = np.random.default_rng(n), []
    with mock.patch.object(comparisons, "seeds_to_settle", return_value=None):  # which is in no verdict
        for _ in range(n_experiments):
            drawn = Experiment(*NOISE[name](rng, n), np.zeros((2, n), bool), 0.0)
            arms = [arm(init, of, drawn, rng) for init, of in zip(("pretrained", "he"), drawn[:2], strict=True)]
            (one,) = comparisons.compare(arms, METRIC, StudyConfig())
            word = one.failures.verdict if one.verdict == "unstable" else one.verdict
            found.append((word in ("helps", "hurts"), one.difference.low <= 0 <= one.difference.high))
    wrong, covered = np.mean(found, axis=0)
    return float(wrong), float(covered)
