"""What else a person may ask for, or have lying about: one line, and nothing written."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pretrain.commands.launch import main
from pretrain.config.fields import ConfigError
from pretrain.store import lock
from tests.launching import OPTIONS, ROOT, started

CONFIGS = ROOT / "configs"


@pytest.fixture
def looped(tmp_path, monkeypatch):
    """A directory with a loop of links, to be in."""
    (tmp_path / "here").symlink_to("there")
    (tmp_path / "there").symlink_to("here")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "argv",
    [
        ["--run-dir", "here"],
        ["--run-dir", "here/deep"],
        ["--store", "here"],
        ["report", "here"],
        ["table", "here"],
        ["store", "--store", "here"],
        ["here.py"],
        ["report", "~nobody-of-this-name"],
        ["table", "~nobody-of-this-name"],
        ["store", "--store", "~nobody-of-this-name"],
        ["~nobody-of-this-name/mine.py"],
    ],
)
def test_a_path_that_leads_nowhere_is_refused_in_one_line(argv, looped, capsys):
    assert main(argv, CONFIGS) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert sorted(place.name for place in looped.iterdir()) == ["here", "there"]


@pytest.mark.parametrize(
    "ending", ["sys.exit(3)", "sys.exit()", "raise GeneratorExit", "class Mine(BaseException): ...\n    raise Mine"]
)
@pytest.mark.parametrize("where", ["get_config", "module"])
def test_a_config_that_leaves_is_a_mistake_like_any_other(where, ending, tmp_path, capsys):
    body = "    pass\n" if where == "module" else f"    {ending}\n"
    top = ending.replace("\n    ", "\n") if where == "module" else ""
    (tmp_path / "leaves.py").write_text(f"import sys\n{top}\ndef get_config():\n{body}")
    assert main([str(tmp_path / "leaves.py")], CONFIGS) == 2
    err = capsys.readouterr().err
    assert err.startswith("config: ") and "leaves.py:" in err and err.count("\n") == 1


@pytest.mark.parametrize("compare", ["nonsense.field", "run_dir", "finetune"])
def test_a_comparison_of_no_field_is_refused(compare, capsys):
    assert main(["--study.compare", compare], CONFIGS) == 2
    assert capsys.readouterr().err.startswith(f"study.compare: {compare!r} is no field; ")


@pytest.mark.parametrize(
    "field", ["pretrain.epochs", "pretrain.end_to_end_epochs", "finetune.epochs", "finetune.updates"]
)
def test_more_updates_than_curves_have_room_for_are_refused_before_memory_is_taken(field, tiny_path, tmp_path, capsys):
    options = [
        "geron",
        *OPTIONS,
        "--data.name",
        tiny_path,
        "--run-dir",
        tmp_path / "run",
        "--store",
        tmp_path / "store",
    ]
    if field == "pretrain.end_to_end_epochs":
        options += ["--pretrain.training", "end_to_end"]
    if field != "finetune.epochs":
        at = options.index("--finetune.epochs")
        del options[at : at + 2]
    for option in (["--dry-run"], []):
        argv = [*options, f"--{field.replace('_', '-')}", "1000000000", *option]
        assert main(list(map(str, argv)), CONFIGS) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"{field}: 1000000000 makes ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "pipe"])
def test_a_lock_that_is_no_file_is_neither_followed_nor_written(kind, tmp_path):
    place, victim = tmp_path / "run" / lock.NAME, tmp_path / "victim"
    place.parent.mkdir()
    victim.write_text("precious")
    if kind == "directory":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(victim if kind == "link" else tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"has a \.lock that is a link or no plain file"), lock.held(place.parent):
        raise AssertionError("held")
    assert victim.read_text() == "precious" and not (tmp_path / "gone").exists()


def test_a_large_or_hostile_lock_names_its_holder_briefly(tmp_path):
    with lock.held(tmp_path):
        (tmp_path / lock.NAME).write_text('{"process": 1, "host": "' + "x" * 10_000_000 + '", "since": "then"}')
        with pytest.raises(ConfigError, match="is in use by another process"), lock.held(tmp_path):
            raise AssertionError("held twice")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_start_ends_as_ctrl_c_does(number, tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "pretrain", "slow.py"]
    with started(command, tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    line = "interrupted; whatever was stored is kept, and the same command goes on from there\n"
    assert (process.returncode, err) == (130, line)


def test_a_hangup_that_is_ignored_stays_so(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(0.5)\n")
    command = ["nohup", sys.executable, "-m", "pretrain", "slow.py"]
    with started(command, tmp_path, stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert process.returncode == 2  # for it has no get_config
