"""Verdicts and intervals on simulated experiments whose truth is known: how often they are wrong.

Trials are simulated, not differences. Two arms without an effect are alike, so their trials could change places within
a seed: they share what the seed does to both, and their own noise has one distribution, skewed though it may be.
"""

import numpy as np
import pytest
from scipy import stats

from pretrain.config import Experiment, StudyConfig
from pretrain.study import statistics
from pretrain.study.sequential import looks
from pretrain.study.statistics import effect_p, estimate

SMALLEST, SPREAD = 0.005, 0.01


def normal(rng, n):
    """Accuracies of two arms [2, seeds] with normal noise."""
    return rng.normal(0.87, 0.02, n) + rng.normal(0, SPREAD, (2, n))


def left_tail(rng, n):
    """Noise skewed as accuracies' is: seldom much better, at times much worse."""
    return rng.normal(0.87, 0.02, n) + SPREAD * (1 - rng.exponential(1, (2, n)))


def unequal_seeds(rng, n):
    """Noise that is larger in some seeds than in others."""
    return rng.normal(0.87, 0.02, n) + SPREAD * rng.lognormal(0, 0.5, n) * rng.normal(size=(2, n))


def counts(rng, n):
    """Shares of 200 test images, with many ties."""
    return rng.binomial(200, np.clip(rng.normal(0.87, 0.02, n), 0, 1), (2, n)) / 200


def long_tail(rng, n):
    """Log-normal noise, of which one seed in a hundred lies ten spreads below."""
    return rng.normal(0.87, 0.02, n) - SPREAD * rng.lognormal(0, 1, (2, n))


def unlike(rng, n):
    """Arms that are not alike: only one has a tail, so that differences have one, too; their mean is zero."""
    return np.stack([rng.normal(0.87, SPREAD / 10, n) + SPREAD * (1 - rng.exponential(1, n)), np.full(n, 0.87)])


def judged(values, level=statistics.LEVEL):
    """The interval and the verdict of differences [seeds]."""
    found = estimate(values, level)
    return found, statistics.verdict(found, effect_p(values, 1 - level), len(values), SMALLEST, alpha=1 - level)


def simulated(trials, n, n_experiments, effect=0.0):
    """How often intervals cover the effect, how often one is called, and how often each verdict is given."""
    rng, covered, verdicts = np.random.default_rng(n), 0, []
    for _ in range(n_experiments):
        treated, untreated = trials(rng, n)
        found, verdict = judged(treated + effect - untreated)
        covered += found.low - 1e-12 <= effect <= found.high + 1e-12
        verdicts.append(verdict)
    shares = {name: verdicts.count(name) / n_experiments for name in verdicts}
    return covered / n_experiments, shares.get("helps", 0) + shares.get("hurts", 0), shares


def at_most_5_percent(share, n):
    """Whether a share of experiments is at most 5 %, within what simulation leaves uncertain."""
    return stats.binomtest(round(share * n), n, 0.05, alternative="greater").pvalue > 1e-3


def sequence(trials, n_experiments, effect=0.0, most_seeds=32):
    """Experiments that add seeds until conclusive: seeds and verdict at the end, and how often all intervals cover."""
    planned = looks_of(most_seeds)
    rng, ends, covered = np.random.default_rng(1), [], 0
    for _ in range(n_experiments):
        treated, untreated = trials(rng, most_seeds)
        values, seen = treated + effect - untreated, []
        for look in planned:
            found, verdict = judged(values[: look.seeds], look.level)
            seen.append((look.seeds, verdict, found.low - 1e-12 <= effect <= found.high + 1e-12))
        ends.append(next((one for one in seen if one[1] != "inconclusive"), seen[-1])[:2])
        covered += all(one[2] for one in seen)
    return ends, covered / n_experiments


def looks_of(most_seeds):
    """The looks of an experiment that adds eight seeds at a time."""
    return looks(Experiment(seeds=8, study=StudyConfig(until_conclusive=True, most_seeds=most_seeds)))


