"""Looks: when they are taken, and how strictly each is judged."""

import itertools
import json

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.report import report, verdicts, words
from pretrain.study.answer import answer
from pretrain.study.attribution import attribute
from pretrain.study.power import seeds_to_settle, smallest_p
from pretrain.study.sequential import Look, arm_of, check, look_at, looks, needed, seeds_of, taken
from pretrain.study.statistics import FEWEST_SEEDS, FINEST_LEVEL, nil_p, sign_flip
from tests.report.test_terminal import FROZEN, INIT, effects, four_corners, tables


def until_conclusive(seeds, most, sweep=()):
    return Experiment(seeds=seeds, sweep=sweep, study=StudyConfig(until_conclusive=True, most_seeds=most))


def test_looks_by_hand():
    assert looks(Experiment(seeds=8)) == [Look(1, 8, 0.95)]
    found = looks(until_conclusive(8, 20))
    assert [look[:2] for look in found] == [(1, 8), (2, 16), (3, 20)]
    spent = 2 * stats.norm.cdf(-1.959964 / np.sqrt([0.4, 0.8, 1.0]))
    assert [look.level for look in found] == pytest.approx(1 - np.diff(spent, prepend=0))


@given(st.integers(1, 40), st.integers(0, 400))
def test_looks_share_5_percent_as_those_of_o_brien_and_fleming(seeds, more):
    most = seeds + more
    found = looks(until_conclusive(seeds, most))
    ends = [0, *(look.seeds for look in found)]
    assert ends[1] == min(seeds, most) and ends[-1] == most
    assert set(np.diff(ends)[:-1]) <= {seeds} and 0 < ends[-1] - ends[-2] <= seeds
    assert [look.number for look in found] == list(range(1, len(found) + 1))
    shares = [1 - look.level for look in found]
    assert sum(shares) == pytest.approx(0.05)
    spent = 2 * stats.norm.cdf(stats.norm.ppf(0.025) / np.sqrt(np.array(ends[1:]) / most))
    np.testing.assert_allclose(np.cumsum(shares), spent, atol=1e-12)


def test_the_level_follows_from_how_many_seeds_there_are_diverged_or_not():
    experiment = until_conclusive(8, 20)
    arms = [({INIT: init}, np.full(20, 0.5), np.full(20, 0.8)) for init in ("pretrained", "he")]
    trials, _ = tables(arms, diverged={(0, 3), (1, 3)})
    assert taken(experiment, trials) == looks(experiment)
    assert [look.level for look in taken(Experiment(seeds=3), trials)] == [0.95]  # of one look, whatever its table


def test_a_run_that_came_to_no_look_is_refused_in_one_line():
    with pytest.raises(ConfigError) as error:
        look_at(until_conclusive(8, 64), 12)
    assert str(error.value).splitlines() == [str(error.value)]
    for part in ("12", "8, 16, 24, …, 64 seeds", "run its command again"):
        assert part in str(error.value)


def test_many_looks_are_reported_by_the_first_and_the_last():
    assert seeds_of(looks(until_conclusive(8, 32))) == "8, 16, 24, 32"
    assert seeds_of(looks(until_conclusive(8, 100))) == "8, 16, 24, …, 100"


def test_most_seeds_hold_a_batch():
    with pytest.raises(ConfigError, match=r"^study\.most_seeds: 7 is less than the first batch of seeds 8; raise it"):
        until_conclusive(8, 7)
    assert Experiment(seeds=8, study=StudyConfig(most_seeds=7))  # which then says nothing


@pytest.mark.parametrize(
    ("seeds", "most", "reported"),
    [
        (
            2,
            5,
            "study.most_seeds: 5 can never .* 0.062 at best, and the last look takes at most 0.022; raise it to 6",
        ),
        (1, 6, "study.most_seeds: 6 can never .* 0.031 at best, and the last look takes at most 0.018; raise it to 7"),
    ],
)
def test_looks_that_can_never_conclude_are_refused_in_one_line(seeds, most, reported):
    with pytest.raises(ConfigError, match=f"^{reported}$"):
        check(until_conclusive(seeds, most))


@given(st.integers(1, 12), st.integers(0, 20))
def test_looks_are_refused_just_where_none_can_conclude(seeds, more):
    experiment = until_conclusive(seeds, seeds + more)
    by_student = [look for look in looks(experiment) if look.level > 1 - FINEST_LEVEL]
    possible = [look for look in looks(experiment) if smallest_p(look.seeds) <= 1 - look.level] + by_student
    if any(look.seeds >= FEWEST_SEEDS for look in possible):
        check(experiment)
    else:
        with pytest.raises(ConfigError) as refusal:
            check(experiment)
        check(until_conclusive(seeds, int(str(refusal.value).rsplit(" ", 1)[1])))


def test_a_run_with_one_look_may_have_few_seeds():
    check(Experiment(seeds=2, study=StudyConfig(most_seeds=5)))


def test_nine_comparisons_can_conclude_at_64_looks():
    last = looks(until_conclusive(1, 64))[-1]
    differences = np.random.default_rng(0).uniform(0.1, 0.2, last.seeds)
    assert 9 * sign_flip(differences) <= 1 - last.level


