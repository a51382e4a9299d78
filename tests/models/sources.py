"""Small sets of every form, with the rows of their test split as somebody would bring them."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

N, N_TEST = 120, 60


class Source(NamedTuple):
    name: str  # as data.name
    fields: dict[str, Any]  # of an experiment, by dotted name
    test: Any  # the raw test rows; None where they are cut off the training rows, by their places there
    table: Any = None


def _targets(rows, rng, task):
    sums = rows.reshape(len(rows), -1).astype(float)
    sums = np.nan_to_num(sums)[:, : max(2, sums.shape[1] // 2)].sum(axis=1)
    sums = (sums - sums.mean()) / sums.std() + 0.3 * rng.normal(size=len(rows))
    if task == "regression":
        return 40 + 7.5 * sums
    if task == "multilabel":
        return np.stack([sums > 0, sums > 0.8], axis=1).astype(int)
    return np.array(["low", "mid", "high"])[np.digitize(sums, [-0.5, 0.5])]


def arrays(tmp_path, rows, task="classification", fields=None, name="set"):
    rng = np.random.default_rng(1)
    labels = _targets(rows, rng, task)
    path = tmp_path / f"{name}.npz"
    np.savez(path, x_train=rows[:N], y_train=labels[:N], x_test=rows[N:], y_test=labels[N:])
    return Source(str(path), fields or {}, rows[N:])


def smooth(rng, *shape):
    """Rows that are smooth along all axes but the last, which are channels."""
    values = rng.normal(size=(N + N_TEST, *shape))
    for axis in range(1, values.ndim - 1):
        values = values.cumsum(axis=axis)
    return values


def table(tmp_path, task="classification"):
    """A table of numbers, missing ones, marks, categories of two and of more, codes, an id and texts left out."""
    rng = np.random.default_rng(2)
    n = N + N_TEST
    numbers = rng.normal(size=(n, 3)) * [1, 50, 1e-3] + [0, 1000, 0]
    labels = _targets(numbers / [1, 50, 1e-3], rng, task)
    missing = rng.random(n) < 0.1
    columns = {
        "length": numbers[:, 0].round(6),
        "mass": [None if lacks else value for lacks, value in zip(missing, numbers[:, 1].round(4), strict=True)],
        "small": [("?" if value > 1.5e-3 else f"{value:.6f}") for value in numbers[:, 2]],
        "sex": rng.choice(["f", "m"], n),
        "town": [
            None if lacks else town for lacks, town in zip(missing[::-1], rng.choice(list("abcde"), n), strict=True)
        ],
        "district": rng.integers(10, 14, n),
        "id": [f"row{number:05d}x" for number in rng.permutation(n)],
        "target": labels,
    }
    made = pa.table(columns)
    path = tmp_path / "table.csv"
    pa.csv.write_csv(made, path)
    return Source(str(path), {"data.target": "target", "data.categories": ("district",)}, None, made)
