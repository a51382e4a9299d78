"""``launch.py judge`` and ``pretrain.judge``: the verdict on results of any program."""

import html
import json
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import pretrain
from pretrain.commands import judge as judge_command
from pretrain.commands.launch import main
from pretrain.config.fields import ConfigError
from pretrain.report import judgement
from pretrain.study import rows, sequential, statistics, unpaired
from tests.launching import ROOT, execute

PUBLISHED = {"seed": [1, 2, 3, 4], "ours": [0.8359, 0.8405, 0.816, 0.8361], "plain": [0.8311, 0.8454, 0.8435, 0.8376]}
ARMS = {"treatment": "method=ours", "baseline": "method=plain", "value": "accuracy"}


def results(n=8, gain=0.02, datasets=("",), spread=0.005, seed=0):
    """Rows of two arms, a seed each."""
    rng, rows = np.random.default_rng(seed), []
    for dataset in datasets:
        for number in range(n):
            level = rng.normal(0.8, 0.02)
            for method, more in (("plain", 0.0), ("ours", gain)):
                value = level + more + rng.normal(0, spread)
                row = {"method": method, "dataset": dataset, "seed": number, "accuracy": value, "host": f"n{number}"}
                rows.append(row)
    return pd.DataFrame(rows)


def judged(frame, **asked):
    return pretrain.judge(frame, **{**ARMS, "pair": "seed", **asked})


def only(told):
    (comparison,) = told.answer.comparisons
    return comparison


def refused(frame, **asked):
    with pytest.raises(ConfigError) as caught:
        judged(frame, **asked)
    return str(caught.value).splitlines()


def test_four_seeds_of_a_published_comparison_settle_nothing():
    told = pretrain.judge(PUBLISHED, treatment="ours", baseline="plain", pair="seed", value="accuracy")
    assert "is inconclusive (-0.7 points [-3.0, +1.5]; 4 seeds settle nothing, at least 6 can)" in told.verdict
    assert any("4 seeds show none, however large" in line for line in told.lines)


def test_a_comparison_is_that_of_a_run():
    frame = results()
    compared = only(judged(frame))
    wide = frame.pivot(index="seed", columns="method", values="accuracy")
    gains = (wide["ours"] - wide["plain"]).to_numpy()
    assert compared.difference == pytest.approx(statistics.estimate(gains))
    assert compared.p_value == statistics.sign_flip(gains)
    assert (compared.verdict, compared.n) == ("helps", 8)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_every_kind_of_file_holds_the_same(suffix, tmp_path):
    frame, path = results(), tmp_path / f"results.{suffix}"
    writers = {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, sep="\t", index=False),
        "parquet": lambda: pq.write_table(pa.Table.from_pandas(frame), path),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True, double_precision=15),
    }
    writers[suffix]()
    assert only(judged(path)).difference == pytest.approx(only(judged(frame)).difference)


def test_frames_columns_and_tables_are_the_same():
    frame = results()
    told = [judged(each) for each in (frame, pa.Table.from_pandas(frame), frame.to_dict("list"))]
    assert len({each.verdict for each in told}) == 1


class Exported:
    """A frame of another library, of which nothing is known but how to get another one."""

    def __init__(self, name, frame):
        setattr(self, name, lambda: frame)
        if name == "collect":
            self.lazy = lambda: self


@pytest.mark.parametrize("way", ["to_arrow", "to_pandas", "collect", "__arrow_c_stream__"])
def test_frames_of_other_libraries_are_read(way):
    frame = results()
    table = pa.Table.from_pandas(frame)
    if way == "__arrow_c_stream__":
        other = type("Stream", (), {way: lambda self, requested_schema=None: table.__arrow_c_stream__()})()
    else:
        other = Exported(way, frame if way == "to_pandas" else table)
    assert judged(other).verdict == judged(frame).verdict


def test_a_column_an_arm_is_the_same_as_a_row_an_arm():
    frame = results()
    wide = frame.pivot(index="seed", columns="method", values="accuracy").reset_index()
    for pair in ("seed", ()):
        compared = only(pretrain.judge(wide, treatment="ours", baseline="plain", pair=pair, value="accuracy"))
        assert compared.difference.mean == pytest.approx(only(judged(frame)).difference.mean)
        assert compared.p_value == only(judged(frame)).p_value


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_neither_the_order_of_rows_and_columns_nor_names_matter(random, paired):
    frame = results(n=7, gain=0.004)
    asked = {} if paired else {"pair": ()}
    order, names = list(range(len(frame))), list(frame.columns)
    random.shuffle(order)
    random.shuffle(names)
    shuffled = frame.iloc[order][names].replace({"method": {"ours": "new", "plain": "0.5"}})
    one = only(judged(frame, **asked))
    other = only(judged(shuffled, treatment="method=new", baseline="method=0.5", **asked))
    assert one.difference == pytest.approx(other.difference) and one.p_value == pytest.approx(other.p_value)
    assert one.verdict == other.verdict and one.seeds_to_settle == other.seeds_to_settle


