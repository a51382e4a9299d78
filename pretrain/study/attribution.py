"""Parts of a gap between two corners of a factorial experiment."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.study.statistics import LEVEL, Estimate, estimate, sign_flip, step_of

Corner = tuple[bool, ...]  # whether each factor is switched on
Effect = tuple[str, ...]  # of one factor, or of a pair; the gap is of none


class Attribution(NamedTuple):
    """A gap, its factors' shares, which add up to it, and how much pairs of factors do together."""

    gap: Estimate
    shares: dict[str, Estimate]
    interactions: dict[tuple[str, str], Estimate]
    p_values: dict[str | tuple[str, str], float]  # of shares and interactions under sign flips, each by itself
    gap_p_value: float
    is_for_new_rows: bool = False  # whether intervals and p-values are


def attribute(
    corners: Mapping[Corner, np.ndarray], factors: Sequence[str], level: float = LEVEL, widest: float = math.inf
) -> Attribution:
    """Splits the gap from the corner with all factors off to the one with all on.

    Args:
      corners: a metric [seeds] at each of the 2^k corners, paired by seed.
      factors: the k factors' names, in a corner's order.
      widest: the largest difference that the metric can have, which no interval of the gap or a share exceeds.

    Returns:
      Each factor's Shapley value (1953): its effect, averaged over all orders of switching the factors on; and each
      pair's Shapley interaction index (Grabisch and Roubens, 1999): the effect of both less the sum of the effects of
      each alone, averaged over the states of the others. Both are taken seed by seed, so their intervals are a mean's.
    """
    found = effects(corners, factors)
    gap = found.pop(())
    alone = {effect[0]: values for effect, values in found.items() if len(effect) == 1}
    together = {(effect[0], effect[1]): values for effect, values in found.items() if len(effect) == 2}
    step = step_of(*(np.asarray(values, float) for values in corners.values()))
    return Attribution(
        estimate(gap, level, step).within(-widest, widest),
        {name: estimate(effect, level, step).within(-widest, widest) for name, effect in alone.items()},
        {pair: estimate(effect, level, step) for pair, effect in together.items()},
        {name: sign_flip(effect) for name, effect in (alone | together).items()},
        sign_flip(gap),
    )


def effects_of(factors: Sequence[str]) -> list[Effect]:
    """Returns the effects that a gap between so many factors is split into, the gap first."""
    return [effect for size in range(3) for effect in itertools.combinations(factors, size)]


def effects(corners: Mapping[Corner, np.ndarray], factors: Sequence[str]) -> dict[Effect, np.ndarray]:
    """Returns the gap, the factors' shares of it and their interactions, seed by seed.

    Args:
      corners: values [seeds, ...] at each of the 2^k corners.
      factors: the k factors' names, in a corner's order.
    """
    k = len(factors)
    values = {corner: np.asarray(corners[corner], float) for corner in itertools.product((False, True), repeat=k)}
    found = {effect: _average(values, tuple(map(factors.index, effect)), k) for effect in effects_of(factors) if effect}
    return {(): values[(True,) * k] - values[(False,) * k], **found}


def _average(values: Mapping[Corner, np.ndarray], players: tuple[int, ...], k: int) -> np.ndarray:
    """Returns the joint effect of factors over the states of the others, in Shapley's weights: [seeds]."""
    others = [index for index in range(k) if index not in players]
    total = np.zeros_like(values[(False,) * k])
    for size in range(len(others) + 1):
        weight = 1 / ((len(others) + 1) * math.comb(len(others), size))
        for on in itertools.combinations(others, size):
            total = total + weight * _joint(values, players, on, k)
    return total


def _joint(values: Mapping[Corner, np.ndarray], players: tuple[int, ...], on: tuple[int, ...], k: int) -> np.ndarray:
    """Returns the effect of some factors together beyond that of fewer of them, with others on: [seeds]."""
    result = np.zeros_like(values[(False,) * k])
    for states in itertools.product((False, True), repeat=len(players)):
        switched = {player for player, state in zip(players, states, strict=True) if state}
        corner = tuple(index in on or index in switched for index in range(k))
        result = result + (-1) ** (len(players) - len(switched)) * values[corner]
    return result
