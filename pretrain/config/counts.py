"""Counts and lists in sentences."""

from collections.abc import Sequence


def counted(n: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun.

    >>> counted(1, "seed"), counted(1024, "seed")
    ('1 seed', '1,024 seeds')
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def some(names: Sequence[object], most: int) -> str:
    """Returns the first names of a list, and how many more there are, as in ``a, b and 3 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def written(number: float) -> str:
    """Returns a number with the digits that it needs, seven at most but of large ones, as in ``1,234,567`` or ``0.5``.

    Only those are in powers of ten that would need many zeros.
    """
    size = abs(number)
    if 1e6 <= size < 1e15 or number == 0:
        return f"{number:,.0f}"
    return f"{number:,.7g}" if 1e-4 <= size < 1e15 else f"{number:.7g}"