@pytest.mark.parametrize("asked", [{}, {"pair": ()}])
@pytest.mark.parametrize("gain", [-0.02, 0.0, 0.003, 0.02])
def test_swapped_arms_mirror_the_verdict(gain, asked):
    frame, mirror = results(gain=gain), {"helps": "hurts", "hurts": "helps"}
    one = only(judged(frame, **asked))
    other = only(judged(frame, treatment=ARMS["baseline"], baseline=ARMS["treatment"], **asked))
    assert other.verdict == mirror.get(one.verdict, one.verdict) and other.p_value == pytest.approx(one.p_value)
    assert other.difference == pytest.approx((-one.difference.mean, -one.difference.high, -one.difference.low))


def test_seeds_that_are_no_pairs_are_compared_by_welch():
    frame = results(n=9, gain=0.03, spread=0.01)
    frame = frame[~((frame["method"] == "plain") & (frame["seed"] > 6))]
    told = judged(frame, pair=())
    sides = [frame.loc[frame["method"] == name, "accuracy"].to_numpy() for name in ("ours", "plain")]
    test = stats.ttest_ind(*sides, equal_var=False)
    low, high = test.confidence_interval()
    compared = only(told)
    assert compared.difference == pytest.approx((np.mean(sides[0]) - np.mean(sides[1]), low, high))
    assert compared.p_value == pytest.approx(test.pvalue) and compared.n == 7
    wins = stats.mannwhitneyu(*sides).statistic / (9 * 7)
    assert compared.improvement.mean == pytest.approx(wins)
    assert "no pairs" in told.verdict


def test_rates_of_failure_without_pairs_are_fishers():
    for counts in [(0, 8, 5, 8), (3, 8, 3, 9), (1, 10, 9, 12), (8, 8, 0, 8)]:
        k, n, other_k, other_n = counts
        expected = stats.fisher_exact([[k, n - k], [other_k, other_n - other_k]]).pvalue
        assert unpaired.fisher(*counts) == pytest.approx(expected)
    frame = results(n=12)
    frame.loc[(frame["method"] == "ours") & (frame["seed"] < 6), "accuracy"] = np.nan
    compared = only(judged(frame, pair=()))
    assert (compared.verdict, compared.failures.treated, compared.failures.untreated) == ("unstable", 6, 0)
    assert compared.failures.difference.mean == pytest.approx(
        frame.loc[(frame["method"] == "ours"), "accuracy"].mean()
        - frame.loc[(frame["method"] == "plain"), "accuracy"].mean()
    )


def test_values_that_lack_or_are_none_have_failed():
    frame = results(n=10)
    frame.loc[(frame["method"] == "ours") & (frame["seed"] == 3), "accuracy"] = np.nan
    frame.loc[(frame["method"] == "plain") & (frame["seed"] == 5), "accuracy"] = np.inf
    frame = frame[~((frame["method"] == "ours") & (frame["seed"] == 7))]
    told = judged(frame)
    assert [arm.n_diverged for arm in told.answer.arms] == [1, 2]
    lost = "Failures: method=ours: 2 of 10 seeds, method=plain: 1 of 10 seeds; only missing values count"
    assert any(line.startswith(lost) for line in told.lines)
    assert told.verdict.startswith("Unstable: 2 of 10 seeds fail with method=ours, 1 with method=plain (p = 1.000).")
    assert not any("at most 5 %" in line for line in told.lines)
    absent = "Absent where another arm has the seed, and so failed: method=ours lacks 1 seed (seed 7)"
    assert any(line.startswith(absent) for line in told.lines)


def test_seeds_that_never_ran_are_told_apart_from_values_that_lack():
    frame = results(n=8, datasets="ab")
    ours = frame["method"] == "ours"
    frame = frame[~(ours & (frame["seed"] == 7)) & ~(ours & (frame["seed"] == 2) & (frame["dataset"] == "a"))]
    (line,) = (line for line in judged(frame, by="dataset").lines if line.startswith("Absent"))
    assert "lacks 1 seed (seed 7) in all conditions, to be left out if never run and 1 value in some" in line


@pytest.mark.parametrize("asked", [{}, {"pair": ()}, {"datasets": "dataset"}, {"looks": [6, 8]}])
@pytest.mark.parametrize("arm", ["ours", "plain"])
def test_an_arm_without_a_value_is_told_with_the_rates_of_failure(arm, asked, tmp_path):
    frame = results(datasets="abcdefg" if "datasets" in asked else ("",))
    frame.loc[(frame["method"] == arm) & (frame["dataset"] <= "a"), "accuracy"] = np.nan
    told = judged(frame, **asked)
    lost, *others = told.answer.comparisons
    assert (lost.verdict, lost.n, lost.failures.sizes) == ("unstable", 0, (8, 8))  # of the last look, too
    assert {lost.failures.treated, lost.failures.untreated} == {0, lost.failures.of} and lost.failures.p_value < 0.11
    assert judgement.write(told, tmp_path).exists() and json.loads(judgement.as_json(told))
    if others:  # among one more difference, and one rate
        assert any(
            "8 seeds cannot show any effect among 7 differences and 1 rate of failure" in each for each in told.lines
        )
        assert told.datasets[0].failed == ["a"]
    else:
        assert told.verdict.startswith("Unstable: ") and f"{lost.failures.of} seeds fail" in "".join(told.lines)


