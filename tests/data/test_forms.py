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
    "volumes": (
        blobs(sides=(9, 8, 10)),
        blobs(sides=(8, 8, 8)),
        blobs(sides=(5, 6, 7)),
        (30 * blobs(sides=(9, 8, 10))).astype(np.uint8),
        RNG.integers(0, 256, (50, 8, 8, 8)) / 255,
        RNG.integers(0, 256, (50, 4, 6, 5, 2)).astype(np.uint8),
        np.repeat(blobs(sides=(9, 8, 10))[..., None], 3, -1),
        np.repeat(blobs(sides=(9, 8, 10))[..., None], 6, -1),  # of six channels
    ),
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


@pytest.mark.parametrize(
    ("rows", "asked"),
    [(blobs(sides=(6, 5, 4, 3)), "images"), (walks(), "volumes"), (walks()[..., 0], "volumes")],
)
def test_a_form_that_rows_cannot_have_is_refused(rows, asked):
    with pytest.raises(ConfigError, match=rf"data\.inputs: '{asked}' needs rows of \[") as refused:
        forms.form_of(rows, asked)
    assert " × ".join(map(str, rows.shape[1:])) in str(refused.value)


def test_images_with_their_channels_first_are_no_images_as_they_stand():
    rows = np.stack([blobs() for _ in range(9)], axis=1)  # of another place in each channel
    with pytest.raises(ConfigError, match=r"channels first; give np\.moveaxis"):
        forms.form_of(rows, "auto")
    assert forms.form_of(np.moveaxis(rows, 1, -1), "auto") == "images"
    assert forms.form_of(rows, "volumes") == "volumes"


def test_a_series_is_one_whatever_the_order_of_its_axes():
    rows = walks()
    asked = {"train": rows}, {"train": np.moveaxis(rows, 1, 2)}, {"train": rows[:, :, None]}
    first, *others = (forms.shaped(each, "series")["train"] for each in asked)
    assert first.shape == (200, 60, 1, 3)
    np.testing.assert_array_equal(first[:, :, 0], rows)
    for other in others:
        np.testing.assert_array_equal(other, first)
    assert forms.lines("series", rows, first) == [
        "rows are series of 60 steps of 3 channels (data.inputs: columns, images)"
    ]
    turned = "60 steps of 3 channels, turned from 3 × 60 (data.inputs: columns, images)"
    assert turned in forms.lines("series", np.moveaxis(rows, 1, 2), first)[0]


def test_columns_are_flat_and_images_have_channels():
    assert forms.shaped({"train": walks()}, "columns")["train"].shape == (200, 180)
    assert forms.shaped({"train": blobs()}, "images")["train"].shape == (200, 12, 10, 1)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_volumes_have_channels_and_say_so(channels):
    rows = RNG.integers(0, 256, (20, 9, 8, 10, *channels)).astype(np.uint8)
    made = forms.shaped({"train": rows, "test": rows[:3]}, "volumes")
    n = channels[0] if channels else 1
    assert made["train"].shape == (20, 9, 8, 10, n) and made["test"].shape == (3, 9, 8, 10, n)
    other = "columns, series" if channels else "columns, series, images"
    assert forms.lines("volumes", rows, made["train"]) == [
        f"rows are volumes of 9 × 8 × 10 × {n}, the last the channels (data.inputs: {other})"
    ]


def test_splits_turn_as_the_training_rows_do():
    train, test = np.moveaxis(walks(), 1, 2), RNG.normal(size=(20, 3, 60))  # which alone would show no time
    made = forms.shaped({"train": train, "test": test}, "series")
    np.testing.assert_array_equal(made["test"][:, :, 0], np.moveaxis(test, 1, 2))
