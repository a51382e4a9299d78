"""The sentence on the only comparison of a question, in each of its forms."""

import numpy as np
import pytest
from scipy import stats

from pretrain.config import StudyConfig
from pretrain.report.verdicts import verdict
from pretrain.study.arms import Arm
from pretrain.study.comparisons import compare

INIT, METRIC = "finetune.encoder_init", "test_accuracy"
SHAPE = np.array([1.0, -1, 0.4, -0.4, 1.3, -1.3, 0.1, -0.1])


def compared(gain, deviation, **changed):
    """The comparison of two arms of eight seeds."""
    untreated = np.linspace(0.7, 0.72, 8)
    treated = untreated + gain + deviation * SHAPE / SHAPE.std(ddof=1)
    arms = [
        Arm({INIT: name}, tuple(range(8)), tuple(f"{name} {seed}" for seed in range(8)), results={METRIC: values})
        for name, values in (("pretrained", treated), ("he", untreated))
    ]
    (found,) = compare(arms, METRIC, StudyConfig())
    return found._replace(**changed)


@pytest.mark.parametrize(
    ("gain", "deviation", "said"),
    [
        (
            0.02,
            0.002,
            "Pretraining helps, +2.0 points [+1.8, +2.2] (8 seeds; p = 0.008; no trial failed), on this data",
        ),
        (-0.02, 0.002, "Pretraining hurts, -2.0 points [-2.2, -1.8] (8 seeds; p = 0.008; no trial failed), on this"),
        (
            0.0,
            0.001,
            "Pretraining makes no difference that matters, +0.0 points [-0.1, +0.1] (8 seeds; no trial failed",
        ),
        (
            0.001,
            0.01,
            "Not settled: pretraining changes accuracy by between -0.7 and +0.9 points (8 seeds); only effects",
        ),
    ],
)
def test_the_decision_comes_first_and_names_what_failed(gain, deviation, said):
    text = verdict([compared(gain, deviation)])
    assert text.startswith(said) and len(text.split()) <= 60


def test_an_open_comparison_names_the_smallest_effect_that_would_show_and_the_remedy():
    text = verdict([found := compared(0.001, 0.01)])
    assert f"only effects beyond {100 * found.smallest_seen:.1f} points would show (80 % power). " in text
    low, high = found.seeds_to_settle
    assert text.endswith(f" {low} to {high} seeds would settle it.")


@pytest.mark.parametrize("n_open", [1, 3])
def test_the_smallest_effect_seen_has_80_percent_power_by_students_test(n_open):
    found = compared(0.0, 0.01, n_open=n_open)
    alpha = np.floor(0.05 / n_open * 2**7) / 2**7  # the largest p of eight seeds' sign flips
    size = found.smallest_seen / 0.01 * np.sqrt(8)
    power = stats.nct.sf(stats.t.isf(alpha / 2, 7), 7, size)
    assert power == pytest.approx(0.8, abs=1e-6) or found.smallest_seen / 0.01 == pytest.approx(
        stats.norm.ppf(0.8 ** (1 / 8))
    )


def test_arms_without_pairs_have_no_smallest_effect():
    assert np.isinf(compared(0.0, 0.01, seeds=()).smallest_seen)