def test_rates_of_arms_of_unlike_sizes_are_each_of_its_own_seeds():
    values = [("ours", value) for value in (0.86, 0.85, 0.84, 0.85, 0.86, 0.85, None, None, None)]
    values += [("plain", None if seed < 4 else 0.8 + seed / 1e4) for seed in range(20)]
    told = judged(pd.DataFrame(values, columns=["method", "accuracy"]), pair=())
    found = only(told).failures
    assert (found.sizes, found.more_often, found.mostly) == ((9, 20), 1, (False, False))
    assert found.at_most[0] == pytest.approx(stats.beta.ppf(0.95, 4, 6))
    assert "3 of 9 seeds fail with method=ours, 4 of 20 with method=plain" in told.verdict
    few = [("ours", None if seed < 3 else 0.85 + seed / 1e4) for seed in range(5)]
    few += [("plain", 0.8 + seed / 1e4) for seed in range(20)]
    found = only(judged(pd.DataFrame(few, columns=["method", "accuracy"]), pair=())).failures
    assert found.p_value == pytest.approx(2 * stats.fisher_exact([[3, 2], [0, 20]]).pvalue)  # beside the difference


def test_a_seed_counts_where_one_of_two_arms_has_it():
    frame = results(n=16, gain=0.03)
    more = frame[frame["method"] == "ours"].assign(method="more")
    frame = pd.concat([frame[frame["seed"] < 8], more])
    told = judged(frame, treatment=["method=ours", "method=more"])
    one, other = told.answer.comparisons
    assert (one.verdict, one.n, one.failures.of, one.n_diverged) == ("helps", 8, 8, 0)
    assert (other.verdict, other.failures.untreated, other.failures.of) == ("unstable", 8, 16)
    (absent,) = (line for line in told.lines if line.startswith("Absent"))
    assert "method=plain lacks 8 seeds (seed 8, 9, 10, 11 and 4 more)" in absent and "method=ours" not in absent


def test_a_lower_loss_helps_and_names_say_so():
    frame = results(gain=-0.02).rename(columns={"accuracy": "val_loss"})
    assert only(judged(frame, value="val_loss")).verdict == "helps"
    assert only(judged(frame, value="val_loss", direction="higher")).verdict == "hurts"
    assert any("lower is better" in line for line in judged(frame, value="val_loss").lines)
    own = frame.rename(columns={"val_loss": "thing"})
    assert only(judged(own, value="thing")).verdict == "hurts"
    assert only(judged(own, value="thing", direction="lower")).verdict == "helps"


def test_percent_is_read_as_such_and_sizes_are_in_the_values_unit():
    frame = results(gain=0.0075, spread=0.001)
    percent = frame.assign(accuracy=100 * frame["accuracy"])
    one, other = only(judged(frame, smallest_effect=0.01)), only(judged(percent, smallest_effect=1))
    assert one.difference == pytest.approx(other.difference)
    assert one.verdict == other.verdict == "no difference"
    assert only(judged(frame)).verdict != "no difference"
    own = frame.assign(accuracy=1000 * frame["accuracy"]).rename(columns={"accuracy": "points"})
    assert only(judged(own, value="points", smallest_effect=10.0)).verdict == "no difference"


def test_arms_at_chance_are_not_judged():
    frame = results(gain=0.003, spread=0.0005)
    frame["accuracy"] -= 0.3
    assert (
        "is not judged, both arms at chance" in judged(frame, chance=0.5).verdict
        or only(judged(frame, chance=0.5)).both_at_chance
    )


def test_conditions_are_comparisons_of_one_family():
    frame = results(n=10, gain=0.01, datasets=("a", "b", "c"))
    told = judged(frame, by="dataset")
    raw = [only(judged(frame, where=f"dataset={name}")).p_value for name in "abc"]
    assert [each.p_value for each in told.answer.comparisons] == pytest.approx(statistics.holm(raw))
    assert told.table.rows[0][0].endswith("at dataset=a")


def test_several_treatments_share_a_baseline():
    frame = results(gain=0.03)
    more = frame[frame["method"] == "ours"].assign(method="other", accuracy=lambda rows: rows["accuracy"] - 0.06)
    told = judged(pd.concat([frame, more]), treatment=["method=ours", "method=other"])
    assert {each.treatment: each.verdict for each in told.answer.comparisons} == {"ours": "helps", "other": "hurts"}


def test_datasets_end_in_two_statements():
    frame = results(n=8, gain=0.02, datasets="abcdef")
    (group,) = judged(frame, datasets="dataset").datasets
    assert (group.most.claim, group.most.p_value) == ("gain", pytest.approx(2 / 2**6))
    frame.loc[0, "accuracy"] = np.nan
    told = judged(frame, datasets="dataset")
    assert told.datasets[0].failed == ["a"] and not told.datasets[0].most.claim
    assert any("On these 6 datasets" in line and "left out: a" in line for line in told.lines)


