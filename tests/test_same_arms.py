"""The same arm twice, under different draws, is no difference; the real program makes the trials, the real path judges.

A seed's repeats share its pretraining and differ in all later draws: label subset, head, batches. Repeats are named as
if they were arms, so that whatever else differed between arms of a seed would show.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pretrain.config import StudyConfig
from pretrain.study.arms import arms
from pretrain.study.comparisons import compare
from tests.launching import execute, on_mnist

ARM = "finetune.arm"
LUCK = 0.001  # of arms that are alike, so many are distinguished by more; at 5 %, one set of seeds in twenty would be


def as_arms(trials, gain=0.0):
    """A table of trials in which the repeats 0 and 1 of a seed are two arms, and the latter gains so much."""
    repeat, accuracy = trials["repeat"], trials["test_accuracy"]
    planted = pc.add(accuracy, pc.multiply(pc.cast(repeat, pa.float64()), gain))
    table = trials.set_column(trials.column_names.index("test_accuracy"), "test_accuracy", planted)
    return table.set_column(trials.column_names.index("repeat"), ARM, pc.cast(repeat, pa.string()))


def compared(trials, gain=0.0):
    table = as_arms(trials, gain)
    return compare(arms(table), "test_accuracy", StudyConfig(compare=ARM))


def check(trials, n_seeds):
    """Checks that the same arms are not distinguished, though their trials differ, and that a planted gain is found."""
    same = compared(trials)
    assert [(one.treatment, one.baseline, one.n) for one in same] == [("1", "0", n_seeds)] * len(same)
    for one in same:
        assert np.mean(one.treated != one.untreated) > 0.5  # the draws were others
        assert one.p_value > LUCK
    spread = max(np.std(one.treated - one.untreated, ddof=1) for one in same)
    assert {one.verdict for one in compared(trials, gain=2 * spread)} == {"helps"}
    assert {one.verdict for one in compared(trials, gain=-2 * spread)} == {"hurts"}


def test_the_same_arm_twice_is_no_difference(site, first):
    # After one epoch no arm is perfect yet, so that draws show.
    fixed = ["--finetune.encoder-init", "pretrained", "--finetune.frozen-layers", "0", "--finetune.epochs", "1"]
    done = site.launch(*site.at("same"), *fixed, "--seeds", "16", "--repeats", "2")
    assert done.returncode == 0, done.stderr
    trials = pq.read_table(site.path / "same-run" / "trials.parquet")
    shared = trials.group_by(["seed"]).aggregate([("pretrain_test_mse", "count_distinct")])
    assert set(shared["pretrain_test_mse_count_distinct"].to_pylist()) == {1}  # two draws of one pretraining
    check(trials, 16)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["pretrained", "he"])
def test_the_same_arm_of_mnist_twice_is_no_difference(init, tmp_path):
    options = ["--finetune.encoder-init", init, "--pretrain.epochs", "1", "--seeds", "16", "--repeats", "2"]
    done = execute(on_mnist("--run-dir", "run", "--store", "store", *options), tmp_path, timeout=1800)
    assert done.returncode == 0, done.stderr
    check(pq.read_table(tmp_path / "run" / "trials.parquet"), 16)
