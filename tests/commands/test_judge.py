"""``launch.py judge`` and ``pretrain.judge``: the verdict on results of any program."""

import html
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import pretrain
from pretrain.report import judgement
from pretrain.study import rows, sequential, statistics, unpaired
from tests.commands.judged import ARMS, PUBLISHED, judged, only, results


def test_four_seeds_of_a_published_comparison_settle_nothing():
    answered = pretrain.judge(PUBLISHED, treatment="ours", baseline="plain", pair="seed", value="accuracy")
    assert "is inconclusive (-0.7 points [-3.0, +1.5]; 4 seeds settle nothing, at least 6 can)" in answered.verdict
    assert any("4 seeds show none, however large" in line for line in answered.lines)


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
    answered = [judged(each) for each in (frame, pa.Table.from_pandas(frame), frame.to_dict("list"))]
    assert len({each.verdict for each in answered}) == 1


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
    answered = judged(frame, pair=())
    sides = [frame.loc[frame["method"] == name, "accuracy"].to_numpy() for name in ("ours", "plain")]
    test = stats.ttest_ind(*sides, equal_var=False)
    low, high = test.confidence_interval()
    compared = only(answered)
    assert compared.difference == pytest.approx((np.mean(sides[0]) - np.mean(sides[1]), low, high))
    assert compared.p_value == pytest.approx(test.pvalue) and compared.n == 7
    wins = stats.mannwhitneyu(*sides).statistic / (9 * 7)
    assert compared.improvement.mean == pytest.approx(wins)
    assert "no pairs" in answered.verdict


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
    answered = judged(frame)
    assert [arm.n_diverged for arm in answered.answer.arms] == [1, 2]
    lost = "Failures: method=ours: 2 of 10 seeds, method=plain: 1 of 10 seeds; only missing values count"
    assert any(line.startswith(lost) for line in answered.lines)
    assert answered.verdict.startswith(
        "Unstable: 2 of 10 seeds fail with method=ours, 1 with method=plain (p = 1.000)."
    )
    assert not any("at most 5 %" in line for line in answered.lines)
    absent = "Absent where another arm has the seed, and so failed: method=ours lacks 1 seed (seed 7)"
    assert any(line.startswith(absent) for line in answered.lines)


def test_seeds_that_never_ran_are_distinguished_from_values_that_lack():
    frame = results(n=8, datasets="ab")
    ours = frame["method"] == "ours"
    frame = frame[~(ours & (frame["seed"] == 7)) & ~(ours & (frame["seed"] == 2) & (frame["dataset"] == "a"))]
    (line,) = (line for line in judged(frame, by="dataset").lines if line.startswith("Absent"))
    assert "lacks 1 seed (seed 7) in all conditions, to be left out if never run and 1 value in some" in line


@pytest.mark.parametrize("asked", [{}, {"pair": ()}, {"datasets": "dataset"}, {"looks": [6, 8]}])
@pytest.mark.parametrize("arm", ["ours", "plain"])
def test_an_arm_without_a_value_is_named_with_the_rates_of_failure(arm, asked, tmp_path):
    frame = results(datasets="abcdefg" if "datasets" in asked else ("",))
    frame.loc[(frame["method"] == arm) & (frame["dataset"] <= "a"), "accuracy"] = np.nan
    answered = judged(frame, **asked)
    lost, *others = answered.answer.comparisons
    assert (lost.verdict, lost.n, lost.failures.sizes) == ("unstable", 0, (8, 8))  # of the last look, too
    assert {lost.failures.treated, lost.failures.untreated} == {0, lost.failures.of} and lost.failures.p_value < 0.11
    assert judgement.write(answered, tmp_path).exists() and json.loads(judgement.as_json(answered))
    if others:  # among one more difference, and one rate
        assert any(
            "8 seeds cannot show any effect among 7 differences and 1 rate of failure" in each
            for each in answered.lines
        )
        assert answered.datasets[0].failed == ["a"]
    else:
        assert answered.verdict.startswith("Unstable: ") and f"{lost.failures.of} seeds fail" in "".join(answered.lines)


