"""Runs from which trials are missing, since a pack of theirs failed: what they say, and how they are made whole."""

import pyarrow.parquet as pq
import pytest

import pretrain
from pretrain.commands.launch import main
from tests.engines.test_memory import fails_at, packs_of_two
from tests.launching import N_STAGES, N_TRIALS, results

OPTIONS = {"pretraining": "pretrain/0", "fine-tuning": "finetune"}


@pytest.mark.parametrize("stage", OPTIONS.values(), ids=OPTIONS)
def test_a_run_without_some_trials_is_judged_and_the_next_makes_it_whole(stage, site, run, monkeypatch):
    with monkeypatch.context() as patched:
        fails_at(patched, lambda job: job.stage.name == stage and job.stage.stack.start == 0)
        done = site.launch(*site.at(f"lost-{stage[:4]}"))
    assert done.returncode == 1, done.stderr
    run_dir = site.path / f"lost-{stage[:4]}-run"
    found = pretrain.load_run(run_dir)
    (finding,) = [each for each in found.findings if each.kind == "trials that are missing"]
    assert finding.severity == "doubt" and "a layer of somebody's" in finding.sentence
    n_lost = finding.figures["missing"]
    assert 0 < n_lost < N_TRIALS and len(found.trials) == N_TRIALS - n_lost
    assert f"{n_lost} of 8 trials are missing" in done.stdout + done.stderr
    whole = pq.read_table(run / "trials.parquet").to_pylist()
    kept = [row for row in whole if row["trial_id"] in set(found.trials["trial_id"].to_pylist())]
    for row, of_whole in zip(found.trials.to_pylist(), kept, strict=True):
        assert {name for name in of_whole if row.get(name) != of_whole[name]} == set(), stage
    for command in ("report", "table"):
        assert main([command, str(run_dir)]) == 0
    assert site.launch(*site.at(f"lost-{stage[:4]}")).returncode == 0
    assert results(run_dir) == results(run)


def test_arms_without_a_trial_are_named_and_runs_compare_by_the_seeds_that_both_have(site, run, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        fails_at(patched, lambda job: job.stage.name == "finetune" and job.depth)
        done = site.launch(*site.at("lost-arms"))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "Of (pretrained, 2 frozen) and (pretrained, trainable) no trial could be trained." in done.stdout
    assert "none of 4 trials; 4 more missing" in done.stdout and "12 of 12 stages run" not in done.stdout
    assert f"8 of {N_STAGES} stages run" in done.stdout
    lost = site.path / "lost-arms-run"
    assert main(["compare", str(run), str(lost)]) == 0
    shown = capsys.readouterr().out
    assert f"{lost}: 4 of {N_TRIALS} trials are missing (finetune.encoder_init pretrained)" in shown
    assert "are the same trials in all runs" in shown


def test_seeds_that_a_run_could_not_train_are_no_failures_where_runs_are_compared(site, monkeypatch, capsys):
    rate = ["--finetune.frozen-layers", "0", "--seeds", "6"]
    assert site.launch(*site.at("six"), *rate).returncode == 0
    packs_of_two(monkeypatch)
    with monkeypatch.context() as patched:
        fails_at(patched, lambda job: job.stage.name == "finetune" and job.seed == 5 and not job.depth)
        done = site.launch(*site.at("five"), *rate, "--finetune.l2", "0.1")
    assert done.returncode == 1 and "missing (finetune.encoder_init he; seeds 4, 5)" in done.stdout, done.stdout
    assert main(["compare", str(site.path / "six-run"), str(site.path / "five-run")]) == 0
    shown = capsys.readouterr().out
    assert "Seeds: 4 to 6 of an arm" in shown or "lacks" not in shown
    assert "fail with run=" not in shown and "so failed" not in shown


@pytest.mark.parametrize("seed", [1, 3], ids=["an arm of the first look", "seeds of a later look"])
def test_a_run_that_adds_seeds_ends_where_some_cannot_be_trained(seed, site, monkeypatch):
    looks = ["--finetune.frozen-layers", "0", "--until-conclusive", "--study.most-seeds", "6"]
    looks += ["--study.smallest-effect", "0.0001"]
    run_dir, tried = site.path / f"look-{seed}-run", []

    def is_failing(job):
        if is_it := job.seed == seed and job.stage.name == "finetune" and (seed > 1 or job.depth):
            tried.append(job.id)
        return is_it

    with monkeypatch.context() as patched:
        fails_at(patched, is_failing)
        done = site.launch(*site.at(f"look-{seed}"), *looks)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    last = "look 1 of at most 3, 2 seeds, 99.93 % intervals: there is nothing to compare"
    assert (last if seed == 1 else "look 3 of at most 3, 6 seeds") in done.stderr.splitlines()[-1]
    assert max(map(tried.count, tried)) == 2  # not at every look again
    before = (run_dir / "answer.json").read_text()
    assert main(["report", str(run_dir)]) == 0
    assert (run_dir / "answer.json").read_text() == before
    assert site.launch(*site.at(f"look-{seed}"), *looks).returncode == 0
    assert site.launch(*site.at("looks-whole"), *looks).returncode == 0
    assert results(run_dir) == results(site.path / "looks-whole-run")


def test_the_library_warns_of_trials_that_are_missing(site, monkeypatch):
    fails_at(monkeypatch, lambda job: job.stage.name == "finetune" and job.depth)
    _, run_dir, _, store = site.at("warned")
    asked = {"data.name": site.data, "run_dir": str(run_dir), "store": str(store)}
    asked |= {"data.validation": 60, "encoder.layers": (12,), "pretrain.epochs": 1, "pretrain.batch_size": 20}
    asked |= {"finetune.labels": 100, "finetune.batch_size": 20, "finetune.epochs": 2, "seeds": 2}
    with pytest.warns(UserWarning, match="^4 of 8 trials are missing"):
        assert len(pretrain.run("geron", asked).trials) == 4
