"""MNIST is the original to the bit, a user's own images are read as they are, and nothing damaged passes."""

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pretrain import data
from pretrain.config import DataConfig, Experiment, PretrainConfig
from pretrain.config.fields import ConfigError
from pretrain.data import dataset as module
from pretrain.data import reading

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
PARTS = dict(zip(ARRAYS, ("images", "labels", "test", "test"), strict=True))  # of the fingerprints, by array
MNIST_FINGERPRINTS = (
    "75d10c62897da3672704c0a0efdf93722b351d61c16855b589143ea80531be69",
    "803f56f3b48978f166ad9ef136faad0e13dd72b61d64d462bec000b4038f66c0",
    "2c3aed607d5f256c60e5907e2abe069ae53a62bdd217eb1171823bc779886941",
)


def load(path, validation=60, greyscale=False, shuffled_pixels=False):
    config = DataConfig(name=str(path), validation=validation, greyscale=greyscale, shuffled_pixels=shuffled_pixels)
    return data.load(config)


def refused(path, *parts, **settings):
    """Returns the one line in which a dataset is refused, after looking for the parts in it."""
    with pytest.raises(ConfigError) as error:
        load(path, **settings)
    text = str(error.value)
    assert text.splitlines() == [text]
    for part in parts:
        assert part in text
    return text


@pytest.fixture(scope="module")
def mnist():
    return load("mnist", 5000)


