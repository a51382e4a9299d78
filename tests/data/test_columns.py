"""Columns of tables become numbers, categories or nothing; a finding says what was taken for missing or left out."""

import codecs

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from pretrain.data import inputs_file, tables
from pretrain.data.columns import Record
from tests.data import sources

RNG = np.random.default_rng(0)
N = 400
NUMBERS = RNG.normal(size=N)
KIND = np.array(["p", "q"])[np.arange(N) % 2]
MARKS = ["?", "NA", "na", "N/A", "n/a", "null", "NULL", "Null", "-", "nan", "NaN", "none", "None", "#N/A", " ?"]


@pytest.fixture
def load(tmp_path):
    """A function that writes columns of texts or numbers as a table and loads it."""

    def load(columns, form="csv", delimiter=",", encoding="utf-8", **fields):
        path = tmp_path / f"own.{form}"
        columns = {"b": RNG.normal(size=N), **columns, "y": KIND} if "y" not in columns else columns
        if form == "parquet":
            sources.write_parquet(pa.table(columns), path)
        else:
            rows = [delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
            path.write_bytes("\n".join([delimiter.join(columns), *rows]).encode(encoding))
        return data.load(DataConfig(name=str(path), target="y", validation=0.2, **fields))

    return load


def refused(call):
    with pytest.raises(ConfigError) as error:
        call()
    (line,) = str(error.value).splitlines()
    return line


def record(dataset, name):
    return next(each for each in dataset.records if each.name == name)


def column(dataset, name):
    """A column of the training rows in its units."""
    place = dataset.scaling.columns.index(name)
    return dataset.train.inputs[:, place] * dataset.scaling.divisor[place] + dataset.scaling.offset[place]


def said(dataset, *parts):
    return [each for each in dataset.findings if all(part in str(each) for part in parts)]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_among_many_numbers_is_a_missing_one(load, form, mark):
    numbers = RNG.integers(1, 11, N)
    texts = numbers.astype(str).astype(object)
    texts[::97] = mark
    found = load({"a": texts}, form)
    assert found.scaling.columns == ("b", "a")
    assert record(found, "a").became == "numbers" and record(found, "a").missing == 5
    (finding,) = [each for each in found.findings if each.kind == "missing values"]
    assert finding.figures["marks"] == {"a": {record(found, "a").marks[0]: 5}} and "of a" in str(finding)
    assert record(found, "a").marks[0].strip().lower() == mark.strip().lower()
    blank = numbers.astype(object)
    blank[::97] = "" if form == "csv" else None
    np.testing.assert_array_equal(load({"a": blank}, form).train.inputs[:, 1:], found.train.inputs[:, 1:])


def test_a_mark_among_decimal_commas_is_a_missing_number_too(load):
    numbers = [f"{value:.2f}".replace(".", ",") for value in RNG.normal(size=N)]
    texts = [*numbers[1:], "?"]
    found = load({"b": numbers, "a": texts, "y": KIND}, delimiter=";")
    assert found.scaling.columns == ("b", "a") and record(found, "a").missing == 1


def test_marks_beside_few_numbers_and_beside_texts_are_categories(load):
    few = np.where(np.arange(N) < 20, "7", "?")
    letters = np.array(["a", "b", "?", "NA", "-"])[np.arange(N) % 5]
    found = load({"few": few, "letters": letters})
    assert not said(found, "read as missing")
    assert record(found, "few").became == "0 and 1" and record(found, "few").categories == ("7", "?")
    assert record(found, "letters").categories == ("-", "?", "NA", "a", "b")


def test_marks_of_targets_are_classes_and_what_every_reader_takes_for_missing_is(load):
    for texts, names in ((["0", "1", "?"], ("0", "1", "?")), (["u", "v", "NA"], ("NA", "u", "v"))):
        found = load({"x": RNG.normal(size=N), "y": np.array(texts)[np.arange(N) % 3]})
        assert found.output_names == names and found.n_labelled == len(found.train.labels)
    found = load({"x": RNG.normal(size=N), "y": np.array(["0", "1", "NA"])[np.arange(N) % 3]})
    assert found.output_names == ("0", "1") and found.n_labelled < len(found.train.labels)
    assert record(found, "y").missing == N // 3


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_named_texts_and_numbers_are_missing(load, form):
    numbers, words = RNG.normal(size=N), np.array(["a", "b", "unknown"])[np.arange(N) % 3]
    numbers[::40] = -999
    whole = np.where(np.arange(N) % 50 == 0, -999, RNG.integers(0, 9, N))
    columns = {"a": numbers, "whole": whole, "word": words}
    for missing in (("-999", "unknown"), ("-999.0,unknown",)):
        found = load(columns, form, missing=missing)
        assert record(found, "a").missing == 10 and record(found, "whole").missing == 8
        assert record(found, "word").categories == ("", "a", "b") and record(found, "word").missing == N // 3
        assert column(found, "a").min() > -10
    (finding,) = said(found, "read as missing")
    assert finding.figures["marks"] == {"a": {"-999": 10}, "whole": {"-999": 8}, "word": {"unknown": N // 3}}
    assert column(load(columns, form), "a").min() < -900


def test_missing_and_categories_are_for_tables(tmp_path):
    x, y = sources.columns()
    np.savez(tmp_path / "own.npz", X=x, y=y)
    for fields in ({"missing": ("-999",)}, {"categories": ("a",)}):
        line = refused(lambda fields=fields: data.load(DataConfig(name=str(tmp_path / "own.npz"), **fields)))
        assert "is for tables" in line


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("kind", [int, float])
def test_codes_are_categories_where_somebody_says_so(load, form, kind):
    code = RNG.integers(0, 12, N).astype(kind)
    found = load({"code": code}, form, categories=("code",))
    assert sorted(found.scaling.columns) == sorted(["b", *(f"code={number}" for number in range(12))])
    assert record(found, "code").kind == "numbers" and record(found, "code").became == "categories"
    for number in range(12):
        place = found.scaling.columns.index(f"code={number}")
        assert set(np.unique(found.train.inputs[:, place])) <= {0, 1}
    assert load({"code": code}, form).scaling.columns == ("b", "code")
    missing = np.where(code == 3, np.nan, code)
    assert record(load({"code": missing}, "parquet", categories=("code",)), "code").categories[0] == ""


def test_categories_that_are_no_inputs_are_refused(load):
    code = RNG.integers(0, 12, N)
    assert "data.categories: 'cod' is no column" in refused(lambda: load({"code": code}, categories=("cod",)))
    assert "data.categories: 'y' is no input" in refused(lambda: load({"code": code}, categories=("y",)))
    line = refused(lambda: load({"code": np.arange(1200), "y": np.arange(1200) % 2}, categories=("code",)))
    assert "1,200 different texts in column 'code'; group them" in line


def test_texts_that_are_nearly_all_different_are_left_out(load):
    names = np.array([f"person {max(row, 2)}" for row in range(N)])
    found = load({"name": names})
    assert found.scaling.columns == ("b",)
    assert record(found, "name").became == "nothing" and "398 different texts" in record(found, "name").left_out
    (finding,) = said(found, "left out")
    assert finding.severity == "note" and "name, 398 different texts in 400 rows" in finding.sentence
    documents = np.array([f"a letter of {row} words and more" for row in range(N)])
    (finding,) = said(load({"text": documents}), "left out")
    assert finding.severity == "doubt" and finding.remedy
    line = refused(lambda: load({"text": documents, "y": KIND}))
    assert "has texts alone that are nearly all different, text (400 different texts in 400 rows)" in line


@pytest.mark.parametrize(
    ("texts", "parts"),
    [
        ([f"${row * 37:,}" for row in range(N)], ["numbers with units or signs, such as '$0'"]),
        ([f"{row} kg" for row in range(N)], ["numbers with units or signs, such as '0 kg'"]),
        ([f"{row / 10}%" for row in range(N)], ["numbers with units or signs, such as '0.0%'"]),
        ([f"{1900 + row}-03-04" for row in range(N)], ["dates, such as '1900-03-04'", "days since the first"]),
        ([f"{row % 28 + 1}/{row % 12 + 1}/2021" for row in range(N)], ["dates, such as '1/1/2021'"]),
        ([f"{row % 28 + 1} March {1900 + row}" for row in range(N)], ["dates, such as '1 March 1900'"]),
        ([f"Mar {row % 28 + 1} {1900 + row}" for row in range(N)], ["dates, such as 'Mar 1 1900'"]),
    ],
)
def test_amounts_and_dates_in_words_are_refused_with_a_remedy(load, texts, parts):
    line = refused(lambda: load({"when": np.array(texts)}, "parquet"))
    assert all(part in line for part in parts) and "--data.drop when" in line


def test_codes_with_digits_are_no_amounts(load):
    codes = np.array([f"{'ABC'[row % 3]}{row % 10}" for row in range(N)])
    found = load({"cabin": codes})
    assert record(found, "cabin").became == "categories"


@pytest.mark.parametrize(
    ("encoding", "called"),
    [("utf-8", ""), ("utf-8-sig", ""), ("latin-1", "Windows-1252"), ("cp1252", "Windows-1252"), ("utf-16", "UTF-16")],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_files_of_other_encodings_are_read_with_a_word(load, encoding, called, delimiter):
    town = np.array(["Köln", "Genf", "Malmö"])[np.arange(N) % 3]
    found = load({"größe": np.arange(N) % 7, "town": town}, delimiter=delimiter, encoding=encoding)
    assert found.scaling.columns == ("b", "größe", "town=Genf", "town=Köln", "town=Malmö")
    assert bool(said(found, "is no UTF-8", called)) == bool(called)


def test_an_encoding_shows_in_cells_alone_and_a_file_of_any_bytes_is_read(tmp_path):
    path = tmp_path / "own.csv"
    rows = "\n".join(f"{i % 9},{'Malmö' if i == 250 else 'Ulm'},{i % 2}" for i in range(300))
    path.write_bytes(f"a,town,y\n{rows}".encode("latin-1"))
    found = data.load(DataConfig(name=str(path), target="y", validation=0.2))
    assert record(found, "town").categories == ("Malmö", "Ulm")
    path.write_bytes(f"a,town,y\n{rows}".encode("latin-1").replace(b"Ulm", b"\x81lm"))
    found = data.load(DataConfig(name=str(path), target="y", validation=0.2))
    assert said(found, "is read as Latin-1")
    path.write_bytes(codecs.BOM_UTF16_LE + b"a\x00,\x00y")
    assert "own.csv" in refused(lambda: data.load(DataConfig(name=str(path), target="y")))


def test_every_column_of_a_file_is_in_the_file_of_inputs(load, tmp_path):
    a = np.where(np.arange(N) % 80 == 0, "?", "3.5").astype(object)
    columns = {"a": a, "name": [f"n{row}" for row in range(N)], "old": np.arange(N), "of": np.arange(N) // 4}
    found = load(columns, drop=("old",), group="of")
    path = tmp_path / inputs_file.FILE
    inputs_file.write({DataConfig(): found}, path)
    (read,) = inputs_file.read(path.read_bytes())
    assert read.columns == found.records
    assert {each.name: (each.became, each.missing) for each in read.columns} == {
        "b": ("numbers", 0),
        "a": ("numbers", 5),
        "name": ("nothing", 0),
        "old": ("nothing", 0),
        "of": ("group", 0),
        "y": ("target", 0),
    }
    assert [each.left_out for each in read.columns][2:4] == ["400 different texts in 400 rows", "data.drop"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_of_pandas_are_read_without_their_index_and_with_their_categories(tmp_path, form):
    frame = pd.DataFrame(
        {
            "town": RNG.choice(["a", "b", "c"], N),
            "code": pd.Categorical(RNG.integers(0, 4, N)),
            "word": pd.Categorical(RNG.choice(["u", "v", "w"], N)),
            "whole": pd.array(RNG.integers(0, 9, N), dtype="Int64"),
            "x": RNG.normal(size=N),
            "is": pd.array(RNG.random(N) < 0.5, dtype="boolean"),
            "y": KIND,
        }
    ).iloc[RNG.permutation(N)]
    frame.iloc[3, 0], frame.iloc[4, 3], frame.iloc[5, 4], frame.iloc[9, 6] = None, pd.NA, np.nan, None
    path = tmp_path / f"own.{form}"
    {"csv": frame.to_csv, "parquet": frame.to_parquet}[form](path)
    found = data.load(DataConfig(name=str(path), target="y", validation=0.2))
    became = {each.name: (each.became, each.missing) for each in found.records}
    index = "" if form == "csv" else "__index_level_0__"
    assert became == {
        index: ("nothing", 0),
        "town": ("categories", 1),
        "code": ("numbers" if form == "csv" else "categories", 0),
        "word": ("categories", 0),
        "whole": ("numbers", 1),
        "x": ("numbers", 1),
        "is": ("numbers", 0),
        "y": ("target", 1),
    }
    assert said(found, "left out", "the index of a data frame")


def test_a_delimiter_at_the_ends_of_lines_makes_no_column(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["a,y,", *(f"{i % 7},{i % 2}," for i in range(100))]))
    found = data.load(DataConfig(name=str(path), target="y", validation=0.2))
    assert found.scaling.columns == ("a",)
    assert found.records[2] == Record("", "null", "nothing", 100, left_out="without name and values")


def test_targets_of_dates_are_refused_and_decimals_are_numbers(load):
    when = pa.array(np.arange(N).astype("datetime64[D]"))
    assert "has date32[day]; turn it to numbers" in refused(lambda: load({"x": NUMBERS, "y": when}, "parquet"))
    decimals = pa.array(np.round(NUMBERS, 3)).cast(pa.decimal128(9, 3))
    assert load({"x": NUMBERS[::-1], "y": decimals}, "parquet").task == "regression"


def test_blanks_beside_delimiters_are_no_part_of_names_and_texts(load):
    """As in tables of the UCI repository."""
    mark = np.where(np.arange(N) % 50 == 0, "?", RNG.integers(0, 9, N).astype(str))
    found = load({"b": NUMBERS, "a": mark, "of": np.array(["u", "?"])[np.arange(N) % 2], "y": KIND}, delimiter=", ")
    assert found.scaling.columns == ("b", "a", "of=u")
    assert record(found, "a").missing == 8 and record(found, "of").categories == ("?", "u")


@pytest.mark.parametrize("mark", ["?", "NA", "-", "none"])
def test_a_column_of_marks_alone_has_no_value(load, mark):
    assert f"has no value at all in column 'a', but {mark!r}; fill it" in refused(lambda: load({"a": [mark] * N}))


@pytest.mark.parametrize(
    ("names", "is_row"),
    [
        ("8 307.0 130.0 3504.0 12.0 chevrolet", True),
        ("5.1 3.5 1.4 0.2 setosa", True),
        ("0.1 0.7 0.3 a b c", True),
        ("0.1 0.7 0.3 a b c d", False),
        ("3 1", False),
        ("country 2010 2011 2012", False),
        ("400.5 401 401.5 402", False),  # wavelengths
        ("y 4000 3998 3996 3994 3992 3990 3988 3986", False),  # wavenumbers
        ("0 1 2 3 target", False),
        ("a b c", False),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_first_row_in_the_place_of_names_is_a_doubt(names, is_row, suffix, tmp_path):
    path, names = tmp_path / f"own.{suffix}", names.split()
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, len(names))), columns=names)
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    found = tables.read(path, DataConfig(name=str(path), target=names[-1])).findings
    assert [each.severity for each in found] == ["doubt"] * (is_row and suffix == "csv")
