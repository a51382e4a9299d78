"""Sources of variation are drawn anew beside the trials that are compared, by the program as its users run it."""

import json

import pyarrow.parquet as pq
import pytest

from tests.launching import call, contents, refused

PAIR = [
    *("--encoder.layers", "12"),
    *("--finetune.frozen-layers", "0"),
    *("--finetune.label-subset", "random"),
    *("--finetune.epochs", "1"),
]
SOURCES = ("pretraining", "labels", "head", "batches")


@pytest.fixture(scope="module")
def redrawn(site):
    """A launch without redraws, the same with them in its store, and their directories."""
    options = site.at("redrawn")
    alone = site.launch(*options, *PAIR, "--run-dir", site.path / "alone-run")
    done = site.launch(*options, *PAIR, "--variation")
    assert (alone.returncode, done.returncode) == (0, 0), done.stderr
    return done, site.path / "redrawn-run", site.path / "alone-run"


def answered(run):
    return json.loads((run / "answer.json").read_text())


def test_redraws_train_beside_the_trials_that_are_compared_and_leave_those_alone(redrawn):
    done, run, alone = redrawn
    # One more pretraining; of each of two seeds 3 redraws of the pretrained arm in training, 1 in its start, 4 of he.
    assert f"{4 * 5} trials, {1 + 2 * (3 + 1 + 4)} of {3 + 2 * (2 + 8)} stages run" in done.stdout
    for name in ("trials.parquet", "curves.parquet"):
        assert pq.read_table(run / name).equals(pq.read_table(alone / name))
    kept = ("verdict", "comparisons", "arms", "attribution", "budgets", "warnings")
    assert [answered(run)[name] for name in kept] == [answered(alone)[name] for name in kept]
    assert not (alone / "variation.parquet").exists() and answered(alone)["variation"] == []


def test_a_row_of_the_table_is_a_trial_with_one_source_drawn_anew(redrawn):
    _, run, _ = redrawn
    rows = pq.read_table(run / "variation.parquet").to_pylist()
    trials = {
        (row["seed"], row["finetune.encoder_init"]): row for row in pq.read_table(run / "trials.parquet").to_pylist()
    }
    assert [row["redrawn"] for row in rows] == [source for source in SOURCES for _ in trials]
    assert all(row["test_loss"] != trials[row["seed"], row["finetune.encoder_init"]]["test_loss"] for row in rows)
    stages = pq.read_table(run / "stages.parquet").to_pylist()
    assert {row["trial_id"] for row in rows} < {row["trial_id"] for row in stages}


def test_the_answer_says_shares_at_the_terminal_and_for_programs(redrawn):
    done, run, _ = redrawn
    (split,) = answered(run)["variation"]
    assert (split["treatment"], split["n"], split["fixed"]) == ("pretrained", 2, [])
    shares = {share["source"]: share for share in split["shares"]}
    assert shares.keys() == {*SOURCES, "rows"}
    (rows,) = [each["rows"] for each in answered(run)["comparisons"]]
    parts = max(rows["row_variance"], 0) + max(rows["residual_variance"], 0)
    assert shares["rows"]["deviation"]["mean"] ** 2 == pytest.approx(parts / rows["rows"], rel=1e-6)
    assert "test rows" in done.stdout and "Test rows are drawn anew by" in (run / "report.html").read_text()
    assert "The difference of pretraining varies over seeds with a deviation of " in done.stdout
    assert "Where variation comes from" in (run / "report.html").read_text()
    assert (run / "tables" / "variation.tex").exists()


def test_the_run_again_trains_nothing_and_its_report_is_written_again(site, redrawn):
    _, run, _ = redrawn
    before = contents(run)
    again = site.launch(*site.at("redrawn"), *PAIR, "--variation")
    assert "20 trials, 0 of 23 stages run" in again.stdout
    after = contents(run)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {".lock"}
    reported = call(["report", str(run), "--study.metric", "balanced_accuracy"], site.path)
    assert reported.returncode == 0, reported.stderr
    assert answered(run)["variation"][0]["metric"] == "test_balanced_accuracy"
    assert "test_balanced_accuracy" in pq.read_table(run / "variation.parquet").column_names


def test_splits_are_drawn_anew_where_each_seed_has_its_own(site):
    fresh = [*site.at("redrawn"), *PAIR, "--variation", "--data.splits", "fresh", "--run-dir", site.path / "fresh-run"]
    done = site.launch(*fresh)
    assert done.returncode == 0, done.stderr
    (split,) = answered(site.path / "fresh-run")["variation"]
    assert {share["source"] for share in split["shares"]} == {*SOURCES, "split", "rows"}
    assert "the split of the data" in done.stdout
    rows = pq.read_table(site.path / "fresh-run" / "variation.parquet").to_pylist()
    assert sum(row["redrawn"] == "split" for row in rows) == 2 * 2
    again = site.launch(*fresh)
    assert " 0 of " in again.stdout


def test_tuned_arms_are_tuned_anew(site):
    options = [*site.at("redrawn"), *PAIR, "--tune", "finetune.optimizer.learning_rate=0.001,0.01", "--variation"]
    done = site.launch(*options, "--run-dir", site.path / "tuned-run")
    assert done.returncode == 0, done.stderr
    (split,) = answered(site.path / "tuned-run")["variation"]
    assert split["n"] == 2 and len(split["shares"]) == 5


def test_a_run_without_a_difference_has_none_to_split(site):
    done = site.launch(*site.at("lone"), *PAIR, "--finetune.encoder-init", "he", "--variation")
    refused(done, "study.variation: True", "nothing is compared")
