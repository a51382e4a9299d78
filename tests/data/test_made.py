"""Sets made on demand follow the rules of their paper."""

import numpy as np
import pytest

from pretrain.config.settings import DataConfig
from pretrain.data import formats, made
from pretrain.data.dataset import Split
from pretrain.data.loading import load

FEW = made.Sizes(60, 20, 120)


@pytest.fixture(scope="module")
def digits():
    return formats._digits()


@pytest.mark.parametrize("name", made.SIZES)
def test_a_set_is_always_the_same_and_has_its_rows(name, digits):
    arrays, again = (made.make(name, lambda: digits, FEW) for _ in range(2))
    for split, size in zip(FEW._fields, FEW, strict=True):
        images, labels = arrays[f"{split}_inputs"], arrays[f"{split}_labels"]
        assert images.shape == (size, 28, 28, 1)
        assert images.dtype == np.uint8
        assert labels.shape == (size,)
        assert images.tobytes() == again[f"{split}_inputs"].tobytes()
    assert sum(made.SIZES[name]) >= 51_200


def test_no_digit_is_drawn_twice(digits):
    rows = made.make("mnist_basic", lambda: digits)
    images = np.concatenate([rows[f"{split}_inputs"] for split in FEW._fields]).reshape(62_000, -1)
    assert len({image.tobytes() for image in digits[0]}) == 70_000  # so that equal images would be the same one
    assert len({image.tobytes() for image in images}) == 62_000


def test_turned_digits_keep_their_ink_and_noise_lies_behind_digits(digits):
    plain, turned, noisy = (
        made.make(name, lambda: digits, FEW)["train_inputs"].astype(int)
        for name in ("mnist_basic", "mnist_rot", "mnist_back_rand")
    )
    ink = turned.sum((1, 2, 3)) / plain.sum((1, 2, 3))
    assert np.abs(ink - 1).max() < 0.06  # corners of the image are cut off
    assert (turned != plain).any((1, 2, 3)).all()
    assert (noisy >= plain).all()
    behind = noisy[plain == 0]
    assert abs(behind.mean() - 127.5) < 1.5
    assert behind.min() == 0
    assert behind.max() == 255


def test_rectangles_are_outlines_that_are_tall_or_wide():
    arrays = made.make("rectangles", None, made.Sizes(400, 10, 10))
    sizes = []
    for image, label in zip(arrays["train_inputs"][..., 0] > 0, arrays["train_labels"], strict=True):
        down, across = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
        whole = np.zeros_like(image)
        whole[down[0] : down[-1] + 1, across[0] : across[-1] + 1] = True
        whole[down[0] + 1 : down[-1], across[0] + 1 : across[-1]] = False
        assert (image == whole).all()
        height, width = len(down), len(across)
        assert abs(height - width) >= 3
        assert label == (height > width)
        sizes += [height, width]
    assert min(sizes) == 1
    assert max(sizes) == 28


def _holds_all_between(pixels):
    """Returns whether every pixel on a segment between two of a set's pixels is in it, pair by pair."""
    own = np.argwhere(pixels)
    for first in own:
        for second in own:
            steps = np.gcd(*np.abs(second - first))
            between = first + np.outer(np.arange(steps + 1), second - first) // max(steps, 1)
            if not pixels[tuple(between.T)].all():
                return False
    return True


def test_sets_are_convex_as_they_are_labelled():
    arrays = made.make("convex", None, made.Sizes(500, 10, 10))
    images, labels = arrays["train_inputs"][..., 0] > 0, arrays["train_labels"]
    assert abs(labels.mean() - 0.5) < 0.05
    means = [images[labels == label].mean() for label in (0, 1)]
    assert abs(means[0] - means[1]) < 0.06
    small = [row for row in range(len(images)) if images[row].sum() < 120]
    assert len(small) > 20
    for row in small:
        if labels[row]:
            assert _holds_all_between(images[row])
        assert made.is_convex(images[row]) == labels[row]


@pytest.mark.parametrize(
    ("drawn", "convex"),
    [("###", True), ("# #", False), ("#../.#./..#", True), ("#../.../..#", False), ("##/#.", True), ("#.#/###", False)],
)
def test_convex_means_that_pixels_between_are_in(drawn, convex):
    pixels = np.array([[each == "#" for each in line] for line in drawn.split("/")])
    assert made.is_convex(pixels) == convex


def test_a_set_is_named_as_data():
    dataset = load(DataConfig(name="rectangles"))
    assert dataset.output_names == ("wide", "tall")
    assert [len(Split(*each).labels) for each in (dataset.train, dataset.validation, dataset.test)] == [
        1000,
        200,
        50_000,
    ]


def test_rows_that_a_recipe_draws_twice_are_no_alarm():
    copies = [each for each in load(DataConfig(name="rectangles")).findings if "among" in each.kind]
    assert copies and {(each.severity, each.remedy) for each in copies} == {("note", "")}
    line = "1 of 200 validation rows are training rows too, as the set's published recipe draws rows alike by chance"
    assert line in [each.sentence for each in copies]
