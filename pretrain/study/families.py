"""Families of comparisons: the question's own, and those that explore, each of which keeps to 5 % by itself."""

from collections.abc import Mapping, Sequence

from pretrain.config import StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.study.statistics import holm


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

    Args:
      points: the swept values of the treatment of each comparison.
      study: whose family is checked.

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


def adjusted(p_values: Sequence[float], is_own: Sequence[bool]) -> list[float]:
    """Returns p-values adjusted within the question's own family and within the others, each by itself (Holm)."""
    result = [1.0] * len(p_values)
    for family in (True, False):
        members = [place for place, is_member in enumerate(is_own) if is_member == family]
        for place, value in zip(members, holm([p_values[place] for place in members]), strict=True):
            result[place] = value
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