@pytest.mark.parametrize("asked", [{}, {"pair": ()}])
def test_looks_are_judged_at_their_shares_until_one_settles(asked):
    told = judged(results(n=20, gain=0.1), looks=[8, 16, 32], **asked)
    (first, _, _) = sequential.looks_at([8, 16, 32])
    assert (only(told).n, only(told).level, told.look.number) == (8, first.level, 1)
    told = judged(results(n=20, gain=0.0, spread=0.05), looks=[8, 16, 32], **asked)
    assert only(told).n == 16 and told.look.number == 2
    assert any("looked at 8, 16 of 8, 16, 32 seeds" in line for line in told.lines)


@pytest.mark.parametrize("asked", [{}, {"pair": ()}])
def test_what_a_look_settles_stays_so(asked):
    frame = results(n=20, gain=0.1, datasets="ab")
    frame.loc[frame["dataset"] == "b", "accuracy"] = results(n=20, gain=0.0, spread=0.05)["accuracy"].to_numpy()
    one, other = judged(frame, by="dataset", looks=[10, 20], **asked).answer.comparisons
    assert (one.look, one.n, one.verdict, other.look, other.n) == (1, 10, "helps", None, 20)


def test_arms_that_end_early_are_judged_by_the_looks_that_they_have():
    rng = np.random.default_rng(0)
    levels, n = {"sac": 4500, "ppo": 2900, "trpo": 1200, "ddpg": 1190}, {"sac": 10, "ppo": 10, "trpo": 30, "ddpg": 30}
    frame = pd.DataFrame(
        [(agent, value) for agent in n for value in rng.normal(levels[agent], 400, n[agent])],
        columns=["agent", "reward"],
    )
    asked = {"baseline": "agent=ddpg", "value": "reward", "direction": "higher", "looks": [5, 10, 15, 20, 25, 30]}
    told = pretrain.judge(frame, treatment=["agent=sac", "agent=ppo", "agent=trpo"], **asked)
    found = {each.treatment: (each.verdict, each.look) for each in told.answer.comparisons}
    assert found == {"sac": ("helps", 2), "ppo": ("helps", 2), "trpo": ("inconclusive", None)}


def test_examples_are_averaged_within_a_seed():
    rng = np.random.default_rng(0)
    frame = results(n=7).loc[:, ["method", "seed"]].merge(pd.DataFrame({"row": range(50)}), how="cross")
    frame["correct"] = rng.random(len(frame)) < np.where(frame["method"] == "ours", 0.9, 0.7)
    told = judged(frame, value="correct", example="row")
    means = frame.groupby(["method", "seed"])["correct"].mean().unstack(0)
    assert only(told).difference.mean == pytest.approx((means["ours"] - means["plain"]).mean())
    assert any("mean over 50 examples" in line for line in told.lines)
    cells = frame.pivot(index=["seed", "row"], columns="method", values="correct")
    gains = (cells["ours"].astype(float) - cells["plain"]).unstack("row").to_numpy()
    found = rows.for_new_rows(gains.mean(axis=1), rows.components(gains))
    whole = rows.interval(found, only(told).difference)
    assert only(told).new_rows == pytest.approx(whole)
    assert "on new rows like these 50" in told.verdict and any(
        line == "Rows: new ones like these 50; intervals are over seeds and rows" for line in told.lines
    )


def test_examples_count_that_all_arms_of_a_seed_have():
    frame = pd.DataFrame(
        [
            {"method": method, "seed": seed, "row": row, "correct": row >= 10}
            for method in ("ours", "plain")
            for seed in range(8)
            for row in range(50)
            if not (method == "ours" and row < 10 and seed)  # which no arm gets right
        ]
    )
    told = judged(frame, value="correct", example="row")
    assert only(told).difference.mean == 0 and only(told).rows is not None
    assert "Left out: 70 values of examples that not all arms of their seed have." in told.lines
    more = frame[frame["method"] == "plain"].assign(method="lost", correct=np.nan)
    told = judged(pd.concat([frame, more]), treatment=["method=ours", "method=lost"], value="correct", example="row")
    assert [each.n for each in told.answer.comparisons] == [8, 0]
    other = frame[~((frame["method"] == "ours") & (frame["seed"] == 3) & (frame["row"] >= 10))]
    other = other[~((other["method"] == "plain") & (other["seed"] == 3) & (other["row"] < 10))]
    assert only(judged(other, value="correct", example="row")).n == 7


def test_a_row_that_moves_every_seed_is_no_effect_on_new_ones():
    rng, n = np.random.default_rng(0), 12
    of_row = rng.normal(0.0, 0.3, 20) + 0.1  # alike in all seeds, so that seeds agree on these rows
    frame = pd.DataFrame(
        [
            {
                "method": method,
                "seed": seed,
                "row": row,
                "score": (method == "ours") * of_row[row] + rng.normal(0, 0.01),
            }
            for method in ("ours", "plain")
            for seed in range(n)
            for row in range(20)
        ]
    )
    told = judged(frame, value="score", example="row", direction="higher")
    assert only(told).verdict == "helps" and only(told).holds_for_new_rows is False
    assert "open for new ones" in told.verdict


