"""Seeds are added in batches until comparisons are conclusive, by the program as its users run it."""

import json
import re
import shutil
import signal

import pytest

from pretrain import running
from pretrain.config import from_json
from tests.execute.test_hosts import free_port
from tests.launching import (
    at_once,
    call,
    contents,
    misjudge,
    packs,
    refused,
    results,
    started,
    wait_until,
)

PAIR = ["--finetune.frozen-layers", "0"]  # leaves one comparison, which so few images never settle
LOOKS = [*PAIR, "--until-conclusive", "--study.most-seeds", "8", "--study.smallest-effect", "0.0001"]  # of 2 seeds each
# One arm hardly learns, which eight seeds show and six do not: 2 of 256 flips are at most 1.1 %, the look's share, 2 of
# 64 are not.
RATES = ["--finetune.encoder-init", "he", *PAIR, "--sweep", "finetune.optimizer.learning_rate=1e-7,0.02"]
SETTLED = [*RATES, "--until-conclusive", "--study.most-seeds", "12"]


def looks(text):
    """Number, planned number and seeds of each look that a run reports."""
    found = re.findall(r"^look (\d+) of at most (\d+), (\d+) seeds", text, re.MULTILINE)
    return [tuple(map(int, numbers)) for numbers in found]


def answered(run):
    return json.loads((run / "answer.json").read_text())


@pytest.fixture(scope="module")
def inconclusive(site, first):
    """A launch that goes on from what the first of its looks has stored, and stays inconclusive; and its directory."""
    options = site.at("looks")
    assert site.launch(*options, *PAIR).returncode == 0
    done = site.launch(*options, *LOOKS)
    assert done.returncode == 0, done.stderr
    return done, site.path / "looks-run"


def test_seeds_are_added_up_to_the_limit_while_a_comparison_is_inconclusive(inconclusive):
    done, run = inconclusive
    assert looks(done.stderr) == [(1, 4, 2), (2, 4, 4), (3, 4, 6), (4, 4, 8)]
    assert "1 of 1 comparisons inconclusive (pretraining); next look at 4 seeds" in done.stderr
    assert done.stderr.endswith("study.most_seeds is reached\n")
    assert "16 trials, 24 of 32 stages run" in done.stdout
    assert " at 97.36 % on new rows like these 64 (p = " in done.stdout
    assert "which is not the overall effect; settling it takes more than" in done.stdout
    reported = answered(run)
    assert reported["design"]["level"] == reported["comparisons"][0]["level"] == pytest.approx(0.97362, abs=1e-5)
    assert [reported["design"][name] for name in ("seeds", "look", "looks_at_seeds")] == [8, 4, [2, 4, 6, 8]]


def test_the_experiment_is_kept_as_it_was_asked_for(inconclusive):
    experiment = from_json((inconclusive[1] / "experiment.json").read_text())
    assert (experiment.seeds, experiment.study.until_conclusive, experiment.study.most_seeds) == (2, True, 8)


def test_all_seeds_at_once_give_the_same_tables_to_the_bit(inconclusive, site):
    _, _, *store = site.at("looks")
    done = site.launch("--run-dir", site.path / "at-once-run", *store, *PAIR, "--seeds", "8")
    assert "16 trials, 0 of 32 stages run" in done.stdout
    assert results(site.path / "at-once-run") == results(inconclusive[1])
    reported = answered(site.path / "at-once-run")["design"]
    assert "look" not in reported and reported["judged_before_at_seeds"] == []  # two seeds can call nothing


def test_more_seeds_by_hand_are_a_look_that_nobody_declared(inconclusive, site):
    run, (_, _, *store) = site.path / "by-hand-run", site.at("looks")
    done = site.launch("--run-dir", run, *store, *PAIR, "--seeds", "10")
    reported = answered(run)
    assert reported["design"]["judged_before_at_seeds"] == [8]
    assert reported["cells"]["Comparisons"] == "1; judged 1 time before, on fewer seeds (8)"
    assert "t was judged 1 time before, on fewer seeds (8)." in reported["basis"] and reported["basis"] in done.stdout
    assert call(["report", str(run)], site.path).returncode == 0
    assert answered(run) == reported
    known = (site.path / "looks-store" / "judged").rename(site.path / "judged")  # as in a store that knows nothing
    assert call(["report", str(run)], site.path).returncode == 0
    known.rename(site.path / "looks-store" / "judged")
    assert answered(run) == reported


