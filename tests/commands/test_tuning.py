"""Launches with --tune: what is trained, what each arm chooses, what is said of it, and mistakes in a line."""

import json
import shutil

import numpy as np
import pytest

from pretrain import load_run
from pretrain.config import config_file
from pretrain.config.overrides import override
from pretrain.store.store import Store
from pretrain.study.power import smallest_seen
from tests.launching import ROOT, call, refused

RATE = "finetune.optimizer.learning_rate"
BRIEF = ["--encoder.layers", "8", "--seeds", "6", "--pretrain.epochs", "1", "--finetune.epochs", "2"]
TUNED = [*BRIEF, "--finetune.frozen-layers", "0", "--tune", f"{RATE}=0.001,0.01,0.1", "--study.tune-labels", "40"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, site):
    """A run of tuned arms: what it printed, its directory and its options."""
    root = tmp_path_factory.mktemp("tuned")
    (root / "store").mkdir()
    (root / "store" / "programs").symlink_to(site.programs)
    where = ["--data.name", site.data, "--run-dir", root / "run", "--store", root / "store"]
    done = call(["geron", *TUNED, *where], root)
    assert done.returncode == 0, done.stderr
    return done, root / "run", where


def test_every_arm_is_trained_on_the_same_grid_and_chooses_by_few_validation_rows(tuned):
    done, path, _ = tuned
    run = load_run(path)
    assert run.experiment.study.tune == (RATE,) and run.experiment.study.tune_labels == 40
    rows = run.trials.to_pylist()
    assert len(rows) == 2 * 3 * 6 and f"{len(rows)} trials" in done.stdout
    store = Store(run.experiment.store, warn=pytest.fail, read_only=True)
    jobs = {row["trial_id"]: row["stage_id"] for row in run.stages.to_pylist() if row["stage"] == "finetune"}
    store.verified(set(jobs.values()))
    for row in rows:
        found = store.predictions(jobs[row["trial_id"]], "validation")
        drawn = np.random.default_rng(row["seed"]).permutation(len(found["targets"]))[:40]
        is_right = found["classes"] == found["targets"]
        np.testing.assert_allclose(row["tuning_score"], is_right[drawn].mean())
    # Each seed of an arm is the row that scores best.
    answer = json.loads((path / "answer.json").read_text())
    (compared,) = answer["comparisons"]
    for side, init in (("treated", "pretrained"), ("untreated", "he")):
        for seed, value in enumerate(compared[side]):
            own = [row for row in rows if row["finetune.encoder_init"] == init and row["seed"] == seed]
            best = max(row["tuning_score"] for row in own)
            assert value in [row["test_accuracy"] for row in own if row["tuning_score"] == best]


def test_how_arms_were_tuned_stands_in_the_terminal_the_page_and_the_answer(tuned):
    done, path, _ = tuned
    said = (
        "Each arm is tuned alike: for each seed it chooses learning_rate out of 3 settings by accuracy on 40 validation"
    )
    page, answer = (path / "report.html").read_text(), json.loads((path / "answer.json").read_text())
    assert said in done.stdout and said in page and said in answer["basis"]
    assert "How arms were tuned" in page and (path / "figures" / "tuning_1.png").is_file()
    assert (path / "tables" / "tuned.tex").is_file()
    assert {arm["settings"] for arm in answer["tuning"]} == {3} and len(answer["untuned"]) == 1
    for arm in answer["tuning"]:
        assert sum(arm["fields"][0]["times"]) == 6
        if arm["fields"][0]["edge"]:
            assert any(f"--tune {RATE}=" in warning for warning in answer["warnings"])


def test_a_tuned_run_is_finished_again_and_reported_again_alike(tuned, tmp_path):
    _, path, where = tuned
    before = (path / "answer.json").read_text()
    again = call(["geron", *TUNED, *where], tmp_path)
    assert again.returncode == 0 and ", 0 of " in again.stdout
    assert call(["report", path], tmp_path).returncode == 0
    assert (path / "answer.json").read_text() == before


