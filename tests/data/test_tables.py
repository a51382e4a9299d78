"""Tables become columns by what training rows are like; held-out rows decide nothing of it."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from tests.data import sources


@pytest.fixture
def load(tmp_path):
    """A function that writes a table and loads it."""

    def load(table, target="income", form="csv", validation=0.2, **fields):
        path = tmp_path / f"own.{form}"
        {"csv": sources.write_csv, "parquet": sources.write_parquet}[form](table, path)
        return data.load(DataConfig(name=str(path), target=target, validation=validation, **fields))

    return load


def refused(call):
    with pytest.raises(ConfigError) as error:
        call()
    return str(error.value).splitlines()


def column(dataset, name):
    return dataset.train.inputs[:, dataset.scaling.columns.index(name)]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_people_are_read_whatever_the_form_of_their_table(load, form):
    table = sources.people()
    found = load(table, form=form)
    names = ["age", "hours", *(f"work={each}" for each in ("", "private", "self", "state"))]
    assert list(found.scaling.columns) == [*names, *(f"school={each}" for each in ("college", "doctor", "school"))]
    assert found.output_names == ("<=50K", ">50K")
    assert found.train.inputs.shape[1] == 10 and np.isfinite(found.train.inputs).all()  # the last marks missing ages
    n_labelled = len(table) - table["income"].null_count
    assert found.n_labelled + len(found.validation.labels) + len(found.test.labels) == n_labelled
    assert len(found.train.inputs) == len(table) - len(found.validation.labels) - len(found.test.labels)
    missing = found.train.inputs[:, 9] == 1
    assert 0 < missing.sum() < 40
    np.testing.assert_allclose(column(found, "age")[missing], 0, atol=1e-6)  # the mean
    for name in ("hours",):
        assert abs(column(found, name).mean()) < 1e-6 and abs(column(found, name).std() - 1) < 1e-6
    assert set(np.unique(column(found, "school=doctor"))) == {0, 1}  # not scaled
    assert any("missing values of age are the training mean" in note for note in map(str, found.findings))


@pytest.mark.parametrize(
    ("form", "delimiter", "mark"), [("csv", ";", "."), ("csv", ";", ","), ("tsv", "\t", "."), ("tsv", "\t", ",")]
)
def test_delimiter_and_decimal_mark_are_seen(tmp_path, form, delimiter, mark):
    """As in tables of a spreadsheet whose language writes decimal commas."""
    rng = np.random.default_rng(0)
    width, kind = rng.normal(size=60), rng.choice(["a;b,c", "d"], 60)
    heading = delimiter.join(['"width, of a leaf"', "kind", "income"])
    rows = [
        f"{value:.3f}".replace(".", mark) + f'{delimiter}"{text}"{delimiter}{number % 2}'
        for number, (value, text) in enumerate(zip(width, kind, strict=True))
    ]
    path = tmp_path / f"own.{form}"
    path.write_text("\n".join([heading, *rows]))
    found = data.load(DataConfig(name=str(path), target="income", validation=0.2))
    assert found.scaling.columns == ("width, of a leaf", "kind=d")
    raw = column(found, "width, of a leaf") * found.scaling.divisor[0] + found.scaling.offset[0]
    assert np.abs(raw[:, None] - width).min(axis=1).max() < 0.001


def written(path, heading, *columns, delimiter=";", quoted=False):
    """A text file of columns of texts, and of targets 0 and 1."""
    rows = zip(*columns, ("01" * len(columns[0]))[: len(columns[0])], strict=True)
    cells = ([f'"{text}"' for text in row] if quoted else row for row in rows)
    path.write_text("\n".join([delimiter.join([*heading, "income"]), *map(delimiter.join, cells)]))
    return path


NUMBERS = [f"{value:.2f}" for value in np.random.default_rng(0).normal(size=60)]
COMMAS = [number.replace(".", ",") for number in NUMBERS]
THOUSANDS = [f"{value:,}" for value in np.random.default_rng(0).integers(100, 99_999, 60)]


@pytest.mark.parametrize(
    ("suffix", "options", "columns", "said"),
    [
        ("tsv", {"delimiter": "\t"}, [THOUSANDS], "may be read in two ways, '"),
        ("csv", {}, [THOUSANDS], "may be read in two ways"),
        ("csv", {}, [COMMAS, [text.replace(",", ".") for text in THOUSANDS]], "' in column 'b' and '"),
        ("csv", {}, [COMMAS, NUMBERS], "may be read in two ways"),
        ("csv", {}, [COMMAS, [*COMMAS[1:], "x"]], "has numbers and texts, such as 'x', in column 'b'"),
        ("csv", {"delimiter": ",", "quoted": True}, [COMMAS], "has numbers with commas, such as '"),
        ("csv", {"delimiter": "|"}, [NUMBERS], "has a single column, 'a|income'; separate columns by"),
    ],
)
def test_numbers_that_may_be_read_in_two_ways_are_refused(tmp_path, suffix, options, columns, said):
    path = written(tmp_path / f"own.{suffix}", "ab"[: len(columns)], *columns, **options)
    (line,) = refused(lambda: data.load(DataConfig(name=str(path), target="income", validation=0.2)))
    assert said in line


@pytest.mark.parametrize(
    ("suffix", "heading", "delimiter", "columns"),
    [
        ("tsv", ["height, m", "weight, kg"], "\t", [COMMAS, COMMAS[::-1]]),
        ("csv", ["height, m", "weight, kg"], ";", [COMMAS, COMMAS[::-1]]),
        ("csv", ["size (a; b; c)", "weight"], ",", [NUMBERS, NUMBERS[::-1]]),
        ("CSV", ["size", "weight"], ";", [NUMBERS, NUMBERS[::-1]]),
    ],
)
def test_the_delimiter_is_the_one_that_all_lines_have(tmp_path, suffix, heading, delimiter, columns):
    path = written(tmp_path / f"own.{suffix}", heading, *columns, delimiter=delimiter)
    assert data.load(DataConfig(name=str(path), target="income", validation=0.2)).scaling.columns == tuple(heading)


def test_texts_that_are_all_numbers_are_numbers(load):
    """As a column of texts in .parquet may hold."""
    table = pa.table({"size": [*NUMBERS[1:], ""], "income": [0, 1] * 30})
    found = load(table, form="parquet")
    assert found.scaling.columns == ("size",) and found.train.inputs.dtype == np.float32


def test_targets_are_no_classes_where_most_are_numbers(load):
    table = pa.table({"size": np.arange(60.0), "income": COMMAS})
    (line,) = refused(lambda: load(table, form="parquet"))
    assert line.startswith("data.target: 'income' has numbers with commas")


def test_held_out_rows_decide_nothing_of_the_scale(load):
    table = sources.people()
    found = load(table)
    raw = table["hours"].to_numpy()
    mean, deviation = (found.scaling.offset[1], found.scaling.divisor[1])
    rows = column(found, "hours") * deviation + mean
    np.testing.assert_allclose([rows.mean(), rows.std()], [mean, deviation], rtol=1e-5)
    assert abs(raw.mean() - mean) > 1e-6  # other rows are in it


def test_categories_of_held_out_rows_alone_are_none_of_those_known(load):
    n = 200
    rng = np.random.default_rng(0)
    city = rng.choice(["a", "b", "c"], n).astype(object)
    table = pa.table({"city": city, "x": rng.normal(size=n), "income": rng.choice(["low", "high"], n)})
    before = load(table)
    rows = [row for row in range(n) if before.test.inputs[0].tobytes() == _row(before, table, row).tobytes()]
    assert len(rows) == 1
    city[rows[0]] = "z"
    found = load(table.set_column(0, "city", pa.array(city)))
    assert found.train.inputs.shape[1] == 4 and any(
        "1 category of no training row" in n for n in map(str, found.findings)
    )
    np.testing.assert_array_equal(found.test.inputs[0][:3], 0)


def _row(dataset, table, row):
    """A row of a table of a city and a number, as a dataset has it."""
    values = [float(table["city"][row].as_py() == each) for each in "abc"] + [table["x"][row].as_py()]
    return ((np.array(values) - dataset.scaling.offset) / dataset.scaling.divisor).astype(np.float32)


def test_columns_are_dropped_with_spaces_or_commas_between(load):
    table = sources.people()
    for drop in (("age", "work"), ("age,work",)):
        found = load(table, drop=drop)
        assert {name.partition("=")[0] for name in found.scaling.columns} == {"hours", "school"}


def test_rows_of_a_group_are_in_one_split(load):
    rng = np.random.default_rng(0)
    household = rng.integers(0, 60, 300)
    table = sources.people().append_column("household", pa.array(household)).append_column("of", pa.array(household))
    found = load(table, group="household", validation=0.2)
    assert "household" not in found.scaling.columns and "of" in found.scaling.columns
    place = found.scaling.columns.index("of")
    homes = [
        set(np.rint(split.inputs[:, place] * found.scaling.divisor[place] + found.scaling.offset[place]).astype(int))
        for split in (found.train, found.validation, found.test)
    ]
    assert not homes[0] & homes[1] and not homes[0] & homes[2] and not homes[1] & homes[2]
    assert all(len(each) > 5 for each in homes)
    assert any("by whole groups" in note for note in map(str, found.findings))
    one = table.set_column(table.column_names.index("household"), "household", pa.array(np.zeros(300, int)))
    (line,) = refused(lambda: load(one, group="household"))
    assert line.startswith("data.group: 'household' has 1 group")


@pytest.mark.parametrize("kind", [np.int64, np.float64, bool, str])
def test_targets_are_classes_of_any_type(load, kind):
    table = pa.table({"x": np.random.default_rng(0).normal(size=60), "income": (np.arange(60) % 2).astype(kind)})
    found = load(table, form="parquet")
    assert found.output_names == {bool: ("False", "True")}.get(kind, ("0", "1"))


def test_all_faults_of_a_table_are_reported_at_once(load):
    n = 60
    table = pa.table(
        {
            "when": [datetime.datetime(2020, 1, 1)] * n,
            "price": [f"${row},{row + 100}" for row in range(n)],
            "size": [*map(str, range(n - 1)), "x"],
            "empty": pa.nulls(n, pa.float64()),
            "income": ["low", "high"] * (n // 2),
        }
    )
    lines = refused(lambda: load(table, target="incom", form="parquet", drop=("age",), group="house"))
    reported = {line.partition(" ")[2].partition("'")[2] or line for line in lines}
    assert len(lines) == len(reported) == 7
    for part in (
        "data.target: 'incom' is no column of the table; did you mean 'income'?",
        "data.group: 'house' is no column",
        "data.drop: 'age' is no column",
        "in column 'when'",
        "has numbers with units or signs, such as '$0,100', in column 'price'; write the numbers alone",
        "such as 'x', in column 'size'; leave missing numbers empty, or name them by --data.missing",
        "has no value at all in column 'empty'",
    ):
        assert sum(part in line for line in lines) == 1, (part, lines)
    assert all("--data.drop" in line for line in lines[3:])


def test_a_table_needs_a_target_and_is_there(load, tmp_path):
    (line,) = refused(lambda: load(sources.people(), target=""))
    assert "give --data.target one of age, hours, work, school, income" in line
    (line,) = refused(lambda: data.load(DataConfig(name=str(tmp_path / "none.csv"), target="x")))
    assert "is no file" in line
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    (line,) = refused(lambda: data.load(DataConfig(name=str(tmp_path / "bad.parquet"), target="x")))
    assert "is no readable table" in line


def test_missing_values_of_arrays_are_imputed_and_marked(tmp_path):
    x, y = sources.columns()
    holes = np.random.default_rng(1).random(x.shape) < 0.1
    holes[:, 3] = False
    np.savez(tmp_path / "own.npz", X=np.where(holes, np.nan, x), y=y)
    found = data.load(DataConfig(name=str(tmp_path / "own.npz"), validation=0.2))
    assert found.train.inputs.shape[1] == 12 + 11 and np.isfinite(found.train.inputs).all()
    assert any("missing values of 0, 1, 2, 4, 5 and 6 more" in note for note in map(str, found.findings))
    worse = np.where(holes, np.nan, x)
    worse[3, 1], worse[:, 2] = np.inf, np.nan
    np.savez(tmp_path / "worse.npz", X=worse, y=y)
    lines = refused(lambda: data.load(DataConfig(name=str(tmp_path / "worse.npz"))))
    assert len(lines) == 2
    assert "infinite values in column 1 of X" in lines[0] and "no value at all in column 2 of X" in lines[1]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_without_a_group_in_a_table_are_a_group_each(load, form):
    rng = np.random.default_rng(0)
    patient = np.where(rng.random(300) < 0.2, None, rng.integers(0, 40, 300).astype(str))
    table = sources.people().append_column("patient", pa.array(patient.tolist()))
    n = sum(name is None for name in patient)
    for fields in ({}, {"splits": "fresh", "cut": 4}):
        found = load(table, form=form, group="patient", validation=0.2, **fields)
        assert any(f"{n} rows without a group are a group each" in note for note in map(str, found.findings))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["dates", "texts", "numbers"])
def test_a_column_of_times_cuts_and_is_no_input(load, form, kind):
    table = sources.people()
    day = np.random.default_rng(0).permutation(len(table))
    dates = np.datetime64("2021-01-01") + day
    when = {"dates": dates, "texts": [f"{date.astype(object):%d.%m.%Y}" for date in dates], "numbers": day}[kind]
    table = table.append_column("when", pa.array(when)).append_column("day", pa.array(day))
    found = load(table, form=form, time="when", validation=0.2)
    place = found.scaling.columns.index("day")
    assert "when" not in found.scaling.columns
    days = [split.inputs[:, place] for split in (found.train, found.validation, found.test)]
    assert days[0].max() < days[1].min() and days[1].max() < days[2].min()
    assert any("rows in time are test rows (data.time, data.test)" in note for note in map(str, found.findings))
    by_row = load(table, form=form, time="order", drop=("when",), validation=0.2)
    assert any("rows in time are test rows" in note for note in map(str, by_row.findings))


def test_columns_that_are_no_time_are_refused(load):
    table = sources.people()
    lines = refused(lambda: load(table, time="school"))
    assert lines[0].startswith("data.time: 'school' has 'college', which is no time") and len(lines) == 1
    (line,) = refused(lambda: load(table, time="hour"))
    assert line == "data.time: 'hour' is no column of the table; did you mean 'hours'?"
    (line,) = refused(lambda: load(table, time="hours", splits="fresh"))
    assert line.startswith("data.splits: 'fresh' draws rows at random")


def test_a_target_that_is_no_number_is_named_beside_the_faults_of_columns(load):
    table = pa.table({"a": [None] * 30, "b": range(30), "y": ["tall", "small", "tall"] * 10})
    lines = refused(lambda: load(table, "y", form="parquet", task="regression"))
    assert len(lines) == 2 and "has no value at all in column 'a'" in lines[0]
    assert "has y of 2 texts: 'small', 'tall'; a regression needs numbers" in lines[1]
    assert refused(lambda: load(table.drop_columns("a"), "y", form="parquet", task="regression")) == lines[1:]


def test_columns_of_one_category_go_together_and_with_what_marks_a_missing_value(tmp_path):
    rng = np.random.default_rng(0)
    age = [f"{value:.1f}" if number % 7 else "" for number, value in enumerate(rng.normal(40, 10, 200))]
    city, sex = rng.choice(["bern", "oslo", "rome"], 200), rng.choice(["f", "m"], 200)
    lines = ["age,city,sex,weight,y", *(f"{age[n]},{city[n]},{sex[n]},{n + 0.5},{n % 2}" for n in range(200))]
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    dataset = data.load(DataConfig(name=str(tmp_path / "people.csv"), target="y", validation=20))
    assert dataset.scaling.columns == ("age", "city=bern", "city=oslo", "city=rome", "sex=m", "weight")
    assert dataset.column_groups == (0, 1, 1, 1, 2, 3, 0)  # the last marks a missing age
    np.savez(tmp_path / "a.npz", X=rng.normal(size=(200, 4)), y=np.arange(200) % 2)
    assert data.load(DataConfig(name=str(tmp_path / "a.npz"), validation=20)).column_groups == (0, 1, 2, 3)
