"""Large sweeps: arms and comparisons are found by their points, and a page shows as many as one reads."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from pretrain.report import listings
from pretrain.report.page import Opening, page
from pretrain.study.answer import answer, main_arms
from tests.study.test_health import CURVES

INIT, RATE, L2 = "finetune.encoder_init", "finetune.optimizer.learning_rate", "finetune.l2"
N = 45  # values of each of two fields


@pytest.fixture(scope="module")
def large():
    """The answer of a run of one seed and 4,050 arms."""
    points = itertools.product(("pretrained", "he"), range(N), range(N))
    accuracies = np.random.default_rng(0).permutation(2 * N * N) / (2 * N * N)
    trials = pa.Table.from_pylist(
        [
            {"trial_id": str(number), "seed": 0, INIT: init, RATE: rate, L2: l2, "status": "ok"}
            | {"test_accuracy": accuracies[number], "validation_accuracy": accuracies[number]}
            for number, (init, rate, l2) in enumerate(points)
        ]
    )
    return answer(trials, CURVES)


def test_each_comparison_has_the_values_of_its_arms(large):
    found = large
    assert len(found.comparisons) == N * N
    for one in found.comparisons[:: N + 1]:
        ends = [{**one.shared, INIT: init} for init in ("pretrained", "he")]
        values = {str(arm.point): arm.results["test_accuracy"][0] for arm in found.arms if arm.point in ends}
        assert sorted(values.values()) == sorted([one.treated[0], one.untreated[0]])
    shown = main_arms(found, 8)
    assert [arm.point[L2] for arm in shown] == [0, 1, 2, 3] * 2  # both arms of the first four comparisons


def test_a_table_shows_the_thousand_that_tell_most(large):
    found = large
    best = listings.arms(found)
    accuracies = [float(row[2].split()[0]) for row in best.rows]
    assert len(best.rows) == 1000 and accuracies == sorted(accuracies, reverse=True) and accuracies[0] == 1.0
    assert "Of 4,050, these 1,000 arms are best on validation rows; answer.json has all." in best.caption
    sizes = [abs(float(row[1].split()[0])) for row in listings.comparisons(found).rows]
    assert len(sizes) == 1000 and sizes == sorted(sizes, reverse=True)


def test_a_page_shows_fifty_paragraphs():
    text = page(Opening("?", "!", {}, ()), [f"paragraph {number}." for number in range(60)], (), "{}")
    assert text.count("<p>paragraph") == 50 and "10 more paragraphs stand in answer.json" in text
