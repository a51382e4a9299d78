"""Findings of pydantic, in the words of a config's fields."""

import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

_BRANCH = re.compile(r"bool|int|float|str|(constrained-|function-|literal\[|tuple\[).*", re.DOTALL)  # pydantic's names


def complaint(error: ValidationError) -> str:
    """Returns the fault of a value, from the first finding of a failed validation.

    A value that may be of several types has a finding for each: the one for the value's type counts.
    """
    first, *others = error.errors()
    branches = [first, *(other for other in others if _is_branch(first) and _is_branch(other, first["loc"][:-1]))]
    of_values = [each for each in branches if not each["type"].endswith(("_type", "_parsing", "literal_error"))]
    messages = [_plain(each["msg"]) for each in of_values[:1] or branches]
    if len(messages) == 1:
        return messages[0]
    kinds = (message.removeprefix("should be ").partition(", unable")[0] for message in messages)
    return f"should be {' or '.join(kinds)}"


def _plain(message: str) -> str:
    message = message.replace("Input should", "should").replace("Tuple should", "should")
    return message.replace(" after validation, not 0", "").removeprefix("Value error, ")


def _is_branch(finding: Any, place: tuple[int | str, ...] | None = None) -> bool:
    """Returns whether a finding is for one type of several, and at the place, if any is given."""
    *parents, last = finding["loc"] or ("",)
    return bool(_BRANCH.fullmatch(str(last))) and place in (None, tuple(parents))


def misplaced(error: ValidationError, kinds_by_name: Mapping[str, Any]) -> tuple[str, Any, str]:
    """Returns the field that failed a validation, its value, and its fault.

    Args:
      error: of the validation.
      kinds_by_name: the type of each field of the config class, by dotted name.
    """
    first = error.errors()[0]
    names: list[str] = []
    for step in map(str, first["loc"]):
        kinds = typing.get_args(kinds_by_name.get(".".join([*names, "kind"]), None))
        if step not in kinds:  # pydantic's place holds the kind of a section, too
            names.append(step)
    if _is_branch(first):
        names.pop()
    name, value, fault = ".".join(names), first["input"], complaint(error)
    if first["type"].startswith("union_tag") and f"{name}.kind" in kinds_by_name:
        name, value = f"{name}.kind", value.get("kind")
        *others, last = map(repr, typing.get_args(kinds_by_name[name]))
        fault = f"should be {', '.join(others)} or {last}"
    return name, value, fault