@pytest.fixture
def write(tiny_arrays, tmp_path):
    """A function that writes the tiny dataset with some arrays changed, or left out where they are None."""

    def write(**changes):
        path = tmp_path / "own.npz"
        arrays = {name: array for name, array in (tiny_arrays | changes).items() if array is not None}
        np.savez(path, **arrays)
        return path

    return write


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
    assert mnist.class_names == tuple("0123456789")
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
    content = bytearray(reading.MNIST.read_bytes())
    if damage == "cut":
        del content[-1]
    elif damage != "gone":
        content[{"first": 0, "middle": len(content) // 2, "last": -1}[damage]] ^= 1
    if damage != "gone":
        copy.write_bytes(content)
    monkeypatch.setattr(reading, "MNIST", copy)
    refused("mnist", "data.name: 'mnist'", str(copy), "reinstall")


def test_an_undamaged_copy_of_mnist_is_read(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MNIST", shutil.copy(reading.MNIST, tmp_path / "copy.npz"))
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
    assert dataset.class_names == ("0", "1", "2")


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
    assert load(write(test_labels=labels)).class_names == ("0", "1", "2", "4")


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


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array_is_named(name, write):
    split, part = name.split("_")
    what = {"images": "inputs", "labels": "labels"}[part]
    refused(write(**{name: None}), "data.name: ", f"{split}_{what}")


def with_channels(images, channels):
    return np.repeat(images[..., None], channels, axis=-1)


def none_of(arrays, split):
    return {name: array[:0] for name, array in arrays.items() if name.startswith(split)}


# For each mistake, the change to the tiny dataset and what the refusal must speak of.
MISTAKES = {
    "float images beside bytes": (
        lambda a: {"train_images": a["train_images"] / 255},
        ["train_images of float64", "test_images of uint8", "store both alike"],
    ),
    "complex images": (lambda a: {"train_images": a["train_images"] * 1j}, ["train_images of complex128"]),
    "dates": (lambda a: {"train_images": a["train_images"].astype("M8[D]")}, ["train_images of datetime64"]),
    "five axes": (
        lambda a: {"train_images": a["train_images"][..., None, None]},
        ["train_images", "(260, 6, 6, 1, 1)"],
    ),
    "empty images": (lambda a: {"train_images": a["train_images"][:, :0]}, ["train_images", "(260, 0, 6)"]),
    "different sizes": (lambda a: {"test_images": a["test_images"][:, 1:]}, ["(6, 6)", "(5, 6)", "to one size"]),
    "too few labels": (lambda a: {"train_labels": a["train_labels"][1:]}, ["260 train_images", "259 train_labels"]),
    "too many labels": (lambda a: {"test_labels": np.zeros(65, int)}, ["64 test_images", "65 test_labels"]),
    "fractions": (lambda a: {"train_labels": a["train_labels"] / 2}, ["train_labels such as 0.5"]),
    "texts beside numbers": (lambda a: {"test_labels": a["test_labels"].astype(str)}, ["test_labels", "texts"]),
    "two ones a row": (
        lambda a: {"train_labels": np.ones((260, 3), int)},
        ["train_labels", "(260, 3)", "one-hot"],
    ),
    "negative labels": (lambda a: {"test_labels": a["test_labels"] - 2}, ["test_labels", "-1 stands for no label"]),
    "one class": (lambda a: {"train_labels": np.zeros(260, int)}, ["train_labels of one class only, 0"]),
    "one class beside -1": (
        lambda a: {"train_labels": np.where(a["train_labels"] > 0, 1, -1)},
        ["one class only, 1", "number the classes from 0"],
    ),
    "no label": (lambda a: {"train_labels": np.full(260, -1)}, ["has no train_labels but missing ones"]),
    "no label to test": (lambda a: {"test_labels": np.full(64, -1)}, ["has no test row with a label"]),
    "quantities": (lambda a: {"train_labels": np.arange(260)}, ["260 different train_labels in 260 rows"]),
    "the same array twice": (lambda a: {"x_train": a["train_images"]}, ["train_images and x_train", "keep one"]),
    "images with holes": (
        lambda a: {
            name: np.where(a[name] == a[name].max(), np.nan, a[name]) for name in ("train_images", "test_images")
        },
        ["NaN", "an image must be whole"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_arrays_that_do_not_fit_are_refused(mistake, tiny_arrays, write):
    change, parts = MISTAKES[mistake]
    path = write(**change(tiny_arrays))
    with pytest.raises(ConfigError) as error:
        load(path)
    text = str(error.value)
    assert any(all(part in line for part in parts) for line in text.splitlines()), text
    for line in text.splitlines():
        assert line.startswith(f"data.name: {str(path)!r} ")


def test_all_faults_of_a_file_are_reported_at_once_a_line_each(tiny_arrays, write):
    wrong = {"train_labels": tiny_arrays["train_labels"][1:] / 2, "test_images": tiny_arrays["test_images"][:, 1:]}
    with pytest.raises(ConfigError) as error:
        load(write(**wrong, test_labels=None))
    lines = str(error.value).splitlines()
    assert len(lines) == len(set(lines)) == 4
    for part in ("lacks test labels", "train_labels such as 0.5", "to one size", "pair them up"):
        assert sum(part in line for line in lines) == 1


class Payload:
    """Unpickling this makes a directory."""

    def __init__(self, path):
        self.path = os.fspath(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ARRAYS)
def test_objects_are_refused_and_never_unpickled(name, tmp_path, write):
    payload = np.full(260, Payload(tmp_path / "made"), object)
    path = write(**{name: payload})
    refused(path, f"data.name: {str(path)!r} ")
    assert not (tmp_path / "made").exists()
    with np.load(path, allow_pickle=True) as archive:  # the payload would have worked
        archive[name]
    assert (tmp_path / "made").exists()


def test_a_pickle_under_another_name_is_never_unpickled(tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "made")))
    refused(path, f"data.name: {str(path)!r} ")
    assert not (tmp_path / "made").exists()


def npy(header, content=b""):
    """A NumPy array file of version 1 with the given header."""
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(member, suffix=".npy"):
    """A zip archive in which all four arrays are the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name in ARRAYS:
            zipped.writestr(name + suffix, member)
    return file.getvalue()


def flagged(content, local, central, value):
    """An archive with a byte set in the first local and the first central header."""
    content = bytearray(content)
    content[content.index(b"PK\x03\x04") + local] = value
    content[content.index(b"PK\x01\x02") + central] = value
    return bytes(content)


SHAPE = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}}}"
HOSTILE = {
    "nothing": b"",
    "a text": b"train_images",
    "one array": npy(SHAPE.format("(3,)"), b"abc"),
    "a gzip": gzip.compress(b"train_images"),
    "an empty zip": archive(b"").split(b"PK\x03\x04")[0] + b"PK\x05\x06" + bytes(18),
    "members that are no arrays": archive(b"hello"),
    "members without a suffix": archive(b"hello", suffix=""),
    "an encrypted member": flagged(archive(npy(SHAPE.format("(3,)"), b"abc")), 6, 8, 1),
    "an unknown compression": flagged(archive(npy(SHAPE.format("(3,)"), b"abc")), 8, 10, 99),
    "more rows than bytes": archive(npy(SHAPE.format("(260, 6, 6)"), b"abc")),
    "more rows than memory": archive(npy(SHAPE.format("(10000000000000, 6, 6)"), b"abc")),
    "more rows than numbers": archive(npy(SHAPE.format("(1" + "0" * 30 + ", 6, 6)"), b"abc")),
    "negative rows": archive(npy(SHAPE.format("(-1, 6, 6)"), b"abc")),
    "a header cut short": archive(npy(SHAPE.format("(")[:-1], b"abc")),
    "a header that is code": archive(npy("__import__('os').abort()", b"abc")),
    "a header of brackets": archive(npy("(" * 100, b"abc")),
    "objects in a record": archive(npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,)}", b"abc")),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("default::UserWarning")  # NumPy's, of odd headers
def test_files_that_are_no_datasets_are_refused(kind, tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(ConfigError) as error:
        load(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 1 or (kind == "objects in a record" and len(lines) == 2)  # of inputs and of labels
    assert all(line.startswith(f"data.name: {str(path)!r} ") for line in lines)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.npz", "none.npz", "is no file")
    refused(tmp_path / "none" / "none.npz", "none.npz", "is no file")
    refused("~nobody-of-this-name/none.npz", "none.npz")
    (tmp_path / "folder.npz").mkdir()
    refused(tmp_path / "folder.npz", "folder.npz")


def test_a_path_may_start_at_home(tiny_path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(tiny_path, tmp_path / "own.npz")
    assert load("~/own.npz").fingerprints == load(tiny_path).fingerprints


@pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(left, tiny_path, tmp_path):
    path = tmp_path / "own.npz"
    with open(tiny_path, "rb") as whole:
        content = whole.read()
    path.write_bytes(content[: int(left * len(content))])
    refused(path, f"data.name: {str(path)!r} ")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "own.npz"


@pytest.mark.filterwarnings("ignore::UserWarning")  # NumPy's and zipfile's, of odd headers
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(save, draw, scratch, tiny_arrays, tiny_path):
    file = io.BytesIO()
    save(file, **tiny_arrays)
    content = bytearray(file.getvalue())
    at = draw.draw(st.integers(0, len(content) - 1) | st.integers(-600, -1) | st.integers(0, 200))
    content[at] ^= 1 << draw.draw(st.integers(0, 7))
    scratch.write_bytes(content)
    try:
        fingerprints = load(scratch).fingerprints
    except ConfigError as error:
        assert re.fullmatch(r"data\.name: .+", str(error))
    else:
        assert fingerprints == load(tiny_path).fingerprints