def test_the_noise_floor_is_said():
    frame = results(n=12, gain=0.0, spread=0.01)
    told = judged(frame)
    wide = frame.pivot(index="seed", columns="method", values="accuracy")
    assert told.noise.difference[0] == pytest.approx(np.std(wide["ours"] - wide["plain"], ddof=1))
    assert any(line.startswith("Noise floor: over seeds the baseline varies by") for line in told.lines)


@pytest.mark.parametrize(("n", "n_arms"), [((6, 6), 4), ((12, 7), 1), ((16, 30), 60)])
def test_the_noise_floor_of_independent_seeds_is_welchs(n, n_arms):
    rng = np.random.default_rng(0)
    levels = {"plain": 0.8, **{f"a{number}": 0.85 for number in range(n_arms)}}
    sides = {
        name: rng.normal(level, 0.003 * (1 + (name == "plain")), n[name == "plain"]) for name, level in levels.items()
    }
    frame = pd.DataFrame([(name, value) for name in sides for value in sides[name]], columns=["method", "accuracy"])
    told = judged(frame, treatment=[f"method=a{number}" for number in range(n_arms)], pair=())
    assert not any("show none" in line for line in told.lines)  # as flips of so few signs would
    least = []
    for name in list(sides)[1:]:
        parts = [np.var(sides[side], ddof=1) / len(sides[side]) for side in (name, "plain")]
        freedom = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, n, strict=True))
        critical = stats.t.ppf(1 - 0.05 / n_arms / 2, freedom)
        least.append(
            np.sqrt(sum(parts)) * optimize.brentq(lambda at: stats.nct.sf(critical, freedom, at) - 0.8, 0, 200)  # noqa: B023
        )
    assert told.noise.smallest == pytest.approx((min(least), max(least)))


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize(("n", "m"), [(8, 8), (12, 20)])
def test_the_probability_of_improvement_of_independent_seeds_has_an_interval(n, m, level):
    rng, truth = np.random.default_rng(0), stats.norm.cdf(1 / np.sqrt(2))
    found = [unpaired.improvement(rng.normal(1, 1, n), rng.normal(0, 1, m), level) for _ in range(500)]
    assert np.mean([each.low <= truth <= each.high for each in found]) == pytest.approx(level, abs=0.05)
    assert all(0 <= each.low <= each.mean <= each.high <= 1 for each in found)
    apart = unpaired.improvement(np.arange(n) + 100.0, np.arange(m) + 0.0, level)
    assert apart.mean == apart.high == 1 and 0.5 < apart.low < 1
    other = unpaired.improvement(np.arange(m) + 0.0, np.arange(n) + 100.0, level)
    assert (other.low, other.high) == pytest.approx((1 - apart.high, 1 - apart.low), abs=1e-6)


@pytest.mark.parametrize(
    ("frame", "asked", "said", "unsaid"),
    [
        (lambda: results(gain=0.15), {"chance": 0.8}, "No better than chance (0.800): method=plain.", "method=ours."),
        (lambda: results(), {"chance": 0.1}, "Failures: none of 16 trials", "missing values"),
        (results, {}, "only missing values count, for without --chance", "no trial failed"),
        (lambda: results(gain=0.1), {"pair": ()}, "no value is missing", "no trial failed"),
        (lambda: results().assign(accuracy=0.5), {}, "between any two ends (8 seeds).", "beyond"),
        (
            lambda: results().assign(score=lambda rows: (rows["method"] == "ours") * rows["accuracy"]),
            {"value": "score"},
            "Of a baseline of 0 no part matters",
            "and 1 % takes",
        ),
        (
            lambda: results(n=12, datasets="abcdefg"),
            {"by": "dataset", "looks": [2, 40]},
            "10 later seeds not used",
            "nan",
        ),
        (
            lambda: results(n=12, datasets="abcdefg").assign(
                accuracy=lambda rows: rows["accuracy"].where((rows["method"] != "plain") | (rows["seed"] != 3))
            ),
            {"datasets": "dataset"},
            "is unstable in 7 of 7 settings, where 0 of 84 seeds fail with it and 7 of 84 without",
            "nothing is compared",
        ),
    ],
)
def test_a_table_is_told_as_it_is(frame, asked, said, unsaid, tmp_path):
    told = judged(frame(), **asked)
    text = "\n".join(told.lines)
    assert said in text and unsaid not in text and "nan" not in text.replace("finance", "")
    page = judgement.write(told, tmp_path).read_text()
    assert all(page.count(html.escape(each, quote=False)) <= 2 for each in told.content["warnings"])
    assert json.loads(judgement.as_json(told))["asked"]["looks"] == list(asked.get("looks", ()))


