"""The script for a quarter of an hour on a GPU, on CPUs."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.bench import accelerator, accelerator_parts
from tests.bench.accelerator import PARTS, SMALL
from tests.launching import ROOT


def test_lanes_are_compared_bit_by_bit():
    one = {"a": np.ones((3, 2), np.float32), "b": np.ones((3,), np.float32)}
    other = {"a": one["a"].copy(), "b": one["b"] * np.float32(1.0)}
    assert accelerator_parts.compared(one, other, 3) == {"equal": "3 of 3", "gap": 0.0}
    other["a"][1, 0] = np.nextafter(np.float32(1), np.float32(2))
    found = accelerator_parts.compared(one, {name: leaf[:2] for name, leaf in other.items()}, 2)
    assert found["equal"] == "1 of 2" and 0 < found["gap"] < 1e-6


def test_a_part_that_fails_is_a_line_and_others_go_on(monkeypatch, tmp_path):
    def failing(sizes, scratch):
        yield {"name": "a first", "trials": 2, "seconds": 1.0}
        raise MemoryError("out of\nmemory")

    def endless(sizes, scratch):
        yield {"name": "begun"}
        signal.raise_signal(signal.SIGALRM)  # as when the time is out

    parts = {"failing": failing, "fine": lambda *_: iter([{"name": "b", "ratio": 2.0}]), "endless": endless}
    monkeypatch.setattr(accelerator, "PARTS", parts)
    rows = list(accelerator.guarded([*parts, "fine"], SMALL, tmp_path, 3600.0))
    assert [(row["part"], row.get("name"), row.get("error")) for row in rows] == [
        ("failing", "a first", None),
        ("failing", None, "MemoryError: out of memory"),
        ("fine", "b", None),
        ("endless", "begun", None),
        ("endless", None, "OutOfTimeError: the 3600 s are spent"),
        ("fine", "b", None),
    ]
    (late,) = accelerator.guarded(["fine"], SMALL, tmp_path, 0.0)
    assert late["error"] == "left out, with 0 s left"
    assert [accelerator.line(row).split() for row in rows[:2]] == [
        ["failing", "a", "first", "2", "1", "s"],
        ["failing", "MemoryError:", "out", "of", "memory"],
    ]


@pytest.mark.slow
def test_every_part_goes_its_way_on_a_cpu(tmp_path):
    command = [sys.executable, "-m", "tests.bench.accelerator", "--small", "--programs", str(ROOT / ".cache" / "gpu")]
    env = {**os.environ, "OUT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "accelerator.json").read_text())["rows"]
    assert {row["part"] for row in rows} == {*PARTS} and not [row for row in rows if "error" in row], rows
    assert [row["equal"] for row in rows if row["part"] == "bits"] == ["3 of 3", "1 of 1"]
