"""Views: at level 0 inputs as they are, and at others what their names say, against NumPy."""

import colorsys
import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from pretrain.config.views import View
from pretrain.learn.stage import Layout
from pretrain.learn.views import VIEWS, changed, swapped

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
IMAGES = RNG.random((200, 9, 7, 3)).astype(np.float32)
SERIES = RNG.random((200, 11, 1, 2)).astype(np.float32)
COLUMNS = RNG.random((200, 5)).astype(np.float32)
OF_IMAGES = ("crop", "flip", "rotation", "erasing", "brightness", "contrast", "greyscale")
OF_IMAGES += ("hue", "blur", "solarise", "noise")
OF_SERIES = ("crop", "erasing", "noise", "shift", "slope", "offset", "scale")
EACH = [(name, IMAGES) for name in OF_IMAGES] + [(name, SERIES) for name in OF_SERIES]
GROUPS = (0, 1, 1, 2, 1)


def view(name, inputs, level, key=KEY):
    if name == "swap":
        return np.asarray(swapped(jnp.asarray(inputs), key, level, GROUPS), np.float64)
    return np.asarray(jax.jit(VIEWS[name])(jnp.asarray(inputs), key, level), np.float64)


def test_every_view_of_the_config_is_there():
    assert {*VIEWS, "swap"} == {*typing.get_args(View)}
    assert {name for name, _ in EACH} == VIEWS.keys()


@pytest.mark.parametrize(("name", "inputs"), [*EACH, ("swap", COLUMNS)])
def test_a_view_at_level_0_is_the_input_and_at_another_is_not_and_follows_its_key(name, inputs):
    np.testing.assert_array_equal(view(name, inputs, 0.0), inputs)
    made = view(name, inputs, 0.5)
    assert made.shape == inputs.shape and np.isfinite(made).all()
    is_changed = (made != inputs).any(axis=tuple(range(1, inputs.ndim)))
    assert is_changed.mean() > 0.3
    np.testing.assert_array_equal(view(name, inputs, 0.5), made)
    assert (view(name, inputs, 0.5, jax.random.key(8)) != made).any()


@pytest.mark.parametrize("name", ["crop", "rotation"])
def test_what_is_resampled_keeps_flat_images_and_the_range_of_others(name):
    flat = np.full((20, 6, 5, 1), 0.75, np.float32)
    level = 0.9 if name == "crop" else 180.0
    np.testing.assert_allclose(view(name, flat, level), flat, rtol=1e-6)
    made = view(name, IMAGES, level)
    assert IMAGES.min() - 1e-6 <= made.min() and made.max() <= IMAGES.max() + 1e-6


def test_a_crop_of_a_ramp_is_a_ramp_of_the_share_that_it_keeps():
    size, level = 41, 0.5
    ramp = np.broadcast_to(np.arange(size, dtype=np.float32)[None, :, None, None], (300, size, 1, 1))
    made = view("crop", ramp, level)[:, :, 0, 0]
    inner = made[:, 1:-1]  # beyond the first and last middles of pixels, values go on
    np.testing.assert_allclose(np.diff(inner, 2), 0, atol=1e-4)
    kept = np.diff(inner)[:, 5]
    assert 1 - level <= kept.min() < 0.55 and 0.95 < kept.max() <= 1
    middles = inner.mean(1)  # anywhere that the part fits
    assert np.abs(middles - (size - 1) / 2).max() <= level * size / 2 + 1
    assert np.std(middles) > 2


def test_a_crop_of_an_image_keeps_its_share_of_the_area_and_an_aspect_near_its_own():
    down = np.broadcast_to(np.arange(30, dtype=np.float32)[None, :, None, None], (500, 30, 20, 1))
    right = np.broadcast_to(np.arange(20, dtype=np.float32)[None, None, :, None], (500, 30, 20, 1))
    sides = [
        np.diff(view("crop", image, 0.6)[:, 5:9, 5:9, 0], axis=axis + 1)[:, 0, 0]
        for axis, image in ((0, down), (1, right))
    ]
    area, aspect = sides[0] * sides[1], sides[0] / sides[1]
    assert 0.4 - 1e-3 <= area.min() < 0.45 and 0.95 < area.max() <= 1.001
    assert aspect.min() >= (3 / 4) ** 0.6 - 1e-3 and aspect.max() <= (4 / 3) ** 0.6 + 1e-3