def test_many_treatments_are_counted_with_the_smallest_p():
    frame = pd.concat([results(gain=0.001 * number, seed=7).replace("ours", f"a{number}") for number in range(20)])
    told = judged(frame.drop_duplicates(["method", "seed"]), treatment=[f"method=a{number}" for number in range(20)])
    assert told.verdict.startswith("Of 20 comparisons of method, ") and len(told.verdict.split()) < 60
    assert told.table.rows[0][0].startswith("method=a0") and "the smallest p is that of method=a" in told.verdict


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"value": "acuracy"}, "value: 'acuracy' is no column of the table; did you mean 'accuracy'?"),
        ({"value": ""}, "value: '' names no column"),
        ({"value": "host"}, "value: 'n0' in row 1 of column 'host' is no number, nor are 7 others"),
        ({"value": "method"}, "value: 'method' is the column of --treatment, too"),
        ({"pair": "sed"}, "pair: 'sed' is no column of the table; did you mean 'seed'?"),
        ({"by": "data"}, "by: 'data' is no column of the table; did you mean 'dataset'?"),
        ({"treatment": "method=our"}, "treatment: 'method=our' names no row; did you mean 'ours'?"),
        ({"baseline": "method=best"}, "baseline: 'method=best' names no row; the column has ours, plain"),
        ({"baseline": "seed=1"}, "treatment: 'method' and 'seed' are two columns"),
        ({"treatment": "ours"}, "treatment: 'ours'"),
        ({"treatment": ARMS["baseline"]}, "baseline: 'method=plain' is named twice"),
        ({"pair": "dataset"}, "pair: 'dataset=' is twice in method=ours (rows 2 and 4)"),
        ({"pair": "accuracy"}, "accuracy"),
        ({"where": "seed=99"}, "where: 'seed=99' names no row"),
        ({"where": "seed=1"}, "pair: 'seed' gives 1 seed in common"),
        ({"direction": "up"}, "direction: 'up' is none; give higher or lower"),
        ({"bounds": (0.0, 0.5)}, "value: '0.8"),
        ({"bounds": (1.0, 0.0)}, "bounds: '1 0' are none"),
        ({"smallest_effect": 0.0}, "smallest_effect: 0.0 is no size"),
        ({"looks": [16, 8]}, "looks: '16 8' do not ascend"),
        ({"looks": [16, 32]}, "looks: '16 32' begin after the 8 seeds"),
        ({"example": "dataset", "pair": ()}, "example: 'dataset' takes the column of seeds, too; name it by --pair"),
        ({"treatment": "ours", "baseline": "plain"}, "treatment: 'ours' is no column of the table"),
        ({"chance": np.inf}, "chance: inf is no value of 0 to 1"),
        ({"chance": np.nan}, "chance: nan is no value of 0 to 1"),
        ({"chance": 50.0}, "chance: 50.0 is no value of 0 to 1"),
        ({"chance": 1.0}, "chance: 1.0 is the best accuracy that there is"),
        ({"treatment": ()}, "treatment: '' names no arm"),
        ({"pair": ""}, "pair: '' is no column of the table"),
        ({"by": ""}, "by: '' is no column of the table"),
        ({"where": "="}, "where: '' is no column of the table"),
        ({"looks": [2.5, 8]}, "looks: '2.5 8' do not ascend"),
        ({"smallest_effect": 5.0}, "smallest_effect: 5.0 is more than any difference, 1 at most"),
    ],
)
def test_a_mistake_is_told_in_one_line(asked, line):
    told = refused(results(), **asked)
    assert line in told[0] and len(told) == 1 + (asked.get("baseline") == "plain")


@pytest.mark.parametrize(
    ("change", "asked", "line"),
    [
        *(
            ({"accuracy": values}, {}, "may be a fraction, and")
            for values in (
                lambda frame: frame["accuracy"] * np.where(frame["method"] == "ours", 100, 1),
                lambda frame: frame["accuracy"] * np.where(frame["seed"] == 3, 1, 100),
                lambda frame: np.where(frame["method"] == "ours", 100.0, 1.0) * (frame["seed"] > 3),
            )
        ),
        *(
            ({name: "x"}, {"by": name}, f"by: {name!r} is a name that tables of trials have themselves")
            for name in (
                "test_accuracy",
                "validation_accuracy",
                "test_accuracy_chance",
                "redrawn",
                "status",
                "trial_id",
            )
        ),
        ({"seed": lambda frame: [[seed] for seed in frame["seed"]]}, {}, "pair: 'seed' is a column of list"),
        ({"x": lambda frame: [{"a": 1}] * len(frame)}, {"by": "x"}, "by: 'x' is a column of struct"),
        ({"x": lambda frame: [b"\xff"] * len(frame)}, {"where": "x=1"}, "where: 'x' is a column of binary"),
        (
            {"seed": lambda frame: pd.period_range("2000", periods=8, freq="Y").repeat(2)},
            {},
            "pair: 'seed' is a column of",
        ),
        ({"accuracy": lambda frame: 1e-160 * frame["accuracy"]}, {"pair": ()}, "is too small to be squared"),
        ({"accuracy": lambda frame: [[value] for value in frame["accuracy"]]}, {}, "value: 'accuracy' is a column of"),
    ],
)
def test_a_table_that_leaves_something_open_is_refused(change, asked, line):
    (told,) = refused(results().assign(**change), **asked)
    assert line in told


