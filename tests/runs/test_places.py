import os

import pytest

import pretrain
from pretrain import running
from pretrain.config import Experiment
from pretrain.runs import places
from tests.launching import call, contents, n_run, refused
from tests.test_library import GERON, SMALL

IDS = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def test_a_directory_that_nobody_typed_is_one_of_its_experiment_and_a_typed_one_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert places.place("runs/geron-{id}", IDS[0]) == str(tmp_path / "runs" / "geron-01234567")
    assert places.newest("runs/geron-{id}") == "runs/geron" and places.newest(Experiment.run_dir) == "runs/run"
    assert places.place("{id}/typed", IDS[0]) == str(tmp_path / "{id}" / "typed")
    assert places.newest("typed") is None and places.newest("{id}") is None


def test_the_link_leads_to_the_run_that_finished_last(tmp_path):
    field = str(tmp_path / "geron-{id}")
    for name in IDS:
        run = tmp_path / places.place(field, name)
        run.mkdir()
        places.link(field, run, pytest.fail)
        assert os.readlink(tmp_path / "geron") == run.name  # relative, so that the folder can be moved
        assert (tmp_path / "geron").resolve() == run and len([*tmp_path.glob("geron.*")]) == 0
    places.link(str(tmp_path / "geron"), tmp_path, pytest.fail)  # typed
    assert (tmp_path / "geron").resolve() == run


@pytest.mark.parametrize("make", ["mkdir", "touch", "symlink_to"])
def test_what_has_the_link_s_name_and_is_none_of_ours_stays_and_is_named(make, tmp_path):
    getattr(tmp_path / "geron", make)(*["elsewhere"] * (make == "symlink_to"))
    lines = []
    places.link(str(tmp_path / "geron-{id}"), tmp_path / "geron-1", lines.append)
    assert lines == [
        f"{tmp_path / 'geron'} is no link to a run beside it and stays as it is; this run is in {tmp_path / 'geron-1'}"
    ]
    assert not (tmp_path / "geron").is_symlink() or os.readlink(tmp_path / "geron") == "elsewhere"


def test_a_link_that_cannot_be_made_is_named(tmp_path):
    lines = []
    places.link(str(tmp_path / "absent" / "geron-{id}"), tmp_path, lines.append)
    (line,) = lines
    assert line.endswith(f"leads to another run or none (No such file or directory); this run is in {tmp_path}")


def test_another_experiment_leaves_a_finished_run_and_the_same_one_goes_on_there(site, first, tmp_path, monkeypatch):
    store = ["--store", site.path / "first-store"]
    done = call(site.argv(*store), tmp_path)
    assert done.returncode == 0 and n_run(done) == 0, done.stderr
    (run,) = (tmp_path / "runs").glob("geron-*")
    assert f"; {run / 'report.html'}" in done.stdout and (tmp_path / "runs" / "geron").resolve() == run
    before = contents(run)

    other = call(site.argv(*store, "--seeds", "1"), tmp_path)
    assert other.returncode == 0 and n_run(other) == 0, other.stderr
    (another,) = {*(tmp_path / "runs").glob("geron-*")} - {run}
    assert contents(run) == before and (tmp_path / "runs" / "geron").resolve() == another
    shown = call(["table", "runs/geron"], tmp_path)
    assert shown.returncode == 0 and not shown.stderr
    assert call(["report", "runs/geron", "--study.metric", "loss"], tmp_path).returncode == 0
    assert contents(run) == before and (tmp_path / "runs" / "geron").is_symlink()
    listed = call(["runs"], tmp_path).stdout
    assert listed.startswith("2 runs in ") and run.name in listed and another.name in listed

    call(site.argv(*store), tmp_path)
    assert {*(tmp_path / "runs").glob("geron-*")} == {run, another}
    assert contents(run).keys() == before.keys() and (tmp_path / "runs" / "geron").resolve() == run

    # One who typed its name left another experiment there, which an untyped run does not replace.
    options = ["--seeds", "1", "--finetune.labels", "50", "--finetune.encoder-init", "he"]
    assert call(site.argv(*store, *options, "--run-dir", run), tmp_path).returncode == 0
    there = contents(run)
    refused(call(site.argv(*store), tmp_path), f"run_dir: '{run}' holds another experiment; move it away")
    assert contents(run) == there
    assert call(site.argv(*store, *options), tmp_path).returncode == 0
    (third,) = {*(tmp_path / "runs").glob("geron-*")} - {run, another}

    # Killed before its files were there, as the whole of a run is one rename.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running.outcome, "write", lambda *_: 1 / 0)
    monkeypatch.setattr(running.outcome, "write_tables", lambda *_: None)
    values = {**SMALL, "data.name": site.data, "store": str(site.path / "first-store")}
    with pytest.raises(ZeroDivisionError):
        pretrain.run(GERON, values | {"seeds": 1, "finetune.labels": 60, "finetune.encoder_init": "he"})
    assert (tmp_path / "runs" / "geron").resolve() == third and contents(run) == there
