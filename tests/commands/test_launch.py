"""A config is named by its name among the configs, or by the path of its file."""

import os
import re
import subprocess
import sys

import pytest

from pretrain.commands.launch import main
from tests.launching import ROOT
from tests.undrawn import undrawn

CONFIG = '"""Mine?"""\nfrom pretrain.config import Experiment\n\n\ndef get_config():\n    return Experiment(seeds=3)\n'


def test_a_config_is_found_by_its_path_and_runs_in_a_directory_of_its_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["deep/mine.py", "--help"], configs=ROOT / "configs")
    shown = capsys.readouterr().out
    assert "Mine?" in shown and "'runs/mine-{id}')" in shown and "(default: 3)" in shown


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nope.py"], "config: 'nope.py' is no file; give the path of a config"),
        (["nope"], "config: 'nope' is not in {}, which holds no config; give the path of one"),
    ],
)
def test_a_config_that_is_not_there_is_reported_in_one_line(argv, line, tmp_path, capsys):
    assert main(argv, configs=tmp_path) == 2
    assert capsys.readouterr().err == line.format(tmp_path) + "\n"


def test_the_package_is_a_program_too(tmp_path):
    (tmp_path / "mine.py").write_text(CONFIG)
    command = [sys.executable, "-m", "pretrain", "mine.py", "--seeds", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("seeds: '0' ")


def test_a_run_warns_before_training_that_so_few_seeds_show_nothing(site, tmp_path, capfd):
    where = [*site.at("few-seeds"), "--finetune.frozen-layers", "0"]
    with undrawn():
        assert main([*site.argv(*where)], configs=ROOT / "configs") == 0
    first, devices, *progress = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"\d+ packs on \d+ CPU devices?", devices)
    assert first == "2 seeds settle nothing, at least 6 can: use --seeds 6"
    assert progress and all(" pack " in line for line in progress)
    with undrawn():
        assert main([*site.argv(*where)], configs=ROOT / "configs") == 0  # nothing is left to plan
    assert capfd.readouterr().err == ""
