"""What a run can conclude is reported before it trains, by the program as its users run it."""

import json

import pytest

from tests import launching
from tests.launching import refused

PENALTIES = ["--sweep", "finetune.l2=0,0.1,0.2"]


def first_line(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]


def test_a_dry_run_reports_what_can_be_concluded_with_the_spread_of_stored_trials(site, first):
    options = site.at("first")
    assert first_line(site.launch(*site.at("fresh"), "--dry-run", "--seeds", "8")) == (
        "2 comparisons at 8 seeds: an effect can show from 7 seeds on"
    )
    known = first_line(site.launch(*options, "--dry-run", "--seeds", "8"))
    assert known.startswith("2 comparisons at 8 seeds: an effect can show from 7 seeds on, one of ")
    assert known.endswith(" points, by comparison, with 80 % power at the spread of 2 earlier seeds")
    assert first_line(site.launch(*options, *PENALTIES, "--dry-run", "--seeds", "7")).startswith(
        "7 seeds cannot show any effect among 6 comparisons, however large: the smallest p is 0.094; use --seeds 8, "
    )


def test_a_run_that_can_conclude_nothing_warns_before_it_trains_and_in_its_report(site, first, monkeypatch):
    monkeypatch.setattr(launching, "without_outlook", str)
    options = [*site.at("warned"), "--finetune.encoder-init", "he"]
    done = site.launch(*options)
    assert done.stderr.startswith("2 seeds settle nothing, at least 6 can: use --seeds 6\n")
    warned = "2 seeds settle nothing, at least 6 can: use --seeds 6."
    assert warned in done.stdout and warned in (site.path / "warned-run" / "report.html").read_text()
    assert json.loads((site.path / "warned-run" / "answer.json").read_text())["warnings"][0] == warned
    assert "settle nothing" not in site.launch(*options).stderr  # of what is trained the report is enough


def test_a_field_that_is_not_swept_is_not_compared(site, first):
    done = site.launch(*site.at("first"), "--study.compare", "finetune.labels", "--dry-run")
    refused(
        done, "study.compare: 'finetune.labels' is not swept; sweep it, or name finetune.encoder_init or finetune.f"
    )


def test_a_family_is_kept_apart_in_the_answer(site, first):
    done = site.launch(
        *site.at("first")[2:], "--run-dir", site.path / "family-run", "--study.family", "finetune.frozen_layers=0"
    )
    assert done.returncode == 0 and "0 of 12 stages run" in done.stdout
    assert "The exploratory comparison, adjusted apart, is " in done.stdout
    found = json.loads((site.path / "family-run" / "answer.json").read_text())["comparisons"]
    at = {one["shared"]["finetune.frozen_layers"]: one["is_exploratory"] for one in found}
    assert at == {2: True, 0: False}
    ranges = [one["seeds_to_settle"] for one in found if not one["both_at_chance"]]
    assert all(each["low"] > 2 and (each["high"] is None or each["low"] <= each["high"]) for each in ranges)


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("finetune.frozen_layers=1", "names no comparison; compared are 2, 0"),
        ("finetune.labels=100", "'finetune.labels' is no swept field; sweep it, or leave it out"),
    ],
)
def test_a_family_without_a_comparison_is_refused_and_nothing_is_written(site, first, condition, reason):
    store = site.path / "no-store"
    refused(site.launch("--run-dir", site.path / "no-run", "--store", store, "--study.family", condition), reason)
    assert not store.exists() and not (site.path / "no-run").exists()
