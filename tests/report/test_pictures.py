"""Images of a figure are looked for in its files: where they stand, and in which colours."""

import base64
import io
import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from pretrain.report import drawing, pictures, sample_captions
from pretrain.report.drawing import COLOURS
from tests.runs.test_sample_file import sampled


def drawn(figure, tmp_path, name="figure"):
    """The figure's pixels [height, width, 3], and the pixels of each image that its SVG holds."""
    svg = drawing.save(figure, tmp_path, name)
    ElementTree.fromstring(svg)
    held = re.findall(r'<image [^>]*?href="data:image/png;base64,([^"]*)"', svg, re.DOTALL)
    decoded = [image.imread(io.BytesIO(base64.b64decode(each))) for each in held]
    return image.imread(tmp_path / f"{name}.png")[..., :3], decoded


def test_every_filter_is_drawn_pixel_by_pixel_on_one_scale_around_zero(tmp_path):
    filters = np.zeros((3, 4, 5, 1), np.float32)
    filters[0, 1, 2], filters[1, 3, 4], filters[2] = 0.5, -0.5, 0.25
    _, held = drawn(pictures.filters(sampled((4, 5, 1), filters=filters)), tmp_path)
    tiles = held[:3]
    white, blue, orange = np.ones(3), to_rgb(COLOURS[0]), to_rgb(COLOURS[1])
    assert all(tile.shape[:2] == (4, 5) for tile in tiles)
    np.testing.assert_allclose(tiles[0][1, 2, :3], blue, atol=0.01)
    np.testing.assert_allclose(tiles[1][3, 4, :3], orange, atol=0.01)
    np.testing.assert_allclose(tiles[0][0, 0, :3], white, atol=0.01)
    halfway = (white + blue) / 2
    np.testing.assert_allclose(tiles[2][..., :3], np.broadcast_to(halfway, (4, 5, 3)), atol=0.02)


@pytest.mark.parametrize(("shape", "what"), [((6, 5, 1), "units"), ((3, 3, 1), "features"), ((6, 6, 1), "features")])
def test_filters_are_of_units_or_of_a_convolutions_features(shape, what, tmp_path):
    made = sampled((6, 5, 1), filters=np.full((4, *shape), 0.5, np.float32))
    figure = pictures.filters(made)
    assert figure.get_suptitle() == f"First layer: 4 of 12 {what}"
    _, held = drawn(figure, tmp_path)
    assert all(tile.shape[:2] == shape[:2] for tile in held[:4])


def test_channels_of_a_filter_stand_side_by_side(tmp_path):
    filters = np.zeros((2, 4, 5, 3), np.float32)
    filters[0, ..., 1] = 1.0
    _, (first, *_) = drawn(pictures.filters(sampled((4, 5, 3), filters=filters)), tmp_path)
    assert first.shape[:2] == (4, 15)
    green = np.abs(first[..., :3] - to_rgb(COLOURS[0])).max(axis=-1) < 0.01
    assert green[:, 5:10].all() and not green[:, :5].any() and not green[:, 10:].any()


def lines_of(figure):
    """The lines of a figure but those of zero, as arrays of heights."""
    (axes,) = figure.axes
    return [np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) > 2]


def test_series_are_lines_by_channel_up_to_their_ends():
    made = sampled((20, 1, 3), n=4)
    images = made.images.copy()
    images[2, 12:] = np.nan
    lines = lines_of(pictures.reconstructions(made._replace(images=images)))
    assert len(lines) == 4 * 2 * 3
    shown = np.stack(lines).reshape(4, 2, 3, 20)
    assert np.isnan(shown[2, 0, :, 12:]).all() and np.isfinite(shown[2, 0, :, :12]).all()
    for row in range(4):
        heights, values = shown[row, 0].ravel(), images[row, :, 0].T.ravel()
        real = np.isfinite(values) & (np.abs(values) < np.nanquantile(np.abs(images), 0.99))
        assert np.corrcoef(heights[real], values[real])[0, 1] < -0.999  # which fall from the top
    filters = pictures.filters(made)
    assert len(lines_of(filters)) == 4 * 3 and "3 channels" in filters.get_suptitle()
    many = pictures.filters(sampled((20, 1, 9)))
    assert len(lines_of(many)) == 4 * 4 and "the first 4 of 9 channels" in many.get_suptitle()


def test_volumes_are_slices_of_theirs(tmp_path):
    made = sampled((1, 6, 5, 1))
    figure = pictures.reconstructions(made)
    assert figure.get_suptitle().startswith("Volumes' middle slices")
    _, held = drawn(figure, tmp_path)
    np.testing.assert_allclose(held[2][..., 0], made.images[1, 0, ..., 0], atol=0.01)
    _, held = drawn(pictures.filters(made), tmp_path, "filters")
    assert all(tile.shape[:2] == (6, 5) for tile in held[:4])


