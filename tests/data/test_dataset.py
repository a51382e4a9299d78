"""MNIST is the original to the bit, a user's own images are read as they are, and nothing damaged passes."""

import dataclasses
import hashlib
import shutil
import struct

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig, Experiment, PretrainConfig
from pretrain.config.fields import ConfigError
from pretrain.data import formats
from pretrain.data import loading as module
from tests.data.own_files import ARRAYS, load, refused

PARTS = dict(zip(ARRAYS, ("images", "labels", "test", "test"), strict=True))  # of the fingerprints, by array
MNIST_FINGERPRINTS = (
    "75d10c62897da3672704c0a0efdf93722b351d61c16855b589143ea80531be69",
    "803f56f3b48978f166ad9ef136faad0e13dd72b61d64d462bec000b4038f66c0",
    "2c3aed607d5f256c60e5907e2abe069ae53a62bdd217eb1171823bc779886941",
)


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", 5000)


def idx(array):
    """The bytes of an array in the format of the original files: magic number, sizes, then a byte a number."""
    magic = {3: 2051, 1: 2049}[array.ndim]
    assert array.min() >= 0 and array.max() <= 255
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("part", "md5"),
    [
        ("train images", "6bbc9ace898e44ae57da46a324031adb"),
        ("train labels", "a25bea736e30d166cdddb491f175f624"),
        ("test images", "2646ac647ad5339dbf082846283269ea"),
        ("test labels", "27ae3e4e09519cfbb04c329615203637"),
    ],
)
def test_mnist_is_bit_identical_to_the_original_files(mnist, part, md5):
    split, kind = part.split()
    splits = [mnist.test] if split == "test" else [mnist.validation, mnist.train]
    array = np.concatenate([split.inputs if kind == "images" else split.labels for split in splits])
    array = array.reshape(-1, 28, 28) if kind == "images" else array
    assert hashlib.md5(idx(array)).hexdigest() == md5


def test_mnist_is_split_as_the_protocol_says(mnist):
    sizes = [len(split.inputs) for split in (mnist.train, mnist.validation, mnist.test)]
    assert sizes == [55_000, 5_000, 10_000]
    assert mnist.example_shape == (28, 28, 1)
    assert mnist.output_names == tuple("0123456789")
    for split in (mnist.train, mnist.validation, mnist.test):
        assert (split.inputs.dtype, split.inputs.shape[1], split.labels.dtype) == (np.uint8, 784, np.int32)


def test_the_fingerprints_of_mnist_are_stable(mnist):
    assert mnist.fingerprints == MNIST_FINGERPRINTS, (
        "every stored stage is named by its dataset's fingerprints: where these change, no stage is found again; if "
        "that is meant, update these numbers"
    )


