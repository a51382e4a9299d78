"""Standard output and error: lost, full or of a poor encoding, they cost nothing, and nothing in them is obeyed."""

import io
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.commands import options, process, streams
from pretrain.config import Experiment, to_json
from pretrain.data import inputs_file
from pretrain.runs import holds, run_files
from tests.launching import ROOT

CONFIG = (
    '"""Gains – of ±1 é."""\nfrom pretrain.config import Experiment\n\n\ndef get_config():\n    return Experiment()\n'
)


METRICS = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "pretrain_test_mse")


class Broken(io.RawIOBase):
    """A device that takes so many bytes and no more."""

    def __init__(self, room):
        self.room = room

    def writable(self):
        return True

    def write(self, content):
        self.room -= len(content)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return len(content)


def launched(script, *argv, **settings):
    """Runs the command line in a process whose streams a shell has set up."""
    command = [sys.executable, "-m", "pretrain", *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    line = ["bash", "-c", f"set -o pipefail; {script}", "bash", *command]
    return subprocess.run(line, env=environment, capture_output=True, text=True)


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "geron.py").write_text(CONFIG, encoding="utf-8")
    return tmp_path / "configs"


@pytest.mark.parametrize(
    ("script", "argv", "code"),
    [
        ('"$@" | head -1', ["--help"], 0),
        ('"$@" | head -1', ["table", "--help"], 0),
        ('"$@" > /dev/full', ["--help"], 0),
        ('"$@" > /dev/full 2> /dev/full', ["geron", "--nonsense", "1"], 2),
        ('"$@" >&-', ["table", "--help"], 0),
        ('"$@" >&- 2>&- <&-', ["geron", "--nonsense", "1"], 2),
    ],
)
def test_a_lost_stream_costs_no_exit_code(script, argv, code, configs, monkeypatch):
    monkeypatch.chdir(configs.parent)
    done = launched(script, *argv)
    assert (done.returncode, done.stderr) == (code, "")


def test_an_encoding_without_our_signs_gets_others(configs, monkeypatch):
    monkeypatch.chdir(configs.parent)
    done = launched('"$@"', "configs/geron.py", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "") and "Gains - of +-1 e." in done.stdout


@pytest.mark.parametrize("room", [0, 1, 60])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_device_that_fills_up_is_written_no_more(name, room, monkeypatch):
    monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(Broken(room), 16), "utf-8"))
    with streams.unfailing():
        for _ in range(20):
            print("a line", file=getattr(sys, name), flush=True)
        options.console(getattr(sys, name)).print("a line")


@pytest.mark.parametrize("argv", [["table", "{}"], ["report", "{}"], ["store", "--store", "{}"]])
def test_commands_print_to_a_full_device_and_to_ascii(argv, configs, judged, monkeypatch, capsysbinary):
    argv = [word.format(judged) for word in argv]
    assert process.run(argv, configs) == 0
    whole = capsysbinary.readouterr().out
    assert whole
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Broken(0)), "utf-8"))
    assert process.run(argv, configs) == 0
    ascii_only = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(ascii_only, "ascii"))
    assert process.run(argv, configs) == 0
    assert ascii_only.getvalue().decode("ascii")


@pytest.fixture
def judged(tmp_path):
    """A directory that is a run's, of which every name that a user chooses is hostile, and a store's."""
    path = tmp_path / "x[bold]\x1b]0;mine\x07[/red]"
    path.mkdir(parents=True)
    layers = ("own.py:a\x1b[2J", "own.py:[/bold]")
    experiment = Experiment(sweep=({"data.name": layers},), run_dir=str(path), store=str(path), seeds=6)
    rows = [(name, seed) for name in layers for seed in range(6)]
    ids = [f"{number:064x}" for number in range(len(rows))]
    values = np.linspace(0.5, 0.6, len(rows))
    trials = {
        "trial_id": ids,
        "seed": [seed for _, seed in rows],
        "repeat": [0] * len(rows),
        "data.name": [name for name, _ in rows],
        "status": ["ok"] * len(rows),
        **dict.fromkeys(METRICS, values),
    }
    curves = {"trial_id": ids, "stage": "finetune", "step": 1, "metric": "validation_accuracy", "value": values}
    length = {name: [each] * len(rows) if isinstance(each, str | int) else each for name, each in curves.items()}
    stages = {"trial_id": ids, "stage": ["finetune"] * len(rows), "stage_id": ids}
    timings = {"stage_id": ids, "stage": ["finetune"] * len(rows), "seed": trials["seed"], "run_seconds": values}
    tables = {"trials": trials, "curves": length, "stages": stages, "timings": timings}
    with run_files.occupied(path), run_files.draft(path) as draft:
        (draft / "experiment.json").write_text(to_json(experiment), encoding="utf-8")
        for name, columns in tables.items():
            pq.write_table(pa.table(columns), draft / f"{name}.parquet")
        inputs_file.write({}, draft / inputs_file.FILE)
        run_files.commit(draft, run_files.experiment_id(ids), "a CPU")
    return path


@pytest.mark.parametrize("command", ["table", "report"])
def test_names_and_paths_are_text(command, configs, judged, capsys):
    assert process.run([command, str(judged)], configs) == 0
    out = capsys.readouterr().out
    assert "[/bold]" in out and r"\x1b[2J" in out and "\x1b" not in out
    if command == "report":
        assert r"x[bold]\x1b]0;mine\x07[/red]/report.html" in out.replace("\n", "")


def test_runs_of_a_store_are_named_as_they_are(configs, judged, capsys):
    with holds.held(judged, judged, ()):
        pass
    assert process.run(["store", "--store", str(judged)], configs) == 0
    out = capsys.readouterr().out
    assert r"x[bold]\x1b]0;mine\x07[/red]: 0 stages" in out and "\x1b" not in out


def test_a_fault_is_printed_without_control_characters(configs, capsys):
    assert process.run(["report", "no\x1b[2Jwhere\udcff\u202e"], configs) == 2
    err = capsys.readouterr().err
    assert not {"\x1b", "\u202e"} & set(err) and err.count("\n") == 1


@given(st.text())
def test_shown_text_holds_no_control_character(text):
    out = io.StringIO()
    options.console(out).print(text, soft_wrap=True)
    for written in (streams.shown(text), out.getvalue()):
        assert not [sign for sign in written if (ord(sign) < 32 and sign not in "\t\n") or 127 <= ord(sign) < 160]
    if text.isprintable():
        assert streams.shown(text) == text