def test_a_report_of_another_metric_keeps_what_arms_chose(tuned, tmp_path):
    _, path, _ = tuned
    copy = shutil.copytree(path, tmp_path / "run")
    first = json.loads((path / "answer.json").read_text())
    for metric in ("loss", "balanced_accuracy"):
        done = call(["report", copy, "--study.metric", metric], tmp_path)
        assert done.returncode == 0, done.stderr
        found = json.loads((copy / "answer.json").read_text())
        assert "out of 3 settings by accuracy on 40 validation" in found["basis"]
        times = [[field["times"] for arm in each["tuning"] for field in arm["fields"]] for each in (first, found)]
        assert times[0] == times[1]
        assert "tuning_score_accuracy" in load_run(copy).trials.column_names


def test_more_seeds_are_planned_by_the_spread_of_the_tuned_arms_that_are_stored(tuned, tmp_path):
    planned = call(["geron", *TUNED, *tuned[2], "--seeds", "12", "--dry-run"], tmp_path).stdout.splitlines()[0]
    assert planned.startswith("1 comparison at 12 seeds: an effect can show from 6 seeds on, one of ")
    assert planned.endswith(" points with 80 % power at the spread of 6 earlier seeds")
    (compared,) = json.loads((tuned[1] / "answer.json").read_text())["comparisons"]
    deviation = np.std(np.subtract(compared["treated"], compared["untreated"]), ddof=1)
    assert f" {100 * smallest_seen(12, deviation):.1f} points" in planned
    # A wider grid has no seed that is whole.
    wider = [*TUNED, *tuned[2], "--tune", f"{RATE}=0.001,0.01,0.1,1", "--dry-run"]
    assert "earlier seeds" not in call(["geron", *wider], tmp_path).stdout


def test_the_same_grid_swept_is_found_in_the_store(tuned, tmp_path):
    where = [*tuned[2], "--run-dir", tmp_path / "swept"]
    swept = [*BRIEF, "--finetune.frozen-layers", "0", "--sweep", f"{RATE}=0.001,0.01,0.1"]
    done = call(["geron", *swept, *where], tmp_path)
    assert done.returncode == 0 and ", 0 of " in done.stdout


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--tune", f"{RATE}=0.1"], ["study.tune", RATE, "no values to choose from"]),
        (["--tune", f"{RATE}=loguniform:0.001:0.1"], ["tune", RATE, "draws at random"]),
        (["--tune", f"{RATE}=0.1,0.2", "--sweep", f"{RATE}=0.1,0.2"], ["tune", RATE, "is swept, too"]),
        (["--tune", f"{RATE}=0.1,0.2", f"--{RATE.replace('_', '-')}", "0.1"], [RATE, "is set by an option too"]),
        (["--tune", "finetune.encoder_init=he,pretrained"], ["study.tune", "is what is compared"]),
        (["--tune", "finetune.learning_rate=1,2"], ["tune", "is no field; did you mean"]),
    ],
)
def test_a_grid_that_cannot_be_tuned_is_refused_in_a_line(options, parts, site, tmp_path):
    done = call(["geron", *BRIEF, *options, "--data.name", site.data, "--run-dir", tmp_path / "none"], tmp_path)
    refused(done, *parts)
    assert not (tmp_path / "none").exists()


def test_a_tuned_field_that_is_swept_with_one_value_is_not_tuned():
    config = config_file.load(ROOT / "configs" / "does_it_help.py", "does_it_help")
    fixed = override(config, {}, sweep={"finetune.frozen_layers": (2,)}).experiment
    assert fixed.study.tune == (RATE,)
    of_networks = [point.settings.finetune for point in fixed.points if point.settings.finetune.readout == "none"]
    assert {finetune.frozen_layers for finetune in of_networks} == {2}
    assert override(config, {}, sweep={"finetune.frozen_layers": (2, 0)}).experiment.study.tune == config.study.tune