def test_the_same_command_goes_through_the_same_looks_to_the_same_end(inconclusive, site):
    done, run = inconclusive
    before = contents(run)
    again = site.launch(*site.at("looks"), *LOOKS)
    assert looks(again.stderr) == looks(done.stderr)
    assert "0 of 32 stages run" in again.stdout
    assert contents(run) == {**before, ".lock": (run / ".lock").read_bytes()}


def test_a_fault_in_judging_a_repeated_run_leaves_its_tables_as_they_were(inconclusive, site, monkeypatch):
    before = results(inconclusive[1])
    with monkeypatch.context() as patched:
        patched.setattr(running, "answer", misjudge)
        done = site.launch(*site.at("looks"), *LOOKS)
    assert done.returncode == 1 and done.stderr.endswith("RuntimeError: judging\n")
    assert results(inconclusive[1]) == before


def test_the_report_command_finds_the_level_in_the_tables(inconclusive, tmp_path):
    copy = shutil.copytree(inconclusive[1], tmp_path / "run")
    for name in ("report.html", "answer.json"):
        (copy / name).unlink()
    done = call(["report", copy], tmp_path)
    assert (done.returncode, sorted(done.stderr.splitlines())) == (
        0,
        [f"{copy / name}: missing; it is made again" for name in ("answer.json", "report.html")],
    )
    reported, before = answered(copy), answered(inconclusive[1])
    assert (reported["comparisons"], reported["design"]) == (before["comparisons"], before["design"])


def settled(done, run):
    """Checks that a run ended at its fourth look of six, and what it says."""
    assert done.returncode == 0, done.stderr
    assert looks(done.stderr) == [(1, 6, 2), (2, 6, 4), (3, 6, 6), (4, 6, 8)]
    assert "all comparisons are settled" in done.stderr
    assert "16 trials, 16 of 16 stages run" in done.stdout
    (one,) = answered(run)["comparisons"]
    assert (one["verdict"], one["n"]) == ("unstable", 8)  # for the arm that hardly learns stays near chance


def test_a_run_ends_when_all_is_settled(site, first):
    settled(site.launch(*site.at("settled"), *SETTLED), site.path / "settled-run")


@pytest.mark.slow
def test_processes_agree_when_all_is_settled(site, first):
    address = f"JAX_COORDINATOR_ADDRESS=127.0.0.1:{free_port()}"
    command = site.command(*site.at("agreed"), *SETTLED, "--engine.distributed", "True")
    launches = [["env", address, "JAX_NUM_PROCESSES=2", f"JAX_PROCESS_ID={n}", *command] for n in range(2)]
    leader, follower = at_once(launches, site.path)
    settled(leader, site.path / "agreed-run")
    assert follower.returncode == 0, follower.stderr


def test_a_dry_run_shows_the_first_look_and_how_many_may_follow(site, tmp_path):
    done = call(site.argv("--dry-run", "--run-dir", "run", "--store", "store", *LOOKS), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 comparison at 2, 4, 6, 8 seeds: an effect can show from 8 seeds on\n4 trials")
    assert done.stdout.endswith("the first of at most 4 looks, at 2, 4, 6, 8 seeds\n")
    assert contents(tmp_path) == {}


def test_a_limit_below_the_first_batch_is_refused(site, tmp_path):
    options = ["--run-dir", "run", "--store", "store", *LOOKS, "--seeds", "9"]
    refused(call(site.argv(*options), tmp_path), "study.most_seeds: 8", "seeds 9", "raise it")
    assert contents(tmp_path) == {}


def test_looks_that_can_never_conclude_are_refused_before_anything_is_written(site, tmp_path):
    options = ["--run-dir", "run", "--store", "store", *LOOKS, "--study.most-seeds", "5"]
    for more in ([], ["--dry-run"]):
        done = call(site.argv(*options, *more), tmp_path)
        refused(done, "study.most_seeds: 5", "5 seeds give p = 0.062 at best", "raise it to 6")
    assert contents(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("n_packs", [1, 4, 7])
def test_a_sequence_that_is_stopped_in_any_look_goes_on(sent, n_packs, inconclusive, site):
    options = site.at(f"stopped-{sent.name}-{n_packs}")
    with started(site.command(*options, *LOOKS), site.path) as process:
        wait_until(process, lambda: len(packs(options[-1])) >= n_packs)
        process.send_signal(sent)
        process.communicate()
    assert process.returncode in ({-9} if sent is signal.SIGKILL else {0, 75})
    assert site.launch(*options, *LOOKS).returncode == 0
    assert results(options[1]) == results(inconclusive[1])
