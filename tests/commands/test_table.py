"""``launch.py table``: a run's results in the terminal and in files."""

import csv
import re

import pyarrow.parquet as pq
import pytest

from pretrain.commands import table as table_command
from pretrain.config.fields import ConfigError
from tests.launching import N_TRIALS, call, refused


def table(path, *argv):
    return call(["table", *argv], path)


def test_a_run_is_printed_grouped_by_what_was_swept(run, tmp_path):
    done = table(tmp_path, run)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if re.match("(pretrained|he) +[02] ", line)]
    assert len(rows) == 4 and all(re.search(r"0\.\d{4} ±0\.\d{4} +2$|– +2$", row) for row in rows)


def test_tables_are_written_as_csv_and_parquet(run, tmp_path, capsys):
    files = {"csv": tmp_path / "a.csv", "parquet": tmp_path / "a.parquet"}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert table_command.main([str(run), "--by", "seed", "--metrics", "test_accuracy", *options]) == 0
    rows = pq.read_table(files["parquet"]).to_pylist()
    assert [(row["seed"], row["n"]) for row in rows] == [(0, 4), (1, 4)]
    with files["csv"].open() as file:
        written = list(csv.DictReader(file))
    assert [float(row["test_accuracy_mean"]) for row in written] == [row["test_accuracy_mean"] for row in rows]
    assert "accuracy" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


def test_every_trial_can_be_written(run, tmp_path):
    target = tmp_path / "trials.csv"
    assert table_command.main([str(run), "--trials", "--csv", str(target)]) == 0
    with target.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N_TRIALS and rows[0]["finetune.encoder_init"] == "pretrained"


def test_a_file_that_cannot_be_written_is_named_and_not_half_there(run, tmp_path, capsys):
    (tmp_path / "a.csv").mkdir()
    for target in (tmp_path / "a.csv", tmp_path / "none" / "a.csv"):
        assert table_command.main([str(run), "--csv", str(target)]) == 1
        assert str(target) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("argv", "reported"),
    [
        (["RUN", "--by", "finetune.frozen"], "by: 'finetune.frozen'.*'finetune.frozen_layers'"),
        (["RUN", "--metrics", "acuracy"], "metrics: 'test_acuracy'.*'test_accuracy'"),
        (["RUN", "--metric", "x"], "option: '--metric'.*--metrics"),
        (["nowhere"], "run: 'nowhere' is no directory"),
        ([], "arguments: ''"),
    ],
)
def test_a_mistake_is_reported_in_one_line(argv, reported, run):
    with pytest.raises(ConfigError, match=reported) as caught:
        table_command.main([str(run) if word == "RUN" else word for word in argv])
    assert "\n" not in str(caught.value)


def test_the_launcher_reports_a_mistake_with_exit_code_2(tmp_path):
    refused(table(tmp_path, tmp_path / "nowhere"), "run: ", "nowhere", "is no directory")
