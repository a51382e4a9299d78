"""Shares of sources of variation, against formulas written out, against known variances, and in a run's tables."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pretrain.config import StudyConfig
from pretrain.report import variation as in_words
from pretrain.study.answer import answer
from pretrain.study.rows import Components, components
from pretrain.study.variation import SOURCES, following, of_rows, shares, variations, with_rows
from tests.bench.variation import MAIN, NOISE, TOGETHER, covered

INIT = "finetune.encoder_init"
TRUTH = {source: part + TOGETHER for source, part in MAIN.items()}  # of a total variance of 1


def made(n, seed=0, **deviations):
    """Differences whose sources have known deviations and add up, and the same with each source drawn anew."""
    rng = np.random.default_rng(seed)
    effects = {source: deviation * rng.normal(size=n + 1) for source, deviation in deviations.items()}
    base = sum(effect[:n] for effect in effects.values())
    others = {source: deviation * rng.normal(size=n) for source, deviation in deviations.items()}
    others["pretraining"] = effects["pretraining"][1:]  # the next seed's
    return base, {source: base - effects[source][:n] + others[source] for source in effects}


def by_formula(base, redrawn, blocks):
    """A source's share, and its interval by the jackknife, written out seed by seed."""
    source = next(iter(redrawn))

    def log_share(kept):
        effect = np.mean([(base[seed] - redrawn[source][seed]) ** 2 / 2 for seed in kept])
        columns = [base, *redrawn.values()]
        return math.log(effect / np.mean([np.var([column[seed] for seed in kept], ddof=1) for column in columns]))

    everyone, g = range(len(base)), len(blocks)
    left_out = [log_share([seed for seed in everyone if seed not in block]) for block in blocks]
    error = math.sqrt((g - 1) / g * sum((value - np.mean(left_out)) ** 2 for value in left_out))
    centre, margin = log_share(everyone), stats.t.ppf(0.975, g - 1) * error
    return [math.exp(value) for value in (centre, centre - margin, centre + margin)]