def test_rates_of_arms_of_unlike_sizes_are_each_of_its_own_seeds():
    values = [("ours", value) for value in (0.86, 0.85, 0.84, 0.85, 0.86, 0.85, None, None, None)]
    values += [("plain", None if seed < 4 else 0.8 + seed / 1e4) for seed in range(20)]
    answered = judged(pd.DataFrame(values, columns=["method", "accuracy"]), pair=())
    found = only(answered).failures
    assert (found.sizes, found.more_often, found.mostly) == ((9, 20), 1, (False, False))
    assert found.at_most[0] == pytest.approx(stats.beta.ppf(0.95, 4, 6))
    assert "3 of 9 seeds fail with method=ours, 4 of 20 with method=plain" in answered.verdict
    few = [("ours", None if seed < 3 else 0.85 + seed / 1e4) for seed in range(5)]
    few += [("plain", 0.8 + seed / 1e4) for seed in range(20)]
    found = only(judged(pd.DataFrame(few, columns=["method", "accuracy"]), pair=())).failures
    assert found.p_value == pytest.approx(2 * stats.fisher_exact([[3, 2], [0, 20]]).pvalue)  # beside the difference


def test_a_seed_counts_where_one_of_two_arms_has_it():
    frame = results(n=16, gain=0.03)
    more = frame[frame["method"] == "ours"].assign(method="more")
    frame = pd.concat([frame[frame["seed"] < 8], more])
    answered = judged(frame, treatment=["method=ours", "method=more"])
    one, other = answered.answer.comparisons
    assert (one.verdict, one.n, one.failures.of, one.n_diverged) == ("helps", 8, 8, 0)
    assert (other.verdict, other.failures.untreated, other.failures.of) == ("unstable", 8, 16)
    (absent,) = (line for line in answered.lines if line.startswith("Absent"))
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
    answered = judged(frame, by="dataset")
    raw = [only(judged(frame, where=f"dataset={name}")).p_value for name in "abc"]
    assert [each.p_value for each in answered.answer.comparisons] == pytest.approx(statistics.holm(raw))
    assert answered.table.rows[0][0].endswith("at dataset=a")


def test_several_treatments_share_a_baseline():
    frame = results(gain=0.03)
    more = frame[frame["method"] == "ours"].assign(method="other", accuracy=lambda rows: rows["accuracy"] - 0.06)
    answered = judged(pd.concat([frame, more]), treatment=["method=ours", "method=other"])
    assert {each.treatment: each.verdict for each in answered.answer.comparisons} == {"ours": "helps", "other": "hurts"}


def test_datasets_end_in_two_statements():
    frame = results(n=8, gain=0.02, datasets="abcdef")
    (group,) = judged(frame, datasets="dataset").datasets
    assert (group.most.claim, group.most.p_value) == ("gain", pytest.approx(2 / 2**6))
    frame.loc[0, "accuracy"] = np.nan
    answered = judged(frame, datasets="dataset")
    assert answered.datasets[0].failed == ["a"] and not answered.datasets[0].most.claim
    assert any("On these 6 datasets" in line and "left out: a" in line for line in answered.lines)


@pytest.mark.parametrize("asked", [{}, {"pair": ()}])
def test_looks_are_judged_at_their_shares_until_one_settles(asked):
    answered = judged(results(n=20, gain=0.1), looks=[8, 16, 32], **asked)
    (first, _, _) = sequential.looks_at([8, 16, 32])
    assert (only(answered).n, only(answered).level, answered.look.number) == (8, first.level, 1)
    answered = judged(results(n=20, gain=0.0, spread=0.05), looks=[8, 16, 32], **asked)
    assert only(answered).n == 16 and answered.look.number == 2
    assert any("looked at 8, 16 of 8, 16, 32 seeds" in line for line in answered.lines)


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
    answered = pretrain.judge(frame, treatment=["agent=sac", "agent=ppo", "agent=trpo"], **asked)
    found = {each.treatment: (each.verdict, each.look) for each in answered.answer.comparisons}
    assert found == {"sac": ("helps", 2), "ppo": ("helps", 2), "trpo": ("inconclusive", None)}


