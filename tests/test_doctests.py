"""Examples in docstrings run and give what they show."""

import doctest
import importlib

import pytest

from tests.launching import ROOT

SHOWN = sorted(path for path in (ROOT / "pretrain").rglob("*.py") if ">>> " in path.read_text())
NAMES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SHOWN]


def examples(module):
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, runner = importlib.import_module(name), doctest.DocTestRunner()
    shown: list[str] = []
    for test in examples(module):
        runner.run(test, out=shown.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(shown)
    assert not [*tmp_path.iterdir()]


def test_ten_public_functions_show_an_example():
    found = {test.name for name in NAMES for test in examples(importlib.import_module(name))}
    assert len(found) >= 10 and {"pretrain.judging.judge", "pretrain.runs.listing.list_runs"} <= found
    assert not any(name.rpartition(".")[2].startswith("_") for name in found)
