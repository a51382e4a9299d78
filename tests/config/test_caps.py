"""Questions about many or wide rows are capped, each cap said, and what somebody chose stays."""

import dataclasses
from pathlib import Path

import pytest

from pretrain.config import caps, config_file, fitting, own_data
from pretrain.config.caps import Size
from pretrain.config.fields import get, with_values
from pretrain.config.fitting import Fitted
from pretrain.config.own_data import Facts
from tests.launching import ROOT

CONFIG = with_values(
    config_file.load(Path(ROOT) / "configs" / "does_it_help.py", "does_it_help"), {"data.name": "my.csv"}
)
CHOSEN = fitting.chosen(CONFIG, ())
WIDE = Facts(36_000, 36_000, 3072, "images", False, "classification", (0.5, 0.5), 12_000)
CAPPED = ("data.validation", "data.splits", "data.unlabelled", "finetune.updates", "pretrain.updates")


def capped(facts, chosen=(), config=CONFIG):
    held_out = with_values(config, {"data.validation": 0.2})
    made = own_data.fitted(Fitted(held_out), {*CHOSEN, *chosen}, facts)
    made.experiment.__post_init__()
    return {name: get(made.experiment, name) for name in CAPPED}, made.notes


UNCAPPED = dict(zip(CAPPED, (0.2, "fresh", "all", 1000, 5000), strict=True))


@pytest.mark.parametrize(
    ("n", "width", "images", "changed"),
    [
        (300, 30, False, {}),
        (60_000, 100, False, {}),
        (36_000, 784, True, {"data.validation": 5_000, "finetune.updates": 950, "pretrain.updates": 4_950}),
        (400_000, 100, False, {}),
        (2_000_000, 100, False, {"data.splits": "fixed"}),
    ],
)
def test_only_what_takes_more_than_half_an_hour_or_gigabytes_is_capped_and_said(n, width, images, changed):
    facts = Facts(
        n, n, width, "images" if images else "columns", False, "classification", (0.5, 0.5), min(n // 3, 20_000)
    )
    values, notes = capped(facts)
    assert values == UNCAPPED | changed
    for name in changed:
        (line,) = [note for note in notes if note.startswith(f"{name}: ")]
        assert "TFLOP" in line or "GB" in line


def test_caps_bring_work_below_half_an_hour_where_trials_still_learn():
    values, _ = capped(WIDE)
    assert values["finetune.updates"] == 400 and values["pretrain.updates"] == 2000
    half = WIDE._replace(n_values=1000)
    values, _ = capped(half)
    assert 400 < values["finetune.updates"] < 1000
    made = with_values(own_data.fitted(Fitted(CONFIG), CHOSEN, half).experiment, values)
    assert caps._work(made, Size(36_000, 36_000, 1000, 5_000, True)) <= caps._MOST_WORK


def test_a_pool_beyond_memory_is_read_in_part_and_labelled_rows_are_read_in_full():
    pool = Facts(1_000, 10_000_000, 100, "columns", True, "regression")
    values, notes = capped(pool)
    assert values["data.unlabelled"] == 5_000_000 - 1_000 and any("rows without a label" in note for note in notes)
    assert capped(pool._replace(n_examples=100_000))[0]["data.unlabelled"] == "all"


@pytest.mark.parametrize("name", CAPPED)
def test_what_somebody_chose_is_not_capped(name):
    facts = WIDE._replace(n_examples=10_000_000)
    assert capped(facts)[0][name] != UNCAPPED[name]
    assert capped(facts, {name})[0][name] == ("fixed" if name == "data.splits" else UNCAPPED[name])


def test_rows_of_ones_own_for_validation_and_packaged_data_stay():
    assert capped(WIDE._replace(cuts_validation=False))[0]["data.validation"] == 0.2
    packaged = with_values(CONFIG, {"data.name": "mnist"})
    assert capped(WIDE, config=packaged)[0] == UNCAPPED


def test_updates_that_a_config_sets_are_chosen_but_where_its_defaults_follow_the_data():
    assert not {"finetune.updates", "pretrain.updates"} & CHOSEN and "finetune.patience" in CHOSEN
    assert "finetune.updates" in fitting.chosen(CONFIG, ("finetune.updates",))
    assert "finetune.updates" in fitting.chosen(dataclasses.replace(CONFIG, defaults="protocol"), ())