@pytest.mark.parametrize(("shape", "words"), [((20, 1, 3), "series"), ((1, 6, 5, 1), "volumes")])
def test_words_of_images_are_of_images_alone(shape, words):
    made, trials = sampled(shape), pa.table({"trial_id": ["ab"], "seed": [2], "status": ["ok"]})
    small = made._replace(filters=made.filters[:, :3] if words == "series" else made.filters[:, :, :3, :3])
    for drawing_of in (sample_captions.reconstructions(made, trials), sample_captions.filters(small, trials)):
        text = f"{drawing_of.caption} {drawing_of.alt} {drawing_of.figure.get_suptitle()}".lower()
        assert "stroke" not in text and "validation image" not in text
        assert words == "volumes" or ("pixel" not in text and "image" not in text)


def test_a_few_huge_weights_leave_the_others_their_colours(tmp_path):
    filters = np.full((20, 8, 8, 1), 0.1, np.float32)
    filters[0, 0, 0] = 100.0
    _, held = drawn(pictures.filters(sampled((8, 8, 1), filters=filters)), tmp_path)
    np.testing.assert_allclose(held[1][4, 4, :3], to_rgb(COLOURS[0]), atol=0.01)


def test_images_stand_over_their_reconstructions_clipped_to_what_can_be_shown(tmp_path):
    reconstructions = np.full((3, 6, 5, 1), 0.5, np.float32)
    reconstructions[0, 0, 0], reconstructions[0, 0, 1] = -3, 7
    made = sampled(reconstructions=reconstructions)
    _, held = drawn(pictures.reconstructions(made), tmp_path)
    assert len(held) == 6
    for number in range(3):
        expected = np.repeat(made.images[number], 3, axis=-1)
        np.testing.assert_allclose(held[2 * number][..., :3], expected, atol=0.01)
        np.testing.assert_allclose(held[2 * number + 1][1:, :, :3], 0.5, atol=0.01)
    np.testing.assert_allclose(held[1][0, :2, 0], [0, 1], atol=0.01)


def test_colour_images_keep_their_colours(tmp_path):
    made = sampled((6, 5, 3))
    _, held = drawn(pictures.reconstructions(made), tmp_path)
    np.testing.assert_allclose(held[2][..., :3], made.images[1], atol=0.01)


def test_large_images_are_means_over_blocks(tmp_path):
    images = np.zeros((1, 130, 100, 3), np.float32)
    images[0, :3, :3] = [[[1, 0, 0]] * 3, [[0, 0.5, 0]] * 3, [[0, 0, 0]] * 3]
    made = sampled((130, 100, 3), n=1, images=images)
    _, held = drawn(pictures.reconstructions(made), tmp_path)
    assert held[0].shape[:2] == (44, 34)
    np.testing.assert_allclose(held[0][0, 0, :3], [1 / 3, 1 / 6, 0], atol=0.01)


def test_what_is_not_finite_is_blank(tmp_path):
    made = sampled()
    reconstructions, filters = made.reconstructions.copy(), made.filters.copy()
    reconstructions[1, 2, 3], filters[1, 2, 3] = np.nan, np.inf
    damaged = made._replace(reconstructions=reconstructions, filters=filters)
    _, held = drawn(pictures.reconstructions(damaged), tmp_path)
    assert held[3][2, 3, 3] == 0 and held[3][2, 2, 3] == 1
    _, held = drawn(pictures.filters(damaged), tmp_path)
    assert held[1][2, 3, 3] == 0 and held[1][2, 2, 3] == 1


@pytest.mark.parametrize(
    "made",
    [
        sampled((1, 1, 1), n=1, units=1),
        sampled((200, 150, 3), n=10, units=36),
        sampled((90, 3, 1), n=10, units=36),
        sampled(filters=np.full((36, 1, 1, 1), 0.1, np.float32)),
        sampled((6, 5, 3), filters=np.full((4, 11, 11, 3), -0.1, np.float32)),
        sampled((1, 40, 30, 3)),
        sampled(filters=np.full((4, 6, 5, 1), np.nan, np.float32)),
        sampled(filters=np.zeros((4, 6, 5, 1), np.float32)),
        sampled(reconstructions=np.full((3, 6, 5, 1), np.inf, np.float32)),
        sampled(labels=("$x_{1$", "<script>alert(1)</script> and much more", "\u4e2d\x07")),
    ],
    ids=[
        "one pixel",
        "large",
        "narrow",
        "small windows",
        "large windows",
        "slices",
        "diverged",
        "zero",
        "infinite",
        "odd names",
    ],
)
def test_odd_samples_are_drawn_without_a_warning(tmp_path, made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, draw in ("filters", pictures.filters), ("reconstructions", pictures.reconstructions):
            pixels, held = drawn(draw(made), tmp_path, name)
            assert held and pixels.shape[0] < 2600 and pixels.shape[1] > 1000
            assert len((tmp_path / f"{name}.svg").read_bytes()) < 3_000_000
