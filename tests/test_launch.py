"""The whole program, from its command line to its files, each run in a process of its own."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain.config import from_json, to_json
from pretrain.study import report

ROOT = Path(__file__).parents[1]
OPTIONS = [
    *("--data.validation", "60"),
    *("--encoder.widths", "12", "6"),
    *("--pretrain.epochs", "1"),
    *("--pretrain.batch-size", "20"),
    *("--finetune.labels", "100"),
    *("--finetune.batch-size", "20"),
    *("--finetune.epochs", "2"),
    *("--seeds", "2"),
]
N_STAGES, N_TRIALS = 12, 8  # two seeds of two phases, shared by two of the four fine-tunings
TABLES = {"trials.parquet", "curves.parquet", "stages.parquet", "timings.parquet"}
FILES = {"experiment.json", ".lock", "figures/first_batches.png"} | TABLES
DETERMINISTIC = ("trials.parquet", "curves.parquet")


class Site(NamedTuple):
    """A directory to run in; its stores share the programs compiled by whichever came first."""

    path: Path
    data: str
    programs: Path

    def command(self, *options, launcher=ROOT / "launch.py"):
        return [sys.executable, str(launcher), "geron", "--data.name", self.data, *OPTIONS, *map(str, options)]

    def at(self, name):
        """Options for a run and a store of a name, which exist from now on as far as programs need it."""
        store = self.path / f"{name}-store"
        store.mkdir(exist_ok=True)
        if not (store / "programs").exists():
            (store / "programs").symlink_to(self.programs)
        return ["--run-dir", self.path / f"{name}-run", "--store", store]

    def launch(self, *options):
        return execute(self.command(*options), self.path)


def execute(command, path, **options):
    return subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=300, **options)


def contents(path):
    """The content of every file under a directory, and the name of every directory."""
    return {
        place.relative_to(path).as_posix(): place.read_bytes() if place.is_file() else None for place in path.rglob("*")
    }


def results(run):
    return {name: (run / name).read_bytes() for name in DETERMINISTIC}


def n_run(done):
    """How many stages a run says it ran."""
    return int(re.search(rf"{N_TRIALS} trials, (\d+) of {N_STAGES} stages run", done.stdout)[1])


@pytest.fixture(scope="module")
def site(tiny_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("site")
    (path / "programs").mkdir()
    return Site(path, tiny_path, path / "programs")


@pytest.fixture(scope="module")
def first(site):
    """The first run, which compiles all programs and is never interrupted."""
    done = site.launch(*site.at("first"))
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def run(site, first):
    return site.path / "first-run"


def test_a_run_leaves_its_files_and_no_others(run):
    found = {name for name, content in contents(run).items() if content is not None}
    assert found == FILES
    assert (run / "figures" / "first_batches.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_trials_have_a_row_each_and_only_deterministic_columns(run):
    table = pq.read_table(run / "trials.parquet")
    assert table.column_names == [
        *("trial_id", "seed", "repeat", "finetune.encoder_init", "finetune.frozen_layers", "status"),
        *("test_accuracy", "test_loss", "validation_accuracy", "validation_loss"),
        *("pretrain_validation_mse", "pretrain_test_mse"),
    ]
    rows = table.to_pylist()
    points = [(row["finetune.encoder_init"], row["finetune.frozen_layers"], row["seed"]) for row in rows]
    assert points == [(init, frozen, seed) for init in ("pretrained", "he") for frozen in (2, 0) for seed in (0, 1)]
    assert len({row["trial_id"] for row in rows}) == N_TRIALS
    for row in rows:
        assert row["status"] == "ok"
        assert row["test_accuracy"] * 64 == pytest.approx(round(row["test_accuracy"] * 64), abs=1e-4)
        assert row["validation_accuracy"] * 60 == pytest.approx(round(row["validation_accuracy"] * 60), abs=1e-4)
        assert row["test_loss"] > 0 and row["validation_loss"] > 0
        mses = row["pretrain_validation_mse"], row["pretrain_test_mse"]
        assert mses == (None, None) if row["finetune.encoder_init"] == "he" else 0 < min(mses) < max(mses) < 1


def test_curves_hold_every_measurement_of_every_trial_once(run):
    table = pq.read_table(run / "curves.parquet")
    assert table.column_names == ["trial_id", "stage", "step", "metric", "value"]
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    always, validated = range(1, 11), (1, 2, 5, 10)
    finetune = {"loss": always, "pre_update_accuracy": always, "post_update_accuracy": always}
    finetune |= {"validation_accuracy": validated, "validation_loss": validated}
    phase = {"mse": always, "validation_mse": (10,)}
    expected = [
        (trial["trial_id"], stage, metric, step)
        for trial in trials
        for stage in ("pretrain/0", "pretrain/1", "finetune")
        if stage == "finetune" or trial["finetune.encoder_init"] == "pretrained"
        for metric, steps in (finetune if stage == "finetune" else phase).items()
        for step in steps
    ]
    found = [tuple(row[name] for name in ("trial_id", "stage", "metric", "step")) for row in table.to_pylist()]
    assert sorted(found) == sorted(expected)
    assert np.isfinite(table["value"].to_numpy()).all()


def test_the_last_of_a_curve_is_the_result_of_its_trial(run):
    curves = {
        (row["trial_id"], row["metric"]): row["value"]
        for row in pq.read_table(run / "curves.parquet").to_pylist()
        if row["stage"] == "finetune" and row["step"] == 10
    }
    for row in pq.read_table(run / "trials.parquet").to_pylist():
        for metric in ("validation_accuracy", "validation_loss"):
            assert row[metric] == pytest.approx(curves[row["trial_id"], metric], rel=1e-5)


def test_only_the_table_of_timings_tells_the_time(run):
    timings = pq.read_table(run / "timings.parquet")
    assert timings.column_names == ["stage_id", "stage", "seed", "run_seconds"]
    assert len(timings) == N_STAGES and min(timings["run_seconds"].to_pylist()) > 0
    for name in DETERMINISTIC:
        assert not [column for column in pq.read_table(run / name).column_names if column.endswith("_seconds")]


def test_the_experiment_reloads_as_it_was_run(run, site):
    text = (run / "experiment.json").read_text()
    experiment = from_json(text)
    assert to_json(experiment) == text
    assert experiment.sweep == ({"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (2, 0)},)
    assert (experiment.data.name, experiment.data.validation, experiment.encoder.widths) == (site.data, 60, (12, 6))
    assert (experiment.seeds, experiment.run_dir, experiment.store) == (2, str(run), str(site.path / "first-store"))


def test_the_table_and_the_answer_are_printed_and_progress_goes_elsewhere(first, run):
    for name in ("pretrained, 2 frozen", "pretrained, trainable", "He, 2 frozen", "He, trainable"):
        assert re.search(rf"^{name} .* 2$", first.stdout, re.MULTILINE)
    trials, curves = (pq.read_table(run / name) for name in DETERMINISTIC)
    assert f"\n{report.answer(trials, curves)}\n" in first.stdout
    assert str(run / "figures" / "first_batches.png") in first.stdout
    assert n_run(first) == N_STAGES
    stages = [line.split()[0] for line in first.stderr.splitlines() if "done in" in line]
    assert stages == ["pretrain/0", "pretrain/1", "finetune", "finetune"]
    assert "Warning" not in first.stderr


def test_running_again_runs_nothing_and_changes_nothing(site, run):
    before = results(run)
    again = site.launch(*site.at("first"))
    assert (again.returncode, again.stderr) == (0, "")
    assert n_run(again) == 0
    assert results(run) == before


def test_another_store_gives_the_same_tables_to_the_bit(site, run):
    done = site.launch(*site.at("other"))
    assert n_run(done) == N_STAGES
    assert results(site.path / "other-run") == results(run)


def copied(site, name):
    """Options for a run with a copy of the first run's stages."""
    options = site.at(name)
    shutil.copytree(site.path / "first-store" / "packs", site.path / f"{name}-store" / "packs")
    return options


