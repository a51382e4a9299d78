"""Findings: a record each of how data were read, or of a doubt about answers from them; and ``findings.json``."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

FILE = "findings.json"  # of a run, written with its tables
MISSING = "trials that are missing"  # a kind: of a doubt about a run in which some could not be trained

Severity = Literal["note", "doubt"]


class Finding(NamedTuple):
    """Something about the data of a run that its reader should know."""

    kind: str  # a noun: reading, default, or for a doubt a phrase such as ``test rows among the training rows``
    sentence: str
    severity: Severity = "note"  # a doubt may change the verdict, and stands beside it
    remedy: str = ""
    figures: Mapping[str, Any] = MappingProxyType({})  # as JSON holds them
    data: str = ""  # the data's name; none of a default

    def __str__(self) -> str:
        return "".join([f"{self.data}: " * bool(self.data), self.sentence, f"; {self.remedy}" * bool(self.remedy)])


def notes(sentences: Iterable[str], kind: str = "reading") -> list[Finding]:
    """Returns sentences as findings without figures."""
    return [Finding(kind, sentence) for sentence in sentences]


def write(findings: Iterable[Finding], path: Path) -> None:
    """Writes findings.

    Raises:
      OSError: the file could not be written.
    """
    content = [{**finding._asdict(), "figures": dict(finding.figures)} for finding in findings]
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def read(content: bytes) -> tuple[Finding, ...]:
    """Returns the findings that a file's content describes.

    Raises:
      ValueError: it is damaged, or of no such file.
    """
    try:
        return tuple(Finding(**each) for each in json.loads(content))
    except (TypeError, AttributeError) as error:
        raise ValueError(f"no list of findings ({error!r})") from None
