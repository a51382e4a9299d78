"""Sweeps as data: the points of grids, and random search as one grid a draw."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError

Grid = Mapping[str, Sequence[Any]]


class Uniform(NamedTuple):
    """Evenly distributed between two ends; whole numbers, ends included, where both ends are whole numbers."""

    low: float
    high: float


class LogUniform(NamedTuple):
    """Evenly distributed in the logarithm between two positive ends, which are whole numbers both or neither."""

    low: float
    high: float


def points(sweep: Sequence[Grid]) -> Iterator[dict[str, Any]]:
    """Yields each distinct point of a union of grids, as values by dotted name; one empty point without a grid.

    >>> list(points([{"pretrain.epochs": (1, 4), "seeds": (8,)}]))
    [{'pretrain.epochs': 1, 'seeds': 8}, {'pretrain.epochs': 4, 'seeds': 8}]

    Raises:
      ConfigError: an axis has no values.
    """
    seen = set()
    for grid in sweep or ({},):
        grid_points: list[dict[str, Any]] = [{}]
        for name, values in grid.items():
            if not values:
                raise ConfigError("sweep", name, "has no values; give it some, or leave it out")
            grid_points = [{**point, name: value} for point in grid_points for value in values]
        for point in grid_points:
            key = tuple(sorted((name, repr(value)) for name, value in point.items()))
            if key not in seen:
                seen.add(key)
                yield point


def random_search(
    axes: Mapping[str, Uniform | LogUniform | Sequence[Any]], draws: int, seed: int = 0
) -> tuple[dict[str, tuple[Any, ...]], ...]:
    """Draws points at random, for the ``sweep`` of an experiment.

    Args:
      axes: by dotted field name a distribution, or values of which each is as likely.
      draws: how many points.
      seed: of the draws. Each axis has draws of its own, so more draws, or another axis, leave the first ones as they
        were, and their stages stay stored.

    Returns:
      One grid of a single point a draw (Bergstra and Bengio, 2012, "Random search for hyper-parameter optimization").

    Raises:
      ConfigError: a distribution has no room between its ends, or there is nothing to draw.
    """
    if draws < 1 or not axes:
        raise ConfigError("draws", draws, "draws nothing; ask for 1 or more, from 1 axis or more")
    columns = {name: _draw(name, axis, draws, seed) for name, axis in axes.items()}
    return tuple({name: (column[index],) for name, column in columns.items()} for index in range(draws))


def _draw(name: str, axis: Any, draws: int, seed: int) -> list[Any]:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    places = rng.random(draws)
    if not isinstance(axis, Uniform | LogUniform):
        return [axis[int(place * len(axis))] for place in places]
    low, high = axis
    if not low < high or (isinstance(axis, LogUniform) and low <= 0):
        raise ConfigError("sweep", f"{name}={axis}", "has no room between its ends; give a lower and a higher one")
    whole = isinstance(low, int) and isinstance(high, int)
    ends = np.array([low, high + 1 if whole else high], float)
    if isinstance(axis, LogUniform):
        drawn = np.exp(np.log(ends[0]) + places * np.log(ends[1] / ends[0]))
    else:
        drawn = ends[0] + places * (ends[1] - ends[0])
    if whole:
        return [min(int(value), high) for value in drawn]
    # Seven digits are what float32 keeps.
    return [float(f"{value:.7g}") for value in drawn]
