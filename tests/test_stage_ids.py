"""Stages keep their ids from commit to commit, so that what stores hold is found again."""

import json

import pytest

from tests.stage_ids import GOLDEN, in_clean_process, versions


def test_stages_have_the_ids_that_they_had():
    recorded = json.loads(GOLDEN.read_text())
    if versions() != recorded["versions"]:
        pytest.skip(f"ids are recorded with {recorded['versions']}")
    found, before = in_clean_process()["ids"], recorded["ids"]
    changed = sorted(name for name in found.keys() | before.keys() if found.get(name) != before.get(name))
    assert found == before, f"{', '.join(changed)}: other ids; if that is meant, python -m tests.stage_ids --record"