@pytest.mark.parametrize("n", [6, 8, 11])
def test_a_share_and_its_interval_are_those_of_the_formulas(n):
    base, redrawn = made(n, labels=0.02, pretraining=0.01, head=0.005)
    _, found = shares(base, redrawn)
    by_source = {each.source: each.share for each in found}
    single, pairs = np.array_split(range(n), n), np.array_split(range(n), n // 2)
    for source, blocks in (("labels", single), ("head", single), ("pretraining", pairs)):
        first = {source: redrawn[source]} | redrawn
        assert tuple(by_source[source]) == pytest.approx(by_formula(base, first, blocks))


def test_a_split_of_the_next_seed_counts_as_an_encoder_of_it():
    base, redrawn = made(9, labels=0.02, pretraining=0.01)
    (encoder,), (split,) = (shares(base, {name: redrawn["pretraining"]})[1] for name in ("pretraining", "split"))
    assert split == encoder._replace(source="split")


def test_a_deviation_has_the_interval_of_chi_square():
    base, redrawn = made(10, labels=0.02, pretraining=0.01)
    found = {each.source: each.deviation for each in shares(base, redrawn)[1]}
    effect = np.mean((base - redrawn["labels"]) ** 2) / 2
    ends = [effect, 10 * effect / stats.chi2.ppf(0.975, 10), 10 * effect / stats.chi2.ppf(0.025, 10)]
    assert tuple(found["labels"]) == pytest.approx(np.sqrt(ends))


def test_many_seeds_find_the_known_variances():
    parts = {"pretraining": 0.3, "labels": 0.8, "head": 0.1, "batches": 0.5}
    deviation, found = shares(*made(20_000, **parts))
    total = sum(part**2 for part in parts.values())
    assert deviation == pytest.approx(math.sqrt(total), rel=0.02)
    assert [each.source for each in found] == ["labels", "batches", "pretraining", "head"]
    for each in found:
        assert each.share.mean == pytest.approx(parts[each.source] ** 2 / total, rel=0.05)
        assert each.deviation.mean == pytest.approx(parts[each.source], rel=0.03)


def test_shares_do_not_depend_on_units_nor_on_the_mean():
    base, redrawn = made(8, labels=0.02, pretraining=0.01)
    moved = {source: 100 * (column + 7) for source, column in redrawn.items()}
    for one, other in zip(shares(base, redrawn)[1], shares(100 * (base + 7), moved)[1], strict=True):
        assert tuple(one.share) == pytest.approx(tuple(other.share))
        assert tuple(100 * part for part in one.deviation) == pytest.approx(tuple(other.deviation))


def test_few_seeds_or_a_lone_change_have_no_interval():
    base, redrawn = made(3, labels=0.02, pretraining=0.01)
    by_source = {each.source: each.share for each in shares(base, redrawn)[1]}
    assert by_source["pretraining"][1:] == (0, math.inf)
    base, redrawn = made(8, labels=0.02, pretraining=0.0)
    lone = base.copy()
    lone[3] += 0.01
    assert shares(base, {"head": lone})[1][0].share[1:] == (0, math.inf)


@pytest.mark.parametrize(("noise", "n"), list(itertools.product(NOISE, (8, 16))))
def test_intervals_of_shares_cover(noise, n):
    """In 400 experiments; tests.bench.variation repeats it with 2,000, whose table is in pretrain/study/README.md."""
    for source, (of_share, _, relative) in covered(noise, n, 400).items():
        assert of_share > 0.93 - 3 * math.sqrt(0.93 * 0.07 / 400), source
        assert relative == pytest.approx(1, abs=0.15)


def tables(n=8, tuned=False, lost=()):
    """Tables of trials, and of redrawn ones, of two arms; to draw labels anew changes nothing, and no head is drawn."""
    draws = {"": 0, "pretraining": 1, "labels": 0, "batches": 2}
    rows = []
    for source, init, seed in itertools.product(draws, ("pretrained", "he"), range(n)):
        rng = np.random.default_rng([seed, draws[source]])
        gain = 0.05 * rng.normal() if init == "pretrained" else 0.0
        for rate, penalty in ((0.1, 0.0), (0.2, 0.03)) if tuned else ((0.1, 0.0),):
            value = 0.8 + gain - penalty
            row = {"trial_id": f"{source} {init} {seed} {rate}", "seed": seed, "repeat": 0, INIT: init}
            row |= {"rate": rate} if tuned else {}
            status = "diverged" if (source, init, seed) in lost else "ok"
            row |= {"failed_stage": None, "status": status, "test_accuracy": value, "validation_accuracy": value}
            rows.append((source, row | ({"tuning_score": value} if tuned else {})))
    base, redrawn = ([row for source, row in rows if bool(source) == is_redrawn] for is_redrawn in (False, True))
    sources = [source for source, _ in rows if source]
    return pa.Table.from_pylist(base), pa.Table.from_pylist(redrawn).add_column(1, "redrawn", [sources])


def curves():
    names = {"trial_id": pa.string(), "stage": pa.string(), "step": pa.int64(), "metric": pa.string()}
    return pa.table({name: pa.array([], kind) for name, kind in names.items()} | {"value": pa.array([], pa.float64())})


def test_a_runs_tables_come_to_shares_and_comparisons_are_those_without_redraws():
    base, redrawn = tables()
    found, alone = answer(base, curves(), redrawn=redrawn), answer(base, curves())
    assert [each.difference for each in found.comparisons] == [each.difference for each in alone.comparisons]
    assert len(found.arms) == len(alone.arms) == 2 and alone.variation == ()
    (split,) = found.variation
    assert (split.treatment, split.baseline, split.n) == ("pretrained", "he", 8)
    assert {each.source for each in split.shares} == {"pretraining", "batches"}
    assert set(split.fixed) == set(SOURCES) - {"pretraining", "batches"}
    changes = {}
    for source in ("pretraining", "batches"):
        here = redrawn.to_pandas().query("redrawn == @source").pivot(index="seed", columns=INIT, values="test_accuracy")
        before = base.to_pandas().pivot(index="seed", columns=INIT, values="test_accuracy")
        changes[source] = np.mean(((here - before).pretrained - (here - before).he) ** 2) / 2
    for each in split.shares:
        assert each.deviation.mean**2 == pytest.approx(changes[each.source])


def test_seeds_with_failures_are_left_out():
    base, redrawn = tables(lost=[("batches", "he", 2), ("", "pretrained", 5)])
    (split,) = answer(base, curves(), redrawn=redrawn).variation
    assert split.n == 6
    assert "orders of magnitude, at 6 seeds" in in_words.sentences(answer(base, curves(), redrawn=redrawn))[0]


def test_tuned_arms_choose_anew_in_every_redraw():
    study = StudyConfig(tune=("rate",))
    plain, tuned = (
        answer(*(base, curves(), each), redrawn=redrawn)
        for (base, redrawn), each in ((tables(), StudyConfig()), (tables(tuned=True), study))
    )
    assert [each.shares for each in plain.variation] == [each.shares for each in tuned.variation]


def test_what_to_add_follows_from_the_largest_part():
    base, redrawn = tables()
    found = answer(base, curves(), redrawn=redrawn)
    (comparison,), (split,) = found.comparisons, found.variation
    is_open, settled = (comparison._replace(verdict=verdict) for verdict in ("inconclusive", "helps"))
    labels = [split.shares[0]._replace(source="labels", share=split.shares[0].share._replace(low=0.6))]
    assert following(settled, labels) == "datasets"
    assert following(is_open, labels) == "labels"
    assert following(is_open, labels, of_rows=0.7) == "rows"
    assert following(is_open, split.shares) == following(is_open, []) == "seeds"


@pytest.mark.parametrize("shared", [True, False])
def test_the_share_of_rows_is_half_the_squared_change_that_other_rows_make(shared):
    rng, n, rows, redraws = np.random.default_rng(11), 40, 100, 400
    of_seed, of_row = 0.02 * rng.normal(size=(n, 1)), 0.3 * rng.normal(size=(redraws, 1 if shared else n, rows))
    seen = (of_seed + of_row + 0.4 * rng.normal(size=(redraws, n, rows))).mean(axis=2)  # [redraws, seeds]
    changed = np.mean(np.var(seen, axis=0, ddof=1))  # half the mean squared change between two redraws
    whole = np.full((n, rows if shared else n * rows), np.nan)
    effects = 0.3 * rng.normal(size=whole.shape[1])
    for seed in range(n):
        own = slice(None) if shared else slice(seed * rows, (seed + 1) * rows)
        whole[seed, own] = of_seed[seed] + effects[own] + 0.4 * rng.normal(size=rows)
    parts = components(whole)
    found = of_rows(parts, 0.001, n)
    assert found.source == "rows" and found.deviation.mean**2 == pytest.approx(changed, rel=0.1)
    assert found.share.mean == pytest.approx(found.deviation.mean**2 / 0.001) and np.isinf(found.deviation.high)
    if shared:  # degrees of freedom of mean squares over rows and of residuals
        squares = parts.n * parts.row_variance + parts.residual_variance, parts.residual_variance
        weights, counts = np.array([1 / n, 1 - 1 / n]), np.array([rows - 1, (n - 1) * (rows - 1)])
        freedom = np.dot(weights, squares) ** 2 / np.sum((weights * squares) ** 2 / counts)
        ends = found.share.mean / stats.f.ppf([0.975, 0.025], freedom, n - 1)
        np.testing.assert_allclose([found.share.low, found.share.high], ends)


def test_rows_that_make_most_of_what_is_open_are_what_to_add():
    base, redrawn = tables()
    found = answer(base, curves(), redrawn=redrawn)
    (comparison,), (split,) = found.comparisons, found.variation
    few = Components(8, 50, 400, 1e-9, 0.5, 0.01, 1 / 50, 1 / 400)
    (with_few,) = with_rows([split], [comparison._replace(rows=few, verdict="inconclusive")])
    assert with_few.next == "rows" and with_few.shares[0].source == "rows"
    assert set(with_few.shares) > set(split.shares) and with_few.fixed == split.fixed
    (settled,) = with_rows([split], [comparison._replace(rows=few, verdict="helps", holds_for_new_rows=True)])
    assert settled.next == "datasets"
    (on_these,) = with_rows([split], [comparison._replace(rows=few, verdict="helps", holds_for_new_rows=False)])
    assert on_these.next == "rows"
    many = few._replace(rows=10**6, cells=8 * 10**6, row_weight=1e-6, cell_weight=1e-6 / 8)
    assert with_rows([split], [comparison._replace(rows=many, verdict="inconclusive")])[0].next == "seeds"
    assert with_rows([split], [comparison]) == (split,)
    (line,) = in_words.sentences(found._replace(variation=(with_few,)))
    assert "test rows " in line and line.endswith("Test rows make most of what is open: add rows.")
    listing = in_words.listing(found._replace(variation=(with_few,)))
    assert listing.rows[0][1] == "test rows" and "[" not in listing.rows[0][2] and "without training" in listing.caption


def test_nothing_is_said_of_a_lone_seed():
    base, redrawn = tables(n=1)
    compared = answer(*tables(n=8)[:1], curves()).comparisons
    assert variations(compared, base, redrawn, StudyConfig()) == {0: None}


def test_why_nothing_is_said_of_seeds_that_fail_is_said():
    lost = [(source, "pretrained", seed) for source, seed in zip(("", "batches", "pretraining"), range(3), strict=True)]
    base, redrawn = tables(n=4, lost=lost)
    found = answer(base, curves(), redrawn=redrawn)
    assert not found.variation and len(found.unsplit) == 1
    (sentence,) = in_words.sentences(found)
    assert sentence == (
        "Where the variation of pretraining comes from is not known: fewer than two seeds trained in all trials, "
        "redrawn ones included."
    )
    assert [row[1] for row in in_words.listing(found).rows] == ["not known"]
    assert in_words.sentences(answer(base, curves())) == []


def test_sentences_and_table_say_shares_with_intervals():
    base, redrawn = tables()
    found = answer(base, curves(), redrawn=redrawn)
    (sentence,) = in_words.sentences(found)
    assert sentence.startswith("The difference of pretraining varies over seeds with a deviation of ")
    assert "batch order" in sentence and " %" in sentence and "All seeds have the same labelled rows." in sentence
    listing = in_words.listing(found)
    assert [row[1] for row in listing.rows] == [
        {"batches": "batch order"}.get(each.source, each.source) for each in found.variation[0].shares
    ]
    assert all(row[-1] == "8" and "[" in row[2] and "[" in row[3] for row in listing.rows)
