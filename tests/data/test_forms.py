"""The form of a row is seen, whatever the order of its axes, and can be said otherwise."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pretrain.config.fields import ConfigError
from pretrain.data import forms

RNG = np.random.default_rng(0)


def walks(n=200, steps=60, channels=3):
    return np.cumsum(RNG.normal(size=(n, steps, channels)), axis=1).astype(np.float32)


def waves(n=200, steps=100, channels=7):
    time = np.linspace(0, 6, steps)[None, :, None]
    rate, phase = RNG.uniform(0.5, 3, (n, 1, channels)), RNG.uniform(0, 6, (n, 1, channels))
    return np.sin(time * rate + phase)


def blobs(n=200, sides=(12, 10)):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in sides], indexing="ij"), -1)
    middle = RNG.normal(0, 0.4, (n, *[1] * len(sides), len(sides)))
    return np.exp(-4 * np.square(grid - middle).sum(-1)) * 7


ROWS = {
    "columns": (RNG.normal(size=(200, 30)), RNG.normal(size=(200, 12, 9)), RNG.normal(size=(200, 4, 4, 5))),
    "series": (walks(), np.moveaxis(walks(), 1, 2), walks()[:, :, None], waves(), waves(channels=128, steps=40)),
    "images": (
        load_digits().images,
        blobs(),
        blobs()[..., None],
        np.repeat(blobs()[..., None], 3, -1),
        RNG.integers(0, 256, (50, 6, 6)).astype(np.uint8),
        RNG.integers(0, 256, (50, 6, 6)) / 255,
        RNG.integers(0, 256, (50, 6, 6, 3)).astype(np.uint8),
    ),
    "volumes": (blobs(sides=(9, 8, 10)), (30 * blobs(sides=(9, 8, 10))).astype(np.uint8)),
}


@pytest.mark.parametrize(
    ("form", "number"), [(form, n) for form, all_rows in ROWS.items() for n in range(len(all_rows))]
)
def test_the_form_of_rows_is_seen(form, number):
    assert forms.form_of(ROWS[form][number], "auto") == form


@pytest.mark.parametrize("asked", ["columns", "series", "images"])
def test_a_form_that_is_given_is_taken(asked):
    assert forms.form_of(walks(), asked) == asked
    with pytest.raises(ConfigError, match=r"data\.inputs"):
        forms.form_of(walks()[:, :, 0], "images")


def test_a_series_is_one_whatever_the_order_of_its_axes():
    rows = walks()
    asked = {"train": rows}, {"train": np.moveaxis(rows, 1, 2)}, {"train": rows[:, :, None]}
    first, *others = (forms.shaped(each, "series")["train"] for each in asked)
    assert first.shape == (200, 60, 1, 3)
    np.testing.assert_array_equal(first[:, :, 0], rows)
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert "60 steps of 3 channels" in forms.lines("series", rows, first)[0]


def test_columns_are_flat_and_images_have_channels():
    assert forms.shaped({"train": walks()}, "columns")["train"].shape == (200, 180)
    assert forms.shaped({"train": blobs()}, "images")["train"].shape == (200, 12, 10, 1)


def test_splits_turn_as_the_training_rows_do():
    train, test = np.moveaxis(walks(), 1, 2), RNG.normal(size=(20, 3, 60))  # which alone would show no time
    made = forms.shaped({"train": train, "test": test}, "series")
    np.testing.assert_array_equal(made["test"][:, :, 0], np.moveaxis(test, 1, 2))
