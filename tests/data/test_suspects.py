"""Inputs that stand for missing numbers or number the rows are named, and measurements are not."""

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.data import suspects
from pretrain.data.scaling import Column

N = 300
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=N)
PLACEHOLDER, ROWS = "numbers in the place of missing ones", "row numbers among the inputs"


def with_some(values, number, n=9):
    return np.where(np.arange(N) % (N // n) == 0, number, values)


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (with_some(NOISE, -999), "x", PLACEHOLDER),
        (with_some(50 + 9 * NOISE, -9999.0), "x", PLACEHOLDER),
        (with_some(RNG.integers(0, 5, N), 99), "x", PLACEHOLDER),
        (with_some(NOISE, 9.96921e36), "x", PLACEHOLDER),
        (with_some(np.where(NOISE > 1, np.nan, NOISE), -999), "x", PLACEHOLDER),
        (with_some(NOISE, -999, 1), "x", None),  # an outlier
        (RNG.integers(0, 100, N), "x", None),  # an age of 99
        (with_some(1000 * RNG.random(N), 999), "x", None),
        (with_some(NOISE, -7), "x", None),
        (np.where(NOISE > 0, -99, 1), "x", None),  # two values: a code
        (np.arange(N), "x", ROWS),
        (7 + RNG.permutation(N), "x", ROWS),
        (RNG.permutation(10**6)[:N], "user_id", ROWS),
        (RNG.permutation(10**6)[:N], "CustomerID", ROWS),
        (RNG.permutation(10**6)[:N], "Unnamed: 0", ROWS),
        (RNG.permutation(10**6)[:N], "income", None),
        (RNG.permutation(10**6)[:N], "squid", None),
        (np.arange(N) + 0.5, "id", None),
        (np.full(N, np.nan), "x", None),
        (np.zeros(N), "id", None),
    ],
)
def test_columns_that_are_hardly_measurements_are_named(values, name, kind):
    inputs = np.column_stack([NOISE, values])
    for columns in ([Column("noise"), Column(name)], []):
        if columns or name == "x":
            found = list(suspects.found(inputs, columns))
            assert [each.kind for each in found] == [kind] * bool(kind)
            assert all((name if columns else "column 1") in each.sentence for each in found)
    assert not list(suspects.found(inputs, [Column("noise"), Column(name)], {name})) or kind == PLACEHOLDER
    assert not list(suspects.found(np.eye(N, dtype=np.uint8), []))


def test_the_remedies_are_options_that_are_taken(tmp_path):
    path = tmp_path / "own.csv"
    rows = zip(with_some(NOISE, -999), RNG.permutation(N), RNG.integers(0, 2, N), strict=True)
    path.write_text("x,row id,y\n" + "".join(f"{x},{row},{y}\n" for x, row, y in rows))

    def found(**fields):
        loaded = data.load(DataConfig(name=str(path), target="y", validation=0.2, **fields))
        return {each.kind: each for each in loaded.findings if each.kind in (PLACEHOLDER, ROWS)}

    kinds = found()
    assert kinds[PLACEHOLDER].severity == "doubt" and kinds[PLACEHOLDER].remedy.endswith("--data.missing -999")
    assert kinds[PLACEHOLDER].figures == {"rows": {"x": 10}}
    assert kinds[ROWS].severity == "note" and kinds[ROWS].remedy.endswith("--data.drop 'row id'")
    assert set(found(missing=("-999",), drop=("row id",))) == set()
