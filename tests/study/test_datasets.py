"""Several datasets: the mean of these, the sign test of most like them, and how much effects differ."""

import numpy as np
import pytest
from scipy import stats

from pretrain.study import datasets
from pretrain.study.datasets import fixed, group, lost, most, of_pairs, spread

EXPERIMENTS = 200


def effects_of(gains):
    return [of_pairs(str(number), np.asarray(each, float)) for number, each in enumerate(gains)]


def drawn(rng, truths, n=8):
    """Effects on datasets of unlike noise."""
    return effects_of([truth + rng.normal(0, rng.uniform(0.5, 2), n) for truth in truths])


def test_one_dataset_has_students_interval():
    gains = np.random.default_rng(0).normal(1, 1, 9)
    low, high = stats.ttest_1samp(gains, 0).confidence_interval()
    assert fixed(effects_of([gains])) == pytest.approx((gains.mean(), low, high))


def test_two_datasets_have_welchs_interval():
    one, other = np.random.default_rng(0).normal(1, 1, (2, 9))
    other = 3 * other[:6]
    low, high = stats.ttest_ind(one, -other, equal_var=False).confidence_interval()
    assert fixed(effects_of([one, other])) == pytest.approx(np.array([one.mean() + other.mean(), low, high]) / 2)


def test_seeds_that_agree_and_one_seed_have_no_end():
    assert fixed(effects_of([[1, 1, 1], [2, 2, 2]])) == (1.5, -np.inf, np.inf)
    one_off = [of_pairs("", np.array(gains, float), step=0.1) for gains in ([1, 1, 1], [2, 2, 2])]
    differing = fixed(effects_of([[1.1, 1, 1], [2.1, 2, 2]]))
    assert np.subtract(fixed(one_off), 1.5) == pytest.approx(np.subtract(differing, differing.mean))
    assert fixed(effects_of([[1], [2, 2, 2]])) == (1.5, -np.inf, np.inf)


@pytest.mark.parametrize(("up", "down"), [(6, 0), (9, 1), (1, 9), (4, 3)])
def test_most_is_the_sign_test(up, down):
    result = most(effects_of([[1, 1, 1]] * up + [[-1, -1, -1]] * down))
    assert result.p_value == pytest.approx(min(1, stats.binomtest(up, up + down).pvalue))
    assert (result.claim != "") == (result.p_value <= 0.05)


def test_fewer_than_six_datasets_claim_nothing_and_failures_and_ties_count_against():
    assert not most(effects_of([[1, 1]] * 5), alpha=0.5).claim
    assert most(effects_of([[1, 1]] * 6)).claim == "gain" and most(effects_of([[-1, -1]] * 6)).claim == "loss"
    assert not most([*effects_of([[1, 1]] * 6), lost("broken")]).claim
    assert not most(effects_of([[1, 1]] * 6 + [[0, 0]])).claim


def test_a_group_leaves_failed_datasets_out_and_names_them():
    result = group("ours", {}, [*effects_of([[1, 2], [2, 3], [1, 3]]), lost("broken")], 0.95, sign=-1)
    assert result.failed == ["broken"] and result.fixed.mean == pytest.approx(-2.0)
    assert group("ours", {}, [lost("broken")], 0.95).fixed is None


def test_the_spread_solves_paule_and_mandels_equation_where_variances_are_certain():
    rng = np.random.default_rng(0)
    means, variances = rng.normal(0, 4, 9), rng.uniform(0.5, 2, 9)
    certain = [
        datasets.Effect(str(number), mean, variance, 1e9, mean)
        for number, (mean, variance) in enumerate(zip(means, variances, strict=True))
    ]

    def squares(tau):
        weights = 1 / (variances + tau**2)
        return np.sum(weights * (means - np.average(means, weights=weights)) ** 2)

    result = spread(certain)
    assert squares(result.mean) == pytest.approx(8)
    assert [squares(end) for end in (result.low, result.high)] == pytest.approx(stats.chi2(8).ppf([0.975, 0.025]))


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 6, 10])
@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_intervals_cover(k, tau):
    """The mean of these datasets, and the spread of true effects, at 8 seeds."""
    rng = np.random.default_rng(0)
    covered, n = np.zeros(2), 2000
    for _ in range(n):
        truths = rng.normal(0, tau, k)
        result = drawn(rng, truths)
        ends = fixed(result), spread(result)
        covered += [end.low <= truth <= end.high for end, truth in zip(ends, (truths.mean(), tau), strict=True)]
    assert (covered / n >= 0.93).all()


@pytest.mark.parametrize("k", [6, 10])
@pytest.mark.parametrize("kind", ["none", "normal", "skewed", "mixed"])
def test_most_is_claimed_wrongly_in_few_experiments(k, kind):
    """Effects over datasets with a median of zero; of the mixed, four of five lose and one gains much."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(EXPERIMENTS):
        truths = {
            "none": np.zeros(k),
            "normal": rng.normal(0, 2, k),
            "skewed": rng.exponential(2, k) - 2 * np.log(2),
            "mixed": np.where(rng.random(k) < 0.8, -1.0, 4.0),
        }[kind]
        claim = most(drawn(rng, truths)).claim
        wrong += claim == "gain" if kind == "mixed" else claim != ""
    assert wrong / EXPERIMENTS <= 0.05 + 2 * 0.015
