"""Floors: no module imports one of a floor above, and what one trial computes reads no file, clock or process."""

import ast

import pytest

from tests.launching import ROOT

# config; data and learn beside each other; sweep, study, report, commands.
FLOORS = {"config": 0, "data": 1, "learn": 1, "sweep": 2, "study": 3, "report": 4, "commands": 5}
OUTSIDE = {"os", "pathlib", "time", "datetime", "subprocess", "socket", "threading", "shutil", "tempfile", "io"}
MODULES = sorted((ROOT / "pretrain").glob("*/**/*.py"))


def imported(path):
    """The modules that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("floor", FLOORS)
def test_no_import_runs_upward(floor):
    mine = [path for path in MODULES if path.relative_to(ROOT / "pretrain").parts[0] == floor]
    assert mine
    for path in mine:
        others = {name.split(".")[1] for name in imported(path) if name.startswith("pretrain.")} & FLOORS.keys()
        assert not {other for other in others if other != floor and FLOORS[other] >= FLOORS[floor]}, path


def test_what_one_trial_computes_reads_no_file_clock_or_process():
    for path in (path for path in MODULES if "learn" in path.parts):
        assert not {name.split(".")[0] for name in imported(path)} & OUTSIDE, path
