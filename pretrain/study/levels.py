"""Values of pretext metrics where embeddings or predictions of all inputs are alike: chance, or collapse."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.study.curves import Curves


class Level(NamedTuple):
    """A metric's value where embeddings or predictions are alike."""

    metric: str
    at: float | str  # the value, or the metric that records it
    margin: float  # how far above it, or below where negative, still counts as there
    outcome: str
    remedy: str
    beside: tuple[str, ...] = ()  # metrics that the method records, too: one of one's own may mean something else
    like: str = "embeddings that are all alike"  # by which a network comes to it

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of a method that has the level."""
        return (self.metric, *([self.at] if isinstance(self.at, str) else []), *self.beside)


_LOWER = "lower pretrain.optimizer.learning_rate"
_LONGER = "train it longer (pretrain.epochs, pretrain.updates)"
_WEAKER = "make the views weaker (pretrain.method.views)"
_TEACHER = f"keep pretrain.method.stops_gradient, raise pretrain.method.momentum or {_LOWER}"
LEVELS = (  # nats of loss, or of masked methods a share of the variance; else as the methods define them
    Level("loss", "chance_loss", -0.02, "at chance", f"lower the temperature, {_LOWER} or {_WEAKER}", ("accuracy",)),
    Level("loss", "chance_loss", -0.02, "at chance", f"{_LONGER} or {_LOWER}", like="predictions of the mean"),
    Level("variance", 1.0, -0.1, "collapsed", f"raise pretrain.method.variance_weight or {_LOWER}", ("invariance",)),
    Level("alike", 0.0, 0.05, "collapsed", f"{_LOWER} or {_WEAKER}", ("loss",)),
    Level("output_deviation", 0.0, 0.01, "collapsed", _TEACHER, ("loss",)),
)


class Reached(NamedTuple):
    """A level and the metric that may have come to it, on validation rows at the end of a stage, by trial [n]."""

    level: Level
    values: np.ndarray
    at: np.ndarray

    @property
    def is_there(self) -> np.ndarray:
        """Whether the metric is at the level or beyond it."""
        margin = self.level.margin
        return np.sign(margin) * (self.values - self.at) <= abs(margin)


def reached(curves: Curves, stage: str, trials: Sequence[str], updates: Iterable[float]) -> Reached | None:
    """Returns what a method that has a level came to after some updates of each trial; None of any other."""
    for level in LEVELS:
        measured = {name: curves.of(f"validation_{name}", stage) for name in level.metrics}
        if all(trial in of_trials for of_trials in measured.values() for trial in trials):
            ends = {}
            for name, of_trials in measured.items():
                found = [of_trials[trial] for trial in trials]
                ends[name] = np.array([np.interp(n, *curve) for n, curve in zip(updates, found, strict=True)])
            at = ends[level.at] if isinstance(level.at, str) else np.full(len(trials), level.at)
            return Reached(level, ends[level.metric], at)
    return None