def test_examples_are_averaged_within_a_seed():
    rng = np.random.default_rng(0)
    frame = results(n=7).loc[:, ["method", "seed"]].merge(pd.DataFrame({"row": range(50)}), how="cross")
    frame["correct"] = rng.random(len(frame)) < np.where(frame["method"] == "ours", 0.9, 0.7)
    answered = judged(frame, value="correct", example="row")
    means = frame.groupby(["method", "seed"])["correct"].mean().unstack(0)
    assert only(answered).difference.mean == pytest.approx((means["ours"] - means["plain"]).mean())
    assert any("mean over 50 examples" in line for line in answered.lines)
    cells = frame.pivot(index=["seed", "row"], columns="method", values="correct")
    gains = (cells["ours"].astype(float) - cells["plain"]).unstack("row").to_numpy()
    found = rows.for_new_rows(gains.mean(axis=1), rows.components(gains))
    whole = rows.interval(found, only(answered).difference)
    assert only(answered).new_rows == pytest.approx(whole)
    assert "on new rows like these 50" in answered.verdict and any(
        line == "Rows: new ones like these 50; intervals are over seeds and rows" for line in answered.lines
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
    answered = judged(frame, value="correct", example="row")
    assert only(answered).difference.mean == 0 and only(answered).rows is not None
    assert "Left out: 70 values of examples that not all arms of their seed have." in answered.lines
    more = frame[frame["method"] == "plain"].assign(method="lost", correct=np.nan)
    answered = judged(
        pd.concat([frame, more]), treatment=["method=ours", "method=lost"], value="correct", example="row"
    )
    assert [each.n for each in answered.answer.comparisons] == [8, 0]
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
    answered = judged(frame, value="score", example="row", direction="higher")
    assert only(answered).verdict == "helps" and only(answered).holds_for_new_rows is False
    assert "open for new ones" in answered.verdict


def test_the_noise_floor_is_said():
    frame = results(n=12, gain=0.0, spread=0.01)
    answered = judged(frame)
    wide = frame.pivot(index="seed", columns="method", values="accuracy")
    assert answered.noise.difference[0] == pytest.approx(np.std(wide["ours"] - wide["plain"], ddof=1))
    assert any(line.startswith("Noise floor: over seeds the baseline varies by") for line in answered.lines)


@pytest.mark.parametrize(("n", "n_arms"), [((6, 6), 4), ((12, 7), 1), ((16, 30), 60)])
def test_the_noise_floor_of_independent_seeds_is_welchs(n, n_arms):
    rng = np.random.default_rng(0)
    levels = {"plain": 0.8, **{f"a{number}": 0.85 for number in range(n_arms)}}
    sides = {
        name: rng.normal(level, 0.003 * (1 + (name == "plain")), n[name == "plain"]) for name, level in levels.items()
    }
    frame = pd.DataFrame([(name, value) for name in sides for value in sides[name]], columns=["method", "accuracy"])
    answered = judged(frame, treatment=[f"method=a{number}" for number in range(n_arms)], pair=())
    assert not any("show none" in line for line in answered.lines)  # as flips of so few signs would
    least = []
    for name in list(sides)[1:]:
        parts = [np.var(sides[side], ddof=1) / len(sides[side]) for side in (name, "plain")]
        freedom = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, n, strict=True))
        critical = stats.t.ppf(1 - 0.05 / n_arms / 2, freedom)
        least.append(
            np.sqrt(sum(parts)) * optimize.brentq(lambda at: stats.nct.sf(critical, freedom, at) - 0.8, 0, 200)  # noqa: B023
        )
    assert answered.noise.smallest == pytest.approx((min(least), max(least)))


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
def test_a_table_is_reported_as_it_is(frame, asked, said, unsaid, tmp_path):
    answered = judged(frame(), **asked)
    text = "\n".join(answered.lines)
    assert said in text and unsaid not in text and "nan" not in text.replace("finance", "")
    page = judgement.write(answered, tmp_path).read_text()
    assert all(page.count(html.escape(each, quote=False)) <= 2 for each in answered.content["warnings"])
    assert json.loads(judgement.as_json(answered))["asked"]["looks"] == list(asked.get("looks", ()))


def test_many_treatments_are_counted_with_the_smallest_p():
    frame = pd.concat([results(gain=0.001 * number, seed=7).replace("ours", f"a{number}") for number in range(20)])
    answered = judged(
        frame.drop_duplicates(["method", "seed"]), treatment=[f"method=a{number}" for number in range(20)]
    )
    assert answered.verdict.startswith("Of 20 comparisons of method, ") and len(answered.verdict.split()) < 60
    assert (
        answered.table.rows[0][0].startswith("method=a0") and "the smallest p is that of method=a" in answered.verdict
    )


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
