"""Effects of fields: a field without an effect beside some values of another is marked at its type."""

import dataclasses
from typing import Any, NamedTuple

from pretrain.config.fields import Config, bare, cached, get, hints, is_traced, with_values


class When(NamedTuple):
    """Marks a field that has an effect only where its neighbour ``name`` has one of the values."""

    name: str
    values: tuple[Any, ...]

    def holds(self, config: Any) -> bool:
        return getattr(config, self.name) in self.values


class Unless(When):
    """Marks a field that has no effect where its neighbour ``name`` has one of the values."""

    def holds(self, config: Any) -> bool:
        return not super().holds(config)


ABSENT = ()  # in the place of a number that a program does not hold
LATE = "late: came after programs were named, which hold it only where it has an effect"


def trimmed(config: Config) -> Config:
    """Returns a config without late numbers that have no effect, so that programs are as they were before these."""
    late = {name for name, kind in hints(type(config)).items() if LATE in getattr(kind, "__metadata__", ())}
    return with_values(config, {name: ABSENT for name in late if _silencer(config, name)})


def active(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaf fields that have an effect beside the others, by dotted name."""
    leaves: dict[str, Any] = {}
    for name in hints(type(config)):
        value = getattr(config, name)
        if not _silencer(config, name):
            is_section = dataclasses.is_dataclass(value)
            leaves |= active(value, f"{prefix}{name}.") if is_section else {prefix + name: value}
    return leaves


def decisive(config: Any) -> dict[str, Any]:
    """Returns the fields by which a config names a stage, by dotted name.

    Static fields at their defaults are left out, as the program shows them anyway: a new field with a default leaves
    the ids of stages as they were.
    """
    kept = {}
    for name, value in active(config).items():
        section, _, last = name.rpartition(".")
        owner = get(config, section)
        default = getattr(type(owner), last, dataclasses.MISSING)
        if last == "kind" or is_traced(hints(type(owner))[last]) or value != default:
            kept[name] = value
    return kept


def inert_because(config: Any, name: str) -> str | None:
    """Returns why a field has no effect beside the others, as ``corruption is 'none'``; None if it has an effect."""
    prefix = ""
    for step in name.split("."):
        if mark := _silencer(config, step):
            return f"{prefix}{mark.name} is {getattr(config, mark.name)!r}"
        config, prefix = getattr(config, step), f"{prefix}{step}."
    return None


def canonical(config: Config) -> Config:
    """Resets fields that have no effect to their defaults, so that stages that train the same get the same id."""
    defaults, values = type(config)(), {}
    for name in hints(type(config)):
        value = getattr(defaults if _silencer(config, name) else config, name)
        values[name] = canonical(value) if dataclasses.is_dataclass(value) else value
    return bare(type(config), values)


def _silencer(config: Any, name: str) -> When | None:
    """Returns the mark that denies a field of a config its effect; None if it has an effect."""
    return next((mark for mark in _marks(type(config), name) if not mark.holds(config)), None)


@cached
def _marks(config: type, name: str) -> tuple[When, ...]:
    return tuple(mark for mark in getattr(hints(config)[name], "__metadata__", ()) if isinstance(mark, When))