def noisy(gain, n=8, spread=0.01):
    """Tables of a run in which pretraining gains so much at either number of frozen layers."""
    rng = np.random.default_rng(0)
    rows = []
    for init in ("pretrained", "he"):
        for frozen in (2, 0):
            end = 0.8 + gain[frozen] * (init == "pretrained") + rng.normal(0, spread, n)
            rows.append(({INIT: init, "finetune.frozen_layers": frozen}, np.full(n, 0.5), end))
    return tables(rows)


def test_a_look_reports_what_is_open_and_what_follows():
    planned = looks(until_conclusive(16, 48))
    compared = answer(*noisy({2: 0.1, 0: 0.003}, n=16), level=planned[0].level).comparisons
    reported = [verdicts.progress(look, planned, compared) for look in (planned[0], planned[-1])]
    assert reported[0] == (
        "look 1 of at most 3, 16 seeds, 99.93 % intervals: 1 of 2 comparisons inconclusive "
        "(pretraining with all layers trainable); next look at 32 seeds"
    )
    assert reported[1].startswith("look 3 of at most 3, 48 seeds") and reported[1].endswith(
        "; study.most_seeds is reached"
    )
    assert verdicts.progress(planned[0], planned, compared[:1]).endswith(": all comparisons are settled")
    assert verdicts.progress(planned[0], planned, []).endswith(": there is nothing to compare")


def test_what_a_look_settles_keeps_its_verdict_and_its_arms_take_no_more_seeds():
    experiment = until_conclusive(16, 48, sweep=({INIT: ("pretrained", "he"), FROZEN: (2, 0)},))
    first, *later = looks(experiment)
    trials, curves = noisy({2: 0.1, 0: 0.003}, n=48)
    at_first = answer(trials.filter(pc.less(trials["seed"], 16)), curves, level=first.level)
    clear, unclear = at_first.comparisons
    assert (clear.verdict, unclear.verdict, clear.look) == ("helps", "inconclusive", None)
    assert needed(at_first.comparisons) == {
        arm_of({INIT: init, FROZEN: 0}, experiment) for init in ("pretrained", "he")
    }
    # As the run goes on: no more seeds of those with two layers frozen.
    goes_on = pc.or_(pc.less(trials["seed"], 16), pc.equal(trials[FROZEN], 0))
    for table in (trials, trials.filter(goes_on)):
        kept, still = answer(table, curves, level=later[-1].level, before=[first, later[0]]).comparisons
        assert (kept.look, kept.n, kept.level, kept.verdict) == (1, 16, first.level, "helps")
        assert kept.difference == clear.difference and kept.p_value == clear.p_value
        assert (still.look, still.n, still.level) == (None, 48, later[-1].level)
    assert "99.93 %" in verdicts.verdict([kept]) and "16 seeds, settled at look 1;" in verdicts.verdict([kept])
    # It counts on for the claim that was not made of it: that there is no difference.
    assert still.p_nil == min(1.0, 2 * nil_p(still.treated - still.untreated, 0.005))


def test_many_open_comparisons_are_not_all_named():
    one = answer(*noisy({2: 0.003, 0: 0.003}), level=0.9875).comparisons[0]
    planned = looks(until_conclusive(8, 32))
    assert verdicts.progress(planned[0], planned, [one] * 9).count("pretraining") == 4


def test_every_interval_and_every_word_is_of_the_level_used(tmp_path):
    experiment = until_conclusive(8, 32)
    usual, strict = (
        answer(*four_corners(effects(0.6, freezing=-0.4), effects(0.85, pretraining=0.03)), level=level)
        for level in (0.95, 0.9875)
    )
    assert strict.level == 0.9875 and strict.n_seeds == 8
    for one, other in zip(usual.comparisons, strict.comparisons, strict=True):
        assert other.level == 0.9875
        assert other.difference.low < one.difference.low and one.difference.high < other.difference.high
    assert strict.best_test.low < usual.best_test.low
    assert "%" not in verdicts.verdict(usual.comparisons)
    assert verdicts.verdict(strict.comparisons).count("] at 98.75 %") == 2
    reported = str(words.explanation(strict))
    assert "98.75 %" in reported and "95 %" not in reported
    trials, curves = four_corners(effects(0.6, freezing=-0.4), effects(0.85, pretraining=0.03))
    page = report.write(strict, trials, curves, experiment, "2 x cpu", tmp_path).read_text()
    design = json.loads((tmp_path / "answer.json").read_text())["design"]
    assert (design["seeds"], design["level"], design["look"]) == (8, 0.9875, 1)
    assert design["looks_at_seeds"] == [8, 16, 24, 32]
    assert "98.75 % interval" in page and "95 % interval" not in page


def test_shares_are_at_the_level_asked_for():
    rng = np.random.default_rng(0)
    cells = {corner: rng.random(8) for corner in itertools.product((False, True), repeat=2)}
    usual, strict = (attribute(cells, ("a", "b"), level) for level in (0.95, 0.9875))
    pairs = [(usual.gap, strict.gap), (usual.interactions["a", "b"], strict.interactions["a", "b"])]
    for one, other in [*pairs, *((usual.shares[name], strict.shares[name]) for name in "ab")]:
        assert other.low < one.low < one.high < other.high


def test_a_stricter_level_takes_more_seeds_to_settle():
    differences = np.linspace(-0.02, 0.03, 8)
    strict, usual = seeds_to_settle(differences, 0.005, 0.9875), seeds_to_settle(differences, 0.005)
    assert strict.low > usual.low and strict.high > usual.high