def test_a_wide_table_takes_no_condition_of_its_own_name():
    wide = pd.DataFrame({**PUBLISHED, "arm": list("aabb")})
    with pytest.raises(ConfigError, match="by: 'arm' is a name that tables of trials have themselves"):
        pretrain.judge(wide, treatment="ours", baseline="plain", value="accuracy", by="arm")


@pytest.mark.parametrize("line", ["[1,2]", "null", "1", '"a"', "not json"])
def test_lines_that_are_no_objects_are_refused(line, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(f'{{"seed": 1}}\n\n{line}\n')
    with pytest.raises(ConfigError, match="line 3 is no object"):
        judged(path)


@pytest.mark.parametrize("name", ["run_{}", "{}", "seed {} of 20"])
def test_looks_take_seeds_by_their_numbers(name):
    frame = results(n=20, gain=0.05)
    frame.loc[(frame["method"] == "ours") & (frame["seed"] >= 10), "accuracy"] -= 0.1
    told = judged(frame.assign(seed=[name.format(seed) for seed in frame["seed"]]), looks=[6, 10, 20])
    assert only(told).difference == pytest.approx(only(judged(frame, looks=[6, 10, 20])).difference)
    assert only(told).verdict == "helps" and any("14 later seeds not used" in line for line in told.lines)


@pytest.mark.parametrize(
    ("field", "condition"),
    [("finetune.encoder_init", "finetune.labels"), ("a=b", "c=d"), ("pretrain.epochs", "finetune.frozen_layers")],
)
def test_names_of_columns_mean_nothing(field, condition):
    frame = results(datasets=("few", "none"), gain=0.03).replace({"method": {"ours": "pretrained", "plain": "none"}})
    frame = frame.rename(columns={"method": field, "dataset": condition})
    arms = {"treatment": f"{field}=pretrained", "baseline": f"{field}=none"}
    told = judged(frame, **arms, by=condition)
    assert [each.verdict for each in told.answer.comparisons] == ["helps", "helps"]
    assert only(judged(frame, **arms, where=f"{condition}=few")).n == 8
    assert len(judged(frame, **arms, datasets=condition).datasets) == 1


@pytest.mark.parametrize(
    "names",
    [(0.123451, 0.123452), pd.to_timedelta([0, 1], "D"), pd.to_datetime(["2020-01-01", "2020-01-02"]), (True, False)],
)
def test_conditions_of_any_kind_are_told_apart(names, tmp_path):
    frame = results(datasets="ab")
    told = judged(frame.assign(dataset=frame["dataset"].map(dict(zip("ab", names, strict=True)))), datasets="dataset")
    assert judgement.write(told, tmp_path).exists() and len({row[0] for row in told.table.rows}) == 2


@pytest.mark.parametrize("asked", [{}, {"pair": ()}])
@pytest.mark.parametrize(
    ("value", "sizes"), [("loss", (1, 10, 1e3)), ("score", (1, 100, 1e6)), ("score", (-1, -2, -40))]
)
def test_datasets_of_unlike_scales_count_alike(value, sizes, asked):
    frame = results(gain=0.08, datasets="abc").rename(columns={"accuracy": value})
    frame[value] *= frame["dataset"].map(dict(zip("abc", sizes, strict=True)))
    (group,) = judged(frame, value=value, datasets="dataset", **asked).datasets
    assert group.is_relative and abs(group.fixed.mean) == pytest.approx(0.1, abs=0.01)
    frame[value] *= (frame["method"] == "ours") | (
        frame["dataset"] != "a"
    )  # a baseline of 0, of which nothing is a part
    (group,) = judged(frame, value=value, datasets="dataset", **asked).datasets
    assert not group.is_relative and np.isfinite(group.fixed.mean)


@pytest.mark.parametrize("seed", range(24))
def test_any_table_is_judged_or_refused_in_words(seed):
    """Values that lack or are none, arms of unlike sizes, ties and collapsed seeds; swapped arms mirror all of it."""
    rng = np.random.default_rng(seed)
    n, n_rows, value = int(rng.integers(4, 12)), int(rng.choice([1, 1, 3])), ["accuracy", "error", "r2"][seed % 3]
    rows, gain = [], rng.choice([0.0, 0.02, 0.2])
    for condition in "abcdefg"[: rng.integers(1, 7)]:
        of_values = rng.choice(["normal", "ties", "same", "collapsed"])
        for method, size in (("plain", n), ("ours", int(rng.integers(2, n + 1)))):
            for number, row in np.ndindex(size, n_rows):
                result = 0.5 + gain * (method == "ours") + (of_values != "same") * 0.02 * rng.normal()
                result = round(result, 2) if of_values == "ties" else result
                result = 0.1 if of_values == "collapsed" and rng.random() < 0.3 else result
                result = rng.choice([np.nan, np.inf, result], p=[0.03, 0.03, 0.94])
                rows.append({"method": method, "c": condition, "seed": f"s{number}", "row": row, value: result})
    frame = pd.DataFrame(rows)
    frame = frame[rng.random(len(frame)) > 0.02]
    asked = {"value": value, "by" if seed % 2 else "datasets": "c", "chance": 0.1 if seed % 4 < 2 else None}
    asked |= {"example": "row"} if n_rows > 1 else {"pair": "seed" if seed % 5 else ()}
    asked |= {"looks": [3, 6, 9]} if seed % 7 == 0 else {}
    try:
        told = judged(frame, **asked)
    except ConfigError as refusal:
        assert "in common" in str(refusal) or "too few" in str(refusal) or "begin after" in str(refusal)
        return
    assert not {"nan", "None", "inf"} & set("\n".join(told.lines).replace("]", " ").split()) and judgement.as_json(told)
    frame = frame if "looks" in asked else frame.iloc[::-1]  # at looks, seeds without a name are in the order of rows
    mirrored = judged(frame, treatment=ARMS["baseline"], baseline=ARMS["treatment"], **asked)
    mirror = {"helps": "hurts", "hurts": "helps"}
    for one, other in zip(told.answer.comparisons, mirrored.answer.comparisons, strict=True):
        assert mirror.get(one.verdict, one.verdict) == other.verdict and one.shared == other.shared
        assert one.failures.sizes == other.failures.sizes[::-1] and one.failures.treated == other.failures.untreated
        assert (one.verdict == "unstable") == (one.failures.any and not one.both_at_chance)
        if one.n:
            assert one.difference.low <= one.difference.mean <= one.difference.high
            assert one.difference.mean == pytest.approx(-other.difference.mean)


def test_a_condition_that_is_missing_is_one_of_its_own():
    frame = results(datasets=("none", "x")).replace({"dataset": {"x": None}})
    assert len(judged(frame, by="dataset").answer.comparisons) == 2


def test_all_mistakes_are_told_at_once():
    told = refused(results(), treatment="method=our", baseline="method=plan", value="host", looks=[4, 2])
    assert [line.partition(":")[0] for line in told] == ["looks", "treatment", "baseline", "value"]


def test_seeds_that_are_not_the_same_have_nothing_in_common():
    frame = results()
    frame.loc[frame["method"] == "ours", "seed"] += 100
    assert "no seed in common" in refused(frame)[0]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results.csv"
    results(datasets=("a", "b")).to_csv(path, index=False)
    return path


def test_the_command_prints_and_writes(file, tmp_path, capsys):
    argv = ["judge", str(file), "--treatment", "method=ours", "--baseline", "method=plain", "--pair", "seed"]
    argv += ["--value", "accuracy", "--datasets", "dataset"]
    places = ["--json", str(tmp_path / "a.json"), "--out", str(tmp_path / "told")]
    assert main([*argv, *places], tmp_path) == 0
    out, err = capsys.readouterr()
    assert out.startswith("On these 2 datasets") and "Method=ours" in out and "Noise floor" in out and not err
    content = json.loads((tmp_path / "a.json").read_text())
    assert content == json.loads((tmp_path / "told" / "answer.json").read_text())
    assert content["comparisons"][0]["shared"] == {"dataset": "a"}
    page = (tmp_path / "told" / "report.html").read_text()
    assert content["verdict"].split(" (")[0] in page and "Best of" in page


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["none.csv"], "results: '"),
        (["FILE", "--values", "x"], "option: '--values' is no option"),
        (["FILE", "--bounds", "1"], "bounds: '1.0' are not two"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_two(argv, line, file, tmp_path, capsys):
    asked = ["--treatment", "method=ours", "--baseline", "method=plain", "--pair", "seed", "--value", "accuracy"]
    asked += ["--by", "dataset"]
    words = [str(file) if word == "FILE" else word for word in argv]
    assert main(["judge", *words, *asked], tmp_path) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith(line) and err.count("\n") == 1


def test_help_tells_every_option(capsys):
    with pytest.raises(SystemExit):
        judge_command.main(["--help"])
    page = capsys.readouterr().out
    assert all(f"--{name}" in page for name in ("treatment", "pair", "datasets", "looks", "smallest-effect", "chance"))


@pytest.mark.slow
@pytest.mark.parametrize("n", [(6, 6), (8, 8), (16, 6), (32, 32)])
@pytest.mark.parametrize("spreads", [(1.0, 1.0), (1.0, 3.0)])
def test_arms_without_pairs_and_effects_are_rarely_judged_otherwise(n, spreads):
    """Wrong verdicts of two arms alike, and intervals that cover."""
    rng, experiments = np.random.default_rng(0), 2000
    wrong = covered = 0
    for _ in range(experiments):
        sides = [rng.normal(0, spread, size) for spread, size in zip(spreads, n, strict=True)]
        interval, p_value = unpaired.welch(*sides)
        wrong += statistics.verdict(interval, p_value, min(n), 1e-3) in ("helps", "hurts")
        covered += interval.low <= 0 <= interval.high
    assert wrong / experiments <= 0.06 and covered / experiments >= 0.93


def test_the_command_takes_no_jax():
    heavy = "{'jax', 'flax', 'matplotlib', 'pandas'}"
    code = f"import sys, pretrain.commands.judge; print(sorted({heavy} & set(sys.modules)))"
    done = execute([sys.executable, "-c", code], ROOT)
    assert done.stdout.strip() == "[]", done.stderr
