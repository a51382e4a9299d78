"""Counts and lists in sentences."""

from collections.abc import Sequence


def counted(n: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, as in ``1 seed`` or ``1,024 seeds``."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def some(names: Sequence[object], most: int) -> str:
    """Returns the first names of a list, and how many more there are, as in ``a, b and 3 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
