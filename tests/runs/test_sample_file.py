"""Samples come back as they were written, and a damaged file says so."""

import zipfile

import numpy as np
import pytest

from pretrain.config.digests import sha256_of_file
from pretrain.runs import sample_file as samples
from pretrain.runs.run_files import REMEDY, Files
from pretrain.runs.sample_file import Samples
from pretrain.store.manifests import DamageError
from pretrain.study import results


def sampled(shape=(6, 5, 1), n=3, units=4, **changed):
    """Samples of images of a shape, from a generator."""
    rng = np.random.default_rng(0)
    made = Samples(
        trial_id="ab",
        stage_id="cd",
        seed=2,
        n_layers=2,
        n_units=12,
        filters=rng.normal(0, 0.2, (units, *shape)).astype(np.float32),
        images=rng.random((n, *shape), np.float32),
        reconstructions=rng.normal(0.5, 0.4, (n, *shape)).astype(np.float32),
        labels=tuple(f"class {index}" for index in range(n)),
    )
    return made._replace(**changed)


def test_samples_come_back_as_they_were_and_always_as_the_same_bytes(tmp_path):
    before = sampled()
    for name in ("one.npz", "two.npz"):
        samples.write(before, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    after = samples.read(tmp_path / "one.npz")
    for name, value in before._asdict().items():
        np.testing.assert_array_equal(getattr(after, name), value)
        assert type(getattr(after, name)) is type(value)
    assert {path.name for path in tmp_path.iterdir()} == {"one.npz", "two.npz"}


@pytest.mark.parametrize("filters", [(4, 3, 3, 1), (4, 6, 6, 1), (0, 6, 5, 1)], ids=["small", "wide", "none"])
def test_filters_may_be_windows_and_may_be_missing(filters, tmp_path):
    before = sampled(filters=np.full(filters, 0.5, np.float32))
    samples.write(before, tmp_path / samples.FILE)
    np.testing.assert_array_equal(samples.read(tmp_path / samples.FILE).filters, before.filters)


@pytest.mark.parametrize(
    ("shape", "form"),
    [((9, 1, 5), "series"), ((9, 2, 1), "images"), ((1, 1, 1), "images"), ((1, 6, 5, 3), "volumes")],
)
def test_the_shape_shows_what_examples_are(shape, form, tmp_path):
    before = sampled(shape)
    samples.write(before, tmp_path / samples.FILE)
    after = samples.read(tmp_path / samples.FILE)
    assert after.form == form
    np.testing.assert_array_equal(after.images, before.images)


def test_what_follows_the_end_of_a_series_is_in_no_error():
    before = sampled((9, 1, 2))
    images = before.images.copy()
    images[1, 5:] = np.nan
    expected = np.square(before.reconstructions[1, :5].astype(float) - images[1, :5]).mean()
    found = before._replace(images=images).errors
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)
    np.testing.assert_allclose(found[[0, 2]], before.errors[[0, 2]])


def test_errors_are_means_over_pixels_even_of_what_diverged():
    before = sampled()
    expected = [
        sum((a - b) ** 2 for a, b in zip(image.ravel().tolist(), other.ravel().tolist(), strict=True)) / 30
        for image, other in zip(before.images, before.reconstructions, strict=True)
    ]
    np.testing.assert_allclose(before.errors, expected, rtol=1e-6)
    far = before.reconstructions.copy()
    far[0, 0], far[1, 0] = np.inf, 1e38
    errors = before._replace(reconstructions=far).errors
    assert np.isinf(errors[0]) and errors[1] > 1e70 and errors[2] == before.errors[2]


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def pickled(path):
    np.savez(path, allow_pickle=True, **{**sampled()._asdict(), "labels": np.array([{}, {}, {}], object)})


def lacking(path):
    arrays = sampled()._asdict()
    del arrays["images"]
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        pickled,
        lacking,
        lambda path: path.write_bytes(path.read_bytes()[:300]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("<script>"),
        lambda path: samples.write(sampled(labels=("a",)), path),
        lambda path: samples.write(sampled(filters=np.zeros((4, 6, 5, 3), np.float32)), path),
        lambda path: samples.write(sampled(filters=np.zeros((4, 0, 5, 1), np.float32)), path),
        lambda path: samples.write(sampled(filters=np.zeros((4, 6), np.float32)), path),
        lambda path: samples.write(sampled(images=np.zeros((3, 6, 5, 1), "U1")), path),
        lambda path: samples.write(sampled(shape=(6, 5, 2)), path),
        lambda path: samples.write(sampled(n=0), path),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
    ids=[
        *("a flipped bit", "a pickle", "an array missing", "truncated", "empty", "text", "a label missing"),
        *("filters of other channels", "filters without pixels", "filters not images", "images of letters"),
        *("two channels", "no images", "an empty archive"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage):
    path = tmp_path / "samples.npz"
    samples.write(sampled(), path)
    damage(path)
    for source in (path, path.read_bytes()):
        with pytest.raises(ValueError):
            samples.read(source)
    # As one forges it, manifest and all.
    files = Files(tmp_path, "", "", {samples.FILE: sha256_of_file(path)})
    with pytest.raises(DamageError) as refusal:
        results.samples_of(files)
    line = str(refusal.value)
    assert line.startswith(f"{path}: cannot be read (") and "\n" not in line and len(line) < 400
    assert line.endswith(REMEDY)


def test_a_run_without_pretraining_has_no_samples(tmp_path):
    assert results.samples_of(Files(tmp_path, "", "", {})) is None
