"""Figures are files of pixels: what was drawn is looked for in them."""

import sys
import warnings

import numpy as np
import pyarrow as pa
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from pretrain.report import drawing
from pretrain.report.drawing import COLOURS
from pretrain.report.figures import first_batches
from pretrain.study import statistics
from pretrain.study.arms import Arm
from pretrain.study.curves import Curves
from pretrain.study.factorial import FIRST_BATCHES

LEGEND = 0.8  # of a figure's height, where its legend begins


def run(curves_of_arms):
    """Arms and their curves from, for each arm, accuracies [seeds, steps]; NaN is not measured."""
    arms, parts = [], []
    for number, values in enumerate(curves_of_arms):
        values = np.asarray(values, float)
        ids = tuple(f"{number}-{seed}" for seed in range(len(values)))
        arms.append(Arm({"finetune.labels": 100 * number}, tuple(range(len(values))), ids, ()))
        parts += [
            {"trial_id": trial, "stage": "finetune", "step": step + 1, "metric": "post_update_accuracy", "value": value}
            for trial, row in zip(ids, values, strict=True)
            for step, value in enumerate(row)
            if not np.isnan(value)
        ]
    kinds = {
        "trial_id": pa.string(),
        "stage": pa.string(),
        "step": pa.int32(),
        "metric": pa.string(),
        "value": pa.float32(),
    }
    return Curves(pa.Table.from_pylist(parts, pa.schema(kinds))), arms


def drawn(tmp_path, curves_of_arms):
    """The pixels [height, width, 3] of the figure, whose file is a whole PNG."""
    path = tmp_path / "figures" / "first_batches.png"
    drawing.save(first_batches(*run(curves_of_arms)), path.parent, path.stem)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
    return image.imread(path)[..., :3]


def where(pixels, index):
    """Rows and columns of the pixels in the colour of the arm of an index."""
    return np.nonzero((np.abs(pixels - to_rgb(COLOURS[index])) < 0.004).all(axis=-1))


def tinted(pixels, index):
    """Rows of the pixels in the colour of the band of the arm of an index."""
    tint = 0.9 + 0.1 * np.array(to_rgb(COLOURS[index]))
    return np.nonzero((np.abs(pixels - tint) < 0.01).all(axis=-1))[0]


def flat(level, n_seeds=3, steps=FIRST_BATCHES):
    return np.full((n_seeds, steps), level)


def test_every_arm_is_drawn_in_its_colour_at_its_height(tmp_path):
    levels = [0.3, 0.9, 0.5, 0.7]
    pixels = drawn(tmp_path, [flat(level) for level in levels])
    height, width, _ = pixels.shape
    heights = []
    for index in range(len(levels)):
        rows, columns = where(pixels, index)
        # Lower than this are the legend's lines; a flat line is on a few rows.
        line = rows[(rows < LEGEND * height) & (columns > 0.3 * width)]
        assert line.size > 20 and np.ptp(line) < 0.02 * height
        heights.append(line.mean())
    slope, _ = np.polyfit(levels, heights, 1)
    assert slope < 0
    np.testing.assert_allclose(heights, np.polyval(np.polyfit(levels, heights, 1), levels), atol=1.5)


def test_a_rising_curve_rises(tmp_path):
    pixels = drawn(tmp_path, [np.linspace(0.1, 0.95, FIRST_BATCHES) + np.zeros((2, 1))])
    rows, columns = where(pixels, 0)
    on_curve = rows < LEGEND * len(pixels)
    assert np.corrcoef(rows[on_curve], columns[on_curve])[0, 1] < -0.99


def test_the_line_is_the_mean_and_the_band_covers_the_mean_curve(tmp_path):
    seeds = np.linspace(-0.15, 0.15, 12)[:, None]
    curve = 0.5 + seeds + np.random.default_rng(0).normal(0, 0.02, (12, FIRST_BATCHES))
    curve -= curve.mean(axis=0) - 0.5  # so that the mean is flat
    pixels = drawn(tmp_path, [curve, flat(0.9), flat(0.1)])
    above = pixels[: int(LEGEND * len(pixels))]
    middle, top, bottom = (where(above, index)[0].mean() for index in range(3))
    assert middle == pytest.approx((top + bottom) / 2, abs=1.5)
    _, low, high = statistics.band(curve)
    widest = (high - low).max() * (bottom - top) / 0.8
    assert np.ptp(tinted(above, 0)) == pytest.approx(widest, abs=0.1 * widest)
    assert widest > 2 * 100 * curve.std(axis=0).max() / np.sqrt(12)  # so no band of single points


