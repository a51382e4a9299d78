"""``launch.py table``: a run's results in the terminal and in files."""

import csv
import dataclasses
import re
import shutil

import pyarrow.parquet as pq
import pytest
from scipy import stats

from pretrain.commands import report as report_command
from pretrain.commands import table as table_command
from pretrain.config.fields import ConfigError
from pretrain.study import from_store, networks, results
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
    assert [(row["seed"], row["n"]) for row in rows] == [(seed, 1) for _ in range(4) for seed in (0, 1)]
    assert list(rows[0])[:3] == ["seed", "finetune.encoder_init", "finetune.frozen_layers"]
    with files["csv"].open() as file:
        written = list(csv.DictReader(file))
    assert [float(row["test_accuracy_mean"]) for row in written] == [row["test_accuracy_mean"] for row in rows]
    assert "accuracy" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


def test_arms_that_are_not_listed_are_rows_of_their_own(run, tmp_path):
    target = tmp_path / "a.parquet"
    assert table_command.main([str(run), "--by", "finetune.frozen_layers", "--parquet", str(target)]) == 0
    rows = pq.read_table(target).to_pylist()
    arms = {(row["finetune.frozen_layers"], row["finetune.encoder_init"]) for row in rows}
    assert arms == {(frozen, init) for frozen in (0, 2) for init in ("pretrained", "he")} and len(rows) == 4


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


def test_a_store_that_was_moved_is_named(run, tmp_path):
    found = results.load_run(run)
    moved = tmp_path / "moved"
    shutil.copytree(found.experiment.store, moved, ignore=shutil.ignore_patterns("programs", "fingerprints"))
    assert from_store.at_store(found, str(moved)).experiment.store == str(moved)
    lost = dataclasses.replace(found, experiment=found.experiment.with_others({"store": str(tmp_path / "lost")}))
    with pytest.raises(ConfigError, match=r"cannot be measured: .* or name another store by --store"):
        from_store.measured(lost, "balanced_accuracy")
    measured = from_store.measured(from_store.at_store(lost, str(moved)), "balanced_accuracy")
    assert "test_balanced_accuracy" in measured.trials.column_names
    for command in (table_command, report_command):
        with pytest.raises(ConfigError, match=r"^store: .* is no store of trained stages"):
            command.main([str(run), "--store", str(tmp_path)])


def test_two_networks_of_a_seed_are_set_beside_each_other(run, tmp_path):
    done = table(tmp_path, run, "--mcnemar", "1")
    assert (done.returncode, done.stderr) == (0, "")
    found = re.findall(r"seed 1: of 64 test rows (\d+) are right with it alone and (\d+) without it alone", done.stdout)
    accuracy = {}
    for row in results.load_run(run).trials.to_pylist():
        if row["seed"] == 1:
            place = row["finetune.encoder_init"], row["finetune.frozen_layers"]
            accuracy[place] = round(64 * row["test_accuracy"])
    gains = [accuracy["pretrained", layers] - accuracy["he", layers] for layers in (2, 0)]
    assert [int(treated) - int(untreated) for treated, untreated in found] == gains
    assert "not about how they were trained" in done.stdout
    assert "mcnemar: 7 is no seed" in table(tmp_path, run, "--mcnemar", "7").stderr


@pytest.mark.parametrize(("treated", "untreated"), [(0, 0), (9, 1), (3, 3), (20, 41)])
def test_mcnemar_is_the_exact_binomial_test(treated, untreated):
    exact = stats.binomtest(treated, treated + untreated).pvalue if treated + untreated else 1.0
    assert networks.mcnemar(treated, untreated) == pytest.approx(exact)
