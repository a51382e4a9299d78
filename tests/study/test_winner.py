"""The best of several arms: what having been chosen made of its result is taken off again."""

import numpy as np
import pytest

from pretrain.report import words
from pretrain.study.answer import answer
from pretrain.study.statistics import estimate
from pretrain.study.winner import chosen, winner
from tests.bench.winners import simulated
from tests.report.test_terminal import tables

RATE = "finetune.optimizer.learning_rate"


def arms_of(n_arms, n=8):
    """Validation and test values [seeds, arms] of arms that are as good as each other."""
    trained = np.random.default_rng(0).normal(0.9, 0.01, (n, n_arms))
    return trained, trained + np.random.default_rng(1).normal(0, 0.003, (n, n_arms))


def test_one_arm_needs_no_correction():
    validation, test = arms_of(1)
    assert chosen(validation, test) == (0, estimate(test[:, 0]))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_correction_is_what_arms_chosen_by_samples_of_seeds_gain_on_these(higher_is_better):
    validation, test = arms_of(5)
    sign, gained = 1 if higher_is_better else -1, []
    for rows in np.random.default_rng(3).integers(0, 8, (4000, 8)):
        best = np.argmax(sign * validation[rows].mean(axis=0))
        gained.append(test[rows, best].mean() - test[:, best].mean())
    place, found = chosen(validation, test, higher_is_better=higher_is_better)
    assert place == np.argmax(sign * validation.mean(axis=0))
    plain = estimate(test[:, place])
    assert plain.mean - found.mean == pytest.approx(np.mean(gained), abs=3e-4) and sign * (plain.mean - found.mean) > 0
    kept, moved = (plain.high, plain.low) if higher_is_better else (plain.low, plain.high)
    assert kept in found[1:] and moved - (plain.mean - found.mean) == pytest.approx(found[1 if higher_is_better else 2])


def test_an_arm_that_lacks_seeds_is_taken_with_those_it_has():
    validation, test = arms_of(3)
    validation[:2, 1] = test[:2, 1] = np.nan
    validation[2:, 1] += 1
    place, found = chosen(validation, test)
    assert place == 1 and np.isfinite(found).all()


def test_the_sentence_says_among_how_many_it_was_chosen():
    rows = [
        ({RATE: rate}, np.full(8, 0.5), values) for rate, values in zip((0.1, 0.2, 0.3), arms_of(3)[1].T, strict=True)
    ]
    found = answer(*tables(rows))
    assert found.best_of == 3 and found.best_test.mean < np.mean(found.best.results["test_accuracy"])
    assert "corrected for choosing among 3, it tests at" in words.explanation(found)[0]
    assert "corrected" not in words.explanation(answer(*tables(rows[:1])))[0]
    assert winner([], "test_accuracy") is None


@pytest.mark.slow
@pytest.mark.parametrize("n_arms", [2, 10])
def test_intervals_of_the_best_cover_and_its_bias_is_halved(n_arms):
    found = simulated(n_arms, 8, 600)
    assert found.covered >= 0.93 and found.bias < 0.6 * found.plain_bias