def test_one_seed_has_no_band(tmp_path):
    line = np.linspace(0.1, 0.9, FIRST_BATCHES)[None]
    assert tinted(drawn(tmp_path / "one", [line]), 0).size < 300  # at the edge of the line
    assert tinted(drawn(tmp_path / "more", [line + np.array([[-0.05], [0.0], [0.05], [0.01]])]), 0).size > 5000


def test_repeats_of_a_seed_count_as_one(tmp_path):
    table, (arm,) = run([flat(0.5) + np.array([[-0.2], [0.2], [-0.2]])])
    twice = arm._replace(seeds=(0, 0, 1), repeats=(0, 1, 0))
    path = tmp_path / "first_batches.png"
    drawing.save(first_batches(table, [twice]), tmp_path, path.stem)
    # Seed 0 is at 0.5 and seed 1 at 0.3, so their mean is at 0.4, not at a third of all values.
    rows, _ = where(image.imread(path)[..., :3], 0)
    drawing.save(first_batches(*run([flat(0.4)])), tmp_path, path.stem)
    expected, _ = where(image.imread(path)[..., :3], 0)
    assert np.median(rows) == pytest.approx(np.median(expected), abs=4)


def test_a_short_curve_ends_where_its_values_end(tmp_path):
    pixels = drawn(tmp_path, [flat(0.8), flat(0.6, steps=10)])
    width = pixels.shape[1]
    (rows, long), (_, short) = where(pixels, 0), where(pixels, 1)
    assert long.max() > 0.9 * width
    on_top = rows < LEGEND * len(pixels)
    assert np.ptp(short[short < 0.6 * width]) < 0.3 * np.ptp(long[on_top])


def test_values_stand_at_the_batches_that_measured_them(tmp_path):
    late = flat(0.6)
    late[:, :30] = np.nan
    rows, columns = where(pixels := drawn(tmp_path, [late]), 0)
    on_curve = columns[rows < LEGEND * len(pixels)]
    assert on_curve.size and on_curve.min() > 0.6 * pixels.shape[1]


def test_an_arm_whose_trials_all_diverged_is_left_out(tmp_path):
    pixels = drawn(tmp_path, [flat(0.8), flat(0.5, n_seeds=0), flat(0.3)])
    assert [where(pixels, index)[0].size > 0 for index in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    "curves_of_arms",
    [
        [flat(0.5, n_seeds=1)],
        [flat(0.5, steps=1)],
        [flat(0.5, n_seeds=1, steps=1)],
        [np.where(np.eye(3, FIRST_BATCHES) > 0, np.nan, 0.5)],
        [flat(np.nan), flat(0.5)],
        [flat(np.nan)],
        [flat(0.5, n_seeds=0)],
        [],
        [flat(0.05 * index) for index in range(11)],
    ],
    ids=[
        "one seed",
        "one batch",
        "one value",
        "gaps",
        "an arm not measured",
        "nothing measured",
        "no trials",
        "no arms",
        "eleven arms",
    ],
)
def test_odd_runs_are_drawn_without_a_warning(tmp_path, curves_of_arms):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawn(tmp_path, curves_of_arms).shape[1] > 1000


def test_the_first_eight_arms_have_a_colour_each_and_the_others_none(tmp_path):
    pixels = drawn(tmp_path, [flat(0.08 * index + 0.1) for index in range(10)])
    # Black is also the colour of letters.
    assert all(where(pixels, index)[0].size > 100 for index in range(8))
    assert len(set(COLOURS)) == 8
    eight = drawn(tmp_path, [flat(0.08 * index + 0.1) for index in range(8)])
    np.testing.assert_array_equal(pixels, eight)


def test_the_same_tables_draw_the_same_file(tmp_path):
    random = np.random.default_rng(0).random((2, 3, FIRST_BATCHES))
    np.testing.assert_array_equal(drawn(tmp_path / "one", random), drawn(tmp_path / "two", random))


def test_pyplot_and_its_windows_are_not_needed(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    drawn(tmp_path, [flat(0.5)])
    assert "matplotlib.pyplot" not in sys.modules
