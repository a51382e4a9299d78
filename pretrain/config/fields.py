"""Fields of nested frozen configs by dotted name: read and replaced.

A section of a config may be a union of config classes, distinguished by their field ``kind``; setting that field
changes the class.
"""

import contextlib
import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pretrain.config.complaints import complaint
from pretrain.config.suggestions import suggestion

TRACED = "traced: an argument of the compiled program"

STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")  # of every config
Config = TypeVar("Config")
Function = TypeVar("Function", bound=Callable[..., Any])

_LONGEST_VALUE = 300  # characters of a value in an error


class ConfigError(Exception):
    """A mistake in an experiment, reported in one line: the field, its value, and the remedy.

    Not a ``ValueError``, so that no parser or validator on the way up rewraps the line.
    """

    def __init__(self, field: str, value: Any, remedy: str):
        shown = repr(value)
        shown = shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"
        super().__init__(" ".join(f"{field}: {shown} {remedy}".splitlines()))

    @classmethod
    def of_all(cls, faults: "Iterable[ConfigError]") -> "ConfigError":
        """Returns one error of several faults, a line each."""
        return cls.of_lines("\n".join(dict.fromkeys(line for fault in faults for line in str(fault).splitlines())))

    @classmethod
    def of_lines(cls, text: str) -> "ConfigError":
        """Returns an error of lines that are written already."""
        error = cls.__new__(cls)
        Exception.__init__(error, text)
        return error


class Faults(list[ConfigError]):
    """Faults that are collected, so that all are reported at once."""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the fault that ends a block."""
        try:
            yield
        except ConfigError as fault:
            self.append(fault)

    def check(self) -> None:
        """Raises the faults that were noted, if there are any.

        Raises:
          ConfigError: there are; the only one itself, or all of them, a line each.
        """
        if self:
            raise self[0] if len(self) == 1 else ConfigError.of_all(self)


def cached(function: Function) -> Function:
    """Caches a function whose arguments are classes, which mypy takes for unhashable."""
    return functools.cache(function)  # type: ignore[return-value]


class Open:
    """Marks a union that config classes of the user's own join, each found by its kind."""

    def __init__(self, find: Callable[[str], type | None]):
        """Args: find: from a kind to its class; to None where a kind is of no file."""
        self._find = find
        self.found: dict[str, type] = {}

    def __call__(self, kind: Any) -> type | None:
        """Returns the class of a kind, which has joined the union by then; None where it is of no file."""
        made = self._find(kind) if isinstance(kind, str) else None
        if made and self.found.get(kind) is not made:
            self.found[kind] = made
            _forget_types()
        return made

    def forget(self) -> None:
        """Lets the classes that joined leave."""
        if self.found:
            self.found.clear()
            _forget_types()


def _forget_types() -> None:
    for function in (_fields_of_class, _field_types):
        typing.cast(Any, function).cache_clear()


def join(config: type, name: str, value: Any) -> None:
    """Lets a kind of the user's own join the union whose kind has a dotted name, if that is open.

    Raises:
      ConfigError: its file does not define it, or fails.
    """
    *sections, last = name.split(".")
    for section in sections:
        kind = hints(config).get(section)
        for union in _openings(kind) if last == "kind" else ():
            union(value)
        config = next(iter(section_classes(kind)), Open)
        if config is Open:
            return


def _openings(kind: Any) -> list[Open]:
    return [mark for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, Open)]


def fields(config: Any) -> Mapping[str, Any]:
    """Returns the type of every leaf field by its dotted name, annotations included.

    Of a config, a union has the fields of its present kind; of a config class, the fields of all its kinds.
    """
    if isinstance(config, type):
        return _fields_of_class(config)
    leaves = {}
    for name, (kind, sections, kinds) in _field_types(type(config)).items():
        if not sections:
            leaves[name] = kind
            continue
        leaves |= {f"{name}.{inner}": leaf for inner, leaf in fields(getattr(config, name)).items()}
        if kinds:
            leaves[f"{name}.kind"] = kinds
    return leaves


@cached
def _fields_of_class(config: type) -> Mapping[str, Any]:
    leaves = {}
    for name, (kind, sections, kinds) in _field_types(config).items():
        if not sections:
            leaves[name] = kind
        for section in sections:
            inner = {f"{name}.{inner}": leaf for inner, leaf in fields(section).items()}
            leaves = leaves | inner | leaves  # the first kind's, where several have the name
        if kinds:
            leaves[f"{name}.kind"] = kinds
    return types.MappingProxyType(leaves)


