"""Families of comparisons: the question's own, and those that explore, each of which keeps to 5 % by itself."""

from collections.abc import Mapping, Sequence

import numpy as np

from pretrain.config import StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.study.statistics import Verdict, step_down


def in_family(point: Mapping[str, object], study: StudyConfig) -> bool:
    """Returns whether a comparison is of the question's own family.

    Args:
      point: the swept values of its treatment.
      study: whose family holds for each field that it names one of the values it names.
    """
    allowed: dict[str, list[str]] = {}
    for condition in study.family:
        name, _, value = condition.partition("=")
        allowed.setdefault(name, []).append(value)
    return all(name in point and any(_is(point[name], text) for text in texts) for name, texts in allowed.items())


def check_family(points: Sequence[Mapping[str, object]], study: StudyConfig) -> None:
    """Checks that the question has a comparison of its own.

    Raises:
      ConfigError: no comparison has a value that the family names, or none has all of them.
    """
    for condition in study.family:
        name, _, text = condition.partition("=")
        values = list(dict.fromkeys(_written(point[name]) for point in points if name in point))
        if not any(_is(point[name], text) for point in points if name in point):
            compared = f"compared are {', '.join(values)}" if values else "no comparison has this field"
            raise ConfigError("study.family", condition, f"names no comparison; {compared}")
    if study.family and not any(in_family(point, study) for point in points):
        raise ConfigError("study.family", " ".join(study.family), "names no comparison that has all of these values")


def adjusted(
    effect: Sequence[float],
    nil: Sequence[float],
    is_own: Sequence[bool],
    settled: Sequence[tuple[bool, Verdict]] = (),
) -> list[tuple[float, float]]:
    """Returns p-values of open comparisons adjusted within the question's family and within the others, each by itself.

    Args:
      effect: p-values of no effect.
      nil: p-values of an effect that matters.
      is_own: whether each is of the question's own family.
      settled: whether comparisons that earlier looks settled are of it, and their verdicts; each still counts for the
        claims that were not made of it, since else those that are open would be selected.
    """
    result = [(1.0, 1.0)] * len(effect)
    for family in (True, False):
        members = [place for place, is_member in enumerate(is_own) if is_member == family]
        verdicts = [verdict for is_member, verdict in settled if is_member == family]
        n_nil = verdicts.count("no difference")
        n_effect = verdicts.count("helps") + verdicts.count("hurts")
        others = (len(verdicts) - n_effect, len(verdicts) - n_nil)
        p_values = np.array([[side[place] for place in members] for side in (effect, nil)])
        for place, *pair in zip(members, *step_down(p_values, others).tolist(), strict=True):
            result[place] = (pair[0], pair[1])
    return result


def _is(value: object, text: str) -> bool:
    """Returns whether a condition names a swept value."""
    try:
        return _written(value) == text or (isinstance(value, int | float) and float(text) == value)
    except ValueError:
        return False


def _written(value: object) -> str:
    """Returns a swept value as one writes it in an axis."""
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
