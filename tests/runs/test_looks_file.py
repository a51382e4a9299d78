"""Looks come back as they were written, and a damaged file says so."""

import numpy as np
import pytest

from pretrain.runs import looks_file
from pretrain.runs.looks_file import Calibrated, Changed, Confused, Looks, Plane, Scattered, Wrong

NAMES = ("a", "b", "c")


def bins(trials=2, n=5):
    """Bins of as many rows each, from the lowest probability up."""
    rng = np.random.default_rng(0)
    chances = np.sort(rng.uniform(0.4, 1, (trials, n)), axis=1)
    return np.stack([chances, np.clip(chances - 0.1, 0, 1), np.full((trials, n), 8.0)], axis=2)


def wrong(trials=("t0", "t1"), beside=("t2",), n=3, shape=(6, 5, 1), measure="probability", columns=()):
    rng = np.random.default_rng(0)
    return Wrong(
        trial_ids=trials,
        beside=beside,
        origin="test rows",
        rows=np.arange(n) * 1000,
        truths=tuple(NAMES[place % 3] for place in range(n)),
        predictions=tuple(NAMES[(place + 1) % 3] for place in range(n)),
        sizes=np.linspace(0.9, 0.5, n),
        measure=measure,
        shares=np.full(n, np.nan if measure == "error" else 0.5),
        others=np.where(np.arange(n) == 1, np.nan, 0.25),
        examples=rng.random((n, *shape)).astype(np.float32) if shape else np.zeros((n, 0), np.float32),
        columns=tuple(columns),
        cells=np.array([[f"{row}.{name}" for name in columns] for row in range(n)], str).reshape(n, len(columns)),
    )


def plane(kind="pretrained", trial="t0", n=60, is_classes=True):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n).astype(float)
    targets[0] = np.nan
    names = NAMES if is_classes else ("age",)
    points = (rng.normal(size=(n, 2)) + 3 * np.nan_to_num(targets)[:, None]).astype(np.float32)
    return Plane(trial, 1, kind, points, targets, names, int(is_classes), np.array([0.4, 0.1]), 12, 500)


def changed(trial="t0", shape=(6, 5, 1), n=4, stages=("initialisation", "pretraining", "fine-tuning")):
    rng = np.random.default_rng(0)
    filters = rng.normal(0, 0.2, (len(stages), n, *shape)).astype(np.float32)
    return Changed(trial, 1, stages, np.arange(n), filters, np.linspace(2, 1, n), 12, 0)


def looked(of="x", arms=(("t0", "t1"), ("t2",)), **others):
    """Looks at two arms, of classes."""
    rng = np.random.default_rng(0)
    confused = tuple(Confused(arm, NAMES, rng.integers(1, 9, (3, 3)), np.zeros((0, 4), int)) for arm in arms)
    calibrated = tuple(Calibrated(arm, bins(len(arm))) for arm in arms)
    planes = tuple(plane(kind, arm[0]) for kind, arm in zip(("pretrained", "scratch"), arms, strict=True))
    first = {"wrong": (wrong(*arms),), "changed": (changed(arms[0][0]),)}
    return Looks(of, **{"confused": confused, "calibrated": calibrated, "planes": planes, **first, **others})


def scattered(arms=(("t0", "t1"), ("t2",)), n=50):
    rng = np.random.default_rng(0)
    truth = rng.normal(40, 10, n)
    points = np.stack([truth, 20 + 0.5 * truth + rng.normal(size=n)], axis=1)[None]
    return tuple(Scattered(arm, ("age",), points, 900) for arm in arms)


def equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, tuple) and not isinstance(one, str):
        assert len(one) == len(other)
        for each, again in zip(one, other, strict=True):
            equal(each, again)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "others",
    [{}, {"confused": (), "scattered": scattered(), "missing": ("Codes: gone",)}, {"wrong": (wrong(shape=None),)}],
)
def test_looks_come_back_as_they_were_and_always_as_the_same_bytes(others, tmp_path):
    before = looked(**others)
    for name in ("one.npz", "two.npz"):
        looks_file.write(before, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    after = looks_file.read(tmp_path / "one.npz")
    equal(before, after)
    assert after.has_any and not Looks("x").has_any


def test_the_calibration_error_is_the_mean_distance_over_rows():
    each = Calibrated(("t0",), np.array([[(0.6, 0.5, 1.0), (0.9, 0.95, 3.0)]]))
    np.testing.assert_allclose(each.errors, [(0.1 + 3 * 0.05) / 4])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wrong.0.truths", np.array(["a"])),
        ("wrong.0.cells", np.zeros((3, 2), "U1")),
        ("calibrated.0.bins", np.zeros((2, 5, 2))),
        ("planes.0.points", np.zeros((60, 3), np.float32)),
        ("changed.0.filters", np.zeros((3, 4, 6), np.float32)),
        ("confused.1.names", np.arange(3)),
        ("of", np.arange(3)),
    ],
)
def test_arrays_that_do_not_fit_are_damage(field, value, tmp_path):
    looks_file.write(looked(), tmp_path / "looks.npz")
    with np.load(tmp_path / "looks.npz") as held:
        arrays = {**held, field: value}
    np.savez(tmp_path / "looks.npz", **arrays)
    with pytest.raises(ValueError, match=field.rpartition(".")[2] if "." in field else "no file of looks"):
        looks_file.read(tmp_path / "looks.npz")


def test_what_is_no_archive_or_no_looks_is_damage(tmp_path):
    (tmp_path / "looks.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"\w"):
        looks_file.read(tmp_path / "looks.npz")
    np.savez(tmp_path / "looks.npz", x=np.zeros(2))
    with pytest.raises(ValueError, match="no file of looks"):
        looks_file.read(tmp_path / "looks.npz")
