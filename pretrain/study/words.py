"""Names of things as people read them."""

from collections.abc import Mapping

from pretrain.study.statistics import CORNERS


def arm_name(point: Mapping[str, object]) -> str:
    """Returns an arm's name: for the four corners as one says it, otherwise its swept values."""
    if set(point) == set(CORNERS):
        encoder = "He" if point[CORNERS[0]] == "he" else point[CORNERS[0]]
        frozen = point[CORNERS[1]]
        return f"{encoder}, {f'{frozen} frozen' if frozen else 'trainable'}"
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={_short(value)}" for name, value in point.items()) or "all trials"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