def called(values, p_value, level):
    """Whether an effect is seen in differences [seeds]; the interval is found only where the p-value leaves it open."""
    return p_value <= 1 - level and judged(values, level)[1] in ("helps", "hurts")


def wrong(ends):
    return np.mean([verdict in ("helps", "hurts") for _, verdict in ends])


@pytest.mark.parametrize(("trials", "n", "n_experiments"), [(normal, 8, 2000), (left_tail, 8, 1000)])
def test_without_an_effect_one_is_called_in_at_most_5_percent_and_intervals_cover(trials, n, n_experiments):
    coverage, error, _ = simulated(trials, n, n_experiments)
    assert at_most_5_percent(error, n_experiments)
    assert 0.93 <= coverage <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 8, 12, 16, 32])
@pytest.mark.parametrize("trials", [normal, left_tail, unequal_seeds, counts])
def test_error_and_coverage_are_kept_for_any_number_of_seeds_and_any_noise_of_arms_that_are_alike(trials, n):
    coverage, error, _ = simulated(trials, n, 2000)
    assert at_most_5_percent(error, 2000)
    assert 0.93 <= coverage <= 0.975  # 0.97, within two standard errors of a simulation


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 8, 12, 16, 32])
def test_a_long_tail_makes_intervals_too_long_never_too_short(n):
    coverage, error, _ = simulated(long_tail, n, 2000)
    assert at_most_5_percent(error, 2000)
    assert 0.95 <= coverage <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize(("n", "worst_error", "worst_coverage"), [(6, 0.08, 0.89), (8, 0.08, 0.91), (32, 0.05, 0.94)])
def test_arms_of_which_only_one_has_a_tail_err_as_often_as_the_readme_says(n, worst_error, worst_coverage):
    coverage, error, _ = simulated(unlike, n, 2000)
    assert error <= worst_error and coverage >= worst_coverage


def test_a_planted_effect_is_found():
    _, _, verdicts = simulated(normal, 10, 200, effect=0.02)
    assert verdicts.get("helps", 0) > 0.9 and "hurts" not in verdicts
    _, _, verdicts = simulated(left_tail, 16, 200, effect=-0.02)
    assert verdicts.get("hurts", 0) > 0.9 and "helps" not in verdicts


def test_a_difference_that_certainly_is_small_is_none():
    _, _, verdicts = simulated(lambda rng, n: 0.87 + rng.normal(0, 0.0015, (2, n)), 12, 200)
    assert verdicts["no difference"] > 0.95


def test_adding_seeds_until_an_effect_is_seen_sees_none_that_is_not_there():
    rng, n, planned = np.random.default_rng(0), 600, looks_of(32)
    levels = {"of its own": [look.level for look in planned], "of an only look": [statistics.LEVEL] * len(planned)}
    seen = dict.fromkeys(levels, 0)
    for _ in range(n):
        treated, untreated = normal(rng, 32)
        values = [(treated - untreated)[: look.seeds] for look in planned]
        for name, each in levels.items():
            p_values = [effect_p(differences, 1 - level) for differences, level in zip(values, each, strict=True)]
            seen[name] += any(map(called, values, p_values, each))
    assert at_most_5_percent(seen["of its own"] / n, n)
    assert not at_most_5_percent(seen["of an only look"] / n, n)


@pytest.mark.slow
@pytest.mark.parametrize("trials", [normal, left_tail, counts])
@pytest.mark.parametrize("most", [16, 32])
def test_all_looks_together_err_in_at_most_5_percent_and_their_intervals_cover_at_once(trials, most):
    ends, covered = sequence(trials, 2000, most_seeds=most)
    assert at_most_5_percent(wrong(ends), 2000)
    assert at_most_5_percent(1 - covered, 2000)


def test_a_planted_effect_ends_a_sequence_early():
    ends, _ = sequence(normal, 100, effect=0.03)
    assert np.mean([verdict == "helps" for _, verdict in ends]) > 0.95
    assert np.mean([seeds for seeds, _ in ends]) < 18
