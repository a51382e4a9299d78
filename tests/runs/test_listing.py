"""The runs below a folder, as they lie there: finished, at work, killed, damaged."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

import pretrain
from pretrain.config.fields import ConfigError
from pretrain.data.findings import MISSING
from pretrain.runs.listing import list_runs
from pretrain.store import lock, manifests
from tests.launching import ROOT, call, refused


def made(path, question="Does it?", verdict='It "helps" (+1.0 point).', **files):
    path.mkdir(parents=True)
    contents = {"answer.json": json.dumps({"schema": 4, "question": question, "verdict": verdict}), **files}
    for name, content in contents.items():
        (path / name).write_text(content)
    manifests.write(path / "manifest.json", {"format": 1, "files": dict.fromkeys(contents, "")})
    return path


@pytest.fixture
def folder(tmp_path):
    made(tmp_path / "a")
    made(tmp_path / "deep" / "er" / "b", verdict="It hurts.")
    made(tmp_path / "store" / "packs" / "x")  # of no run
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".lock").write_text('{"process": 1, "host": "nowhere", "since": "then", "work": "pack 1/2"}')
    old = time.time() - 600
    os.utime(tmp_path / "killed" / ".lock", (old, old))
    return tmp_path


def by_name(folder):
    return {run.path.relative_to(folder).as_posix(): run for run in list_runs(folder)}


def test_every_run_is_listed_with_its_answer(folder):
    runs = by_name(folder)
    assert {name: run.state for name, run in runs.items()} == {
        "a": "finished",
        "deep/er/b": "finished",
        "killed": "stopped",
    }
    assert runs["a"].question == "Does it?" and runs["a"].verdict == 'It "helps" (+1.0 point).'
    assert runs["a"].n_bytes == (folder / "a" / "answer.json").stat().st_size
    assert [run.path.name for run in list_runs(folder)][-1] == "killed"


def test_a_run_from_which_trials_are_missing_is_incomplete(folder):
    made(folder / "lost", **{"findings.json": json.dumps([{"kind": MISSING, "sentence": "1 of 8 trials is missing"}])})
    made(folder / "noted", **{"findings.json": json.dumps([{"kind": "reading", "sentence": "3 rows"}])})
    made(folder / "odd", **{"findings.json": "{"})
    states = {name: run.state for name, run in by_name(folder).items()}
    assert (states["lost"], states["noted"], states["odd"]) == ("incomplete", "finished", "damaged")
    assert "incomplete" in call(["runs", folder], folder).stdout


def test_runs_are_found_by_their_tags(folder):
    made(folder / "tagged", **{"experiment.json": json.dumps({"seeds": 8, "tags": ["talk", "two words"]})})
    made(folder / "other", **{"experiment.json": json.dumps({"tags": ["talks"]})})
    made(folder / "before tags", **{"experiment.json": "{}"})
    assert by_name(folder)["tagged"].tags == ("talk", "two words") and by_name(folder)["before tags"].tags == ()
    assert [run.path.name for run in list_runs(folder, tag="talk")] == ["tagged"]
    assert len(list_runs(folder)) == 6 and not list_runs(folder, "tal")
    done = call(["runs", folder, "--tag", "two words"], folder)
    assert "1 run in" in done.stdout and "tags" in done.stdout and "talk two words" in done.stdout
    (folder / "begun").mkdir()
    made(folder / "odd", **{"experiment.json": "[1]"})
    with lock.held(folder / "begun", ["talk"]):  # its first run, which has left no experiment yet
        assert by_name(folder)["begun"].tags == ("talk",) and by_name(folder)["begun"].state == "running"
    assert by_name(folder)["begun"].tags == () and by_name(folder)["odd"].state == "damaged"
    assert "tags" not in call(["runs", folder / "deep"], folder).stdout
    (folder / "tagged" / "experiment.json").write_text("[")
    assert by_name(folder)["tagged"].state == "damaged"


def test_a_run_that_is_held_is_at_work_until_its_process_ends(folder):
    script = (
        "import sys, time, pathlib; from pretrain.store import lock\n"
        "with lock.held(pathlib.Path(sys.argv[1])) as note:\n"
        "    note('pack 3/4'); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder / "a")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout.readline() == "held\n"
        run = by_name(folder)["a"]
        assert (run.state, run.work) == ("running", "pack 3/4") and f"process {process.pid} on" in run.holder
        done = call(["runs", folder], folder)
        assert "1 at work" in done.stdout and "pack 3/4" in done.stdout
        process.kill()
    assert by_name(folder)["a"].state == "finished"


def test_a_process_of_another_host_counts_while_it_notes(folder):
    path = folder / "killed" / ".lock"
    path.write_text(
        json.dumps({"process": 5, "host": f"not-{socket.gethostname()}", "since": "now", "work": "pack 1/2"})
    )
    run = by_name(folder)["killed"]
    assert (run.state, run.work) == ("running", "pack 1/2")


def test_damage_and_oddities_cost_no_other_run(folder):
    (folder / "deep" / "er" / "b" / "manifest.json").write_text("{")
    for number, content in enumerate(["", "[]", '{"process": "x"}', "\0"]):
        (folder / f"odd{number}").mkdir()
        (folder / f"odd{number}" / ".lock").write_text(content)
    shutil.copytree(folder / "a", folder / "cut")
    (folder / "cut" / "answer.json").unlink()
    runs = by_name(folder)
    assert runs["deep/er/b"].state == runs["cut"].state == "damaged"
    assert runs["a"].state == "finished" and {runs[f"odd{n}"].state for n in range(4)} == {"stopped"}


def test_a_real_run_is_listed(run):
    (listed,) = pretrain.list_runs(run)
    answer = pretrain.load_run(run).answer
    assert (listed.question, listed.verdict) == (answer.question, answer.sentence) and listed.state == "finished"
    assert listed.n_bytes > 1000


def test_the_command_prints_a_row_a_run(folder):
    done = call(["runs", folder], folder)
    assert done.returncode == 0 and "3 runs in" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith(("a ", "deep/er/b ", "killed "))]
    assert len(rows) == 3 and "It hurts." in done.stdout
    refused(call(["runs", "absent"], folder), "is no directory; name the one in which runs lie")
    with pytest.raises(ConfigError, match="is no directory"):
        list_runs(folder / "absent")


def test_the_lock_is_left_as_it_was(folder):
    with lock.held(folder / "a") as note:
        note("pack 1/1")
        before = (folder / "a" / ".lock").read_bytes()
        list_runs(folder)
        assert (folder / "a" / ".lock").read_bytes() == before