def _leaf(config: Any, name: str) -> Any:
    """Returns the type of one of the ``fields`` of a config; None where it has no such field."""
    head, _, rest = name.partition(".")
    kind, sections, kinds = _field_types(type(config)).get(head, (None, (), None))
    if not (rest and sections):
        return None if rest or sections else kind
    return kinds if kinds and rest == "kind" else _leaf(getattr(config, head), rest)


@cached
def _field_types(config: type) -> Mapping[str, tuple[Any, tuple[type, ...], Any]]:
    """Returns of every field of a config class its type, its ``section_classes``, and the kinds of a union."""
    types_by_name = {}
    for name, kind in hints(config).items():
        sections = section_classes(kind)
        kinds = typing.Literal[tuple(map(kind_of, sections))] if len(sections) > 1 else None
        types_by_name[name] = kind, sections, kinds
    return types_by_name


def section_classes(kind: Any) -> tuple[type, ...]:
    """Returns the config classes that a field's type allows, those that joined it last; none where it is a leaf."""
    joined = [each for union in _openings(kind) for each in union.found.values()]
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return tuple(each for each in (*kinds, *joined) if isinstance(each, type) and dataclasses.is_dataclass(each))


def kind_of(config_class: Any) -> str:
    """Returns the kind of a config class, which distinguishes it in a union."""
    return config_class.kind


def get(config: Any, name: str) -> Any:
    """Returns the value of the field with a dotted name; the config itself of an empty name."""
    for step in filter(None, name.split(".")):
        config = getattr(config, step)
    return config


def replace(config: Config, name: str, value: Any) -> Config:
    """Returns the config with the field of a dotted name set to a value; how fields fit together is not checked.

    Another ``kind`` of a union comes with its defaults.

    Raises:
      ConfigError: the name is no field of the config, or only of another kind, or the value does not fit the field.
    """
    join(type(config), name, value)
    kind = _leaf(config, name)
    if kind is None:
        raise ConfigError("sweep", name, unknown(config, name))
    try:
        value = _validator(kind).validate_python(value)
    except ValidationError as error:
        raise ConfigError(name, value, complaint(error)) from None
    section, _, last = name.rpartition(".")
    if last != "kind":
        return with_values(config, {name: value})
    if get(config, name) == value:
        return config
    return with_values(config, {section: _classes_by_kind(config, section)[value]()})


def replace_all(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns the config with fields set by dotted name, kinds before the fields of these kinds alone."""
    for name in sorted(values, key=lambda name: not name.endswith(".kind")):
        config = replace(config, name, values[name])
    return config


def unknown(config: Any, name: str) -> str:
    """Returns the fault of a name that is no field of a config: of another kind, or misspelt."""
    section, _, last = name.rpartition(".")
    if name in fields(type(config)) and f"{section}.kind" in fields(config):
        others = [kind for kind, kind_class in _classes_by_kind(config, section).items() if last in hints(kind_class)]
        return f"is of {section}.kind {' or '.join(others)}, not of {get(config, section).kind}; set {section}.kind"
    return f"is no field; {suggestion(name, fields(type(config)), '--help lists them')}"


def _classes_by_kind(config: Any, section: str) -> dict[str, type]:
    """Returns the config classes that a union allows, by their kind."""
    parent, _, field = section.rpartition(".")
    return {kind_of(each): each for each in section_classes(hints(type(get(config, parent)))[field])}


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a config with fields set by dotted name, unvalidated: the values may be tracers, or whole sections."""
    for name, value in values.items():
        head, _, rest = name.partition(".")
        present = {field: getattr(config, field) for field in hints(type(config))}
        config = bare(type(config), {**present, head: with_values(present[head], {rest: value}) if rest else value})
    return config


def bare(config: type[Config], values: Mapping[str, Any]) -> Config:
    """Returns a frozen config with all its fields set, unvalidated, and without cached properties."""
    made = object.__new__(config)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def defaults(config: type) -> dict[str, Any]:
    """Returns the defaults of a config class, whose fields all have one, by name."""
    made = {part.name: part.default_factory for part in dataclasses.fields(config) if callable(part.default_factory)}
    return {
        part.name: made[part.name]() if part.default is dataclasses.MISSING else part.default
        for part in dataclasses.fields(config)
    }


def is_traced(kind: Any) -> bool:
    """Returns whether a field's type marks it as traced."""
    return TRACED in getattr(kind, "__metadata__", ())


@cached
def hints(config: type) -> Mapping[str, Any]:
    """Returns the type of every field of a config class, sections among them, annotations included."""
    kinds = typing.get_type_hints(config, include_extras=True)
    return {field.name: kinds[field.name] for field in dataclasses.fields(config)}


@cached
def _validator(kind: Any) -> TypeAdapter:
    """Returns the validator of a field; to build it takes as long as thousands of uses."""
    return TypeAdapter(kind, config=STRICT)
