"""Small inputs of each kind whose first answer may be untrue, as arrays or columns by name."""

import numpy as np

CLASSES = 4


def sensors(n=160, steps=60):
    """Two sensors with levels of their own, whose frequency is the class: [N, T, 2]."""
    rng = np.random.default_rng(11)
    labels, time = rng.integers(0, CLASSES, n), np.arange(steps) / steps
    wave = np.sin(6.28 * (1 + labels[:, None] * 1.5) * time + 6.28 * rng.random((n, 1)))
    levels = wave[..., None] * [1.0, 0.5] + 0.4 * rng.normal(size=(n, steps, 2)) + [40.0, -2.0]
    return levels.astype(np.float32), labels


def ending(n=120, steps=50):
    """Sensors that stop at unlike times, NaN from there on."""
    rows, labels = sensors(n, steps)
    for row, length in zip(rows, np.random.default_rng(12).integers(20, steps + 1, n), strict=True):
        row[length:] = np.nan
    return rows, labels


def scans(n=90, side=10):
    """Blocks in bytes, as wide as their class: [N, 10, 10, 10]."""
    rng = np.random.default_rng(13)
    labels, made = rng.integers(0, 2, n), rng.integers(0, 40, (n, side, side, side))
    for row, label in zip(made, labels, strict=True):
        row[3 : 5 + 3 * label, 3 : 5 + 3 * label, 3 : 5 + 3 * label] += 150
    return made.astype(np.uint8), labels


def few(n, n_test=60):
    """A few rows of a sum's sign, and others to test."""
    rng = np.random.default_rng(14)
    rows = rng.normal(size=(n + n_test, 5))
    labels = (rows[:, 0] - rows[:, 1] + 0.4 * rng.normal(size=len(rows)) > 0).astype(int)
    return {"X_train": rows[:n], "y_train": labels[:n], "X_test": rows[n:], "y_test": labels[n:]}


def numbers(n=500, d=6):
    """Columns, and a number that is nearly a sum of theirs."""
    rng = np.random.default_rng(15)
    rows = rng.normal(size=(n, d))
    return rows, rows @ rng.normal(size=d) + 0.2 * rng.normal(size=n)


def idle_column():
    """A column of a constant, but for two test rows."""
    rows, targets = numbers()
    column = np.full(len(rows), 3.0)
    column[[-1, -7]] = 5000.0, -40.0
    rows = np.c_[rows, column]
    return {"X_train": rows[:380], "y_train": targets[:380], "X_test": rows[380:], "y_test": targets[380:]}


def other_instrument():
    """Rows with a target, and a pool on another scale."""
    rows, targets = numbers(260)
    pool = -30 + 12 * np.random.default_rng(16).normal(size=(1500, rows.shape[1]))
    return {"X": rows, "y": targets, "unlabelled_inputs": pool}


def leaking(into):
    """A split whose test rows are also in the ``pool`` or, a part of them, among ``validation`` rows."""
    rng = np.random.default_rng(17)
    rows = rng.normal(size=(330, 9))
    labels = (rows[:, :3].sum(axis=1) + rng.normal(size=330) > 0).astype(int)
    arrays = {"X_train": rows[:130], "y_train": labels[:130], "X_test": rows[210:], "y_test": labels[210:]}
    if into == "pool":
        return arrays | {"unlabelled_inputs": rows[180:]}
    return arrays | {"val_inputs": rows[130:240], "val_labels": labels[130:240]}


def recordings(people=50, each=12):
    """Rows that tell the person whom they are of, rather than the class."""
    rng = np.random.default_rng(18)
    of = np.repeat(np.arange(people), each)
    return {
        "X": 1.3 * rng.normal(size=(people, 20))[of] + rng.normal(size=(len(of), 20)),
        "y": of % 5,
        "subject": of,
    }


def visits(n=420):
    """A table of patients, of whom a quarter has no name."""
    rng = np.random.default_rng(19)
    patient = np.array([f"p{number}" for number in rng.integers(0, 40, n)], object)
    patient[rng.random(n) < 0.25] = None
    return {
        "pulse": rng.normal(70, 9, n),
        "age": rng.normal(size=n),
        "patient": patient.tolist(),
        "ill": _words(rng, n),
    }


