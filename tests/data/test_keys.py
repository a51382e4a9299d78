"""Groups and times are the same in whatever form they are written, and what is neither is refused."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pretrain.data import keys

DAYS = pd.date_range("2019-11-25", periods=90, freq="37h")
EXPECTED = np.arange(90)
ORDER = np.random.default_rng(0).permutation(90)
FORMS = (
    *("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S+02:00", "%Y%m%d%H%M"),
    *("%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%Y/%m/%d %H:%M", "%d %b %Y %H:%M"),
    *("%B %d, %Y %H:%M", "%d-%b-%y %H:%M"),
)


@pytest.mark.parametrize("form", FORMS)
def test_dates_in_many_forms_are_in_one_order(form):
    texts = np.array(DAYS.strftime(form))[ORDER]
    for values in (texts, texts.astype(object), np.char.add(" ", texts.astype(str))):
        np.testing.assert_array_equal(keys.times(values), ORDER)


@pytest.mark.parametrize(
    "values",
    [
        DAYS.to_numpy(),
        DAYS.to_numpy().astype("datetime64[s]"),
        np.array(DAYS.to_pydatetime()),
        np.array([day.isoformat() for day in DAYS.tz_localize("Europe/Berlin")]),
        np.arange(90) * 7 - 300,
        np.linspace(1950.5, 2020.25, 90),
        np.array([f"{number:.2f}" for number in np.linspace(-9, 120, 90)]),
        np.array([f"{1999 + number // 4}Q{1 + number % 4}" for number in range(90)]),
        np.array([f"{1999 + number // 12}-{1 + number % 12:02}" for number in range(90)]),
        np.array([decimal.Decimal(number) / 3 for number in range(90)]),
        np.array([datetime.date(2020, 1, 1) + datetime.timedelta(number) for number in range(90)]),
    ],
    ids=lambda values: str(values[0]),
)
def test_times_of_any_type_are_ranks(values):
    np.testing.assert_array_equal(keys.times(values[ORDER]), ORDER)
    column = pa.chunked_array([pa.array(values[ORDER].tolist())])
    np.testing.assert_array_equal(keys.times(keys.of_column(column)), ORDER)


def test_equal_times_have_one_rank_and_missing_ones_none():
    np.testing.assert_array_equal(
        keys.times(np.array(["2020-01-02", "", "2020-01-02", "NaT", "2019-05-05"])), [1, -1, 1, -1, 0]
    )
    np.testing.assert_array_equal(keys.times(np.array([3.5, np.nan, 3.5])), [0, -1, 0])
    np.testing.assert_array_equal(keys.times(np.array(["2020-01-02", "NaT"], "datetime64[D]")), [0, -1])
    np.testing.assert_array_equal(keys.times(np.array([None, None])), [-1, -1])


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (["01/02/2020", "05/01/2020", "03/03/2020"], "has dates such as '01/02/2020', which may be read in two ways"),
        (["2020-01-01", "spring"], "has 'spring', which is no time"),
        (["01.13.2020", "31.12.2020"], "has '01.13.2020', which is no time or not in the form of the others"),
    ],
)
def test_what_is_no_time_or_two_is_refused(values, part):
    with pytest.raises(ValueError) as error:
        keys.times(np.array(values))
    assert part in str(error.value)


def test_two_readings_of_one_order_are_one():
    np.testing.assert_array_equal(keys.times(np.array(["01/01/2020", "02/02/2020", "03/03/2020"])), [0, 1, 2])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([5, 3, 5]), [1, 0, 1]),
        (np.array([5.0, np.nan, 5.0, np.nan]), [0, -1, 0, -1]),
        (np.array(["b", "", "a", " b", "NA", "None"]), [1, -1, 0, 1, -1, -1]),
        (np.array(["b", None, 3, float("nan")], object), [1, -1, 0, -1]),
        (np.array(["2020-01-02", "NaT"], "datetime64[D]"), [0, -1]),
        (np.array([True, False, True]), [1, 0, 1]),
    ],
)
def test_groups_are_numbered_and_missing_ones_have_none(values, expected):
    found = keys.groups(values)
    np.testing.assert_array_equal(np.unique(found[found >= 0], return_inverse=True)[1], [e for e in expected if e >= 0])
    np.testing.assert_array_equal(found < 0, np.array(expected) < 0)
    column = pa.chunked_array([pa.array(pd.Series(values if values.dtype != object else values.astype(str)))])
    np.testing.assert_array_equal(keys.groups(keys.of_column(column)) < 0, np.array(expected) < 0)


def test_large_numbers_beside_missing_ones_stay_apart():
    column = pa.chunked_array([pa.array([2**60, None, 2**60 + 1])])
    assert len(set(keys.groups(keys.of_column(column)))) == 3


def test_an_array_has_a_value_a_row():
    np.testing.assert_array_equal(keys.of_array(np.array([[1], [1], [0]]), 3, keys.groups), [1, 1, 0])
    for array in (np.zeros(4), np.zeros((3, 2)), np.float64(3)):
        with pytest.raises(ValueError, match="beside 3 training rows; give a value a row"):
            keys.of_array(np.asarray(array), 3, keys.groups)