@pytest.mark.parametrize("damage", ["first", "middle", "last", "cut", "gone"])
def test_a_damaged_copy_of_mnist_is_refused(damage, tmp_path, monkeypatch):
    copy = tmp_path / "mnist.npz"
    content = bytearray(formats.MNIST.read_bytes())
    if damage == "cut":
        del content[-1]
    elif damage != "gone":
        content[{"first": 0, "middle": len(content) // 2, "last": -1}[damage]] ^= 1
    if damage != "gone":
        copy.write_bytes(content)
    monkeypatch.setattr(formats, "MNIST", copy)
    refused("mnist", "data.name: 'mnist'", str(copy), "reinstall")


def test_an_undamaged_copy_of_mnist_is_read(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MNIST", shutil.copy(formats.MNIST, tmp_path / "copy.npz"))
    assert load("mnist", 5000).fingerprints == mnist.fingerprints


def digest(*arrays):
    """SHA-256 of the type, shape and content of arrays."""
    parts = [f"{array.dtype} {array.shape}".encode() + array.tobytes() for array in arrays]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_each_fingerprint_names_type_shape_and_content_of_its_part(tiny_arrays, tiny_path):
    flat = {name: array.reshape(len(array), -1) for name, array in tiny_arrays.items() if name.endswith("images")}
    labels = {name: array.astype(np.int32) for name, array in tiny_arrays.items() if name.endswith("labels")}
    images, classes = flat["train_images"], labels["train_labels"]
    found = load(tiny_path, validation=60).fingerprints
    assert found.images == digest(images[60:], images[:60])
    assert found.labels == digest(classes[60:], classes[:60])
    assert found.test == digest(flat["test_images"], labels["test_labels"])


def parts_that_differ(found, other):
    """The parts whose fingerprints differ between two datasets."""
    pairs = zip(found.fingerprints._asdict().items(), other.fingerprints, strict=True)
    return {name for (name, one), another in pairs if one != another}


def test_fingerprints_are_of_what_training_is_given(tiny_path, tiny_arrays, colour, write, tmp_path):
    own = load(tiny_path)
    np.savez_compressed(tmp_path / "again.npz", **tiny_arrays)
    for same in (load(tmp_path / "again.npz"), load(tiny_path, greyscale=True)):
        assert parts_that_differ(own, same) == set()
    # Other rows are held out.
    assert parts_that_differ(own, load(tiny_path, validation=61)) == {"images", "labels"}
    path = write(**colour)
    assert parts_that_differ(load(path), load(path, greyscale=True)) == {"images", "test"}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("row", [0, 63])
def test_one_changed_number_changes_the_fingerprint_of_its_part_and_no_other(name, row, tiny_arrays, tiny_path, write):
    changed = tiny_arrays[name].copy()
    changed[row] = (changed[row] + 1) % 3  # of validation or of training
    assert parts_that_differ(load(write(**{name: changed})), load(tiny_path)) == {PARTS[name]}


def test_splits_are_the_rows_as_they_stand(tiny_arrays, tiny_path):
    dataset = load(tiny_path, validation=60)
    images, labels = tiny_arrays["train_images"].reshape(260, 36), tiny_arrays["train_labels"]
    expected = {
        "validation": (images[:60], labels[:60]),
        "train": (images[60:], labels[60:]),
        "test": (tiny_arrays["test_images"].reshape(64, 36), tiny_arrays["test_labels"]),
    }
    for split, (rows, classes) in expected.items():
        found = getattr(dataset, split)
        np.testing.assert_array_equal(found.inputs, rows)
        np.testing.assert_array_equal(found.labels, classes)
        assert (found.inputs.dtype, found.labels.dtype) == (np.uint8, np.int32)
    assert dataset.example_shape == (6, 6, 1)
    assert dataset.output_names == ("0", "1", "2")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64, np.uint64, ">i4"])
def test_labels_of_any_integer_type_mean_the_same(dtype, tiny_arrays, tiny_path, write):
    path = write(train_labels=tiny_arrays["train_labels"].astype(dtype))
    assert load(path).fingerprints == load(tiny_path).fingerprints


def test_grey_images_may_have_a_channel_or_none(tiny_arrays, tiny_path, write):
    path = write(**{name: tiny_arrays[name][..., None] for name in ("train_images", "test_images")})
    assert load(path).fingerprints == load(tiny_path).fingerprints


def test_a_class_that_only_the_test_images_have_counts(tiny_arrays, write):
    labels = tiny_arrays["test_labels"].copy()
    labels[0] = 4
    assert load(write(test_labels=labels)).output_names == ("0", "1", "2", "4")


@pytest.fixture
def colour(tiny_arrays):
    rng = np.random.default_rng(0)
    names = ("train_images", "test_images")
    return {name: rng.integers(0, 256, (*tiny_arrays[name].shape, 3), np.uint8) for name in names}


def luma(images):
    """ITU-R BT.601 luma in float64, not rounded."""
    red, green, blue = np.moveaxis(images.astype(np.float64), -1, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_colour_images_keep_their_channels_unless_greyscale_is_asked_for(colour, write):
    path = write(**colour)
    kept, grey = load(path), load(path, greyscale=True)
    assert (kept.example_shape, grey.example_shape) == ((6, 6, 3), (6, 6, 1))
    np.testing.assert_array_equal(kept.test.inputs, colour["test_images"].reshape(64, 108))
    for split, images in (
        (grey.validation, colour["train_images"][:60]),
        (grey.train, colour["train_images"][60:]),
        (grey.test, colour["test_images"]),
    ):
        assert split.inputs.dtype == np.uint8
        # Half-way between two greys either will do: 1e-4 is beyond what float32 loses.
        assert np.abs(split.inputs - luma(images).reshape(len(images), 36)).max() <= 0.5 + 1e-4


def test_luma_is_taken_of_every_image_of_a_large_set():
    images = np.random.default_rng(0).integers(0, 256, (2500, 2, 3, 3), np.uint8)
    assert np.abs(module.luma(images).reshape(2500, 6) - luma(images).reshape(2500, 6)).max() <= 0.5 + 1e-4


def test_the_luma_of_a_grey_is_that_grey():
    greys = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    np.testing.assert_array_equal(module.luma(np.repeat(greys, 3, axis=-1)), greys)
    np.testing.assert_array_equal(module.luma(greys), greys)


def test_greyscale_leaves_grey_images_alone(tiny_path):
    np.testing.assert_array_equal(load(tiny_path, greyscale=True).train.inputs, load(tiny_path).train.inputs)


def correlation(images):
    """Mean absolute correlation of different pixels over images."""
    found = np.corrcoef(images.astype(float), rowvar=False)
    return np.abs(found[~np.eye(len(found), dtype=bool)]).mean()


def test_shuffled_pixels_keep_every_pixels_values_and_lose_what_pixels_have_in_common(tiny_path):
    kept, shuffled = load(tiny_path), load(tiny_path, shuffled_pixels=True)
    for own, made in (
        (getattr(dataset, name) for dataset in (kept, shuffled)) for name in ("train", "validation", "test")
    ):
        assert made.inputs.dtype == np.uint8
        np.testing.assert_array_equal(np.sort(own.inputs, axis=0), np.sort(made.inputs, axis=0))
        np.testing.assert_array_equal(own.labels, made.labels)
        assert correlation(own.inputs) > 0.4
        # As much as chance leaves in so few images.
        assert correlation(made.inputs) < 2 / np.sqrt(len(made.inputs))
        # Each pixel in its own way: what one image was is nowhere together.
        assert not (made.inputs[:, None] == own.inputs).all(axis=-1).any()
    assert shuffled[3:5] == kept[3:5]


def test_pixels_are_shuffled_the_same_way_every_time_and_make_another_dataset(tiny_path):
    kept, shuffled, again = (
        load(tiny_path),
        load(tiny_path, shuffled_pixels=True),
        load(tiny_path, shuffled_pixels=True),
    )
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(shuffled, name).inputs, getattr(again, name).inputs)
    assert parts_that_differ(shuffled, again) == set()
    assert parts_that_differ(shuffled, kept) == {"images", "test"}


def test_all_images_of_a_sweep_are_loaded_once_those_of_pretraining_too(tiny_path):
    own = DataConfig(name=tiny_path, validation=60)
    sweep = ({"finetune.encoder_init": ("he", "wrong_data", "rotated"), "finetune.l2": (0.0, 0.1)},)
    found = data.load_all(Experiment(data=own, sweep=sweep))
    assert list(found) == [own, dataclasses.replace(own, shuffled_pixels=True)]
    assert len({dataset.fingerprints for dataset in found.values()}) == 2
    assert list(data.load_all(Experiment(data=own))) == [own]
    missing = Experiment(data=own, sweep=sweep, pretrain=PretrainConfig(wrong_data="none.npz"))
    with pytest.raises(ConfigError, match=r"none\.npz"):
        data.load_all(missing)


@pytest.mark.parametrize(("validation", "left"), [(1, 259), (259, 1)])
def test_validation_may_take_all_but_one_image(validation, left, tiny_path):
    dataset = load(tiny_path, validation=validation)
    assert (len(dataset.validation.inputs), len(dataset.train.inputs)) == (validation, left)


@pytest.mark.parametrize("validation", [260, 261, 5000])
def test_validation_that_leaves_nothing_to_train_on_is_refused(validation, tiny_path):
    refused(tiny_path, f"data.validation: {validation} ", "260 training rows", validation=validation)
