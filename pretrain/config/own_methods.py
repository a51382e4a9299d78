"""Methods and endings of the user's own: config classes of the records that their files define, ``FILE.py:NAME``."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pretrain.config.complaints import misplaced
from pretrain.config.fields import STRICT, ConfigError, Open, hints, section_classes
from pretrain.config.kinds import SweptValue
from pretrain.config.method import Method
from pretrain.config.own_code import NAMED, OWN_MODULE, blamed, made
from pretrain.config.paths import path_of

_RECORDED: ContextVar[bytes | None] = ContextVar("recorded", default=None)  # an experiment that is read, not run
Made = TypeVar("Made")


def _find(section: str, kind: str) -> type | None:
    """Returns the config class of a kind of a section, the same until its file changes; None where it is of no file.

    Raises:
      ConfigError: the file defines no such method, or fails.
    """
    if ".py" not in kind:
        return None
    if not (match := NAMED.fullmatch(kind)):
        raise ConfigError(f"{section}.kind", kind, "names no method; write FILE.py:NAME")
    if content := _RECORDED.get():
        return _stand_in(section, kind, content)
    field, before = f"{section}.kind", (OWN if section == METHOD else OWN_ENDINGS).found.get(kind)
    if before and issubclass(before, Method) and before.record is None and not path_of(field, match[1]).is_file():
        return before
    return made(field, kind, match[1], match[2], lambda record: _checked(section, kind, match[2], record))


METHOD, ENDING = "pretrain.method", "finetune.ending"  # sections
# The kinds that joined, in the process as a whole.
OWN, OWN_ENDINGS = (Open(functools.partial(_find, section)) for section in (METHOD, ENDING))


def _checked(section: str, kind: str, name: str, record: Any) -> type:
    """Returns the config class of what a file defines by a name."""
    field = f"{section}.kind"
    if record is None:
        raise ConfigError(field, kind, f"names {name}, which its file does not define")
    config = getattr(record, "config", None)
    if isinstance(record, type) or not (isinstance(config, type) and issubclass(config, Method)):
        remedy = "must be a pretrain.learn.method.Method, its config a class of pretrain.config.method.Method"
        raise ConfigError(field, kind, f"names {name}, which {remedy}")
    if config is Method and (forgotten := _config_beside(record)):
        raise ConfigError(
            field, kind, f"names {name}, which lacks the fields of {forgotten}; give it config={forgotten}"
        )
    if getattr(record, "fit", None):
        raise ConfigError(field, kind, f"names {name}, which fits on the host, where nothing is traced; let init fit")
    if section == ENDING and record.update is not record._field_defaults["update"]:
        raise ConfigError(
            field, kind, f"names {name}, which makes updates, as no ending of your own does; let init fit"
        )
    return _class_of(section, kind, record)


def _config_beside(record: Any) -> str:
    """Returns the name of a config class that the file of one of a record's functions defines; of none nothing."""
    files = {part.__module__ for part in record if callable(part) and part.__module__.startswith(OWN_MODULE)}
    found = (each for file in files for each in vars(sys.modules[file]).values() if isinstance(each, type))
    return next((each.__name__ for each in found if issubclass(each, Method) and each.__module__ in files), "")


@functools.cache
def _class_of(section: str, kind: str, record: Any) -> type:
    """Returns the config class of a record, with the kind that names it as a field."""
    config = record.config
    if "__dataclass_fields__" not in vars(config):  # which takes no decorator
        config = dataclass(frozen=True, config=STRICT)(config)
    for field in dataclasses.fields(config):
        if field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{section}.{field.name}", None, f"has no default in {kind}; give it one")
    own = _of_kind(kind, config, {"record": record, "section": section})
    held = next((field for field, of_field in hints(own).items() if section_classes(of_field)), None)
    if held:
        raise ConfigError(f"{section}.{held}", kind, "holds fields of its own; give the method each of them")
    try:
        hash(TypeAdapter(own).validate_python({field: getattr(own(), field) for field in hints(own)}, strict=False))
    except ValidationError as error:
        wrong, value, fault = misplaced(error, {})
        raise ConfigError(f"{section}.{wrong}", value, f"{fault}, by default, too (in {kind})") from None
    record.register(own)
    return own


def _of_kind(kind: str, config: type, values: dict[str, Any]) -> Any:
    """Returns a config class with a kind, and with further attributes."""
    body = {"__annotations__": {"kind": Literal[kind]}, "__module__": config.__module__, "kind": kind, **values}
    return dataclass(frozen=True, config=STRICT)(type(config.__name__, (config,), body))


def recorded(content: bytes, read: Callable[[str], Made]) -> Made:
    """Reads an experiment without running files of the user's: a method has the fields that the experiment gives it.

    Nothing can be trained by it.
    """
    token = _RECORDED.set(content)
    try:
        return read(content.decode())
    finally:
        _RECORDED.reset(token)


def is_recorded() -> bool:
    """Returns whether an experiment is read whose files of the user's are not run."""
    return _RECORDED.get() is not None


@functools.lru_cache(maxsize=64)
def _stand_in(section: str, kind: str, content: bytes) -> type:
    """Returns a config class with the fields that an experiment gives a kind, or gives any in a sweep."""
    found = json.loads(content)
    outer, _, inner = section.partition(".")
    method = found.get(outer, {}).get(inner, {})
    axes = [*found.get("sweep", ()), found.get("per_layer", {})]
    swept = {name: listed[0] for axis in axes for name, listed in axis.items() if listed}
    values = {name.rpartition(".")[2]: value for name, value in swept.items() if name.startswith(f"{section}.")}
    values |= method if method.get("kind") == kind else {}
    values.pop("kind", None)
    types = {**dict.fromkeys(values, SweptValue), "kind": Literal[kind]}
    return _of_kind(kind, Method, {"__annotations__": types, "trains_deep": True, "section": section, **values})


def blamed_on(method: Any) -> AbstractContextManager[None]:
    """Reports what a method of the user's raises as a mistake in the field that names it."""
    if ".py:" not in method.kind:
        return nullcontext()
    field = f"{method.section}.kind"
    path = path_of(field, method.kind.rpartition(":")[0])
    if method.record is None:  # of a finished run
        raise ConfigError(field, method.kind, f"names {path}, which was not read; load the experiment anew")
    return blamed(field, method.kind, path)


def validated_by(union: Open) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Returns a validator of configs of a union: one of the user's own from its fields by name, as JSON holds them."""

    def validated(value: Any, handler: Callable[[Any], Any]) -> Any:
        is_named = isinstance(value, dict)
        own = union(value.get("kind") if is_named else getattr(value, "kind", None))
        if own is None:
            if is_named:  # JSON's lists are Python's by now, and a strict tuple takes none
                value = {name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}
            return handler(value)
        return TypeAdapter(own).validate_json(json.dumps(value)) if is_named else value

    return validated


def written(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Returns a method's fields by name, those of the user's own among them."""
    return TypeAdapter(type(value)).dump_python(value, mode="json") if ".py:" in value.kind else handler(value)
