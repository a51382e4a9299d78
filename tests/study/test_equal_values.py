"""Verdicts of values that agree, of few rows, of arms without pairs, at looks, and at any scale."""

import numpy as np
import pyarrow as pa
import pytest

import pretrain
from pretrain.config.fields import ConfigError
from pretrain.study import statistics, unpaired

ASKED = {"treatment": "method=ours", "baseline": "method=plain"}


def judged(treated, untreated, value="accuracy", pair="seed", **asked):
    names = ["ours"] * len(treated) + ["plain"] * len(untreated)
    seeds = [*range(len(treated)), *range(len(untreated))]
    table = pa.table({"method": names, "seed": seeds, value: np.concatenate([treated, untreated])})
    paired = {"pair": pair} if pair else {}
    (found,) = pretrain.judge(table, **ASKED, value=value, **paired, **asked).answer.comparisons
    return found


def on_rows(rows, n=8):
    """Accuracies on so many rows, one row apart from seed to seed."""
    return (round(0.8 * rows) + np.arange(n) % 3) / rows


@pytest.mark.parametrize(("rows", "verdict"), [(20, "inconclusive"), (80, "inconclusive"), (90, "no difference")])
def test_arms_that_agree_in_all_seeds_differ_by_less_than_a_row_may(rows, verdict):
    found = judged(on_rows(rows), on_rows(rows))
    assert found.verdict == verdict and found.difference.high == pytest.approx(statistics.off(8, 0.05) / rows)
    assert (found.p_nil <= 0.05) == (verdict == "no difference")
    if verdict == "inconclusive":
        assert found.seeds_to_settle.low > 8


def test_where_no_value_differs_from_another_nothing_is_known():
    found = judged(np.full(8, 0.9), np.full(8, 0.9))
    assert found.verdict == "inconclusive" and found.difference == (0.0, -np.inf, np.inf)
    assert found.seeds_to_settle is None and found.p_nil == 1
    alone = judged(np.full(8, 0.9), np.full(8, 0.9), pair=None)
    assert (alone.verdict, alone.seeds_to_settle, alone.p_nil) == ("inconclusive", None, 1)


def test_an_early_look_takes_no_equal_seeds_for_proof():
    planned = [8, 64]
    rows = on_rows(300, 8)
    assert judged(rows, rows).verdict == "no difference"
    assert judged(rows, rows, looks=planned).verdict == "inconclusive"
    apart = judged(rows + 1 / 300, rows, looks=planned)
    assert apart.verdict == "inconclusive" and 0 < apart.p_value < 1e-3


@pytest.mark.parametrize("looks", [[2, 40], [8, 4000]])
def test_a_look_that_may_not_err_concludes_nothing(looks):
    n = looks[0]
    found = judged(on_rows(100, n) + 0.05, on_rows(100, n), looks=looks)
    assert found.verdict == "inconclusive"
    assert np.isfinite(found.improvement).all()


def test_constant_arms_without_pairs_are_as_one_seed_off():
    ours, plain = np.full(6, 0.9), np.full(6, 0.8)
    interval, p_value = unpaired.welch(ours, plain)
    assert interval.high - interval.low == pytest.approx(2 * statistics.off(6, 0.05) * 0.1)
    assert p_value == pytest.approx(statistics.equal_p(0.1, 6, 0.1))
    found = judged(ours, plain, pair=None)
    assert found.verdict == "helps" and 0.001 < found.p_value <= 0.05
    # One constant arm varies as if one of its seeds were a step off.
    varied = np.array([0.8, 0.8, 0.8, 0.8, 0.8, 0.81])
    constant = unpaired.welch(np.full(6, 0.81), varied)
    assert constant[0].high == pytest.approx(unpaired.welch(np.array([0.81] * 5 + [0.80]), varied)[0].high + 0.01 / 6)


@pytest.mark.parametrize("exponent", [-1000, -40, 0, 40, 490])
def test_verdicts_are_the_same_at_any_scale(exponent):
    rng, scale = np.random.default_rng(0), 2.0**exponent
    plain = rng.normal(1, 0.002, 8)
    for shift in (0.02, 0.0):
        ours = plain + shift + rng.normal(0, 0.001, 8)
        one, other = (judged(scale_ * ours, scale_ * plain, value="score") for scale_ in (1.0, scale))
        assert (other.verdict, other.p_value, other.p_nil) == (one.verdict, one.p_value, one.p_nil)
        assert other.verdict == ("helps" if shift else "no difference")
        assert np.array(other.difference) / scale == pytest.approx(np.array(one.difference), rel=1e-12)
        assert other.seeds_to_settle == one.seeds_to_settle


def test_values_whose_squares_are_infinite_are_refused():
    with pytest.raises(ConfigError, match="too large to be squared"):
        judged(np.full(6, 1e300), np.full(6, 2e300), value="score")


def test_datasets_on_which_all_seeds_agree_have_an_interval():
    rows = [
        (method, name, seed, float(value))
        for name in ("a", "b", "c")
        for method in ("ours", "plain")
        for seed, value in enumerate(on_rows(50))
    ]
    columns = dict(zip(("method", "set", "seed", "accuracy"), map(list, zip(*rows, strict=True)), strict=True))
    (group,) = pretrain.judge(pa.table(columns), **ASKED, value="accuracy", pair="seed", datasets="set").datasets
    assert group.fixed.mean == 0 and 0 < group.fixed.high < 0.02
