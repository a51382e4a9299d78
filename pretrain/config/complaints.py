"""Findings of pydantic, in the words of a config's fields."""

import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_BRANCH = re.compile(r"bool|int|float|str|(constrained-|function-|literal\[|tuple\[).*", re.DOTALL)  # pydantic's names


def complaint(error: ValidationError) -> str:
    """Returns the fault of a value, from the first finding of a failed validation.

    A value that may be of several types has a finding for each: what counts is that for the type that the value has.
    """
    first, *others = error.errors()
    found = [first, *(other for other in others if _is_branch(first) and _is_branch(other, first["loc"][:-1]))]
    of_values = [one for one in found if not one["type"].endswith(("_type", "_parsing", "literal_error"))]
    messages = [_plain(one["msg"]) for one in of_values[:1] or found]
    if len(messages) == 1:
        return messages[0]
    kinds = (message.removeprefix("should be ").partition(", unable")[0] for message in messages)
    return f"should be {' or '.join(kinds)}"


def _plain(message: str) -> str:
    message = message.replace("Input should", "should").replace("Tuple should", "should")
    return message.replace(" after validation, not 0", "").removeprefix("Value error, ")


def _is_branch(finding: Any, place: tuple[int | str, ...] | None = None) -> bool:
    """Returns whether a finding is for one type of several, and where a place is given, whether it is there."""
    *parents, last = finding["loc"] or ("",)
    return bool(_BRANCH.fullmatch(str(last))) and place in (None, tuple(parents))


def misplaced(error: ValidationError, known: Mapping[str, Any]) -> tuple[str, Any, str]:
    """Returns the field that failed a validation, its value, and what is wrong with it.

    Args:
      error: of the validation.
      known: the fields of the config class, by dotted name.
    """
    first = error.errors()[0]
    parts: list[str] = []
    for part in map(str, first["loc"]):
        kinds = typing.get_args(known.get(".".join([*parts, "kind"]), None))
        if part not in kinds:  # pydantic's place holds the kind that the section has, too
            parts.append(part)
    if _is_branch(first):
        parts.pop()
    name, value, what = ".".join(parts), first["input"], complaint(error)
    if first["type"].startswith("union_tag") and f"{name}.kind" in known:
        name, value = f"{name}.kind", value.get("kind")
        *kinds, last = map(repr, typing.get_args(known[name]))
        what = f"should be {', '.join(kinds)} or {last}"
    return name, value, what
