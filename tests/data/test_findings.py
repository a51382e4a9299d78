"""Findings are read as they were written, and damage is no finding."""

import pytest

from pretrain.data import findings
from pretrain.data.findings import Finding

FOUND = (
    Finding("reading", "inputs are standardised"),
    Finding("test rows among the training rows", "3 of 20 are", "doubt", "leave them out", {"rows": 3, "of": 20}, "my"),
)


def test_findings_are_read_as_they_were_written(tmp_path):
    path = tmp_path / findings.FILE
    findings.write(FOUND, path)
    assert findings.read(path.read_bytes()) == FOUND
    assert [str(finding) for finding in FOUND] == ["inputs are standardised", "my: 3 of 20 are; leave them out"]


@pytest.mark.parametrize("content", [b"", b"{}1", b"[1]", b'[{"sentence": 1, "other": 2}]', b"[[]]", b"3"])
def test_other_content_is_none(content):
    with pytest.raises(ValueError):
        findings.read(content)