def test_a_rotation_turns_about_the_middle():
    image = np.zeros((400, 15, 15, 1), np.float32)
    image[:, 7, 12] = 1  # to the right of the middle, by 5
    made = view("rotation", image, 90.0)[..., 0]
    mass = made.sum((1, 2))
    down, right = (np.einsum(f"nij,{axis}->n", made, np.arange(15) - 7.0) / mass for axis in "ij")
    np.testing.assert_allclose(np.hypot(down, right), 5, atol=0.35)
    angles = np.degrees(np.arctan2(down, right))
    assert -92 < angles.min() < -80 and 80 < angles.max() < 92 and abs(angles.mean()) < 8


def test_a_flip_turns_left_and_right_of_a_share_of_images():
    made = view("flip", IMAGES, 0.3)
    flipped = (made == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert ((made == IMAGES).all((1, 2, 3)) ^ flipped).all() and 0.2 < flipped.mean() < 0.4


@pytest.mark.parametrize(("inputs", "axes"), [(IMAGES + 1, (1, 2)), (SERIES + 1, (1,))])
def test_erasing_clears_a_rectangle_of_at_most_its_share(inputs, axes):
    erased = (view("erasing", inputs, 0.4) == 0).all(axis=-1)
    share = erased.mean((1, 2))
    assert share.max() <= 0.4 + 2 / min(inputs.shape[1:-1] if len(axes) > 1 else inputs.shape[1:2])
    for one in erased[share > 0]:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_levels_bound_what_is_added_and_multiplied():
    for name, inputs, axes in (("brightness", IMAGES, (1, 2, 3)), ("offset", SERIES, (1,))):
        added = view(name, inputs, 0.25) - inputs
        np.testing.assert_allclose(added.std(axis=axes), 0, atol=1e-6)
        assert -0.25 <= added.min() < -0.2 and 0.2 < added.max() <= 0.25
    scaled = view("scale", SERIES, 0.25) / SERIES
    assert 0.75 - 1e-6 <= scaled.min() < 0.8 and 1.2 < scaled.max() <= 1.25 + 1e-6
    means = IMAGES.mean((1, 2, 3), keepdims=True)
    made = view("contrast", IMAGES, 0.25)
    np.testing.assert_allclose(made.mean((1, 2, 3), keepdims=True), means, rtol=1e-5)
    factor = (made - means).std((1, 2, 3)) / (IMAGES - means).std((1, 2, 3))
    assert factor.min() >= 0.75 - 1e-5 and factor.max() <= 1.25 + 1e-5
    slopes = (view("slope", SERIES, 0.5) - SERIES)[:, :, 0]
    np.testing.assert_allclose(np.diff(slopes, 2, axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(slopes[:, 0], -slopes[:, -1], atol=1e-6)
    assert 0.4 < slopes[:, -1].max() <= 0.5
    assert abs((view("noise", IMAGES, 0.3) - IMAGES).std() - 0.3) < 0.01


def test_a_shift_moves_a_series_by_whole_steps_at_most_its_share():
    made, steps = view("shift", SERIES, 0.5), []
    for one, was in zip(made, SERIES, strict=True):
        found = [step for step in range(11) if (np.roll(was, step, axis=0) == one).all()]
        steps += found
        assert len(found) == 1
    assert {*steps} == {0, 1, 2, 3, 4, 5}  # of 11


def test_greyscale_gives_all_channels_their_luma():
    made = view("greyscale", IMAGES, 1.0)
    luma = IMAGES.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(made, np.broadcast_to(luma[..., None], made.shape), rtol=1e-5)


def test_a_swap_takes_values_of_other_rows_by_groups_of_columns():
    rows = np.arange(200.0, dtype=np.float32)[:, None] + np.zeros((1, 5), np.float32)  # a value is its row's number
    made = view("swap", rows, 0.6)
    others = made != rows
    assert (np.abs(others.mean(0) - 0.6) < 0.1).all()
    np.testing.assert_array_equal(made[:, 1], made[:, 2])
    np.testing.assert_array_equal(made[:, 1], made[:, 4])
    assert (made[:, 0] != made[:, 1])[others[:, 0] & others[:, 1]].mean() > 0.9
    assert len(np.unique(made[others[:, 0], 0])) > 60  # from everywhere
    assert (view("swap", rows, 1.0) != rows).all()


def test_changes_follow_one_another_on_flattened_examples_as_on_examples_in_their_shape():
    layout, levels = Layout((9, 7, 3)), types.SimpleNamespace(flip=0.5, crop=0.5, noise=0.1)
    names = ("flip", "crop", "noise")
    whole = changed(jnp.asarray(IMAGES), KEY, names, levels, layout)
    flat = changed(jnp.asarray(IMAGES.reshape(200, -1)), KEY, names, levels, layout)
    np.testing.assert_array_equal(np.asarray(whole).reshape(200, -1), flat)
    by_hand = jnp.asarray(IMAGES)
    for number, name in enumerate(names):
        by_hand = VIEWS[name](by_hand, jax.random.fold_in(KEY, number), getattr(levels, name))
    np.testing.assert_array_equal(whole, by_hand)
    columns = changed(jnp.asarray(COLUMNS), KEY, ("swap",), types.SimpleNamespace(swap=0.5), Layout((5,), GROUPS))
    np.testing.assert_array_equal(columns, swapped(jnp.asarray(COLUMNS), jax.random.fold_in(KEY, 0), 0.5, GROUPS))


def test_a_hue_keeps_luma_and_grey_and_turns_back_what_it_turns():
    made, luma = view("hue", IMAGES, 0.5), np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(made @ luma, IMAGES @ luma, atol=1e-5)
    grey = np.repeat(IMAGES[..., :1], 3, axis=-1)
    np.testing.assert_allclose(view("hue", grey, 0.5), grey, atol=2e-3)  # as coefficients are given to three digits
    chroma = [np.array([colorsys.rgb_to_yiq(*pixel)[1:] for pixel in each[:, 4, 3]]) for each in (IMAGES, made)]
    lengths = [np.linalg.norm(each, axis=1) for each in chroma]
    np.testing.assert_allclose(lengths[1], lengths[0], rtol=0.02, atol=5e-3)
    turned = np.angle(np.exp(1j * np.subtract(*[np.arctan2(each[:, 1], each[:, 0]) for each in chroma[::-1]])))
    assert turned.min() < -2.7 and turned.max() > 2.7 and abs(np.mean(np.sign(turned))) < 0.2
    limited = view("hue", IMAGES[:, :1, :1], 0.1)
    chroma = [np.array([colorsys.rgb_to_yiq(*pixel)[1:] for pixel in each[:, 0, 0]]) for each in (IMAGES, limited)]
    turned = np.angle(np.exp(1j * np.subtract(*[np.arctan2(each[:, 1], each[:, 0]) for each in chroma[::-1]])))
    assert 0.5 < np.abs(turned).max() <= 0.2 * np.pi + 0.03


def test_a_blur_is_that_of_scipy_inside_and_keeps_what_is_flat():
    point = np.zeros((300, 31, 31, 1), np.float32)
    point[:, 15, 15] = 1
    made = view("blur", point, 2.0)[..., 0]
    np.testing.assert_allclose(made.sum((1, 2)), 1, rtol=1e-5)
    deviations = np.sqrt(np.einsum("nij,i->n", made, (np.arange(31) - 15.0) ** 2))
    assert deviations.min() < 0.1 and 1.9 < deviations.max() < 2.01
    widest = int(np.argmax(deviations))
    expected = ndimage.gaussian_filter(point[widest, :, :, 0].astype(float), deviations[widest], truncate=7)
    np.testing.assert_allclose(made[widest], expected, atol=2e-4)
    flat = np.full((20, 6, 5, 1), 0.75, np.float32)
    np.testing.assert_allclose(view("blur", flat, 3.0), flat, rtol=1e-6)


def test_solarise_inverts_the_bright_values_of_a_share_of_images():
    made = view("solarise", IMAGES, 0.3)
    inverted = np.where(IMAGES > 0.5, 1 - IMAGES, IMAGES)
    is_inverted = (made == inverted.astype(np.float64)).all((1, 2, 3))
    assert ((made == IMAGES).all((1, 2, 3)) ^ is_inverted).all() and 0.2 < is_inverted.mean() < 0.4
