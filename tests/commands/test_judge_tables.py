"""``launch.py judge`` and ``pretrain.judge``: tables of any names and shapes, mistakes, and the command itself."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

import pretrain
from pretrain.commands import judge as judge_command
from pretrain.commands.launch import main
from pretrain.config.fields import ConfigError
from pretrain.report import judgement
from tests.commands.judged import ARMS, PUBLISHED, judged, only, refused, results
from tests.launching import ROOT, execute


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
def test_a_mistake_is_named_in_one_line(asked, line):
    answered = refused(results(), **asked)
    assert line in answered[0] and len(answered) == 1 + (asked.get("baseline") == "plain")


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
    (answered,) = refused(results().assign(**change), **asked)
    assert line in answered


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
    answered = judged(frame.assign(seed=[name.format(seed) for seed in frame["seed"]]), looks=[6, 10, 20])
    assert only(answered).difference == pytest.approx(only(judged(frame, looks=[6, 10, 20])).difference)
    assert only(answered).verdict == "helps" and any("14 later seeds not used" in line for line in answered.lines)


@pytest.mark.parametrize(
    ("field", "condition"),
    [("finetune.encoder_init", "finetune.labels"), ("a=b", "c=d"), ("pretrain.epochs", "finetune.frozen_layers")],
)
def test_names_of_columns_mean_nothing(field, condition):
    frame = results(datasets=("few", "none"), gain=0.03).replace({"method": {"ours": "pretrained", "plain": "none"}})
    frame = frame.rename(columns={"method": field, "dataset": condition})
    arms = {"treatment": f"{field}=pretrained", "baseline": f"{field}=none"}
    answered = judged(frame, **arms, by=condition)
    assert [each.verdict for each in answered.answer.comparisons] == ["helps", "helps"]
    assert only(judged(frame, **arms, where=f"{condition}=few")).n == 8
    assert len(judged(frame, **arms, datasets=condition).datasets) == 1


@pytest.mark.parametrize(
    "names",
    [(0.123451, 0.123452), pd.to_timedelta([0, 1], "D"), pd.to_datetime(["2020-01-01", "2020-01-02"]), (True, False)],
)
def test_conditions_of_any_kind_are_distinguished(names, tmp_path):
    frame = results(datasets="ab")
    answered = judged(
        frame.assign(dataset=frame["dataset"].map(dict(zip("ab", names, strict=True)))), datasets="dataset"
    )
    assert judgement.write(answered, tmp_path).exists() and len({row[0] for row in answered.table.rows}) == 2


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
        answered = judged(frame, **asked)
    except ConfigError as refusal:
        assert "in common" in str(refusal) or "too few" in str(refusal) or "begin after" in str(refusal)
        return
    assert not {"nan", "None", "inf"} & set("\n".join(answered.lines).replace("]", " ").split()) and judgement.as_json(
        answered
    )
    frame = frame if "looks" in asked else frame.iloc[::-1]  # at looks, seeds without a name are in the order of rows
    mirrored = judged(frame, treatment=ARMS["baseline"], baseline=ARMS["treatment"], **asked)
    mirror = {"helps": "hurts", "hurts": "helps"}
    for one, other in zip(answered.answer.comparisons, mirrored.answer.comparisons, strict=True):
        assert mirror.get(one.verdict, one.verdict) == other.verdict and one.shared == other.shared
        assert one.failures.sizes == other.failures.sizes[::-1] and one.failures.treated == other.failures.untreated
        assert (one.verdict == "unstable") == (one.failures.any and not one.both_at_chance)
        if one.n:
            assert one.difference.low <= one.difference.mean <= one.difference.high
            assert one.difference.mean == pytest.approx(-other.difference.mean)


def test_a_condition_that_is_missing_is_one_of_its_own():
    frame = results(datasets=("none", "x")).replace({"dataset": {"x": None}})
    assert len(judged(frame, by="dataset").answer.comparisons) == 2


def test_all_mistakes_are_named_at_once():
    answered = refused(results(), treatment="method=our", baseline="method=plan", value="host", looks=[4, 2])
    assert [line.partition(":")[0] for line in answered] == ["looks", "treatment", "baseline", "value"]


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
    places = ["--json", str(tmp_path / "a.json"), "--out", str(tmp_path / "answered")]
    assert main([*argv, *places], tmp_path) == 0
    out, err = capsys.readouterr()
    assert out.startswith("On these 2 datasets") and "Method=ours" in out and "Noise floor" in out and not err
    content = json.loads((tmp_path / "a.json").read_text())
    assert content == json.loads((tmp_path / "answered" / "answer.json").read_text())
    assert content["comparisons"][0]["shared"] == {"dataset": "a"}
    page = (tmp_path / "answered" / "report.html").read_text()
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


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        judge_command.main(["--help"])
    page = capsys.readouterr().out
    assert all(f"--{name}" in page for name in ("treatment", "pair", "datasets", "looks", "smallest-effect", "chance"))


def test_the_command_takes_no_jax():
    heavy = "{'jax', 'flax', 'matplotlib', 'pandas'}"
    code = f"import sys, pretrain.commands.judge; print(sorted({heavy} & set(sys.modules)))"
    done = execute([sys.executable, "-c", code], ROOT)
    assert done.stdout.strip() == "[]", done.stderr
