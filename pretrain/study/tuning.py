"""Settings chosen by validation, seed by seed, and the edges of their grids."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

_NONE = -1  # chosen where every setting diverged


def best_by_seed(validation: np.ndarray) -> np.ndarray:
    """Returns, for each seed by itself, the setting that is best on validation: [seeds], -1 where none has a value.

    A seed's choice depends on that seed only, so that chosen test values of seeds are as independent as trials are,
    and the interval of their mean, or of their paired differences between two arms, holds the luck of choosing
    (Bouthillier et al., 2021, "Accounting for variance in machine learning benchmarks"). Of settings that tie, as
    accuracies on few labels do, the middle one is chosen, the lower of two: on a grid in order, it lies inside of a
    plateau rather than on its edge.

    Args:
      validation: values [settings, seeds], of which more is better: a loss with its sign changed. NaN, as of a trial
        that diverged, is never chosen.
    """
    validation = np.asarray(validation, float)
    best = np.max(np.where(np.isnan(validation), -np.inf, validation), axis=0)
    is_best = (validation == best) & ~np.isnan(validation)
    # The middle of n that tie is the one that (n + 1) // 2 of them reach.
    middle = np.cumsum(is_best, axis=0) == (is_best.sum(axis=0) + 1) // 2
    return np.where(is_best.any(axis=0), np.argmax(is_best & middle, axis=0), _NONE)


def times_chosen(values: Sequence[Any], chosen: np.ndarray) -> dict[Any, int]:
    """Returns by how many seeds each value of a tuned field was chosen, in the order of its first setting.

    Args:
      values: the field's value at each setting; several settings may share one.
      chosen: settings, as ``best_by_seed`` returns them.
    """
    counts = dict.fromkeys(values, 0)
    for setting in chosen[chosen != _NONE]:
        counts[values[setting]] += 1
    return counts


def edge(values: Sequence[Any], setting: int) -> Literal["lowest", "highest"] | None:
    """Returns on which edge of its grid a setting's value of a field lies; None inside of it.

    Only numbers have edges, and only where the field has two or more; the better value may lie beyond one.
    """
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) < 2 or min(numbers) < values[setting] < max(numbers):
        return None
    return "lowest" if values[setting] == min(numbers) else "highest"


def beyond(values: Sequence[float], side: Literal["lowest", "highest"], steps: int = 2) -> list[float]:
    """Returns the next values of a grid beyond its edge, from the edge outwards, as far apart as the last two.

    Positive numbers go on by their ratio, others by their difference, whole ones as whole ones and not below one.
    """
    ordered = sorted(set(values), reverse=side == "lowest")
    before, last = ordered[-2:]
    further: list[float] = []
    for step in range(1, steps + 1):
        value = last * (last / before) ** step if min(ordered) > 0 else last + step * (last - before)
        whole = all(isinstance(number, int) for number in values)
        value = round(value) if whole else float(f"{value:.4g}")
        if value not in (last, *further) and (value >= 1 or not whole):
            further.append(value)
    return further
