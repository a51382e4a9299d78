"""Rows of two splits are found wherever chance does not explain them, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain import data
from pretrain.config import DataConfig, Experiment, FinetuneConfig
from pretrain.data import copies
from tests.experiments import thorough


def find(parts):
    return copies.find(parts, np.zeros(len(parts["train"]), bool))


def split(rows, *ends):
    """Returns rows as training, validation and test rows, and an unlabelled pool if there is a fourth part."""
    names = ("train", "validation", "test", "unlabelled")
    return dict(zip(names, np.split(np.asarray(rows, np.float32), ends), strict=False))


def measured(rng, n, d):
    return rng.normal(size=(n, d))


def pixels(rng, n, d):
    return rng.integers(0, 256, (n, 4 * d))


def rounded(rng, n, d):
    return np.round(rng.normal(size=(n, d + 4)), 1)


def counts(rng, n, d):
    return np.c_[rng.poisson(0.5, (n, 5)), rng.normal(size=n)]


@thorough
@given(
    st.sampled_from([measured, pixels, rounded, counts]), st.integers(2, 9), st.integers(0, 9), st.integers(0, 2**32)
)
def test_copies_of_rows_with_a_rare_value_are_counted(kind, d, n, seed):
    parts = split(kind(np.random.default_rng(seed), 400, d), 200, 300)
    parts["test"][:n] = parts["train"][10 : 10 + n]
    found = list(find(parts))
    assert [(each.kind, each.figures["rows"], each.severity) for each in found] == [
        ("test rows among the training rows", n, "doubt")
    ] * bool(n)
    assert all(each.sentence.startswith(f"{n} of 100 test rows are training rows too") for each in found)


@pytest.mark.parametrize(
    "rows",
    [
        lambda rng: rng.integers(0, 3, (2000, 4)),  # categories
        lambda rng: rng.integers(0, 80, (800, 1)),  # ages
        lambda rng: rng.random((1000, 30)) < np.where(rng.random(1000) < 0.6, 0.02, 0.3)[:, None],  # symptoms
        lambda rng: rng.poisson(0.03, (800, 100)),  # words of short texts
        lambda rng: rng.normal(size=(300, 9)) * (rng.random(300) < 0.5)[:, None],  # half of them blank
        lambda rng: np.ones((300, 9)),
        lambda rng: np.eye(2)[rng.integers(0, 2, 300)],  # one of two marks
        lambda rng: rng.integers(0, 4, (50, 12))[np.minimum(rng.zipf(1.5, 900), 50) - 1],  # kinds, some common
        lambda rng: rng.normal(size=(2000, 1)) + 0.3 * rng.normal(size=(2000, 30)) > 0,  # signs of one cause
    ],
)
def test_rows_of_few_values_coincide_by_chance(rows):
    for seed in range(5):
        parts = split(rows(np.random.default_rng(seed)), 200, 260)
        assert set(map(bytes, parts["test"])) & set(map(bytes, parts["train"])) and not list(find(parts))


def test_iris_has_two_equal_rows_and_no_leak():
    from sklearn.datasets import load_iris

    x = load_iris().data
    equal = np.flatnonzero((x[:, None] == x).all(axis=-1).sum(axis=1) == 2)
    rest = np.setdiff1d(np.arange(150), equal)
    order = [*rest[:100], equal[0], *rest[100:], equal[1]]
    assert not list(find(split(x[order], 110, 130)))


@pytest.mark.parametrize(("times", "of"), [(2, 1.0), (3, 1.0), (5, 1.0), (2, 0.5)])
@pytest.mark.parametrize("kind", ["iris", "categories"])
def test_rows_of_few_values_that_were_multiplied_are_no_chance(kind, times, of):
    from sklearn.datasets import load_iris

    rng = np.random.default_rng(0)
    x = load_iris().data if kind == "iris" else rng.integers(0, 4, (400, 6))
    copied = x[: round(of * len(x))]
    rows = rng.permutation(np.concatenate([x, *[copied] * (times - 1)]))
    parts = split(rows, len(rows) // 2, len(rows) * 3 // 4)
    assert not list(find(split(rng.permutation(x), len(x) // 2, len(x) * 3 // 4)))
    among = sum(row in set(map(bytes, parts["train"])) for row in map(bytes, parts["test"]))
    found = {each.kind: each.figures["rows"] for each in find(parts)}
    assert found["test rows among the training rows"] == among > 0


@thorough
@given(st.sampled_from(["uniform", "zipf", "poisson", "mixed"]), st.integers(2, 60), st.integers(0, 2**32))
def test_independent_draws_are_not_taken_for_multiplied_rows(kind, n_values, seed):
    rng = np.random.default_rng(seed)
    drawn = {
        "uniform": lambda: rng.integers(0, n_values, 500),
        "zipf": lambda: rng.zipf(1 + 1 / n_values, 500) if n_values < 9 else rng.zipf(1.5, 500),
        "poisson": lambda: rng.poisson(n_values, 500),
        "mixed": lambda: np.where(rng.random(500) < 0.5, rng.integers(0, n_values, 500), rng.integers(0, 2**40, 500)),
    }[kind]()
    assert not copies._are_multiplied(drawn)


def test_each_pair_of_splits_has_its_harm():
    rows = np.random.default_rng(0).normal(size=(400, 5))
    rows[200:220], rows[300:330], rows[310:313] = rows[:20], rows[230:260], rows[40:43]
    rows[350:390], rows[390:] = rows[320:330].repeat(4, axis=0), rows[220:230]
    kinds = {each.kind: each for each in find(split(rows, 200, 300, 350))}
    assert {kind: (each.figures["rows"], each.severity) for kind, each in kinds.items()} == {
        "test rows among the training rows": (3, "doubt"),
        "validation rows among the training rows": (20, "doubt"),
        "test rows in the unlabelled pool": (10, "doubt"),
        "validation rows in the unlabelled pool": (20, "note"),
        "test rows among the validation rows": (27, "doubt"),
    }
    assert "flatters pretraining, not every arm" in kinds["test rows in the unlabelled pool"].sentence
    assert "arms are chosen by test rows" in kinds["test rows among the validation rows"].sentence


def test_a_copy_in_thousands_is_a_note():
    rows = np.random.default_rng(0).normal(size=(3000, 5))
    rows[-1] = rows[0]
    assert [each.severity for each in find(split(rows, 400, 500))] == ["note"]


def load(path, pretrain_on="both", **arrays):
    np.savez(path, **arrays)
    found = data.load(DataConfig(name=str(path), validation=0.2, pretrain_on=pretrain_on)).findings
    return [each for each in found if each.severity == "doubt"]


def test_leaks_of_a_source_are_found_in_each_form(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 20)), rng.integers(0, 2, 400)
    base = {"X_train": x[:150], "y_train": y[:150], "X_test": x[150:], "y_test": y[150:]}
    (found,) = load(tmp_path / "pool.npz", **base, unlabelled_inputs=x[150:])
    assert (found.kind, found.figures) == ("test rows in the unlabelled pool", {"rows": 250, "of": 250})
    # The same rows as rows without a label, of another unit, and in the order of the files.
    few = {"X_train": np.r_[x[:150], x[200:]], "y_train": np.r_[y[:150], np.full(200, -1)]}
    (found,) = load(tmp_path / "few.npz", **{**base, **few})
    assert (found.kind, found.figures) == ("test rows in the unlabelled pool", {"rows": 200, "of": 250})
    own = {"val_inputs": x[150:250], "val_labels": y[150:250], "X_test": x[200:], "y_test": y[200:]}
    (found,) = load(tmp_path / "own.npz", **{**base, **own})
    assert (found.kind, found.figures) == ("test rows among the validation rows", {"rows": 50, "of": 200})
    (found,) = load(tmp_path / "float.npz", **base, unlabelled_inputs=x[150:].astype(np.float32))
    assert found.figures == {"rows": 250, "of": 250}
    missing = x.copy()
    missing[::7, 3] = np.nan
    (found,) = load(tmp_path / "nan.npz", X=np.r_[missing, missing[:100]], y=np.r_[y, y[:100]])[:1]
    assert found.kind == "test rows among the training rows"
    assert not load(tmp_path / "sound.npz", **base)
    assert not load(tmp_path / "unread.npz", "train", **base, unlabelled_inputs=x[150:])


def test_a_pool_that_no_pretraining_reads_flatters_nothing(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 5)), rng.integers(0, 2, 400)
    arrays = {
        "X_train": x[:150],
        "y_train": y[:150],
        "X_test": x[150:],
        "y_test": y[150:],
        "unlabelled_inputs": x[150:],
    }
    np.savez(tmp_path / "own.npz", **arrays)

    def kinds(init, **fields):
        own = DataConfig(name=str(tmp_path / "own.npz"), validation=0.2, **fields)
        datasets = data.load_all(Experiment(data=own, finetune=FinetuneConfig(encoder_init=init), seeds=1))
        return {each.kind for dataset in datasets.values() for each in dataset.findings if each.severity == "doubt"}

    assert kinds("pretrained") == {"test rows in the unlabelled pool"}
    assert kinds("he") == set() == kinds("pretrained", pretrain_on="train") == kinds("pretrained", unlabelled=0)
