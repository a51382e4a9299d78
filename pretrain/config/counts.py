"""Counts in sentences."""


def counted(n: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, as in ``1 seed`` or ``1,024 seeds``."""
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"
