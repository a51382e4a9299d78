"""Small inputs of the forms that people have them in: each a function of nothing, written as a file where one is."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROWS, TEST_ROWS, SIDE, CLASSES = 400, 120, 6, 10


def images():
    """Noisy patterns of ten classes, bytes, in no order: training and test images and labels."""
    rng = np.random.default_rng(3)
    patterns = rng.integers(0, 200, (CLASSES, SIDE, SIDE))
    labels = np.concatenate([rng.permutation(np.arange(rows) % CLASSES) for rows in (ROWS, TEST_ROWS)])
    noisy = np.clip(patterns[labels] + rng.normal(0, 20, (len(labels), SIDE, SIDE)), 0, 255).astype(np.uint8)
    return noisy[:ROWS], labels[:ROWS], noisy[ROWS:], labels[ROWS:]


def columns(rows=400, n=12, classes=3, seed=0):
    """Clusters as columns: inputs float64 [rows, n] of several scales, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    inputs = rng.normal(size=(classes, n))[labels] * 2 + rng.normal(size=(rows, n))
    return inputs * 10.0 ** (np.arange(n) % 4) + 1000 * (np.arange(n) % 2), labels


def four(x, y, tx, ty, **more):
    return {"train_images": x, "train_labels": y, "test_images": tx, "test_labels": ty, **more}


def forms():
    """The arrays of each form of the same images, by the form's name."""
    x, y, tx, ty = images()
    held, held_y = x[:50], y[:50]
    few = y.astype(np.int64)
    few[np.random.default_rng(0).permutation(ROWS)[100:]] = -1
    order = np.argsort(y, kind="stable")
    named = np.array([f"digit {label}" for label in range(CLASSES)])
    one_hot = np.eye(CLASSES, dtype=np.uint8)
    known = y < 8
    ragged = np.empty(100, object)
    for row in range(100):
        ragged[row] = x[row][: 3 + row % 3]
    return {
        "uint8": four(x, y, tx, ty),
        "keras_names": {"x_train": x, "y_train": y, "x_test": tx, "y_test": ty},
        "capitals": {"X_train": x, "Y_train": y, "X_test": tx, "Y_test": ty},
        "float01": four((x / 255).astype(np.float32), y, (tx / 255).astype(np.float32), ty),
        "double01": four(x / 255, y, tx / 255, ty),
        "flat": four(x.reshape(ROWS, -1), y, tx.reshape(TEST_ROWS, -1), ty),
        "uint16": four(x.astype(np.uint16) * 257, y, tx.astype(np.uint16) * 257, ty),
        "channels_first": four(x[:, None], y, tx[:, None], ty),
        "medmnist_like": four(x[50:], y[50:, None], tx, ty[:, None], val_images=held, val_labels=held_y[:, None]),
        "with_validation": four(x[50:], y[50:], tx, ty, val_images=held, val_labels=held_y),
        "one_hot": four(x, one_hot[y], tx, one_hot[ty]),
        "float_labels": four(x, y.astype(float), tx, ty.astype(float)),
        "labels_from_1": four(x, y + 1, tx, ty + 1),
        "string_labels": four(x, named[y], tx, named[ty]),
        "no_test": {"train_images": x, "train_labels": y},
        "plain": {"X": x, "y": y},
        "sorted_by_class": four(x[order], y[order], tx, ty),
        "few_labels": four(x, few, tx, ty),
        "few_labels_uint8": four(x, few.astype(np.uint8), tx, ty),
        "pool": four(x[:100], y[:100], tx, ty, unlabelled_images=x[100:]),
        "unseen_classes": four(x[known], y[known], tx, ty),
        "ragged": four(ragged, y[:100], ragged, y[:100]),
    }


def people(rows=300):
    """A table of people: numbers, some missing; texts, some empty; and targets, half of them missing."""
    rng = np.random.default_rng(1)
    age, hours = rng.normal(38, 13, rows), rng.normal(40, 12, rows)
    work = rng.choice(["private", "state", "self", ""], rows)
    school = rng.choice(["school", "college", "doctor"], rows, p=[0.6, 0.35, 0.05])
    target = np.where(age + hours > 78, ">50K", "<=50K").astype(object)
    target[rng.random(rows) < 0.5] = None
    age = [None if rng.random() < 0.05 else value for value in age]
    return pa.table({"age": age, "hours": hours, "work": work, "school": school, "income": target})


def write_csv(table, path):
    pa.csv.write_csv(table, path)
    return path


def write_parquet(table, path):
    pa.parquet.write_table(table, path)
    return path


def word_counts(rows=500, words=150, topics=5):
    """Counts of words of documents, each on a topic, int32 [rows, words], and the topics."""
    rng = np.random.default_rng(2)
    weights = rng.dirichlet(np.full(words, 0.05), topics)
    labels = rng.integers(0, topics, rows)
    mixed = 0.6 * weights[labels] + 0.4 * weights.mean(axis=0)
    return np.stack([rng.multinomial(80, each) for each in mixed]).astype(np.int32), labels


def series(rows=500, length=30):
    """Windows of a random walk, float32 [rows, length], and the value after each."""
    walk = np.cumsum(np.random.default_rng(4).normal(size=rows + length))
    windows = np.lib.stride_tricks.sliding_window_view(walk, length + 1).astype(np.float32)
    return windows[:, :-1], windows[:, -1]