def test_a_change_to_fine_tuning_repeats_no_pretraining(site, run):
    done = site.launch(*copied(site, "changed"), "--finetune.l2", "0.25")
    assert n_run(done) == N_TRIALS
    changed, before = (pq.read_table(path / "trials.parquet") for path in (site.path / "changed-run", run))
    assert changed["pretrain_test_mse"] == before["pretrain_test_mse"]
    assert changed["test_loss"] != before["test_loss"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(site, tmp_path):
    command = site.command("--dry-run", "--run-dir", "run", "--store", "store")
    done = execute(command, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{N_TRIALS} trials" in done.stdout and f" {N_STAGES} " in done.stdout
    packs = [line.split() for line in done.stdout.splitlines() if re.match(r"\d +(pretrain|finetune)", line)]
    assert [pack[1] for pack in packs] == ["pretrain/0", "pretrain/1", "finetune,", "finetune,"]
    # 36-12-36 and 36-12-6-12-36 units, then 36-12-6-3.
    assert {pack[-6] for pack in packs} == {"912", "1,074", "543"}
    assert contents(tmp_path) == {}


def refused(done, *parts):
    """Checks that a run was refused in one line, which holds the parts."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--seed", "3"], ["--seed", "did you mean --seeds?"]),
        (["--seeds", "many"], ["seeds: 'many'"]),
        (["--seeds", "0"], ["seeds: '0'"]),
        (["--seeds"], ["seeds: "]),
        (["--pretrain.optimizer.learning-rate", "-1"], ["pretrain.optimizer.learning_rate: '-1'"]),
        (["--encoder.widths", "12", "0"], ["encoder.widths: '12 0'"]),
        (["--encoder.activation", "swish"], ["encoder.activation: 'swish'"]),
        (["--finetune.frozen-layers", "3"], ["finetune.frozen_layers: 3", "encoder.widths (12, 6)"]),
        (["--finetune.batch-size", "101"], ["finetune.batch_size: 101", "finetune.labels 100"]),
        (["--pretrain.cache-codes", "perhaps"], ["pretrain.cache_codes: 'perhaps'"]),
        # Found only when the images are read.
        (["--finetune.labels", "201"], ["finetune.labels: 201", "200 training images"]),
        (["--data.name", "text.npz"], ["data.name: 'text.npz'"]),
        # Found only when something is to be written.
        (["--run-dir", "text.npz/run"], ["run_dir: 'text.npz/run'"]),
        (["--store", "text.npz"], ["store: 'text.npz'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) and value[0].startswith("--") else "",
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(options, parts, site, tmp_path):
    (tmp_path / "text.npz").write_text("This is no dataset, and no directory.")
    before = contents(tmp_path)
    refused(execute(site.command("--run-dir", "run", "--store", "store", *options), tmp_path), *parts)
    assert contents(tmp_path) == before


def launch_alone(path, *argv):
    return execute([sys.executable, str(ROOT / "launch.py"), *argv], path)


@pytest.mark.parametrize("argv", [["gerom"], ["geron", "extra"], ["geron", "geron"], ["../configs/geron"], [""]])
def test_a_config_that_is_not_there_is_told_in_one_line(argv, tmp_path):
    done = launch_alone(tmp_path, *argv)
    refused(done, repr(argv[-1]))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_config_with_its_question(flag, tmp_path):
    done = launch_alone(tmp_path, flag)
    assert (done.returncode, done.stderr) == (0, "")
    configs = sorted((ROOT / "configs").glob("*.py"))
    assert configs
    for config in configs:
        question = config.read_text().removeprefix('"""').splitlines()[0]
        assert re.search(rf"^ +{config.stem} +{re.escape(question)}$", done.stdout, re.MULTILINE)


def test_help_of_a_config_gives_its_documentation_and_its_defaults(tmp_path):
    done = launch_alone(tmp_path, "geron", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("Does pretraining slow a network down?", "python launch.py geron", "--finetune.frozen-layers"):
        assert text in done.stdout
    assert "(default: runs/geron)" in done.stdout
    # Without a config, geron's options are read.
    assert launch_alone(tmp_path, "--seeds", "3", "--help").stdout == done.stdout


def test_a_mistake_in_a_config_file_is_told_in_one_line(tmp_path):
    shutil.copy(ROOT / "launch.py", tmp_path)
    (tmp_path / "configs").mkdir()
    config = '"""Wrong."""\nfrom pretrain.config import Experiment, {kind}\n\n\ndef get_config():\n    return {call}\n'
    mistakes = {
        "Experiment(seeds=0)": ["seeds", " 0 "],
        "Experiment(finetune=FinetuneConfig(labels='100'))": ["FinetuneConfig", "labels", "'100'"],
        "Experiment(sweep=({'finetune.lables': (100,)},))": ["'finetune.lables'", "'finetune.labels'"],
        "Experiment(sweep=({'finetune.labels': 100},))": ["sweep", "finetune.labels", "100"],
        "Experiment(seed=3)": ["seed", "3"],
    }
    for call, parts in mistakes.items():
        (tmp_path / "configs" / "wrong.py").write_text(config.format(kind="FinetuneConfig", call=call))
        command = [sys.executable, "-B", str(tmp_path / "launch.py"), "wrong"]
        refused(execute(command, tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}), *parts)


def test_a_table_that_cannot_be_written_is_named(site, run):
    options = copied(site, "blocked")
    table = site.path / "blocked-run" / "trials.parquet"
    table.mkdir(parents=True)
    done = site.launch(*options)
    assert done.returncode == 1
    assert "trials.parquet" in done.stderr and "Traceback" not in done.stderr
    table.rmdir()
    assert n_run(site.launch(*options)) == 0
    assert results(site.path / "blocked-run") == results(run)


def test_a_full_disk_is_named_and_what_was_stored_before_is_kept(site, run):
    copied(site, "full")
    options = [*site.at("full"), "--finetune.l2", "0.25"]
    # No file may grow beyond 2 kB. The limit is a shell's, since a process that runs JAX must not fork.
    done = execute(["bash", "-c", 'ulimit -f 2; exec "$@"', "bash", *site.command(*options)], site.path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert str(site.path) in last and "earlier are intact" in last
    done = site.launch(*site.at("full"))
    assert done.returncode == 0 and n_run(done) == 0
    assert results(site.path / "full-run") == results(run)


def packs(store):
    return sorted((store / "packs").glob("*"))


def kill_when(command, path, is_time):
    """Starts a command, kills it as soon as it is time, and returns its exit code."""
    with subprocess.Popen(command, cwd=path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not is_time():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    return process.returncode


def test_a_killed_run_goes_on_where_it_was_and_ends_the_same_to_the_bit(site, run):
    options, store = site.at("killed"), site.path / "killed-store"
    assert kill_when(site.command(*options), site.path, lambda: packs(store)) == -signal.SIGKILL
    assert 0 < len(packs(store)) < 4
    assert not (site.path / "killed-run" / "trials.parquet").exists()
    done = site.launch(*options)
    assert done.returncode == 0
    assert 0 < n_run(done) < N_STAGES
    assert results(site.path / "killed-run") == results(run)


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_the_same_to_the_bit(site, run):
    options, delays = site.at("killed-often"), random.Random(0)
    for _ in range(20):
        until = time.monotonic() + delays.uniform(0.5, 4.0)
        if kill_when(site.command(*options), site.path, lambda until=until: time.monotonic() > until) == 0:
            break
    done = site.launch(*options)
    assert (done.returncode, len(packs(site.path / "killed-often-store"))) == (0, 4)
    assert results(site.path / "killed-often-run") == results(run)


def test_damaged_packs_are_named_and_run_again(site, run):
    options, store = copied(site, "damaged"), site.path / "damaged-store"
    cut, altered, _, _ = packs(store)
    largest = max(
        (file for file in (cut / "params").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size
    )
    os.truncate(largest, largest.stat().st_size // 2)
    curves = altered / "curves.parquet"
    content = bytearray(curves.read_bytes())
    content[len(content) // 2] ^= 1
    curves.write_bytes(content)

    done = site.launch(*options)
    assert done.returncode == 0
    for file in (largest, curves):
        assert str(file) in done.stderr
    assert done.stderr.count("will run again") == 2
    assert 0 < n_run(done) < N_STAGES
    assert results(site.path / "damaged-run") == results(run)
    assert {pack.name for pack in packs(store)} >= {cut.name, altered.name}

    healed = site.launch(*options)
    assert (n_run(healed), healed.stderr) == (0, "")
