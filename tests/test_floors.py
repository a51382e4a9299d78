"""Floors: no module imports one of a floor above, and what one trial computes reads no file, clock or process."""

import ast

import pytest

from tests.launching import ROOT

# config; data and learn beside each other; and up.
ORDER = (("config",), ("data", "learn"), ("plan",), ("store",), ("execute",), ("engines",), ("runs",), ("models",))
ORDER = (*ORDER, ("study",), ("report",), ("running", "judging"), ("library", "commands", "sklearn"))
FLOORS = {folder: floor for floor, folders in enumerate(ORDER) for folder in folders}
OUTSIDE = {"os", "pathlib", "time", "datetime", "subprocess", "socket", "threading", "shutil", "tempfile", "io"}
FACE = ("__init__.py", "__main__.py")
MODULES = sorted(
    path for path in (ROOT / "pretrain").glob("**/*.py") if path.relative_to(ROOT / "pretrain").as_posix() not in FACE
)


def floor_of(path):
    return path.relative_to(ROOT / "pretrain").with_suffix("").parts[0]


def imported(path):
    """The modules that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_folder_and_every_module_beside_them_has_a_floor():
    assert set(map(floor_of, MODULES)) == FLOORS.keys()


@pytest.mark.parametrize("floor", FLOORS)
def test_no_import_runs_upward(floor):
    for path in (path for path in MODULES if floor_of(path) == floor):
        others = {name.split(".")[1] for name in imported(path) if name.startswith("pretrain.")} & FLOORS.keys()
        assert not {other for other in others if other != floor and FLOORS[other] >= FLOORS[floor]}, path


def test_what_one_trial_computes_reads_no_file_clock_or_process():
    for path in (path for path in MODULES if "learn" in path.parts):
        assert not {name.split(".")[0] for name in imported(path)} & OUTSIDE, path
