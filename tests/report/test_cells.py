"""The five cells of the first screen count what the tables hold."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import replace_all
from pretrain.report.cells import cells
from pretrain.store.judged import History
from pretrain.study.answer import answer
from tests.report.test_terminal import INIT, tables

LABELS, RATE = "finetune.labels", "finetune.optimizer.learning_rate"
NAMES = ["Rows", "Failures", "Comparisons", "Datasets", "Best of"]


def of(points, n=8, diverged=(), study=None, history=None, **settings):
    """The cells of a run of arms at points, of which each seed ends near 0.8."""
    rng, study = np.random.default_rng(0), study or StudyConfig()
    arms = [(point, np.full(n, 0.5), 0.8 + 0.01 * rng.standard_normal(n)) for point in points]
    trials, curves = tables(arms, diverged)
    trials = trials.append_column("tuning_score", trials["validation_accuracy"])
    trials = trials.add_column(2, "repeat", pa.array([0] * len(trials)))
    experiment = replace_all(Experiment(), settings)
    found = cells(answer(trials, curves, study)._replace(history=history or History()), experiment)
    assert list(found) == NAMES
    return found


PAIR = [{INIT: "pretrained"}, {INIT: "he"}]
BUDGETS = [{**point, LABELS: labels} for labels in (100, 200, 1000) for point in PAIR]


def test_a_plain_pair():
    assert of(PAIR) == {
        "Rows": "intervals over seeds, all on one split",
        "Failures": "none of 16 trials",
        "Comparisons": "1; looked at once",
        "Datasets": "mnist only",
        "Best of": "one setting: nothing was chosen",
    }


def test_looks_that_nobody_declared_and_rows_that_many_runs_read_are_said():
    found = of(PAIR, history=History((2, 4), {"mnist": 14, "iris": 10}))
    assert found["Comparisons"] == "1; judged 2 times before, on fewer seeds (2 and 4)"
    assert found["Rows"].endswith("; the test rows of mnist were read by 14 runs of this store")


def test_failed_seeds_are_counted_arm_by_arm():
    found = of(PAIR, diverged={(0, 1), (0, 2), (1, 1)})
    assert found["Failures"] == "pretrained: 2 of 8 seeds, from scratch (He): 1 of 8 seeds"


def test_comparisons_that_explore_are_listed_apart():
    found = of(BUDGETS, study=StudyConfig(family=("finetune.labels=1000",)))
    assert found["Comparisons"] == "1; 2 more explore; looked at once"
    assert of(BUDGETS)["Comparisons"].startswith("3, judged together")


@pytest.mark.parametrize(("splits", "said"), [("fixed", "all on one split"), ("fresh", "each on a split of its own")])
def test_splits(splits, said):
    settings = {"data.splits": splits, "data.test": 0.2} if splits == "fresh" else {}
    assert of(PAIR, **settings)["Rows"].endswith(said)


def test_settings_that_arms_choose_among_are_counted():
    points = [{**point, RATE: rate} for point in PAIR for rate in (0.001, 0.01, 0.1)]
    found = of(points, study=StudyConfig(tune=(RATE,)))
    assert found["Best of"] == "3 settings an arm, chosen on validation rows for each seed"


def test_arms_that_are_not_compared_are_counted():
    assert of([{}])["Best of"] == "one setting: nothing was chosen" and of([{}])["Comparisons"] == "0"


def test_datasets_are_named_without_their_folders():
    named = [{**point, "data.name": name} for name in ("a/one.csv", "b/two.csv") for point in PAIR]
    assert of(named)["Datasets"].startswith("2 (one, two); on these ")