def numbered(n=500):
    """Rows in order of their target, with a number each."""
    rng = np.random.default_rng(20)
    return {"row": 5000 + 3 * np.arange(n), "x": rng.normal(size=n), "y": np.repeat(["a", "b"], n // 2)}


def coded_target(n=400):
    """The target once more, as a number."""
    rng = np.random.default_rng(21)
    target = rng.integers(0, 3, n)
    return {"x": rng.normal(size=n), "group": np.array([12, 40, 41])[target], "y": np.array(["i", "ii", "iii"])[target]}


def rare(n=1500):
    """A class of one row in twenty, which the inputs hardly tell."""
    rng = np.random.default_rng(22)
    rows = rng.normal(size=(n, 6))
    score = rows[:, 0] + 2 * rng.normal(size=n)
    return {"X": rows, "y": (score > np.quantile(score, 0.95)).astype(int)}


def unrelated(n=700):
    """Classes, one of them more frequent, that the inputs tell nothing about."""
    rng = np.random.default_rng(23)
    rows, labels = rng.random((n, 30)).astype(np.float32), rng.choice(3, n, p=[0.5, 0.25, 0.25])
    return {"X_train": rows[:450], "y_train": labels[:450], "X_test": rows[450:], "y_test": labels[450:]}


def partly_known(unknown):
    """Several labels a row, a tenth of them unknown."""
    rng = np.random.default_rng(24)
    rows = rng.normal(size=(600, 8))
    labels = (rows @ rng.normal(size=(8, 4)) > 1).astype(float)
    labels[rng.random(labels.shape) < 0.1] = unknown
    return {"X": rows, "y": labels if np.isnan(unknown) else labels.astype(int)}


def scores(n=900):
    """Whole numbers from 0 to 60, the middle ones most often."""
    rng = np.random.default_rng(25)
    rows = rng.normal(size=(n, 7))
    return {"X": rows, "y": np.clip(np.rint(30 + 9 * rows[:, 1] + 2 * rng.normal(size=n)), 0, 60).astype(int)}


def marked(mark, n=300):
    """A column of numbers, some of which are a mark."""
    rng = np.random.default_rng(26)
    column = rng.integers(20, 45, n).astype(str).astype(object)
    column[::50] = mark
    return {"a": column, "b": rng.normal(size=n), "y": _words(rng, n)}


def letters(n=240):
    """Texts of many words, no two alike, beside a number."""
    rng = np.random.default_rng(27)
    texts = [f"dear sir number {number} I write to you" for number in range(n)]
    return {"letter": texts, "b": rng.normal(size=n), "y": _words(rng, n)}


def districts(n=1500):
    """Codes of places, of which those of odd digits are good ones, in no order."""
    rng = np.random.default_rng(28)
    code = rng.choice([101, 108, 203, 207, 312, 315, 330, 402], n)
    is_good = rng.random(n) < np.where(np.isin(code, [101, 207, 312, 330]), 0.88, 0.12)
    return {"place": code, "b": rng.normal(size=n), "y": np.where(is_good, "good", "bad")}


LAYERS = """
import flax.linen as nn


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x, training: bool = False):
        return nn.Dropout(0.5, deterministic=not training)(nn.tanh(nn.Dense(10)(x.reshape(len(x), -1))))


class Given(nn.Module):
    bend: object

    @nn.compact
    def __call__(self, x):
        return self.bend(nn.Dense(10)(x.reshape(len(x), -1)))


class Windows(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(6, (3, 3))(x))


class Units(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(10)(nn.relu(nn.Dense(7)(x))))


def noisy():
    return (Noisy(),)


def given():
    return (Given(lambda x: nn.relu(x) ** 2),)


def windows():
    return (Windows(),)


def units():
    return (Units(),)
"""


def pictures(n=120, side=8):
    """Bars in bytes, upright or not."""
    rng = np.random.default_rng(29)
    labels, made = rng.integers(0, 2, n), rng.integers(0, 60, (n, side, side))
    for row, label in zip(made, labels, strict=True):
        place = rng.integers(0, side)
        (row.T if label else row)[place] += 120
    return {"X": made.astype(np.uint8), "y": labels}


def _words(rng, n):
    return np.where(rng.random(n) < 0.5, "no", "yes")
